"""A canvas that knows what it just read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_napari._boxes import area, grown, united, within
from sam_napari._change import Canvas, Change, Touched
from sam_napari._source import Box, Plane, Shape

AROUND = 96  # pixels read around a small box, because what is read next lies there too


class Glance:
    """A canvas that knows what it just read, because one action looks at the same pixels several times.

    Others may write without telling, so it has to be told to `forget` before each action.
    """

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self._known: Change | None = None

    @property
    def preserve(self) -> bool:
        """Of the canvas."""
        return self.canvas.preserve

    @preserve.setter
    def preserve(self, value: bool) -> None:
        self.canvas.preserve = value

    @property
    def selected(self) -> int:
        """Of the canvas."""
        return self.canvas.selected

    @selected.setter
    def selected(self, label: int) -> None:
        self.canvas.selected = label

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Of the canvas."""
        return self.canvas.array_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the canvas."""
        return self.canvas.dtype

    def forget(self) -> None:
        """Read anew from now on."""
        self._known = None

    def shape(self, plane: Plane) -> Shape:
        """Return height and width of a plane."""
        return self.canvas.shape(plane)

    def read(self, plane: Plane, box: Box) -> NDArray[np.integer]:
        """Return a copy of the label numbers of a box."""
        known = self._known
        if known is None or known.plane != plane or united(known.box, box) != known.box:
            around = grown(box, AROUND, self.shape(plane)) if area(box) < AROUND * AROUND else box
            known = self._known = Change(plane, around, self.canvas.read(plane, around))
        return known.values[within(box, known.box)].copy()

    def write(self, changes: Sequence[Change]) -> None:
        """Write changes as one step of undo."""
        for _ in self.writing(changes):
            pass

    def writing(self, changes: Sequence[Change]) -> Iterator[int]:
        """Write changes as one step of undo, bit by bit."""
        self.forget()
        for count in self.canvas.writing(changes):
            yield count
            self.forget()

    def next_label(self) -> int:
        """Return a number that no object has."""
        return self.canvas.next_label()

    def on_touched(self, callback: Callable[[Touched], None]) -> Callable[[], None]:
        """Call back whenever somebody else changed pixels."""
        return self.canvas.on_touched(callback)
