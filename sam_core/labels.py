"""Label images: one integer an object, 0 for background."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from sam_core.types import Labels

TABLE = 1 << 24  # labels up to this are renumbered through a table, larger ones by sorting


def renumber(labels: NDArray[np.integer]) -> Labels:
    """Return labels numbered 1, 2, 3, ... in the order of their old numbers; same shape, int32.

    Raises
    ------
    ValueError
        They are not integers of at least 0.

    Examples
    --------
    >>> renumber(np.array([[0, 7], [3, 7]])).tolist()
    [[0, 2], [1, 2]]
    """
    if labels.dtype.kind not in "iub" or labels.min(initial=0) < 0:
        lowest = f" down to {labels.min()}" if labels.dtype.kind == "i" else ""
        msg = f"got labels of dtype {labels.dtype}{lowest}, expected integers of at least 0; 0 is background"
        raise ValueError(msg)
    largest = int(labels.max(initial=0))
    if largest > TABLE:
        values, dense = np.unique(labels, return_inverse=True)
        return np.asarray(dense.reshape(labels.shape) + int(values[0] != 0), np.int32)
    present = np.zeros(largest + 1, bool)
    present[labels.astype(np.intp, copy=False)] = True
    present[0] = False
    return np.asarray(np.cumsum(present, dtype=np.int32)[labels.astype(np.intp, copy=False)])


def stitch(planes: Iterable[NDArray[np.integer]], *, min_iou: float = 0.25) -> Labels:
    """Join label images of neighbouring planes, along z or t, into one with the same number for the same object.

    Of the pairs of objects of neighbouring planes whose IoU is at least `min_iou`, those are taken that together have
    the largest IoU, each object once. An object without a partner on the plane before starts a new number.

    Parameters
    ----------
    planes
        (H, W) label images, all of one shape, in order.
    min_iou
        Least IoU of the same object on neighbouring planes, in 0..1; objects that do not touch are never paired. The
        cross-section of a round object changes fast at its ends: of the true planes of two labelled stacks, .5 would
        join 34 and 30 % correctly (mSA in 3D), .25 joins 62 and 46 %.

    Returns
    -------
    Labels
        (Z, H, W) int32.

    Raises
    ------
    ValueError
        No planes, planes of different shapes, labels that are not integers of at least 0, or `min_iou` not in 0..1.

    Examples
    --------
    >>> plane = np.array([[0, 5, 5]])
    >>> stitch([plane, 2 * plane]).tolist()
    [[[0, 1, 1]], [[0, 1, 1]]]
    """
    if not 0 <= min_iou <= 1:
        msg = f"got min_iou={min_iou}, expected a fraction in 0..1"
        raise ValueError(msg)
    joined = list(_joined(planes, min_iou))
    if not joined:
        msg = "got no planes to stitch, expected at least one"
        raise ValueError(msg)
    return np.stack(joined)


def _joined(planes: Iterable[NDArray[np.integer]], min_iou: float) -> Iterator[Labels]:
    """Yield the planes, renamed; numbers of a plane run from 1, its names through all planes."""
    before: Labels | None = None
    before_names, used = np.zeros(1, np.int32), 0
    for plane in planes:
        here = renumber(plane)
        if here.ndim != 2 or (before is not None and before.shape != here.shape):
            expected = "(H, W)" if before is None else str(before.shape)
            msg = f"got a plane of shape {here.shape}, expected {expected}: all planes (H, W) and of one shape"
            raise ValueError(msg)
        names = np.zeros(int(here.max(initial=0)) + 1, np.int32)
        if before is not None:
            olds, news = _pairs(before, here, min_iou)
            names[news] = before_names[olds]
        fresh = np.flatnonzero(names[1:] == 0) + 1
        names[fresh] = used + np.arange(1, len(fresh) + 1)
        used += len(fresh)
        before, before_names = here, names
        yield names[here]


def _pairs(before: Labels, here: Labels, min_iou: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the labels of two planes, numbered from 1, that are the same object."""
    olds, news, iou = _overlaps(before, here)
    enough = iou >= min_iou
    olds, news, iou = olds[enough], news[enough], iou[enough]
    if not len(olds):
        return olds, news
    # Each old object can also stay alone, at a column of its own: then all of them are always matched, and a sparse
    # solver serves, which is quick because an object overlaps few others. What stays alone costs 2, a pair 2 - IoU.
    count, alone = int(news.max(initial=0)) + 1, np.unique(olds)
    rows, columns = np.append(olds, alone), np.append(news, count + np.arange(len(alone)))
    _, rows = np.unique(rows, return_inverse=True)
    costs = csr_array((np.append(2 - iou, np.full(len(alone), 2.0)), (rows, columns)))
    row, column = min_weight_full_bipartite_matching(costs)
    paired = column < count
    return alone[row[paired]], column[paired]


def _overlaps(a: Labels, b: Labels) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return the pairs of objects of two planes that share a pixel, and their IoU."""
    areas, others = np.bincount(a.ravel()), np.bincount(b.ravel())
    keys = (a.astype(np.int64) * len(others) + b)[(a > 0) & (b > 0)]
    # Neighbouring pixels mostly show the same pair: sorting the runs of equal keys is much less than sorting pixels.
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    pairs, run = np.unique(keys[starts], return_inverse=True)
    shared = np.bincount(run, weights=np.diff(starts, append=len(keys)), minlength=len(pairs))
    olds, news = np.divmod(pairs, len(others))
    return olds, news, shared / (areas[olds] + others[news] - shared)
