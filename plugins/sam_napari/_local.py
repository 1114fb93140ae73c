"""What of a correction is about the click.

A model that is asked to correct an object that somebody else made also changes its whole outline to its own taste: a
click on a leak comes back with the leak gone, and with a rim gone all around. Of the change only that part is meant
which is connected to the click, and which is not much thinner than the change is at the click: an opening, whose radius
the click chooses. A click in a rim that is too much everywhere still takes all of the rim.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam_core import Masks
from sam_napari._boxes import pixel, united
from sam_napari._change import box_of, cropped, spread

PART = 0.3  # of the thickness of the change at the click, below which it is not meant
AROUND = np.ones((3, 3))  # diagonal neighbours are connected


def meant(before: Masks, after: Masks, point: tuple[float, float], positive: bool) -> Masks:
    """Return the mask before, with that part of the change that a click means.

    Parameters
    ----------
    before, after
        One mask; `after` may be none.
    point
        y, x of the click, in the plane frame.
    positive
        Whether the click adds; else it takes away.

    Returns
    -------
    Masks
        One mask, with the score of `after`; `after` itself where the change does not reach the click.
    """
    box = united(box_of(before), box_of(after)) if len(after) else box_of(before)
    old = spread(before, box)
    new = spread(after, box) if len(after) else np.zeros_like(old)
    part = _opened(new & ~old if positive else old & ~new, pixel(point), box[:2])
    if part is None:
        return after
    about = replace(after if len(after) else before, logits=(None,))
    return cropped(old | part if positive else old & ~part, box, before.shape, about)


def _opened(change: NDArray[np.bool_], at: tuple[int, int], corner: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Open a change (h, w) so that what is thin beside the click is left out; None where it is not at the click."""
    y, x = at[0] - corner[0], at[1] - corner[1]
    if not (0 <= y < change.shape[0] and 0 <= x < change.shape[1] and change[y, x]):
        return None
    depth = ndimage.distance_transform_edt(np.pad(change, 1))[1:-1, 1:-1]
    radius = PART * depth[y, x]
    cores, _ = ndimage.label(depth > radius, AROUND)
    # An opening cuts corners; sqrt(2) as far, right angles stay.
    return np.asarray(change & (ndimage.distance_transform_edt(cores != cores[y, x]) <= np.sqrt(2) * radius))
