"""Boxes and pixels of a plane."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sam_napari._source import Box, Shape

TILE = 512  # pixels a side of what is read at a time of a whole array


def whole(shape: Shape) -> Box:
    """Return the box of a whole plane."""
    return (0, 0, *shape)


def united(first: Box, second: Box) -> Box:
    """Return the smallest box that holds two boxes."""
    return min(first[0], second[0]), min(first[1], second[1]), max(first[2], second[2]), max(first[3], second[3])


def grown(box: Box, margin: int, shape: Shape) -> Box:
    """Return a box with a margin around, as far as the plane goes."""
    y0, x0, y1, x1 = box
    return max(0, y0 - margin), max(0, x0 - margin), min(shape[0], y1 + margin), min(shape[1], x1 + margin)


def within(inner: Box, outer: Box) -> tuple[slice, slice]:
    """Return where in an array over `outer` the part over `inner` lies; `inner` lies inside `outer`."""
    y, x = outer[:2]
    return slice(inner[0] - y, inner[2] - y), slice(inner[1] - x, inner[3] - x)


def tiles(box: Box) -> Iterator[Box]:
    """Yield a box as boxes of at most 512 x 512 pixels, row by row."""
    y0, x0, y1, x1 = box
    for y, x in product(range(y0, y1, TILE), range(x0, x1, TILE)):
        yield y, x, min(y + TILE, y1), min(x + TILE, x1)


def pixel(point: tuple[float, float]) -> tuple[int, int]:
    """Return the pixel that holds a point y, x: its centre has whole numbers."""
    return math.floor(point[0] + 0.5), math.floor(point[1] + 0.5)


def at(point: tuple[float, float]) -> Box:
    """Return the box of the pixel that holds a point."""
    y, x = pixel(point)
    return y, x, y + 1, x + 1


def area(box: Box) -> int:
    """Return how many pixels a box has."""
    return (box[2] - box[0]) * (box[3] - box[1])


def opened(window: Box, inside: NDArray[np.bool_], shape: Shape) -> Box:
    """Return a window that is larger on those sides where what is inside reaches its border."""
    y0, x0, y1, x1 = window
    height, width = y1 - y0, x1 - x0
    edges = inside[:1], inside[:, :1], inside[-1:], inside[:, -1:]
    top, left, bottom, right = (bool(edge.any()) for edge in edges)
    return (
        max(0, y0 - height * top),
        max(0, x0 - width * left),
        min(shape[0], y1 + height * bottom),
        min(shape[1], x1 + width * right),
    )
