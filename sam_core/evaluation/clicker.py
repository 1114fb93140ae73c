"""A user who always clicks where it helps most: the protocol of interactive segmentation (Sofiiuk et al. 2021)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from sam_core.types import Mask


def deepest(mask: Mask) -> tuple[int, int]:
    """Return the pixel of a mask (h, w) bool that is farthest from its edge; the first of several.

    Examples
    --------
    >>> import numpy as np
    >>> deepest(np.ones((5, 5), bool))
    (2, 2)
    """
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), mask.shape)
    return int(y), int(x)


def next_click(truth: Mask, answer: Mask) -> tuple[tuple[int, int], bool]:
    """Return where an answer is to be corrected: deepest inside its largest connected error.

    Parameters
    ----------
    truth, answer
        (h, w) bool of the same part of a plane.

    Returns
    -------
    point, positive
        y, x in the frame of the two, and whether the click is on the object. Where the answer is perfect, it goes deepest
        inside the object.
    """
    errors, count = ndimage.label(truth ^ answer)
    if count == 0:
        return deepest(truth), True
    largest = 1 + int(np.bincount(errors.ravel())[1:].argmax())
    y, x = deepest(errors == largest)
    return (y, x), bool(truth[y, x])
