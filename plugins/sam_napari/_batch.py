"""What was found automatically and awaits its review: a value that every decision makes a new one of. Pure.

An object may lie on several planes. It is kept or dropped as a whole; filters shorten it at its ends, so that it goes
from the first to the last plane on which it passes. They look at columns of numbers: thousands of objects follow a
slider at once, and nothing is decoded again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sam_core import Masks
from sam_napari._boxes import pixel, within
from sam_napari._change import Canvas, CanvasFull, Change, box_of
from sam_napari._everything import Found
from sam_napari._source import Box, Plane

State: TypeAlias = Literal["open", "kept", "dropped"]
STATES: tuple[State, ...] = ("open", "kept", "dropped")
OPEN, KEPT, DROPPED = range(3)

LEFT = 0.5  # part of a mask that must not be taken by others, for it to be painted
TILE = 512  # pixels a side of what is read at a time of the canvas


@dataclass(frozen=True, slots=True)
class Limits:
    """What objects must be like to be shown and painted, unless the user kept them.

    Parameters
    ----------
    min_score, min_stability
        Least predicted IoU and stability, in 0..1. An object on several planes ends where it is below.
    min_area, max_area
        Pixels; of an object on several planes where it is largest.
    """

    min_score: float = 0.0
    min_stability: float = 0.0
    min_area: float = 0.0
    max_area: float = float("inf")


@dataclass(frozen=True, eq=False, slots=True)
class Item:
    """An object on one plane.

    Parameters
    ----------
    plane
        The plane.
    mask
        1 mask in the plane frame, without logits.
    number
        Which object: the same on all its planes.
    """

    plane: Plane
    mask: Masks
    number: int

    @property
    def score(self) -> float:
        """Predicted IoU."""
        return float(self.mask.scores[0])

    @property
    def stability(self) -> float:
        """How little the mask depends on its threshold."""
        return float(self.mask.stability[0])

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.mask.areas[0])


@dataclass(frozen=True, eq=False, slots=True)
class _Columns:
    """The items as columns of numbers: (n,) each, boxes (n, 4)."""

    number: NDArray[np.intp]
    score: NDArray[np.float64]
    stability: NDArray[np.float64]
    area: NDArray[np.float64]
    place: NDArray[np.intp]
    box: NDArray[np.int32]

    @classmethod
    def of(cls, masks: Masks, plane: Plane | None = None) -> _Columns:
        numbers = masks.prompt.astype(np.intp)
        scores, stability = masks.scores.astype(float), masks.stability.astype(float)
        # The planes of an object differ along one axis, so this puts them in their order.
        places = np.full(len(masks), 0 if plane is None else sum(plane.index), np.intp)
        return cls(numbers, scores, stability, masks.areas.astype(float), places, masks.boxes)

    def and_(self, other: _Columns) -> _Columns:
        return _Columns(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in _Columns.__slots__))

    def but(self, i: int, masks: Masks) -> _Columns:
        """Return the columns with another mask in the place of the item i."""
        other = _Columns.of(masks)
        columns = {name: getattr(self, name).copy() for name in ("score", "stability", "area", "box")}
        for name, column in columns.items():
            column[i] = getattr(other, name)[0]
        return replace(self, **columns)


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Objects that were found, which of them are shown, and what was decided about each.

    Items are numbered in the order in which they came, and keep their numbers.

    Parameters
    ----------
    items
        One for each plane of each object.
    limits
        Of objects that nobody has decided about.
    usual
        The limits to begin with: those that the model recommends.

    Examples
    --------
    >>> masks = Masks.from_labels(np.array([[1, 1, 0, 2]]))
    >>> batch = Batch().add(Found(Plane((0, 1), (0, 0)), masks, 1, 1))
    >>> small = batch.with_limits(Limits(min_area=2))
    >>> batch.visible, small.visible, small.keep(1).visible, small.drop(0).visible
    ((0, 1), (0,), (0, 1), ())
    """

    items: tuple[Item, ...] = ()
    limits: Limits = Limits()
    usual: Limits = Limits()
    _columns: _Columns = field(default_factory=lambda: _Columns.of(Masks.empty((0, 0))), repr=False)
    _states: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8), repr=False)
    _kept: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool), repr=False)  # items, as they were shown

    # -- what there is -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return how many items there are, hidden ones included."""
        return len(self.items)

    def state(self, i: int) -> State:
        """Return what was decided about the object of an item."""
        return STATES[int(self._states[self.items[i].number])]

    @property
    def visible(self) -> tuple[int, ...]:
        """Items that are shown and will be painted: those kept, and open ones within the limits."""
        return tuple(np.flatnonzero(self._shown()).tolist())

    @property
    def queue(self) -> tuple[int, ...]:
        """Items to be decided about, most doubtful first: of each open object that on the plane where it is largest."""
        columns = self._columns
        open_ = np.flatnonzero(self._shown() & (self._states[columns.number] == OPEN))
        if not len(open_):
            return ()
        order = open_[np.lexsort((open_, -columns.area[open_], columns.number[open_]))]
        _, first, counts = np.unique(columns.number[order], return_index=True, return_counts=True)
        largest = order[first]
        score, stability = (np.add.reduceat(of[order], first) / counts for of in (columns.score, columns.stability))
        return tuple(largest[np.lexsort((largest, score * stability))].tolist())

    def count(self, state: State) -> int:
        """Return how many objects are in a state; of the open ones those within the limits."""
        if state == "dropped":
            return int(np.count_nonzero(self._states == DROPPED))
        numbers = np.unique(self._columns.number[self._shown()])
        return int(np.count_nonzero(self._states[numbers] == STATES.index(state)))

    @property
    def objects(self) -> int:
        """How many objects are shown."""
        return len(np.unique(self._columns.number[self._shown()]))

    def at(self, plane: Plane, point: tuple[float, float]) -> int | None:
        """Return the item that is shown at y, x of a plane: of several the one with the best score."""
        y, x = pixel(point)
        y0, x0, y1, x1 = self._columns.box.T
        near = (y0 <= y) & (y < y1) & (x0 <= x) & (x < x1) & self._shown()
        there = [i for i in np.flatnonzero(near).tolist() if self.items[i].plane == plane]
        there = [i for i in there if self.items[i].mask.crops[0][y - y0[i], x - x0[i]]]
        return max(there, key=lambda i: self._columns.score[i], default=None)

    def planes_of(self, i: int) -> tuple[int, ...]:
        """Return all items of the object of an item."""
        return tuple(np.flatnonzero(self._columns.number == self.items[i].number).tolist())

    # -- what is decided ---------------------------------------------------------------------------------------------

    def add(self, found: Found) -> Batch:
        """Return the batch with further objects; the first ones bring the usual limits."""
        masks = replace(found.masks, logits=(None,) * len(found.masks))
        items = tuple(Item(found.plane, masks[[i]], int(number)) for i, number in enumerate(masks.prompt))
        fresh = max(0, int(masks.prompt.max(initial=-1)) + 1 - len(self._states))
        usual = Limits(found.min_score, found.min_stability)
        return replace(
            self,
            items=self.items + items,
            limits=usual if self.limits == self.usual else self.limits,
            usual=usual,
            _columns=self._columns.and_(_Columns.of(masks, found.plane)),
            _states=np.append(self._states, np.full(fresh, OPEN, np.uint8)),
            _kept=np.append(self._kept, np.zeros(len(items), bool)),
        )

    def with_limits(self, limits: Limits) -> Batch:
        """Return the batch with other limits."""
        return replace(self, limits=limits)

    def keep(self, i: int) -> Batch:
        """Return the batch with the object of an item kept as it is shown; all of it where it is not."""
        own = self._columns.number == self.items[i].number
        shown = own & self._shown()
        kept = self._kept | (shown if shown.any() else own)
        return replace(self._decided(i, KEPT), _kept=kept)

    def drop(self, i: int) -> Batch:
        """Return the batch with the object of an item dropped."""
        return self._decided(i, DROPPED)

    def reopen(self, i: int) -> Batch:
        """Return the batch with the object of an item to be decided about again."""
        return self._decided(i, OPEN)

    def replace(self, i: int, masks: Masks) -> Batch:
        """Return the batch with another mask (of 1, not empty) in the place of an item, and its object kept."""
        item = self.items[i]
        number = np.array([item.number], np.int32)
        mask = replace(masks, prompt=number, logits=(None,))
        items = (*self.items[:i], replace(item, mask=mask), *self.items[i + 1 :])
        kept = self._kept.copy()
        kept[i] = True
        return replace(self, items=items, _columns=self._columns.but(i, mask), _kept=kept).keep(i)

    # -- what is painted ---------------------------------------------------------------------------------------------

    def changes(self, canvas: Canvas, *, over: bool = False) -> list[Change]:
        """Return all that paints the objects that are shown, for one write. See `changing`."""
        return list(self.changing(canvas, over=over))

    def changing(self, canvas: Canvas, *, over: bool = False) -> Iterator[Change]:
        """Yield what paints the objects that are shown; nothing is written. Some may be asked for at a time.

        On each plane those that the user kept come first, then the better scores: where masks overlap, the earlier one
        has it. Of an open object of which others have half, nothing is painted. Objects are numbered as they come, each
        with one free number on all its planes.

        Parameters
        ----------
        canvas
            What is painted.
        over
            Whether objects that are there already are painted over, unless the canvas preserves them. If not, they
            stay: a batch does not undo what was done by hand.

        Raises
        ------
        CanvasFull
            The canvas has not enough numbers.
        CanvasError
            The canvas is gone, busy, or of another shape.
        """
        first = canvas.next_label()
        most = int(np.iinfo(canvas.dtype).max)
        names: dict[int, int] = {}
        for plane, chosen in self._by_plane():
            taken = Taken(canvas, plane, over=over and not canvas.preserve)
            for i, where in self._shares(taken, chosen):
                label = names.setdefault(self.items[i].number, first + len(names))
                if label > most:
                    raise CanvasFull(_few(self.objects, canvas, first))
                values = np.full(where.shape, label, canvas.dtype)
                yield Change(plane, box_of(self.items[i].mask), values, where)

    def _by_plane(self) -> Iterator[tuple[Plane, list[int]]]:
        planes: dict[Plane, list[int]] = {}
        for i in self.visible:
            planes.setdefault(self.items[i].plane, []).append(i)
        yield from planes.items()

    def _shares(self, taken: Taken, chosen: Sequence[int]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Share a plane out among items: (h, w) bool each."""
        kept = self._states[self._columns.number] == KEPT
        for i in sorted(chosen, key=lambda i: (not kept[i], -self._columns.score[i])):
            mask = self.items[i].mask
            where = mask.crops[0] & taken.free(box_of(mask))
            count = np.count_nonzero(where)
            if count and (kept[i] or count >= LEFT * self._columns.area[i]):
                taken.take(box_of(mask), where)
                yield i, where

    # -- inside ------------------------------------------------------------------------------------------------------

    def _decided(self, i: int, state: int) -> Batch:
        states = self._states.copy()
        states[self.items[i].number] = state
        return replace(self, _states=states, _kept=self._kept & (self._columns.number != self.items[i].number))

    def _shown(self) -> NDArray[np.bool_]:
        """Tell which items are shown: (n,)."""
        states = self._states[self._columns.number]
        shown: NDArray[np.bool_] = np.where(states == OPEN, self._passing(), (states == KEPT) & self._kept)
        return shown

    def _passing(self) -> NDArray[np.bool_]:
        """Tell which items lie between the first and last plane on which their object is within the limits: (n,)."""
        columns, limits, m = self._columns, self.limits, len(self._states)
        number, place = columns.number, columns.place
        good = (columns.score >= limits.min_score) & (columns.stability >= limits.min_stability) & (columns.area > 0)
        first, last = np.full(m, np.iinfo(np.intp).max), np.full(m, -1)
        np.minimum.at(first, number[good], place[good])
        np.maximum.at(last, number[good], place[good])
        inside = (place >= first[number]) & (place <= last[number])
        area = np.zeros(m)
        np.maximum.at(area, number[inside], columns.area[inside])
        fits = (area >= limits.min_area) & (area <= limits.max_area) & (area > 0)
        passing: NDArray[np.bool_] = inside & fits[number]
        return passing


class Taken:
    """Which pixels of a plane are taken; the canvas is read once, a tile at a time, where somebody asks.

    Parameters
    ----------
    canvas, plane
        What is read.
    over
        Whether what is on the canvas counts for nothing.
    """

    def __init__(self, canvas: Canvas, plane: Plane, *, over: bool = False) -> None:
        self._canvas, self._plane, self._over = canvas, plane, over
        self._shape = canvas.shape(plane)
        self._tiles: dict[tuple[int, int], NDArray[np.bool_]] = {}

    def free(self, box: Box) -> NDArray[np.bool_]:
        """Tell which pixels of a box inside the plane are free: (h, w)."""
        out = np.ones((box[2] - box[0], box[3] - box[1]), bool)
        for tile, shared, part in self._parts(box):
            out[within(shared, box)] = ~part[within(shared, tile)]
        return out

    def take(self, box: Box, where: NDArray[np.bool_]) -> None:
        """Take those pixels (h, w) bool of a box."""
        for tile, shared, part in self._parts(box):
            part[within(shared, tile)] |= where[within(shared, box)]

    def _parts(self, box: Box) -> Iterator[tuple[Box, Box, NDArray[np.bool_]]]:
        """Yield tiles that a box meets: box of the tile, what it shares with the box, which of its pixels are taken."""
        y0, x0, y1, x1 = box
        for row in range(y0 // TILE, -(-y1 // TILE)):
            for column in range(x0 // TILE, -(-x1 // TILE)):
                top, left = row * TILE, column * TILE
                tile = (top, left, min(top + TILE, self._shape[0]), min(left + TILE, self._shape[1]))
                if (row, column) not in self._tiles:
                    self._tiles[row, column] = self._read(tile)
                shared = max(y0, tile[0]), max(x0, tile[1]), min(y1, tile[2]), min(x1, tile[3])
                yield tile, shared, self._tiles[row, column]

    def _read(self, tile: Box) -> NDArray[np.bool_]:
        if self._over:
            return np.zeros((tile[2] - tile[0], tile[3] - tile[1]), bool)
        return np.asarray(self._canvas.read(self._plane, tile) != 0)


def unpainted(canvas: Canvas, found: Found) -> Found:
    """Leave out of what was found the objects that are mostly painted already: they need no review."""
    taken = Taken(canvas, found.plane)
    free = [
        np.count_nonzero(crop & taken.free((y0, x0, y1, x1)))
        for crop, (y0, x0, y1, x1) in zip(found.masks.crops, found.masks.boxes.tolist(), strict=True)
    ]
    return replace(found, masks=found.masks[np.array(free) >= LEFT * found.masks.areas])


def _few(objects: int, canvas: Canvas, first: int) -> str:
    dtype = np.dtype(canvas.dtype)
    return (
        f"got {objects} objects for a target of {dtype.name}, whose free numbers are {first} to {np.iinfo(dtype).max}, "
        "expected one for each; convert its layer (right-click it > Convert data type), or choose a new target"
    )
