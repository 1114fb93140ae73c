"""How the commands of this package speak: a bar on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


class Speaker:
    """Where one command speaks. Results go to standard output, progress and complaints to standard error.

    Parameters
    ----------
    as_json
        Print results as one JSON object a line, and nothing else.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = Console(soft_wrap=True, highlight=False)
        self._err = Console(stderr=True, soft_wrap=True, highlight=False)

    def follow(self, steps: Iterable[T], title: str, total: int) -> Iterator[T]:
        """Pass steps on with a bar that shows how many were taken."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=self._err, transient=True, disable=not sys.stderr.isatty())
        with bar:
            task = bar.add_task(escape(title), total=total)
            for step in steps:
                yield step
                bar.advance(task)

    def say(self, text: str) -> None:
        """Print a line for people."""
        if not self.as_json:
            self._out.print(escape(text))

    def warn(self, text: str) -> None:
        """Say on standard error what went wrong, without stopping."""
        self._err.print(f"[yellow]warning:[/] {escape(text)}")

    def result(self, record: Mapping[str, Any], text: str) -> None:
        """Print what came of one step: the record for machines, the text for people; "" for nothing."""
        if self.as_json:
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
        elif text:
            self._out.print(escape(text))
