"""What the proposal head is to predict, from a label image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def proposal_targets(labels: NDArray[np.int32], stride: int = 2) -> NDArray[np.float32]:
    """Compute the maps of `ProposalHead` for a label image.

    Parameters
    ----------
    labels
        (H, W) int32, 0 = background; H and W divisible by `stride`.
    stride
        Pixels to a cell of the result.

    Returns
    -------
    NDArray[np.float32]
        (6, H / stride, W / stride): foreground 0 or 1; centrality in [0, 1], 1 at the point deepest inside an object;
        natural logarithm of the distances in pixels to the top, left, bottom and right of the object's box (0 outside).
    """
    coarse = labels[stride // 2 :: stride, stride // 2 :: stride]
    out = np.zeros((6, *coarse.shape), np.float32)
    out[0] = coarse > 0
    for index, place in enumerate(ndimage.find_objects(coarse), start=1):
        if place is not None:
            _add_object(out[:, *place], coarse[place] == index, stride)
    return out


def _add_object(out: NDArray[np.float32], inside: NDArray[np.bool_], stride: int) -> None:
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    height, width = inside.shape
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) * stride
    x = (np.arange(width, dtype=np.float32)[None, :] + 0.5) * stride
    sides = np.broadcast_arrays(y, x, height * stride - y, width * stride - x)
    out[1][inside] = (depth / depth.max())[inside]
    for channel, side in zip(out[2:], sides, strict=True):
        channel[inside] = np.log(side[inside])
