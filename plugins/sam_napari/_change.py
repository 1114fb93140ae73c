"""Changes of label images: what is painted where, and what it is painted on.

A `Canvas` is where objects are painted: napari's Labels layer is one (`_layers_canvas`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sam_core import Masks, SamError
from sam_napari._boxes import area, at, grown, opened, pixel, tiles, united, whole, within
from sam_napari._source import Box, Plane, Shape

Touched: TypeAlias = Sequence[tuple[Plane, Box]] | None
"""Where somebody else may have changed pixels; None: anywhere."""

FAR = 1 << 24  # pixels in which an object is looked for
MARGIN = 16  # pixels around a mask in which an object is seen to be larger


class CanvasError(SamError):
    """A target that cannot be painted."""


class CanvasGone(CanvasError):
    """A target that is no longer there: its layer was removed."""


class CanvasFull(CanvasError):
    """A target whose numbers are too small for another object."""


class CanvasBusy(CanvasError):
    """A target that cannot answer yet, but soon will."""


@dataclass(frozen=True, eq=False, slots=True)
class Change:
    """New pixels of a part of a plane.

    Parameters
    ----------
    plane
        The plane.
    box
        Half-open y0, x0, y1, x1 on the plane, inside it.
    values
        (h, w) label numbers, in the canvas' dtype: what the box holds afterwards.
    where
        (h, w) bool: the pixels that are written, the others stay as they are; None: all. So changes that were made
        one beside the other may be written in one go, although their boxes overlap.
    """

    plane: Plane
    box: Box
    values: NDArray[np.integer]
    where: NDArray[np.bool_] | None = None

    @property
    def written(self) -> NDArray[np.bool_]:
        """(h, w) bool: `where`, or all."""
        return np.ones(self.values.shape, bool) if self.where is None else self.where


class Canvas(Protocol):
    """Where objects are painted."""

    preserve: bool
    """Labels that are there are never painted over: napari's `preserve_labels`."""
    selected: int
    """The number that painting uses: napari's `selected_label`."""

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Shape of the whole label array, one size a data axis."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the label array."""
        ...

    def shape(self, plane: Plane) -> Shape:
        """Return height and width of a plane.

        Raises
        ------
        CanvasGone
            The layer was removed; so do all other methods then.
        """
        ...

    def read(self, plane: Plane, box: Box) -> NDArray[np.integer]:
        """Return a copy of the label numbers (h, w) of a box, which lies inside the plane."""
        ...

    def write(self, changes: Sequence[Change]) -> None:
        """Write changes in their order, as exactly one step of undo, however many these are; none: no step."""
        ...

    def writing(self, changes: Sequence[Change]) -> Iterator[int]:
        """Write changes as `write` does, bit by bit: yields how many pixels changed, some milliseconds apart.

        What was written is one step of undo, also when the iterator is closed before its end.
        """
        ...

    def next_label(self) -> int:
        """Return a number that no object has; cheap on arrays of any size.

        Raises
        ------
        CanvasFull
            The dtype has no further number.
        CanvasBusy
            It is not known yet; what was wanted is tried again.
        """
        ...

    def on_touched(self, callback: Callable[[Touched], None]) -> Callable[[], None]:
        """Call back whenever somebody else changed pixels: undo, redo, brush, eraser, fill, data replaced.

        Not after `write` of this very canvas. Returns what ends it.
        """
        ...


def place(plane: Plane, box: Box) -> tuple[int | slice, ...]:
    """Return the index of a box of a plane in the whole array; see `turned` for the order of its axes.

    Examples
    --------
    >>> place(Plane((1, 2), (4, 0, 0)), (0, 10, 5, 20))
    (4, slice(0, 5, None), slice(10, 20, None))
    """
    y0, x0, y1, x1 = box
    index: list[int | slice] = list(plane.index)
    index[plane.axes[0]], index[plane.axes[1]] = slice(y0, y1), slice(x0, x1)
    return tuple(index)


def turned(plane: Plane, values: NDArray[Any]) -> NDArray[Any]:
    """Return a view of a part of a plane with its axes as the array has them, or the other way round.

    The rows of a plane may be a later axis of the array than its columns.
    """
    return values.T if plane.axes[0] > plane.axes[1] else values


