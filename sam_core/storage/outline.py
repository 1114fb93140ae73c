"""The outline of a mask along the edges of its pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from sam_core.types import Mask

Vertex = tuple[int, int]
Ring = list[Vertex]
"""x, y of corners of pixels, the first not repeated; pixel (0, 0) covers 0..1."""


def polygons(mask: Mask) -> list[list[Ring]]:
    """Return a polygon for each part of a mask whose pixels touch along edges: its outer ring, then its holes.

    Outer rings turn from x towards y, so that the area by the shoelace formula is positive; holes turn the other way.
    Rings never touch themselves, so a part that touches itself at a corner has a hole that touches the outer ring.

    Parameters
    ----------
    mask
        (H, W) bool.

    Examples
    --------
    >>> polygons(np.array([[True, True]]))
    [[[(0, 0), (2, 0), (2, 1), (0, 1)]]]
    """
    parts, _ = ndimage.label(mask)
    found = []
    for number, place in enumerate(ndimage.find_objects(parts), start=1):
        rings = [_corners(ring) for ring in _rings(parts[place] == number)]
        rings.sort(key=_area, reverse=True)
        y, x = place[0].start, place[1].start
        found.append([[(vx + x, vy + y) for vx, vy in ring] for ring in rings])
    return found


def _rings(part: Mask) -> Iterator[Ring]:
    """Follow the edges of pixels round, and cut a ring off whenever it comes back to where it was."""
    following = _edges(part)
    while following:
        path: Ring = [next(iter(following))]
        visited = {path[0]: 0}
        while path:
            ends = following[path[-1]]
            vertex = ends.pop()
            if not ends:
                del following[path[-1]]
            if vertex not in visited:
                visited[vertex] = len(path)
                path.append(vertex)
                continue
            start = visited[vertex]
            yield path[start:]
            for passed in path[start + 1 :]:
                del visited[passed]
            del path[start + 1 :]
            if vertex not in following:
                break


def _edges(part: Mask) -> dict[Vertex, list[Vertex]]:
    """Return where edges lead from each vertex: one way, or two where pixels touch at a corner alone."""
    inside = np.pad(part, 1)
    following: dict[Vertex, list[Vertex]] = {}
    for step, (dx, dy) in {(-1, 0): (1, 0), (0, 1): (0, 1), (1, 0): (-1, 0), (0, -1): (0, -1)}.items():
        y, x = np.nonzero((inside & ~np.roll(inside, (-step[0], -step[1]), (0, 1)))[1:-1, 1:-1])
        x0, y0 = x + (step[1] == 1 or dx == -1), y + (step[0] == 1 or dy == -1)
        for start in zip(x0.tolist(), y0.tolist(), strict=True):
            following.setdefault(start, []).append((start[0] + dx, start[1] + dy))
    return following


def _corners(ring: Ring) -> Ring:
    """Leave out the vertices where the ring goes straight on."""
    pairs = zip([ring[-1], *ring[:-1]], ring, [*ring[1:], ring[0]], strict=True)
    return [b for a, b, c in pairs if (b[0] - a[0], b[1] - a[1]) != (c[0] - b[0], c[1] - b[1])]


def _area(ring: Ring) -> float:
    """Return the area by the shoelace formula, with its sign."""
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)) / 2
