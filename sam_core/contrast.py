"""Contrast of a plane: what the embedded model wants to see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def stretch(rgb8: NDArray[np.uint8], low: float = 0.5, high: float = 99.8) -> NDArray[np.uint8]:
    """Stretch a plane so that its `low` percentile becomes 0 and its `high` percentile 255.

    One pair of limits serves all channels, so colours keep their hue. A constant plane comes back as zeros.

    Parameters
    ----------
    rgb8
        (H, W, 3) uint8.
    low, high
        Percentiles in [0, 100].

    Returns
    -------
    NDArray[np.uint8]
        (H, W, 3) uint8.

    Examples
    --------
    >>> import numpy as np
    >>> dim = np.full((8, 8, 3), 10, np.uint8); dim[2:4, 2:4] = 30
    >>> int(stretch(dim).max())
    255
    """
    # As one gray picture: Pillow counts and looks up in place, where NumPy first copies into 8 bytes a value.
    values = Image.fromarray(np.ascontiguousarray(rgb8).reshape(len(rgb8), -1))
    counts = np.cumsum(values.histogram())
    lo, hi = np.searchsorted(counts, counts[-1] * np.array([low, high]) / 100)
    table = (np.arange(256) - float(lo)) * (255.0 / max(float(hi - lo), 1.0))
    return np.array(values.point(table.clip(0, 255).round().astype(int).tolist())).reshape(rgb8.shape)