def pieces(canvas: Canvas) -> Iterator[tuple[Plane, Box]]:
    """Yield all of a canvas as boxes of at most 512 x 512 pixels, plane by plane of its last two axes."""
    *others, height, width = canvas.array_shape
    axes = (len(others), len(others) + 1)
    for index in product(*map(range, others)):
        plane = Plane(axes, (*index, 0, 0))
        yield from ((plane, box) for box in tiles(whole((height, width))))


def under(canvas: Canvas, plane: Plane, point: tuple[float, float]) -> int:
    """Return the number of the object at y, x; 0 for none, and outside the plane."""
    y, x = pixel(point)
    height, width = canvas.shape(plane)
    if not (0 <= y < height and 0 <= x < width):
        return 0
    return int(canvas.read(plane, at(point))[0, 0])


def standing(canvas: Canvas, plane: Plane, label: int, box: Box) -> Masks:
    """Return the pixels of an object as 0 or 1 masks, found by looking further wherever it leaves the box.

    What lies apart from the rest and far from the box is not found, and so stays as it is; so does what goes beyond
    some 16 million pixels.
    """
    shape = canvas.shape(plane)
    window = grown(box, 1, shape)
    while True:
        inside = canvas.read(plane, window) == label
        further = opened(window, inside, shape)
        if further == window or area(further) > FAR:
            return cropped(inside, window, shape)
        window = further


def standing_if(canvas: Canvas, plane: Plane, label: int, mask: Masks, least: float) -> Masks | None:
    """Return the pixels of an object if the mask (of 1) covers at least a part `least` of them; None if not.

    Of an object that is much larger than the mask only the pixels around the mask are looked at.
    """
    shape = canvas.shape(plane)
    box = grown(box_of(mask), MARGIN, shape)
    near = canvas.read(plane, box) == label
    shared = int(np.count_nonzero(near & spread(mask, box)))
    if not shared or shared < least * int(np.count_nonzero(near)):
        return None
    body = standing(canvas, plane, label, box)
    return body if shared >= least * int(body.areas[0]) else None


