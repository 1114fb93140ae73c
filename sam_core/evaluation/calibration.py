"""How far the quality that a model predicts for its answers can be believed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

BINS = 10

Floats = NDArray[np.floating]


def calibration_error(predicted: Floats, true: Floats, bins: int = BINS) -> float:
    """Return the expected calibration error (Naeini et al. 2015) of predicted IoUs (n,); NaN where there are none.

    Answers are sorted into bins of equal width by their predicted IoU; the error is the difference between the mean
    predicted and the mean true IoU of a bin, averaged over all answers.

    Examples
    --------
    >>> import numpy as np
    >>> round(calibration_error(np.array([0.9, 0.9, 0.2]), np.array([0.6, 0.8, 0.2])), 3)
    0.133
    """
    if not len(predicted):
        return float("nan")
    index = np.clip((predicted * bins).astype(int), 0, bins - 1)
    excess = np.bincount(index, weights=predicted - true, minlength=bins)
    return float(np.abs(excess).sum() / len(predicted))


def rank_correlation(predicted: Floats, true: Floats) -> float:
    """Return Spearman's rank correlation of predicted and true IoUs (n,); NaN where either does not vary.

    Examples
    --------
    >>> import numpy as np
    >>> rank_correlation(np.array([0.5, 0.6, 0.9]), np.array([0.1, 0.7, 0.8]))
    1.0
    """
    if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return float("nan")
    return round(float(np.corrcoef(rankdata(predicted), rankdata(true))[0, 1]), 12)


def chosen_best(predicted: Floats, true: Floats) -> Floats:
    """Tell for each row of candidates (n, 3) whether the one predicted best is as good as the best: (n,) 0 or 1.

    Examples
    --------
    >>> import numpy as np
    >>> chosen_best(np.array([[0.2, 0.9, 0.3]] * 2), np.array([[0.1, 0.7, 0.7], [0.8, 0.7, 0.6]])).tolist()
    [1.0, 0.0]
    """
    if not len(true):
        return np.zeros(0)
    chosen = true[np.arange(len(true)), predicted.argmax(axis=1)]
    return np.asarray(chosen >= true.max(axis=1), float)
