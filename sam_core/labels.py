"""Label images: one integer an object, 0 for background."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sam_core.types import Labels


def renumber(labels: NDArray[np.integer]) -> Labels:
    """Return labels numbered 1, 2, 3, ... in the order of their old numbers; same shape, int32.

    Examples
    --------
    >>> renumber(np.array([[0, 7], [3, 7]])).tolist()
    [[0, 2], [1, 2]]
    """
    values, dense = np.unique(labels, return_inverse=True)
    first = 0 if len(values) and values[0] == 0 else 1
    return np.asarray(dense.reshape(labels.shape) + first, np.int32)


def stitch(planes: Iterable[NDArray[np.integer]], *, min_iou: float = 0.5) -> Labels:
    """Join label images of neighbouring planes, along z or t, into one with the same number for the same object.

    Objects of neighbouring planes are paired so that the sum of their IoUs is largest; a pair below `min_iou` stays
    unpaired, and an object without a partner starts a new number.

    Parameters
    ----------
    planes
        (H, W) label images, all of one shape, in order.
    min_iou
        Least IoU of the same object on neighbouring planes, in 0..1.

    Returns
    -------
    Labels
        (Z, H, W) int32.

    Raises
    ------
    ValueError
        No planes, or planes of different shapes.

    Examples
    --------
    >>> plane = np.array([[0, 5, 5]])
    >>> stitch([plane, 2 * plane]).tolist()
    [[[0, 1, 1]], [[0, 1, 1]]]
    """
    joined = list(_joined(planes, min_iou))
    shapes = {plane.shape for plane in joined}
    if len(shapes) != 1:
        msg = f"got planes of shapes {sorted(shapes)}, expected at least one plane, all of one shape"
        raise ValueError(msg)
    return np.stack(joined)


def _joined(planes: Iterable[NDArray[np.integer]], min_iou: float) -> Iterator[Labels]:
    before: Labels | None = None
    used = 0
    for plane in planes:
        here = renumber(plane)
        count = int(here.max(initial=0))
        names = np.zeros(count + 1, np.int32)
        if before is not None and before.shape == here.shape:
            for old, new in _pairs(before, here, min_iou):
                names[new] = old
        fresh = np.flatnonzero(names[1:] == 0) + 1
        names[fresh] = used + np.arange(1, len(fresh) + 1)
        used += len(fresh)
        before = names[here]
        yield before


def _pairs(before: Labels, here: Labels, min_iou: float) -> Iterator[tuple[int, int]]:
    """Yield the pairs of labels of two planes that are the same object."""
    olds, rows = np.unique(before, return_inverse=True)
    news, columns = np.unique(here, return_inverse=True)
    shared = np.zeros((len(olds), len(news)))
    np.add.at(shared, (rows.ravel(), columns.ravel()), 1)
    iou = shared / (shared.sum(axis=1, keepdims=True) + shared.sum(axis=0) - shared)
    iou[olds == 0] = 0
    iou[:, news == 0] = 0
    for i, j in zip(*linear_sum_assignment(-iou), strict=True):
        if iou[i, j] >= min_iou and iou[i, j] > 0:
            yield int(olds[i]), int(news[j])
