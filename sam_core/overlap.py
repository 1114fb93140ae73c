"""How much boxes and masks overlap, and which of those that do are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sam_core.masks import Masks


def box_iou(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the IoU of half-open boxes (n, 4) and (m, 4): (n, m), 0 for boxes without area.

    Examples
    --------
    >>> box_iou(np.array([[0, 0, 2, 2.0]]), np.array([[0, 0, 2, 4.0]])).tolist()
    [[0.5]]
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod((high - low).clip(min=0), axis=2, dtype=float)
    areas = [np.prod(b[:, 2:] - b[:, :2], axis=1, dtype=float) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    iou: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def nms(boxes: NDArray[np.floating], scores: NDArray[np.floating], max_iou: float) -> NDArray[np.intp]:
    """Return the indices of the boxes (n, 4) kept by greedy non-maximum suppression, best first.

    Examples
    --------
    >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30.0]])
    >>> nms(boxes, np.array([0.5, 0.9, 0.7]), 0.7).tolist()
    [1, 2]
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[box_iou(boxes[[best]], boxes[order])[0] <= max_iou]
    return np.array(kept, dtype=np.intp)


def mask_iou(first: Masks, second: Masks) -> NDArray[np.float32]:
    """Return the IoU of masks on one plane, (n, m) float32; crops are compared where their boxes meet."""
    out = np.zeros((len(first), len(second)), np.float32)
    meeting = box_iou(first.boxes.astype(float), second.boxes.astype(float)) > 0
    areas, others = first.areas, second.areas
    for i, j in zip(*np.nonzero(meeting), strict=True):
        shared = _shared(first, int(i), second, int(j))
        out[i, j] = shared / (areas[i] + others[j] - shared)
    return out


def _shared(first: Masks, i: int, second: Masks, j: int) -> int:
    a, b = first.boxes[i], second.boxes[j]
    y0, x0 = np.maximum(a[:2], b[:2])
    y1, x1 = np.minimum(a[2:], b[2:])
    mine = first.crops[i][y0 - a[0] : y1 - a[0], x0 - a[1] : x1 - a[1]]
    return int(np.count_nonzero(mine & second.crops[j][y0 - b[0] : y1 - b[0], x0 - b[1] : x1 - b[1]]))
