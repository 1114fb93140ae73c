"""How a large plane is cut: cores that partition it, and windows that overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
        if len(self.tile) != 2 or len(self.halo) != 2 or min(self.tile) < 1 or min(self.halo) < 0:
            msg = f"got tile {self.tile} and halo {self.halo}, expected two sizes of at least 1 and two of at least 0"
            raise ValueError(msg)

    def cores(self, shape: Shape) -> tuple[Box, ...]:
        """Return the cores, row by row: half-open boxes that partition a plane of this height and width."""
        (height, width), (th, tw) = shape, self.tile
        return tuple(
            (y, x, min(y + th, height), min(x + tw, width)) for y in range(0, height, th) for x in range(0, width, tw)
        )

    def windows(self, shape: Shape) -> tuple[Box, ...]:
        """Return the windows, one a core, all of the size min(tile + 2 halo, plane) and inside the plane."""
        size = [min(t + 2 * h, n) for t, h, n in zip(self.tile, self.halo, shape, strict=True)]
        found = []
        for core in self.cores(shape):
            y, x = (
                min(max(start - halo, 0), n - extent)
                for start, halo, n, extent in zip(core[:2], self.halo, shape, size, strict=True)
            )
            found.append((y, x, y + size[0], x + size[1]))
        return tuple(found)

    def owner(self, point: tuple[float, float], shape: Shape) -> int:
        """Return the index of the tile whose core holds a point y, x; points outside belong to the nearest tile."""
        row, column = (
            min(max(math.floor(p + 0.5), 0), n - 1) // t for p, n, t in zip(point, shape, self.tile, strict=True)
        )
        return row * -(-shape[1] // self.tile[1]) + column

    def home(self, box: Region, shape: Shape) -> int | None:
        """Return the index of the tile whose window holds a half-open box, best in its middle; None where none does.

        What of the box lies outside the plane does not count.
        """
        y0, x0, y1, x1 = box
        y0, x0, y1, x1 = max(y0, 0), max(x0, 0), min(y1, shape[0]), min(x1, shape[1])
        middle = ((y0 + y1) / 2 - 0.5, (x0 + x1) / 2 - 0.5)
        # The owner of the middle is the most central, if it holds the box; near borders another may.
        index = self.owner(middle, shape)
        wy0, wx0, wy1, wx1 = self.windows(shape)[index]
        return index if wy0 <= y0 and wx0 <= x0 and y1 <= wy1 and x1 <= wx1 else None

    @staticmethod
    def whole(shape: Shape) -> Tiling:
        """Return the tiling that makes one tile of a plane of this height and width."""
        return Tiling(tile=(max(shape[0], 1), max(shape[1], 1)), halo=(0, 0))


def cores(tiling: Tiling | None, shape: Shape) -> tuple[Box, ...]:
    """Return the cores of a plane; None is one tile."""
    return (tiling or Tiling.whole(shape)).cores(shape)


def windows(tiling: Tiling | None, shape: Shape) -> tuple[Box, ...]:
    """Return the windows of a plane; None is one tile."""
    return (tiling or Tiling.whole(shape)).windows(shape)


def owner(tiling: Tiling | None, point: tuple[float, float], shape: Shape) -> int:
    """Return the tile that owns a point of a plane; None is one tile."""
    return (tiling or Tiling.whole(shape)).owner(point, shape)


def home(tiling: Tiling | None, box: Region, shape: Shape) -> int | None:
    """Return the tile whose window holds a box of a plane; None is one tile."""
    return (tiling or Tiling.whole(shape)).home(box, shape)
