"""How much boxes and masks overlap, and which of those that do are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam_core.types import Mask

if TYPE_CHECKING:
    from sam_core.masks import Masks


def box_iou(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the IoU of half-open boxes (n, 4) and (m, 4): (n, m), 0 for boxes without area.

    Examples
    --------
    >>> box_iou(np.array([[0, 0, 2, 2.0]]), np.array([[0, 0, 2, 4.0]])).tolist()
    [[0.5]]
    """
    a, b = first.astype(float).T[:, :, None], second.astype(float).T[:, None]
    height, width = (np.minimum(a[i + 2], b[i + 2]) - np.maximum(a[i], b[i]) for i in (0, 1))
    shared = height.clip(min=0) * width.clip(min=0)
    areas, others = ((box[2] - box[0]).clip(min=0) * (box[3] - box[1]).clip(min=0) for box in (a, b))
    union = areas + others - shared
    iou: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def nms(boxes: NDArray[np.floating], scores: NDArray[np.floating], max_iou: float) -> NDArray[np.intp]:
    """Return the indices of the boxes (n, 4) kept by greedy non-maximum suppression, best first.

    A box goes where its IoU with a better one that is kept is larger than `max_iou`; of equal scores the first is the
    better one.

    Examples
    --------
    >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30.0]])
    >>> nms(boxes, np.array([0.5, 0.9, 0.7]), 0.7).tolist()
    [1, 2]
    """
    # In the order in which they start along y, boxes that meet are near each other: only those are compared.
    order = np.argsort(boxes[:, 0], kind="stable")
    sorted_boxes = boxes[order].astype(float)
    starts, stops = sorted_boxes[:, 0], sorted_boxes[:, 2]
    first = np.searchsorted(starts, starts - (stops - starts).max(initial=0))
    last = np.searchsorted(starts, stops)
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))

    alive = np.ones(len(order), bool)
    kept = []
    for best in np.argsort(-scores, kind="stable"):
        i = place[best]
        if alive[i]:
            kept.append(best)
            near = slice(first[i], last[i])
            alive[near] &= box_iou(sorted_boxes[i : i + 1], sorted_boxes[near])[0] <= max_iou
    return np.array(kept, dtype=np.intp)


def mask_iou(first: Masks, second: Masks) -> NDArray[np.float32]:
    """Return the IoU of masks on one plane, (n, m) float32; crops are compared where their boxes meet.

    Raises
    ------
    ValueError
        They are on planes of different shapes.

    Examples
    --------
    >>> from sam_core import Masks
    >>> masks = Masks.from_labels(np.array([[1, 1, 0, 2]]))
    >>> mask_iou(masks, Masks.from_labels(np.array([[1, 1, 1, 1]]))).tolist()
    [[0.5], [0.25]]
    """
    if first.shape != second.shape:
        msg = f"got masks on planes of {first.shape} and {second.shape}, expected one plane; move them with .moved()"
        raise ValueError(msg)
    out = np.zeros((len(first), len(second)), np.float32)
    meeting = _meeting(first.boxes, second.boxes)
    if not meeting.any():
        return out
    boxes, areas = first.boxes.tolist(), first.areas.tolist()
    others, other_areas = second.boxes.tolist(), second.areas.tolist()
    for i, j in np.argwhere(meeting).tolist():
        shared = _shared(first.crops[i], boxes[i], second.crops[j], others[j])
        if shared:
            out[i, j] = shared / (areas[i] + other_areas[j] - shared)
    return out


def _meeting(a: NDArray[np.int32], b: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Tell which boxes (n, 4) and (m, 4) share a pixel: (n, m)."""
    meeting = np.ones((len(a), len(b)), bool)
    for axis in (0, 1):
        meeting &= a[:, axis, None] < b[:, axis + 2]
        meeting &= b[:, axis] < a[:, axis + 2, None]
    return meeting


def _shared(crop: Mask, box: Sequence[int], other: Mask, other_box: Sequence[int]) -> int:
    (ay, ax, *_), (by, bx, *_) = box, other_box
    y0, x0 = max(ay, by), max(ax, bx)
    y1, x1 = min(box[2], other_box[2]), min(box[3], other_box[3])
    return int(
        np.count_nonzero(crop[y0 - ay : y1 - ay, x0 - ax : x1 - ax] & other[y0 - by : y1 - by, x0 - bx : x1 - bx])
    )
