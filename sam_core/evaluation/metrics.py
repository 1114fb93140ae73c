"""How well label images and masks agree with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter
from scipy.optimize import linear_sum_assignment

from sam_core.labels import renumber
from sam_core.types import Mask

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))  # .50, .55, ... .95
Accuracy: TypeAlias = tuple[float, float]
"""Mean segmentation accuracy, and precision at IoU .5."""
EDGE = 2  # pixels; of an 11 px nucleus two thirds, of a 100 px cell a rim


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

    Raises
    ------
    ValueError
        The shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> iou_table(np.array([[1, 1, 0, 2]]), np.array([[0, 5, 0, 6]])).tolist()
    [[0.5, 0.0], [0.0, 1.0]]
    """
    if truth.shape != found.shape:
        msg = f"got label images of shapes {truth.shape} and {found.shape}, expected one shape; compare the same plane"
        raise ValueError(msg)
    rows, columns = renumber(truth).ravel(), renumber(found).ravel()
    height, width = (1 + int(numbers.max(initial=0)) for numbers in (rows, columns))
    shared = np.bincount(rows * width + columns, minlength=height * width).reshape(height, width).astype(float)
    union = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0) - shared
    return np.asarray(shared[1:, 1:] / union[1:, 1:])


def true_positives(iou: NDArray[np.floating], threshold: float) -> int:
    """Count the objects that can be matched one to one with an IoU of at least `threshold`.

    Examples
    --------
    >>> import numpy as np
    >>> true_positives(np.array([[0.9, 0.6], [0.8, 0.0]]), 0.5)
    2
    """
    hit = iou >= threshold
    hit = hit[hit.any(axis=1)][:, hit.any(axis=0)]
    if hit.shape[0] == hit.shape[1] == np.count_nonzero(hit):  # as always above one half: nothing to choose
        return len(hit)
    rows, columns = linear_sum_assignment(~hit)
    return int(hit[rows, columns].sum())


def precision(iou: NDArray[np.floating], threshold: float) -> float:
    """Return TP / (TP + FP + FN), the average precision of Data Science Bowl 2018; 1 where there is nothing to find.

    Examples
    --------
    >>> import numpy as np
    >>> precision(np.array([[0.9], [0.0]]), 0.5)
    0.5
    """
    matched = true_positives(iou, threshold)
    total = iou.shape[0] + iou.shape[1] - matched
    return matched / total if total else 1.0


def msa(iou: NDArray[np.floating], thresholds: Sequence[float] = THRESHOLDS) -> float:
    """Return the mean segmentation accuracy: `precision` averaged over IoU thresholds.

    Examples
    --------
    >>> import numpy as np
    >>> msa(np.array([[0.76]]))
    0.6
    """
    return float(np.mean([precision(iou, threshold) for threshold in thresholds]))


def accuracy_of(truth: NDArray[np.integer], found: NDArray[np.integer]) -> Accuracy:
    """Return `msa`, and `precision` at an IoU of .5, of a label image or volume.

    Examples
    --------
    >>> import numpy as np
    >>> accuracy_of(np.array([[1, 1, 0, 2]]), np.array([[5, 5, 0, 0]]))
    (0.5, 0.5)
    """
    iou = iou_table(truth, found)
    return msa(iou), precision(iou, 0.5)


def iou_of_crops(first: Mask, at: tuple[int, int], second: Mask, other: tuple[int, int]) -> float:
    """Return the IoU of two crops (h, w) bool that lie at y, x on one plane; 0 where both are empty.

    Examples
    --------
    >>> import numpy as np
    >>> iou_of_crops(np.ones((2, 2), bool), (5, 5), np.ones((2, 4), bool), (5, 5))
    0.5
    """
    y0, x0 = max(at[0], other[0]), max(at[1], other[1])
    y1 = min(at[0] + first.shape[0], other[0] + second.shape[0])
    x1 = min(at[1] + first.shape[1], other[1] + second.shape[1])
    shared = 0
    if y0 < y1 and x0 < x1:
        mine = first[y0 - at[0] : y1 - at[0], x0 - at[1] : x1 - at[1]]
        shared = int(np.count_nonzero(mine & second[y0 - other[0] : y1 - other[0], x0 - other[1] : x1 - other[1]]))
    union = int(np.count_nonzero(first)) + int(np.count_nonzero(second)) - shared
    return shared / union if union else 0.0


def boundary_iou(first: Mask, at: tuple[int, int], second: Mask, other: tuple[int, int], *, width: int = EDGE) -> float:
    """Return the boundary IoU of two crops (h, w) bool that lie at y, x on one plane (Cheng et al. 2021).

    It compares of each mask only what is within `width` pixels of its own contour, and so does not grow with the size
    of the object as IoU does. The border of a crop counts as contour. Cheng et al. take 2 % of the diagonal of a
    photograph for the width; what is wide for a nucleus is narrow for a cell, so it is given in pixels here.

    Examples
    --------
    >>> import numpy as np
    >>> square = np.ones((10, 10), bool)
    >>> boundary_iou(square, (0, 0), square, (0, 1), width=1)  # IoU .82
    0.333...
    """
    return iou_of_crops(rim(first, width), at, rim(second, width), other)


def rim(mask: Mask, width: int = EDGE) -> Mask:
    """Return what of a crop (h, w) bool is within `width` pixels of its contour, diagonals counting as one.

    Examples
    --------
    >>> import numpy as np
    >>> int(rim(np.ones((10, 10), bool), 1).sum())
    36
    """
    inner = minimum_filter(mask.astype(np.uint8), 2 * width + 1, mode="constant", cval=0)
    return np.asarray(mask & (inner == 0))
