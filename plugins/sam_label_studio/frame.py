"""Between Label Studio's percent of the upright image and pixels: one function each way.

Percent are x, y and measured between the edges of the image, after it is turned as its EXIF data says. Pixels are
y, x and measured between the centres of pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_label_studio.errors import CodecError


def to_pixels(percent: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Convert points (N, 2) x, y in percent to (N, 2) y, x of an image of height and width `shape`.

    Raises
    ------
    CodecError
        These are no finite numbers, or not two for each point.

    Examples
    --------
    >>> to_pixels([(50, 0), (100, 100)], (10, 20)).tolist()
    [[-0.5, 9.5], [9.5, 19.5]]
    """
    try:
        points = np.asarray(percent, np.float64)
    except (TypeError, ValueError):
        points = np.empty((0,))
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        msg = f"got {str(percent)[:100]}, expected points x, y in percent of the image"
        raise CodecError(msg)
    return points[:, ::-1] * (np.array(shape) / 100) - 0.5


def to_percent(points: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Convert points (N, 2) y, x of an image of height and width `shape` to (N, 2) x, y in percent.

    Examples
    --------
    >>> to_percent([(-0.5, 9.5), (9.5, 19.5)], (10, 20)).tolist()
    [[50.0, 0.0], [100.0, 100.0]]
    """
    placed = (np.asarray(points, np.float64).reshape(-1, 2) + 0.5) * (100 / np.array(shape))
    return np.asarray(placed[:, ::-1])
