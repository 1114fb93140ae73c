"""Any image to what an encoder eats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_core.errors import ImageError

LOW, HIGH = 0.5, 99.8  # percentiles between which an image that is not uint8 is stretched
SAMPLE = 1_000_000  # values that percentiles are taken of, up to 4 times: more change nothing that can be seen
BAND = 1_000_000  # values that are converted at a time, so that an image of any size needs little more memory
MOST_CHANNELS = 32  # a last axis longer than this is no channel axis


def to_rgb8(
    image: NDArray[Any], *, channel: int | None = None, limits: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """Turn a plane of any real dtype into 8-bit RGB.

    Parameters
    ----------
    image
        (H, W), or (H, W, C) with channels last: 1 is gray, 2 are shown as red and green, 3 are RGB, 4 are RGBA whose
        alpha is ignored; more need `channel`. bool, integers or floats; NaN and infinities are taken as dark.
    channel
        Take this channel alone, as gray.
    limits
        The values that become 0 and 255. When left out: 0 and 255 for uint8, which passes unchanged, 0 and 1 for bool,
        and for all else the percentiles 0.5 and 99.8 of the finite values of all channels. A constant image becomes
        black, as does any where both limits are the same.

    Returns
    -------
    NDArray[np.uint8]
        (H, W, 3), never a view of `image`.

    Raises
    ------
    ImageError
        No pixels, not a plane, a dtype that is not real, nothing finite, no such channel, or limits that are not finite
        or the wrong way round.

    Examples
    --------
    >>> to_rgb8(np.array([[0, 1000], [2000, 4000]], np.uint16)).shape
    (2, 2, 3)
    >>> to_rgb8(np.zeros((2, 2), np.uint8)).max()
    np.uint8(0)
    """
    planes = _channels(np.asarray(image), channel)
    eight = planes.copy() if planes.dtype == np.uint8 and limits is None else _stretch(planes, limits)
    count = eight.shape[2]
    if count == 1:
        return np.repeat(eight, 3, axis=2)
    if count == 2:
        return np.concatenate([eight, np.zeros_like(eight[..., :1])], axis=2)
    return eight


def _channels(image: NDArray[Any], channel: int | None) -> NDArray[Any]:
    """Return (H, W, C), checked."""
    if image.dtype.kind == "c":
        msg = f"got an image of dtype {image.dtype}, expected real numbers; take np.abs(image) first"
        raise ImageError(msg)
    if image.dtype.kind not in "biuf":
        msg = f"got an image of dtype {image.dtype}, expected numbers; read it with an image library first"
        raise ImageError(msg)
    if image.ndim not in (2, 3) or image.size == 0:
        msg = f"got an image of shape {image.shape}, expected a plane (H, W) or (H, W, C) with pixels; choose one plane"
        raise ImageError(msg)
    planes = image[..., None] if image.ndim == 2 else image
    count = planes.shape[2]
    if count > MOST_CHANNELS or (channel is None and count > 4):
        msg = f"got an image of shape {image.shape} with {count} channels, expected 1 to 4; {_hint(image.shape)}"
        raise ImageError(msg)
    if channel is None:
        return planes[..., :3]
    if channel not in range(count):
        msg = f"got channel {channel} of an image with {count} channels, expected 0..{count - 1}"
        raise ImageError(msg)
    return planes[..., [channel]]


def _hint(shape: tuple[int, ...]) -> str:
    """Say what to do with what are probably no channels, and with too many."""
    if shape[2] <= MOST_CHANNELS:
        return "choose one with channel="
    first = ", or bring channels last with np.moveaxis(image, 0, -1)" if shape[0] <= 4 else ""
    return f"choose one plane of a stack with image[i]{first}"


def _stretch(planes: NDArray[Any], limits: tuple[float, float] | None) -> NDArray[np.uint8]:
    low, high = _limits(planes) if limits is None else _ordered(limits)
    if planes.dtype == np.uint16 and low < high:
        eight = _scaled(np.arange(1 << 16), low, high)  # as below, for each value once
        return np.asarray(eight[planes], np.uint8)
    eight = np.zeros(planes.shape, np.uint8)
    rows = max(1, BAND // planes[0].size)
    for start in range(0, len(planes) if low < high else 0, rows):
        eight[start : start + rows] = _scaled(planes[start : start + rows], low, high)
    return eight


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    # float64: what is large and varies little, in float32 would not vary at all.
    exact = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (exact - low) / (high - low) * 255
    return np.where(np.isfinite(exact), np.fmin(np.fmax(scaled, 0), 255), 0).round().astype(np.uint8)


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    low, high = float(limits[0]), float(limits[1])
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        msg = f"got limits {limits}, expected two finite values, the lower one first"
        raise ImageError(msg)
    return low, high


def _limits(planes: NDArray[Any]) -> tuple[float, float]:
    if planes.dtype == bool:
        return 0.0, 1.0
    if planes.dtype == np.uint8:
        return 0.0, 255.0
    step = max(1, math.isqrt(planes.size // SAMPLE))  # along y and x: all channels are seen
    finite = _finite(planes[::step, ::step])
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.percentile(finite, (LOW, HIGH)) if len(finite) else (0.0, 0.0)
    if low < high:
        return float(low), float(high)
    finite = _finite(planes)  # a few bright spots on nothing: the sample may have missed them
    if not len(finite):
        msg = "got an image without a single finite value, expected some pixels that are not NaN or infinite"
        raise ImageError(msg)
    return float(finite.min()), float(finite.max())


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "iu" and values.itemsize <= 2:
        return values.ravel()  # exact as they are, and quick to sort
    return np.asarray(values[np.isfinite(values)], np.float64)
