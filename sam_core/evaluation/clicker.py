"""A user who always clicks where it helps most: the protocol of interactive segmentation (Sofiiuk et al. 2021)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from sam_core.types import Mask

Click = tuple[tuple[int, int], bool]
"""Pixel y, x, and whether it is on the object."""


def deepest(mask: Mask) -> tuple[int, int]:
    """Return the pixel of a mask (h, w) bool that is farthest from its edge; the first of several.

    What lies beyond the array counts as background.

    Raises
    ------
    ValueError
        The mask is empty.

    Examples
    --------
    >>> import numpy as np
    >>> deepest(np.ones((5, 5), bool))
    (2, 2)
    """
    if not mask.any():
        msg = "got an empty mask, expected some pixel to be deepest inside; leave empty masks out"
        raise ValueError(msg)
    ((rows, columns),) = ndimage.find_objects(mask.astype(np.uint8))
    depth = ndimage.distance_transform_edt(np.pad(mask[rows, columns], 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(y) + rows.start, int(x) + columns.start


def next_click(truth: Mask, answer: Mask) -> Click | None:
    """Return where an answer is to be corrected: deepest inside its largest connected error.

    What is missing and what is too much are different errors, also where they touch.

    Parameters
    ----------
    truth, answer
        (h, w) bool of the same part of a plane, which holds all of both.

    Returns
    -------
    point, positive
        y, x in the frame of the two, and whether the click is on the object; None where the answer is perfect.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.pad(np.ones((3, 7), bool), 1)
    >>> next_click(truth, np.zeros_like(truth))
    ((2, 2), True)
    >>> next_click(truth, truth) is None
    True
    """
    missing, much = _largest(truth & ~answer), _largest(answer & ~truth)
    if not missing.any() and not much.any():
        return None
    positive = bool(missing.sum() >= much.sum())
    return deepest(missing if positive else much), positive


def _largest(mask: Mask) -> Mask:
    """Return the largest 4-connected region of a mask, the first of several; the mask itself where it is empty."""
    regions, count = ndimage.label(mask)
    if count == 0:
        return mask
    return np.asarray(regions == 1 + np.bincount(regions.ravel())[1:].argmax())
