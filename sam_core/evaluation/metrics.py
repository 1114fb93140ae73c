"""How well label images agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))  # .50 : .05 : .95


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How well a plane was segmented automatically.

    Parameters
    ----------
    msa
        Mean segmentation accuracy: the mean of TP / (TP + FP + FN) over IoU .50:.05:.95, in 0..1.
    ap50
        TP / (TP + FP + FN) at IoU 0.50, in 0..1.
    """

    msa: float
    ap50: float


def label_iou(truth: NDArray[np.integer], found: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the IoU of each object of `truth` with each of `found`: (n, m) float64, in ascending order of labels.

    Parameters
    ----------
    truth, found
        Label images of one shape, 0 = background.

    Raises
    ------
    ValueError
        The shapes differ.

    Examples
    --------
    >>> label_iou(np.array([[1, 1, 2, 0]]), np.array([[7, 7, 7, 0]])).round(2).tolist()
    [[0.67], [0.33]]
    """
    if truth.shape != found.shape:
        msg = f"got label images of shapes {truth.shape} and {found.shape}, expected one shape; compare the same plane"
        raise ValueError(msg)
    olds, rows = np.unique(truth, return_inverse=True)
    news, columns = np.unique(found, return_inverse=True)
    pairs = np.bincount(rows.ravel() * len(news) + columns.ravel(), minlength=len(olds) * len(news))
    shared = pairs.reshape(len(olds), len(news)).astype(float)
    union = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0) - shared
    return np.asarray((shared / union)[np.ix_(olds != 0, news != 0)])


def count_matches(iou: NDArray[np.floating], threshold: float) -> int:
    """Return how many of n objects can each be given one of m answers, `iou` (n, m), with at least this IoU.

    Examples
    --------
    >>> count_matches(np.array([[0.9, 0.6], [0.8, 0.0]]), 0.5)
    2
    """
    rows, columns = linear_sum_assignment(iou < threshold)
    return int(np.count_nonzero(iou[rows, columns] >= threshold))


def accuracy(iou: NDArray[np.floating]) -> Accuracy:
    """Measure an automatic segmentation from the IoU of its m objects with the n true ones, (n, m).

    A plane without objects on which none were found is right: 1.

    Examples
    --------
    >>> accuracy(np.array([[0.92], [0.0]]))
    Accuracy(msa=0.45, ap50=0.5)
    """
    either = sum(iou.shape)
    if either == 0:
        return Accuracy(1.0, 1.0)
    hits = [count_matches(iou, threshold) for threshold in THRESHOLDS]
    values = [hit / (either - hit) for hit in hits]
    return Accuracy(float(np.mean(values)), values[0])
