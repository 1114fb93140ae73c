"""How commands speak: bars and tables on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sam_core.errors import SamError

SOME_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130

T = TypeVar("T")
P = ParamSpec("P")


def warn(text: str) -> None:
    """Say on standard error what went wrong, without stopping."""
    Console(stderr=True).print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True, highlight=False)


def complain(text: str) -> None:
    """Say on standard error why nothing more will be done."""
    Console(stderr=True).print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True, highlight=False)


def guarded(command: Callable[P, T]) -> Callable[P, T]:
    """Turn what a user did wrong into one line and exit status 2, and Ctrl-C into 130."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            complain("interrupted; what was finished is kept")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise
        except (SamError, OSError) as error:
            complain(describe(error))
            raise typer.Exit(BAD_INPUT) from None

    return run


def describe(error: BaseException) -> str:
    """Give the message of an error; for one that the system raised also its name."""
    return str(error) if isinstance(error, SamError | ValueError) else f"{type(error).__name__}: {error}"


class Screen:
    """Where one command speaks. Results go to standard output, progress and complaints to standard error.

    Parameters
    ----------
    as_json
        Print results as one JSON object a line, and nothing else.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = Console(soft_wrap=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def follow(self, steps: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """Pass steps on and show how many were taken; bars may lie within bars."""
        if total is None and isinstance(steps, Sequence):
            total = len(steps)
        task = self._progress.add_task(escape(title), total=total)
        try:
            for step in steps:
                yield step
                self._progress.advance(task)
        finally:
            self._progress.remove_task(task)

    def say(self, text: str) -> None:
        """Print a line for people."""
        if not self.as_json:
            self._out.print(escape(text))

    def result(self, record: Mapping[str, Any], text: str) -> None:
        """Print what came of one step: the record for machines, the text for people."""
        if self.as_json:
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
        else:
            self._out.print(escape(text))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
        """Print a table for people; columns named with a leading ">" are set flush right."""
        if self.as_json:
            return
        table = Table(title=title or None, box=SIMPLE_HEAD, title_style="bold", header_style="bold cyan")
        for column in columns:
            flush = "right" if column.startswith(">") else "left"
            table.add_column(column.removeprefix(">"), justify=flush, overflow="fold")  # type: ignore[arg-type]
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        # A file or a pipe has no width: let nothing be folded there.
        width = None if self._out.is_terminal else 200
        Console(width=width, highlight=False).print(table)
