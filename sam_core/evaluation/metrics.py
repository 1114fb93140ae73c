"""How well label images and masks agree with the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sam_core.types import Mask

THRESHOLDS = tuple(np.round(np.arange(0.5, 1.0, 0.05), 2))  # .50, .55, ... .95


def iou_table(truth: NDArray[np.integer], found: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the IoU of every object of one label image with every object of another.

    Parameters
    ----------
    truth, found
        Label images of one shape, 0 = background.

    Returns
    -------
    NDArray[np.float64]
        (objects of `truth`, objects of `found`), both in ascending order of their labels.

    Examples
    --------
    >>> import numpy as np
    >>> iou_table(np.array([[1, 1, 0, 2]]), np.array([[0, 5, 0, 6]])).tolist()
    [[0.5, 0.0], [0.0, 1.0]]
    """
    olds, rows = np.unique(truth, return_inverse=True)
    news, columns = np.unique(found, return_inverse=True)
    cells = rows.ravel() * len(news) + columns.ravel()
    shared = np.bincount(cells, minlength=len(olds) * len(news)).reshape(len(olds), len(news)).astype(float)
    iou = shared / (shared.sum(axis=1, keepdims=True) + shared.sum(axis=0) - shared)
    return np.asarray(iou[olds != 0][:, news != 0])


def true_positives(iou: NDArray[np.float64], threshold: float) -> int:
    """Count the objects that are matched one to one with an IoU of at least `threshold`."""
    hit = iou >= threshold
    if not hit.any():
        return 0
    # Above one half the matching is unique; at one half exactly, and below, it has to be chosen.
    rows, columns = linear_sum_assignment(-(hit + iou / (2 * max(iou.shape))))
    return int(hit[rows, columns].sum())


def precision(iou: NDArray[np.float64], threshold: float) -> float:
    """Return TP / (TP + FP + FN), the average precision of Data Science Bowl 2018; 1 where there is nothing to find."""
    matched = true_positives(iou, threshold)
    total = iou.shape[0] + iou.shape[1] - matched
    return matched / total if total else 1.0


def msa(iou: NDArray[np.float64], thresholds: Sequence[float] = THRESHOLDS) -> float:
    """Return the mean segmentation accuracy: `precision` averaged over IoU thresholds.

    Examples
    --------
    >>> import numpy as np
    >>> msa(np.array([[0.76]]))
    0.6
    """
    return float(np.mean([precision(iou, t) for t in thresholds]))


def iou_of_crops(first: Mask, at: tuple[int, int], second: Mask, other: tuple[int, int]) -> float:
    """Return the IoU of two crops (h, w) bool that lie at y, x on one plane; 0 where both are empty."""
    y0, x0 = max(at[0], other[0]), max(at[1], other[1])
    y1 = min(at[0] + first.shape[0], other[0] + second.shape[0])
    x1 = min(at[1] + first.shape[1], other[1] + second.shape[1])
    shared = 0
    if y0 < y1 and x0 < x1:
        mine = first[y0 - at[0] : y1 - at[0], x0 - at[1] : x1 - at[1]]
        shared = int(np.count_nonzero(mine & second[y0 - other[0] : y1 - other[0], x0 - other[1] : x1 - other[1]]))
    union = int(np.count_nonzero(first)) + int(np.count_nonzero(second)) - shared
    return shared / union if union else 0.0
