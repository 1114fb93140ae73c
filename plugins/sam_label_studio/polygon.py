"""Masks as polygons, and back. Points are y, x and a whole number is the centre of a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_label_studio.errors import CodecError

Shape: TypeAlias = tuple[int, int]
Ring: TypeAlias = NDArray[np.float64]
"""(N, 2) y, x of the corners, the first one not repeated."""
FAITHFUL = 0.985  # least IoU of an island and its polygon: where the tolerance costs more, it is lowered
CRUMBS = 0.005  # of the area of a mask: islands that make up less together are left out
CLOSE = 1e-3  # pixels: what is left of an outline that is not simplified


def polygons(mask: NDArray[np.bool_], *, tolerance: float = 1.0) -> list[Ring]:
    """Draw polygons around the islands of a mask.

    A polygon of Label Studio has no holes: each hole is joined to the outline by a cut of no width, so that the polygon
    fills what the mask fills.

    Parameters
    ----------
    mask
        (H, W) bool, a crop will do.
    tolerance
        Pixels that a simplified outline may lie beside the exact one; less where that would cost over 2 % of the area.

    Returns
    -------
    list
        Rings (N, 2) y, x, the largest island first. Empty for an empty mask.

    Examples
    --------
    >>> (ring,) = polygons(np.pad(np.ones((20, 30), bool), 2))
    >>> polygon_mask([ring], (24, 34)).sum()
    np.int64(600)
    """
    return [_faithful(island, tolerance) + offset for island, offset in _islands(mask)]


def polygon_mask(rings: Sequence[ArrayLike], shape: Shape) -> NDArray[np.bool_]:
    """Fill polygons: (H, W) bool, the pixels whose centre lies inside; inside twice is outside.

    Raises
    ------
    CodecError
        A ring has less than three corners.
    """
    inside = np.zeros(shape, bool)
    for ring in rings:
        corners = np.asarray(ring, np.float64)
        if corners.ndim != 2 or len(corners) < 3 or corners.shape[1] != 2 or not np.isfinite(corners).all():
            msg = f"got a polygon of {len(corners)} points, expected at least three"
            raise CodecError(msg)
        inside ^= _filled(corners, shape)
    return inside


def _filled(ring: Ring, shape: Shape) -> NDArray[np.bool_]:
    """Fill one ring: a pixel is inside where an odd number of edges lies before it in its row."""
    flips = np.zeros((shape[0], shape[1] + 1), np.int32)
    (y0, x0), (y1, x1) = ring.T, np.roll(ring, -1, axis=0).T
    low = np.ceil(np.minimum(y0, y1)).clip(0, shape[0]).astype(int)
    count = np.ceil(np.maximum(y0, y1)).clip(0, shape[0]).astype(int) - low
    edge = np.repeat(np.arange(len(ring)), count)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count - low, count)
    slope = (x1 - x0)[edge] / (y1 - y0)[edge]
    across = x0[edge] + (rows - y0[edge]) * slope
    np.add.at(flips, (rows, np.ceil(across).clip(0, shape[1]).astype(int)), 1)
    return np.asarray(np.cumsum(flips[:, :-1], axis=1) % 2 == 1)


def _islands(mask: NDArray[np.bool_]) -> list[tuple[NDArray[np.bool_], tuple[int, int]]]:
    """Cut out the connected parts of a mask, the largest first, without crumbs."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if not count:
        return []
    areas = np.bincount(labels.ravel())[1:]
    order = np.argsort(-areas, kind="stable")
    before = np.concatenate([[0], np.cumsum(areas[order])[:-1]])
    kept = order[before < (1 - CRUMBS) * areas.sum()]
    places = ndimage.find_objects(labels)
    return [(labels[places[i]] == i + 1, (places[i][0].start, places[i][1].start)) for i in kept]


def _faithful(island: NDArray[np.bool_], tolerance: float) -> Ring:
    """Simplify as much as the tolerance and the mask allow."""
    rings = _rings(island)
    while tolerance > CLOSE:
        ring = _joined(rings, tolerance)
        if len(ring) >= 3 and _iou(island, ring) >= FAITHFUL:
            return ring
        tolerance /= 2
    return _joined(rings, CLOSE)


def _iou(island: NDArray[np.bool_], ring: Ring) -> float:
    filled = _filled(ring + 1, (island.shape[0] + 2, island.shape[1] + 2))
    padded = np.pad(island, 1)
    return float(np.count_nonzero(filled & padded) / np.count_nonzero(filled | padded))


def _rings(island: NDArray[np.bool_]) -> list[Ring]:
    """Return the outline of an island, half-way between pixels, and then those of its holes, closed."""
    from skimage.measure import find_contours

    found = [ring - 1 for ring in find_contours(np.pad(island, 1).astype(np.float32), 0.5)]
    return sorted(found, key=lambda ring: -float(np.ptp(ring[:, 0])))


def _joined(rings: Sequence[Ring], tolerance: float) -> Ring:
    """Simplify rings and cut from each hole to the nearest corner of what is there."""
    from skimage.measure import approximate_polygon

    simple = [np.asarray(approximate_polygon(ring, tolerance))[:-1] for ring in rings]
    whole = simple[0]
    for hole in (ring for ring in simple[1:] if len(ring) >= 3):
        distance = np.square(whole[:, None] - hole[None]).sum(axis=2)
        i, j = divmod(int(distance.argmin()), len(hole))
        there_and_back = np.concatenate([np.roll(hole, -j, axis=0), hole[[j]]])
        whole = np.concatenate([whole[: i + 1], there_and_back, whole[i:]])
    return whole
