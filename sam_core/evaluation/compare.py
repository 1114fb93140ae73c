"""Two models side by side on the same images, with how sure the difference is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_core.evaluation.protocol import ImageResult
from sam_core.evaluation.report import Row, grouped

RESAMPLES = 2000
SEED = 0
FEWEST = 3  # images to resample; from fewer nothing can be told


def compare(first: Sequence[ImageResult], second: Sequence[ImageResult]) -> list[Row]:
    """Compare what two models made of the same images: a row for each set and measure, and for all sets together.

    Images are resampled, not objects, which are alike within an image: a paired bootstrap, percentile interval of 95 %,
    the same each time.

    Parameters
    ----------
    first, second
        In the same order.

    Returns
    -------
    list of dict
        set, measure, first, second, difference (second - first), low and high (its interval; None where there are too
        few images), "sure" (whether 0 lies outside the interval).

    Raises
    ------
    ValueError
        The results are not of the same images.
    """
    if [(r.set, r.name) for r in first] != [(r.set, r.name) for r in second]:
        msg = f"got results of different images ({len(first)} and {len(second)}), expected the same ones; measure both"
        raise ValueError(msg)
    places = [(name, [i for i, r in enumerate(first) if r.set == name]) for name, _ in grouped(first, lambda r: r.set)]
    places += [("all", list(range(len(first))))] if len(places) > 1 else []
    rows = []
    for name, chosen in places:
        for measure, tell in _measures(first).items():
            pairs = np.array([[tell(results[i]) for results in (first, second)] for i in chosen])
            rows += _row(name, measure, pairs)
    return rows


def _measures(results: Sequence[ImageResult]) -> dict[str, Callable[[ImageResult], tuple[float, int]]]:
    """Name what is compared: functions that tell of an image the sum of a measure and of how many."""
    clicks = range(results[0].clicks.shape[1] if results else 0)
    measures = {f"{k + 1} click{'s' * (k > 0)}": _of_objects("clicks", k) for k in clicks}
    measures |= {"oracle": _of_objects("oracle"), "box": _of_objects("box")}
    measures |= {"1 click edge": _of_objects("click_edges", 0), "box edge": _of_objects("box_edges")}
    for key, name in (("1 click", "1 click "), ("box", "box "), ("automatic", "")):
        measures |= {f"{name}{kind}": _of_image(key, i) for i, kind in enumerate(("mSA", "AP50"))}
    return measures


def _of_objects(name: str, column: int | None = None) -> Callable[[ImageResult], tuple[float, int]]:
    def tell(result: ImageResult) -> tuple[float, int]:
        values = getattr(result, name) if column is None else getattr(result, name)[:, column]
        return float(values.sum()), len(values)

    return tell


def _of_image(name: str, column: int) -> Callable[[ImageResult], tuple[float, int]]:
    def tell(result: ImageResult) -> tuple[float, int]:
        return (result.accuracy[name][column], 1) if name in result.accuracy else (0.0, 0)

    return tell


def _row(name: str, measure: str, pairs: NDArray[np.float64]) -> list[Row]:
    """Tell of sums and counts (images, 2, 2); nothing where there is nothing."""
    counted = pairs[(pairs[:, :, 1] > 0).all(axis=1)]
    if not len(counted):
        return []
    old, new = _ratio(counted.sum(axis=0))
    row: dict[str, Any] = {"set": name, "measure": measure, "first": old, "second": new, "difference": new - old}
    low, high = interval(counted) if len(counted) >= FEWEST else (math.nan, math.nan)
    told = math.isfinite(low)
    return [
        {**row, "low": low if told else None, "high": high if told else None, "sure": told and (low > 0 or high < 0)}
    ]


def interval(pairs: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """Return the bootstrap interval of the difference of two means.

    Parameters
    ----------
    pairs
        (images, 2, 2): of each image for the first and the second model the sum and the count of what was measured.
    confidence
        How often it holds the truth.

    Examples
    --------
    >>> import numpy as np
    >>> pairs = np.array([[[4.0, 10], [5.0, 10]], [[6.0, 10], [7.0, 10]], [[1.0, 10], [2.0, 10]]])
    >>> low, high = interval(pairs)
    >>> round(low, 9), round(high, 9)
    (0.1, 0.1)
    """
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), RESAMPLES)
    means = _ratio(np.tensordot(drawn, pairs, axes=1))
    low, high = np.quantile(means[:, 1] - means[:, 0], ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)


def _ratio(sums: NDArray[np.float64]) -> Any:
    return sums[..., 0] / sums[..., 1]
