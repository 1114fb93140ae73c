"""The simulated user of evaluations: clicks where the answer is most wrong. Without chance, and without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam_core.types import Mask


def deepest(mask: Mask) -> tuple[int, int]:
    """Return the pixel y, x of a mask (h, w) bool that is farthest from its border; the first of several.

    What lies beyond the array counts as background.

    Raises
    ------
    ValueError
        The mask is empty.

    Examples
    --------
    >>> deepest(np.ones((5, 3), bool))
    (1, 1)
    """
    if not mask.any():
        msg = "got an empty mask, expected some pixel to be deepest inside; leave empty masks out"
        raise ValueError(msg)
    (place,) = ndimage.find_objects(mask.astype(np.uint8))
    depth = ndimage.distance_transform_edt(np.pad(mask[place], 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(y) + place[0].start, int(x) + place[1].start


def next_click(truth: Mask, answer: Mask) -> tuple[tuple[int, int], bool] | None:
    """Return where an answer is to be corrected: the point deepest inside the largest connected region of error.

    Parameters
    ----------
    truth, answer
        (h, w) bool. Crops will do, as long as both masks lie inside.

    Returns
    -------
    point, positive
        Pixel y, x of the crop, and True where something is missing, False where there is too much. None where nothing
        is wrong.

    Examples
    --------
    >>> truth = np.zeros((5, 9), bool)
    >>> truth[1:4, 1:8] = True
    >>> next_click(truth, np.zeros_like(truth))
    ((2, 2), True)
    >>> next_click(truth, truth) is None
    True
    """
    missing, much = _largest(truth & ~answer), _largest(answer & ~truth)
    if not missing.any() and not much.any():
        return None
    positive = int(missing.sum()) >= int(much.sum())
    return deepest(missing if positive else much), positive


def _largest(mask: Mask) -> NDArray[np.bool_]:
    """Return the largest 4-connected region of a mask, the first of several, or the mask where it is empty."""
    regions, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(regions.ravel())[1:]
    return np.asarray(regions == sizes.argmax() + 1)