def cropped(inside: NDArray[np.bool_], box: Box, shape: Shape, like: Masks | None = None) -> Masks:
    """Make a mask of pixels (h, w) bool of a box: 1, or 0 where there are none.

    `like` is the mask of 1 that gives it its score, stability and logits; without it these are 1, 1 and None.
    """
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return Masks.empty(shape)
    crop = np.ascontiguousarray(inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    return Masks(
        shape=shape,
        crops=(crop,),
        offsets=np.array([(box[0] + rows[0], box[1] + columns[0])], np.int32),
        scores=np.ones(1, np.float32) if like is None else like.scores,
        stability=np.ones(1, np.float32) if like is None else like.stability,
        prompt=np.zeros(1, np.int32),
        logits=(None,) if like is None else like.logits,
    )


def spread(mask: Masks, box: Box) -> NDArray[np.bool_]:
    """Draw a mask of 1 on a box of its plane: (h, w) bool; what lies outside the box is left out."""
    out = np.zeros((max(0, box[2] - box[0]), max(0, box[3] - box[1])), bool)
    own = box_of(mask)
    shared = max(own[0], box[0]), max(own[1], box[1]), min(own[2], box[2]), min(own[3], box[3])
    if shared[0] < shared[2] and shared[1] < shared[3]:
        out[within(shared, box)] = mask.crops[0][within(shared, own)]
    return out


def box_of(mask: Masks) -> Box:
    """Return the box of a mask of 1."""
    y0, x0, y1, x1 = (int(value) for value in mask.boxes[0])
    return y0, x0, y1, x1


def painted(
    canvas: Canvas,
    plane: Plane,
    label: int,
    mask: Masks,
    *,
    old: Masks | None = None,
    ground: Change | None = None,
) -> Change | None:
    """Return what makes the object `label` be where `mask` is.

    As napari's brush does, it goes over other objects unless the canvas preserves them.

    Parameters
    ----------
    canvas
        What is painted; not written.
    plane
        The plane of the mask.
    label
        Number of the object, at least 1.
    mask
        One mask.
    old
        Where the object is now (0 or 1 masks): what the new mask does not cover is given back.
    ground
        What lay beneath the object; without it, what is given back becomes background.

    Returns
    -------
    Change | None
        None where not a pixel would change.

    Raises
    ------
    CanvasError
        The mask is of a plane of another shape.
    CanvasFull
        The canvas cannot hold the number.
    """
    _check(canvas, plane, label, mask)
    masks = [one for one in (mask, old) if one is not None and len(one) and one.areas[0]]
    if not masks:
        return None
    box = box_of(masks[0]) if len(masks) == 1 else united(box_of(masks[0]), box_of(masks[1]))
    before = canvas.read(plane, box)
    own = before == label
    inside = spread(mask, box) if len(mask) else np.zeros(before.shape, bool)
    if canvas.preserve:
        inside &= own | (before == 0)
    after = before.copy()
    given_back = own & ~inside
    after[given_back] = _beneath(ground, box, before)[given_back]
    after[inside] = label
    where = after != before
    return Change(plane, box, after, where) if where.any() else None


def erased(canvas: Canvas, plane: Plane, label: int, box: Box) -> Change | None:
    """Return what makes the object `label` background in a box; None where it is not there."""
    before = canvas.read(plane, box)
    where = before == label
    return Change(plane, box, np.where(where, 0, before).astype(before.dtype), where) if where.any() else None


def buried(canvas: Canvas, change: Change, label: int, ground: Change | None) -> Change | None:
    """Return what lies beneath the object `label` once a change is written: call it before.

    Parameters
    ----------
    canvas
        As it is before the change.
    change
        What is going to be written.
    label
        The object that is painted.
    ground
        What lies beneath it already.
    """
    before = canvas.read(change.plane, change.box)
    taken = change.written & (before != 0) & (before != label) & (change.values == label)
    if not taken.any():
        return ground
    if ground is None:
        return Change(change.plane, change.box, before, taken)
    box = united(change.box, ground.box)
    values = np.zeros((box[2] - box[0], box[3] - box[1]), before.dtype)
    known = np.zeros(values.shape, bool)
    for part in (ground, Change(change.plane, change.box, before, taken)):
        values[within(part.box, box)][part.written] = part.values[part.written]
        known[within(part.box, box)][part.written] = True
    return Change(change.plane, box, values, known)


def apply(array: NDArray[Any], change: Change) -> None:
    """Write a change into an array that holds the planes, in memory or not."""
    index = place(change.plane, change.box)
    part = turned(change.plane, np.asarray(array[index]))
    part[change.written] = change.values[change.written]
    array[index] = turned(change.plane, part)


def _check(canvas: Canvas, plane: Plane, label: int, mask: Masks) -> None:
    shape = canvas.shape(plane)
    if mask.shape != shape:
        msg = f"got a mask of a plane of {mask.shape} pixels, expected {shape}; choose a target made for this image"
        raise CanvasError(msg)
    if not 1 <= label <= np.iinfo(canvas.dtype).max:
        raise CanvasFull(full(canvas.dtype))


def full(dtype: np.dtype[Any]) -> str:
    """Say that a dtype has no further number."""
    return (
        f"got a target of {dtype.name}, which numbers objects up to {np.iinfo(dtype).max}, expected room for another "
        "one; convert its layer (Layers > Data > Convert data type) or choose a new target"
    )


def _beneath(ground: Change | None, box: Box, before: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return what the pixels of a box become that an object gives back: (h, w)."""
    out = np.zeros_like(before)
    if ground is not None:
        known = cropped_to(ground, box)
        out[within(known.box, box)] = np.where(known.written, known.values, 0)
    return out


def cropped_to(change: Change, box: Box) -> Change:
    """Return the part of a change that lies in a box; of no area where none does."""
    (a, b, c, d), (y0, x0, y1, x1) = change.box, box
    top, left = min(max(a, y0), y1), min(max(b, x0), x1)
    shared = top, left, max(top, min(c, y1)), max(left, min(d, x1))
    if shared[0] == shared[2] or shared[1] == shared[3]:
        empty = np.zeros((0, 0), change.values.dtype)
        return Change(change.plane, (y0, x0, y0, x0), empty, empty.astype(bool))
    part = within(shared, change.box)
    return Change(change.plane, shared, change.values[part], None if change.where is None else change.where[part])
