"""Encoding the images of a project before anybody clicks on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Warmed:
    """What became of one task.

    Parameters
    ----------
    task
        Its number.
    pages
        Images, or pages of one, whose embeddings are now kept.
    why
        Why there are none, "" where all went well.
    """

    task: int
    pages: int = 0
    why: str = ""


def warm(tasks: Iterable[dict[str, Any]], encode: Callable[[dict[str, Any]], int]) -> Iterator[Warmed]:
    """Encode what tasks show; what became of each comes as soon as it is known.

    Parameters
    ----------
    tasks
        Tasks with their data.
    encode
        Encodes all pages of a task and returns how many these are; may raise anything, and the task has failed then.
    """
    for task in tasks:
        try:
            yield Warmed(task["id"], encode(task))
        except Exception as error:  # whatever is wrong with one image, the other tasks go on
            yield Warmed(task["id"], why=f"{type(error).__name__}: {error}")
