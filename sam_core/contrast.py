"""Contrast of a plane: what the embedded model wants to see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BAND = 1 << 24  # values that are counted at a time: counting copies them into 8 bytes each


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
    bands = np.array_split(rgb8, max(1, rgb8.size // BAND))
    counts = np.cumsum(sum(np.bincount(band.reshape(-1), minlength=256) for band in bands))
    lo, hi = np.searchsorted(counts, counts[-1] * np.array([low, high]) / 100)
    table = (np.arange(256) - float(lo)) * (255.0 / max(float(hi - lo), 1.0))
    return table.clip(0, 255).round().astype(np.uint8)[rgb8]
