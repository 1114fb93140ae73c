"""A journal, made into labels again: exactly those that were there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sam_napari._change import apply
from sam_napari._journal import JournalError, events


def replay(
    journal: Path,
    shape: tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
    *,
    out: NDArray[Any] | None = None,
    until: int | None = None,
) -> NDArray[Any]:
    """Paint what a journal says.

    Parameters
    ----------
    journal
        Its file.
    shape, dtype
        Of the label array; as the journal says when left out.
    out
        An array of zeros to paint on, in memory or not; made when left out.
    until
        Number of the last event; all when left out.

    Returns
    -------
    NDArray
        Label numbers; `out` where it was given.

    Raises
    ------
    JournalError
        It is no journal, of a newer version, or about another shape.
    OSError
        It cannot be read.
    """
    labels = out
    for event in events(journal):
        if labels is None:
            labels = _blank(event.facts, shape, dtype, journal)
        if until is not None and event.number > until:
            break
        for change in event.changes:
            _paint(labels, change, journal)
    assert labels is not None, "the first event of a journal is always there"
    return labels


def _blank(opened: Any, shape: tuple[int, ...] | None, dtype: DTypeLike | None, journal: Path) -> NDArray[Any]:
    shape = tuple(opened.get("shape", ())) if shape is None else shape
    dtype = opened.get("dtype", "int32") if dtype is None else dtype
    try:
        return np.zeros(shape, dtype)
    except (TypeError, ValueError) as error:
        msg = f"got labels of shape {shape} and dtype {dtype} from {journal}, expected sizes and a dtype ({error})"
        raise JournalError(msg) from error


def _paint(labels: NDArray[Any], change: Any, journal: Path) -> None:
    plane, box = change.plane, change.box
    fits = len(plane.index) == labels.ndim and all(
        0 <= start < stop <= labels.shape[axis] for axis, start, stop in zip(plane.axes, box[:2], box[2:], strict=True)
    )
    if not fits or any(not 0 <= i < n for i, n in zip(plane.index, labels.shape, strict=True)):
        msg = f"got labels of shape {labels.shape}, expected one that holds {box} of {plane}; see `shape` in {journal}"
        raise JournalError(msg)
    apply(labels, change)
