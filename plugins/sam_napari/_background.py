"""Reading and writing files while the window goes on."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def in_background(
    act: Callable[[], T],
    done: Callable[[T | Exception], None],
    post: Callable[[Callable[[], None]], None],
    name: str = "files",
) -> None:
    """Do something on a thread of its own that ends with it.

    Parameters
    ----------
    act
        What is done; touches nothing that the window shows.
    done
        Called through `post` with what came of it, or what went wrong.
    post
        Calls a function on the thread of the windows.
    name
        What the thread is called.

    Examples
    --------
    >>> from queue import Queue
    >>> calls = Queue()
    >>> in_background(lambda: 1 + 1, print, calls.put)
    >>> calls.get()()
    2
    """

    def run() -> None:
        came: T | Exception
        try:
            came = act()
        except Exception as error:  # told by whoever asked
            came = error
        post(lambda: done(came))

    Thread(target=run, name=f"sam-napari {name}", daemon=True).start()
