"""How a large plane is cut: cores that partition it, and windows that overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

from sam_core.types import Box, Region, Shape


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles with a halo.

    The cores of the tiles partition the plane: each point is owned by one tile. What is encoded is the window of a
    tile: its core and a halo around it, moved to lie inside the plane, so that all windows of a plane are of one size.

    Parameters
    ----------
    tile
        Height and width of a core in pixels; those at the lower and right border may be smaller.
    halo
        Pixels around the core, along y and x.

    Examples
    --------
    >>> tiling = Tiling(tile=(100, 100), halo=(10, 10))
    >>> tiling.cores((150, 100))
    ((0, 0, 100, 100), (100, 0, 150, 100))
    >>> tiling.windows((150, 100))
    ((0, 0, 120, 100), (30, 0, 150, 100))
    >>> tiling.owner((120.0, 5.0), (150, 100))
    1
    """

    tile: tuple[int, int] = (1024, 1024)
    halo: tuple[int, int] = (128, 128)

    def __post_init__(self) -> None:
        """Refuse tiles without area and negative halos."""
        if not _are_sizes(self.tile, 1) or not _are_sizes(self.halo, 0):
            msg = (
                f"got tile {self.tile} and halo {self.halo}, expected tuples of two whole numbers: "
                "a tile of at least 1, a halo of at least 0 pixels along y and x"
            )
            raise ValueError(msg)

    def cores(self, shape: Shape) -> tuple[Box, ...]:
        """Return the cores, row by row: half-open boxes that partition a plane of this height and width."""
        (height, width), (th, tw) = shape, self.tile
        return tuple(
            (y, x, min(y + th, height), min(x + tw, width)) for y in range(0, height, th) for x in range(0, width, tw)
        )

    def windows(self, shape: Shape) -> tuple[Box, ...]:
        """Return the windows, one a core, all of the size min(tile + 2 halo, plane) and inside the plane."""
        rows, columns = (
            [self._side(axis, i, shape) for i in range(-(-shape[axis] // self.tile[axis]))] for axis in (0, 1)
        )
        return tuple((y0, x0, y1, x1) for y0, y1 in rows for x0, x1 in columns)

    def owner(self, point: tuple[float, float], shape: Shape) -> int:
        """Return the index of the tile whose core holds a point y, x; points outside belong to the nearest tile."""
        row, column = (self._core_at(axis, point[axis], shape) for axis in (0, 1))
        return row * -(-shape[1] // self.tile[1]) + column

    def home(self, box: Region, shape: Shape) -> int | None:
        """Return the index of a tile whose window holds a half-open box; None where none does.

        The tile that owns the middle of the box is preferred. What of the box lies outside the plane does not count.
        """
        row, column = (self._home_side(axis, box[axis], box[axis + 2], shape) for axis in (0, 1))
        return None if row is None or column is None else row * -(-shape[1] // self.tile[1]) + column

    def _side(self, axis: int, number: int, shape: Shape) -> tuple[int, int]:
        """Return start and stop of the windows of a row (axis 0) or column (axis 1) of tiles."""
        tile, halo, size = self.tile[axis], self.halo[axis], shape[axis]
        extent = min(tile + 2 * halo, size)
        start = min(max(number * tile - halo, 0), size - extent)
        return start, start + extent

    def _core_at(self, axis: int, place: float, shape: Shape) -> int:
        """Return the row or column of tiles whose cores hold a place, counted from pixel centres."""
        return min(max(math.floor(place + 0.5), 0), shape[axis] - 1) // self.tile[axis]

    def _home_side(self, axis: int, start: float, stop: float, shape: Shape) -> int | None:
        """Return the row or column of tiles whose windows hold start..stop."""
        start, stop = max(start, 0), min(stop, shape[axis])
        middle = self._core_at(axis, (start + stop) / 2 - 0.5, shape)
        # Windows at a border of the plane reach further than the halo of their core, so one of them may hold what
        # the window that owns the middle does not; never one further away than the next.
        for number in (middle, middle - 1, middle + 1):
            if 0 <= number < -(-shape[axis] // self.tile[axis]):
                low, high = self._side(axis, number, shape)
                if low <= start and stop <= high:
                    return number
        return None

    @staticmethod
    def whole(shape: Shape) -> Tiling:
        """Return the tiling that makes one tile of a plane of this height and width."""
        return Tiling(tile=(max(shape[0], 1), max(shape[1], 1)), halo=(0, 0))


def _are_sizes(pair: object, least: int) -> bool:
    return (
        isinstance(pair, tuple)
        and len(pair) == 2
        and all(isinstance(size, Integral) and int(size) >= least for size in pair)
    )


def cores(tiling: Tiling | None, shape: Shape) -> tuple[Box, ...]:
    """Return the cores of a plane; None is one tile.

    Examples
    --------
    >>> cores(None, (150, 100))
    ((0, 0, 150, 100),)
    """
    return (tiling or Tiling.whole(shape)).cores(shape)


def windows(tiling: Tiling | None, shape: Shape) -> tuple[Box, ...]:
    """Return the windows of a plane; None is one tile.

    Examples
    --------
    >>> windows(Tiling((100, 100), (10, 10)), (150, 90))
    ((0, 0, 120, 90), (30, 0, 150, 90))
    """
    return (tiling or Tiling.whole(shape)).windows(shape)


def owner(tiling: Tiling | None, point: tuple[float, float], shape: Shape) -> int:
    """Return the tile that owns a point of a plane; None is one tile.

    Examples
    --------
    >>> owner(Tiling((100, 100)), (99.5, 0), (150, 100))
    1
    """
    return (tiling or Tiling.whole(shape)).owner(point, shape)


def home(tiling: Tiling | None, box: Region, shape: Shape) -> int | None:
    """Return a tile whose window holds a box of a plane; None where none does. None for a tiling is one tile.

    Examples
    --------
    >>> tiling = Tiling((100, 100), (10, 10))
    >>> home(tiling, (95, 0, 125, 20), (250, 100)), home(tiling, (50, 0, 150, 20), (250, 100))
    (1, None)
    """
    return (tiling or Tiling.whole(shape)).home(box, shape)
