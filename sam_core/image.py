"""Any image to what an encoder eats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_core.errors import ImageError

LOW, HIGH = 0.5, 99.8  # percentiles between which an image that is not uint8 is stretched
SAMPLE = 1_000_000  # values that percentiles are taken of: more change nothing that can be seen
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
        and for all else the percentiles 0.5 and 99.8 of the finite values. A constant image becomes black.

    Returns
    -------
    NDArray[np.uint8]
        (H, W, 3).

    Raises
    ------
    ImageError
        No pixels, not a plane, a dtype that is not real, nothing finite, or no such channel.

    Examples
    --------
    >>> to_rgb8(np.array([[0, 1000], [2000, 4000]], np.uint16)).shape
    (2, 2, 3)
    >>> to_rgb8(np.zeros((2, 2), np.uint8)).max()
    np.uint8(0)
    """
    planes = _channels(np.asarray(image), channel)
    eight = planes if planes.dtype == np.uint8 and limits is None else _stretch(planes, limits)
    count = eight.shape[2]
    if count == 1:
        return np.repeat(eight, 3, axis=2)
    if count == 2:
        return np.concatenate([eight, np.zeros_like(eight[..., :1])], axis=2)
    return np.ascontiguousarray(eight[..., :3])


def _channels(image: NDArray[Any], channel: int | None) -> NDArray[Any]:
    """Return (H, W, C), checked."""
    if image.dtype == object or not (image.dtype == bool or np.issubdtype(image.dtype, np.number)):
        msg = f"got an image of dtype {image.dtype}, expected numbers; read it with an image library first"
        raise ImageError(msg)
    if np.issubdtype(image.dtype, np.complexfloating):
        msg = f"got an image of dtype {image.dtype}, expected real numbers; take np.abs(image) first"
        raise ImageError(msg)
    if image.ndim not in (2, 3) or image.size == 0:
        msg = f"got an image of shape {image.shape}, expected a plane (H, W) or (H, W, C) with pixels; choose one plane"
        raise ImageError(msg)
    planes = image[..., None] if image.ndim == 2 else image
    count = planes.shape[2]
    if channel is not None:
        if not 0 <= channel < count:
            msg = f"got channel {channel} of an image with {count} channels, expected 0..{count - 1}"
            raise ImageError(msg)
        return planes[..., [channel]]
    if count > 4:
        hint = (
            "choose one with channel=" if count <= MOST_CHANNELS else "channels come last; choose one plane of a stack"
        )
        msg = f"got an image of shape {image.shape} with {count} channels, expected 1 to 4; {hint}"
        raise ImageError(msg)
    return planes[..., :3]


def _stretch(planes: NDArray[Any], limits: tuple[float, float] | None) -> NDArray[np.uint8]:
    low, high = limits if limits is not None else _limits(planes)
    span = float(high) - float(low)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite becomes dark below
        scaled = (planes.astype(np.float32) - np.float32(low)) * np.float32(255 / span if span > 0 else 0)
    finite = np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(finite.clip(0, 255).round(), np.uint8)


def _limits(planes: NDArray[Any]) -> tuple[float, float]:
    if planes.dtype == bool:
        return 0.0, 1.0
    if planes.dtype == np.uint8:
        return 0.0, 255.0
    values = planes.reshape(-1)[:: max(1, planes.size // SAMPLE)]
    finite = values[np.isfinite(values)]
    if not len(finite):
        finite = planes[np.isfinite(planes)]
    if not len(finite):
        msg = "got an image without a single finite value, expected some pixels that are not NaN or infinite"
        raise ImageError(msg)
    low, high = np.percentile(finite, (LOW, HIGH))
    if low == high:  # a few bright spots on nothing
        low, high = finite.min(), finite.max()
    return float(low), float(high)
