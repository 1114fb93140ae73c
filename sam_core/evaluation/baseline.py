"""What can be had without any model: Otsu's threshold and a watershed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

from sam_core.image import to_rgb8
from sam_core.types import Labels

BLUR = 1.0  # pixels; against noise in the image
SMOOTH = 1.0  # pixels; against several peaks in one object
APART = 5  # pixels between the middles of two objects
SMALLEST = 20  # pixels of area


def otsu_watershed(image: NDArray[Any]) -> Labels:
    """Segment a plane as textbooks do: threshold by Otsu, split what touches by a watershed of the distances.

    Objects are what covers less of the plane, bright or dark. One set of parameters for all images.

    Parameters
    ----------
    image
        (H, W) or (H, W, C), whatever `to_rgb8` takes.

    Examples
    --------
    >>> rows, columns = np.ogrid[:60, :60]
    >>> discs = [(rows - 30) ** 2 + (columns - x) ** 2 < 11**2 for x in (18, 38)]  # they touch
    >>> int(otsu_watershed(discs[0] | discs[1]).max())
    2
    """
    gray = gaussian(to_rgb8(image).mean(axis=2), BLUR)
    if np.ptp(gray) == 0:
        return np.zeros(gray.shape, np.int32)
    bright = gray > threshold_otsu(gray)
    regions, _ = ndimage.label(bright if bright.mean() <= 0.5 else ~bright)
    regions[(np.bincount(regions.ravel()) < SMALLEST)[regions]] = 0
    objects = regions > 0
    depth = gaussian(ndimage.distance_transform_edt(objects), SMOOTH)
    peaks = peak_local_max(depth, min_distance=APART, labels=regions, exclude_border=False)
    seeds = np.zeros(gray.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-depth, seeds, mask=objects), np.int32)
