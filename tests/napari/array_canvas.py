"""A canvas that needs no napari."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sam_napari._change import CanvasFull, Change, Touched, apply, full, place, turned
from sam_napari._source import Box, Plane, Shape


class ArrayCanvas:
    """A plain array as a canvas, with an undo stack.

    Parameters
    ----------
    array
        Label numbers, of at least two axes; painted in place.
    """

    def __init__(self, array: NDArray[np.integer]) -> None:
        self.array = array
        self.preserve = False
        self.selected = 1
        self._highest = int(array.max(initial=0))
        self._undo: list[list[Change]] = []
        self._redo: list[list[Change]] = []
        self._callbacks: list[Callable[[Touched], None]] = []

    @classmethod
    def blank(cls, shape: tuple[int, ...], dtype: DTypeLike = np.int32) -> ArrayCanvas:
        """Return an empty canvas."""
        return cls(np.zeros(shape, dtype))

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Shape of the whole label array."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the label array."""
        return self.array.dtype

    @property
    def steps(self) -> int:
        """How many steps can be undone."""
        return len(self._undo)

    def shape(self, plane: Plane) -> Shape:
        """Return height and width of a plane."""
        return self.array.shape[plane.axes[0]], self.array.shape[plane.axes[1]]

    def read(self, plane: Plane, box: Box) -> NDArray[np.integer]:
        """Return a copy of the label numbers of a box."""
        return turned(plane, self.array[place(plane, box)]).copy()

    def write(self, changes: Sequence[Change]) -> None:
        """Write changes as one step of undo."""
        for _ in self.writing(changes):
            pass

    def writing(self, changes: Sequence[Change]) -> Iterator[int]:
        """Write changes as one step of undo, one after the other."""
        if not changes:
            return
        step: list[Change] = []
        self._undo.append(step)
        self._redo.clear()
        for change in changes:
            step.append(self._put(change))
            yield int(np.count_nonzero(change.written))

    def paint(self, changes: Sequence[Change]) -> None:
        """Write changes as the user does with a brush: one step of undo, and whoever listens is told."""
        self.write(changes)
        self._tell([(change.plane, change.box) for change in changes])

    def replace(self, array: NDArray[np.integer]) -> None:
        """Put another array of the same shape into place, as by `layer.data = ...`: no step of undo."""
        self.array[...] = array
        self._highest = max(self._highest, int(array.max(initial=0)))
        self._tell(None)

    def undo(self) -> None:
        """Take the last step back."""
        self._go(self._undo, self._redo)

    def redo(self) -> None:
        """Take the last step again."""
        self._go(self._redo, self._undo)

    def next_label(self) -> int:
        """Return one more than the highest number there ever was."""
        if self._highest >= np.iinfo(self.dtype).max:
            raise CanvasFull(full(self.dtype))
        return self._highest + 1

    def on_touched(self, callback: Callable[[Touched], None]) -> Callable[[], None]:
        """Call back after undo, redo and paint; returns what ends it."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def _go(self, steps: list[list[Change]], others: list[list[Change]]) -> None:
        if steps:
            step = steps.pop()
            others.append([self._put(change) for change in reversed(step)])
            self._tell([(change.plane, change.box) for change in step])

    def _put(self, change: Change) -> Change:
        """Write a change and return what takes it back."""
        before = self.read(change.plane, change.box)
        self._highest = max(self._highest, int(change.values.max(initial=0)))
        apply(self.array, change)
        return Change(change.plane, change.box, before, change.where)

    def _tell(self, touched: Touched) -> None:
        for callback in tuple(self._callbacks):
            callback(touched)
