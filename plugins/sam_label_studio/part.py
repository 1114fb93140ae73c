"""Which part of a plane is encoded first, where somebody clicked: the answer need not wait for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from sam_core import Masks, Prompt, Tiling

Shape: TypeAlias = tuple[int, int]
Region: TypeAlias = tuple[float, float, float, float]
Box: TypeAlias = tuple[int, int, int, int]
SIDE = 512  # pixels of a part, along each axis, or more where more is asked about
HALO = max(Tiling().halo)  # pixels around what is asked about, as around a tile
STEP = 64  # a part starts at multiples of it, so that the network sees it on the same grid as in the whole
WORTH = 0.5  # of the plane; a larger part is not worth it
NEAR = 3  # pixels: masks are drawn at every second one


def extent(prompts: Sequence[Prompt]) -> Region | None:
    """Return the half-open region y0, x0, y1, x1 that holds what is asked about; None where nothing is.

    Examples
    --------
    >>> extent([Prompt.of([(10, 20)]), Prompt.of(box=(0, 4, 8, 9))])
    (0.0, 4.0, 11.0, 21.0)
    """
    if not prompts:
        return None
    y0, x0, y1, x1 = zip(*(prompt.extent for prompt in prompts), strict=True)
    return float(min(y0)), float(min(x0)), float(max(y1)), float(max(x1))


def part_around(region: Region, shape: Shape) -> Box | None:
    """Return the part of a plane of this height and width that is encoded for a region; None where all of it is.

    Examples
    --------
    >>> part_around((700, 700, 701, 701), (1024, 1024))
    (448, 448, 960, 960)
    >>> part_around((1000, 10, 1001, 11), (1024, 1500))
    (512, 0, 1024, 512)
    >>> part_around((100, 100, 101, 101), (600, 600)) is None
    True
    """
    (y0, y1), (x0, x1) = (_side(region[axis], region[axis + 2], shape[axis]) for axis in (0, 1))
    part = (y0, x0, y1, x1)
    return part if area(part) <= WORTH * shape[0] * shape[1] else None


def holds(part: Box, region: Region, shape: Shape) -> bool:
    """Tell whether a region lies as far inside a part of a plane as the plane allows.

    Examples
    --------
    >>> part, shape = (0, 0, 512, 512), (1024, 1024)
    >>> holds(part, (10, 300, 20, 310), shape), holds(part, (10, 400, 20, 410), shape)
    (True, False)
    """
    low = all(part[axis] <= max(0, region[axis] - HALO) for axis in (0, 1))
    return low and all(part[axis + 2] >= min(shape[axis], region[axis + 2] + HALO) for axis in (0, 1))


def area(part: Box) -> int:
    """Return the number of pixels of a part."""
    return (part[2] - part[0]) * (part[3] - part[1])


def are_complete(masks: Masks, part: Box, count: int) -> bool:
    """Tell whether answers to `count` prompts about a part of a plane are those of the whole, but for a few pixels.

    They may not be where one is missing, or runs into a border of the part that the plane goes beyond. A poor score is
    no reason: the whole is seen from farther away, too, but that has hardly ever changed an answer.
    """
    if len(masks) < count or not len(masks):
        return False
    first, last = masks.boxes[:, :2].min(axis=0), masks.boxes[:, 2:].max(axis=0)
    starts = all(part[axis] == 0 or first[axis] >= part[axis] + NEAR for axis in (0, 1))
    ends = (part[axis + 2] == masks.shape[axis] or last[axis] <= part[axis + 2] - NEAR for axis in (0, 1))
    return starts and all(ends)


def _side(start: float, stop: float, size: int) -> tuple[int, int]:
    """Return start and stop of a part along one axis of a plane of this size."""
    length = max(SIDE, math.ceil((stop - start + 2 * HALO + STEP) / STEP) * STEP)
    last = max(0, math.ceil((size - length) / STEP) * STEP)
    first = min(max(round((start + stop - length) / 2 / STEP) * STEP, 0), last)
    return first, min(first + length, size)
