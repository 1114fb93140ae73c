"""Sentences for the user in place of tracebacks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from sam_core import SamError

P = ParamSpec("P")
log = logging.getLogger(__name__)


def notify(text: str) -> None:
    """Show a sentence over the picture, as napari shows its own; it goes away by itself.

    What went wrong is a warning; what is only to be known is not.
    """
    from napari.utils.notifications import show_info, show_warning

    (show_warning if text.startswith(("got ", "Something unexpected", "There is not enough")) else show_info)(text)


def sentence(error: BaseException) -> str:
    """Say in a sentence what went wrong and what to do; what is unexpected is written to the log in full.

    Examples
    --------
    >>> sentence(MemoryError())
    'There is not enough memory for this. Close other images, or segment a smaller part.'
    """
    if isinstance(error, SamError) or str(error).startswith("got "):  # as errors are written here that are expected
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory for this. Close other images, or segment a smaller part."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename or 'a file'}. Your objects are still in napari; try another place."
    log.error("unexpected error", exc_info=error)
    return f"Something unexpected happened ({type(error).__name__}: {error}). Your objects are kept; please try again."


def told(act: Callable[P, object]) -> Callable[P, None]:
    """Make of a function one that tells what goes wrong instead of raising it; not the same thing twice in a row."""
    last = ""

    @wraps(act)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal last
        try:
            act(*args, **kwargs)
            last = ""
        except Exception as error:  # whatever it is
            text = sentence(error)
            if text != last:
                notify(text)
            last = text

    return attempt
