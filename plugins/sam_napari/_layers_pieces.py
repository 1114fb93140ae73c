"""Many changes at once: piece by piece of a plane, so that each pixel is written once and only where it changes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sam_napari._boxes import united, within
from sam_napari._change import Change
from sam_napari._source import Box, Plane

Piece: TypeAlias = tuple[Plane, Box, NDArray[np.integer], NDArray[np.integer]]
"""A box of a plane, and what it holds before and after."""
Read: TypeAlias = Callable[[Plane, Box], NDArray[np.integer]]

FEW = 4  # changes that are written one by one; more are gathered, a tile of the plane at a time
TILE = 512  # pixels a side


def gathered(changes: Sequence[Change], read: Read) -> Iterator[Piece]:
    """Yield boxes of planes with what they hold and what they are to hold; each is to be written before the next.

    Parameters
    ----------
    changes
        To be made in this order.
    read
        Returns what a box of a plane holds now.
    """
    changes = [_straight(each) for each in changes]
    if len(changes) <= FEW or len({each.plane.axes for each in changes}) > 1:
        # Planes seen from different sides cut each other, so nothing may be put before anything else.
        yield from (_piece(each.plane, each.box, [each], read) for each in changes)
        return
    tiles: dict[tuple[Plane, int, int], list[Change]] = {}
    for change in changes:
        y0, x0, y1, x1 = change.box
        for row in range(y0 // TILE, -(-y1 // TILE)):
            for column in range(x0 // TILE, -(-x1 // TILE)):
                tiles.setdefault((change.plane, row, column), []).append(change)
    for (plane, row, column), parts in tiles.items():
        tile = (row * TILE, column * TILE, (row + 1) * TILE, (column + 1) * TILE)
        yield _piece(plane, _shared(tile, functools.reduce(united, (each.box for each in parts))), parts, read)


def _piece(plane: Plane, box: Box, changes: Sequence[Change], read: Read) -> Piece:
    before = read(plane, box)
    after = before.copy()
    for change in changes:
        _lay(after, box, change)
    return plane, box, before, after


def _straight(change: Change) -> Change:
    """Return a change with rows and columns in the order of the axes of the array."""
    rows, columns = change.plane.axes
    if rows < columns:
        return change
    y0, x0, y1, x1 = change.box
    where = None if change.where is None else change.where.T
    return Change(Plane((columns, rows), change.plane.index), (x0, y0, x1, y1), change.values.T, where)


def _lay(after: NDArray[np.integer], box: Box, change: Change) -> None:
    """Write what of a change lies in a box into the pixels (h, w) of that box."""
    shared = _shared(box, change.box)
    if shared[0] >= shared[2] or shared[1] >= shared[3]:
        return
    its = within(shared, change.box)
    where = True if change.where is None else change.where[its]
    np.copyto(after[within(shared, box)], change.values[its], where=where, casting="unsafe")


def _shared(first: Box, second: Box) -> Box:
    """Return what two boxes share; of no area, or turned round, where that is nothing."""
    return max(first[0], second[0]), max(first[1], second[1]), min(first[2], second[2]), min(first[3], second[3])
