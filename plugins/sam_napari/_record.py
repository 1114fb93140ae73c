"""Which journals belong to an image, told by its content and not by its name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_napari._journal import Entry, journals
from sam_napari._source import loaded

SAMPLE = 1 << 18  # values of an array in memory that are looked at
WINDOWS, SIDE = 5, 64  # of an array that is loaded piece by piece: pieces looked at, and their sides in pixels


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """What is known of an image from before.

    Parameters
    ----------
    key
        Tells the image from others.
    entries
        Its journals that can be resumed, the latest first.
    """

    key: str
    entries: tuple[Entry, ...] = ()


def record_of(pixels: Any, axes: int, folder: Path) -> Record:
    """Look up what was done with an image; reads little of it, and may be called on any thread.

    Parameters
    ----------
    pixels
        The finest level of the image: numpy, dask, zarr, ...
    axes
        How many axes it has without that of colours.
    folder
        Where journals are kept.
    """
    key = key_of(pixels, axes)
    return Record(key, tuple(entry for entry in journals(folder, key) if not entry.live))


def key_of(pixels: Any, axes: int) -> str:
    """Hash the shape and a sample of the pixels of an image, as they are without any contrast.

    Examples
    --------
    >>> one, other = np.zeros((64, 48)), np.ones((64, 48))
    >>> key_of(one, 2) == key_of(one.copy(), 2), key_of(one, 2) == key_of(other, 2)
    (True, False)
    """
    digest = blake2b(f"{tuple(pixels.shape)} {np.dtype(pixels.dtype).str}".encode(), digest_size=8)
    for part in _sample(pixels, axes):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def written(entry: Entry) -> str:
    """Write a journal for people."""
    when = datetime.fromtimestamp(entry.started).strftime("%d %b %Y, %H:%M")
    kept = f"{entry.size / 1024:.0f} KiB"
    return f"{when}, {kept}" + ("" if entry.finished else ", ended unexpectedly")


def _sample(level: Any, axes: int) -> Iterator[NDArray[Any]]:
    shape = level.shape[:axes]
    if isinstance(level, np.ndarray):
        stride = math.ceil((math.prod(shape) / SAMPLE) ** (1 / axes))
        yield level[(slice(None, None, max(stride, 1)),) * axes]
        return
    for i in range(WINDOWS):
        along = i / (WINDOWS - 1)
        starts = [round(along * max(n - SIDE, 0)) if axis >= axes - 2 else 0 for axis, n in enumerate(shape)]
        places = [round(along * max(n - 1, 0)) for n in shape]
        index = [slice(start, start + SIDE) for start in starts]
        index[: axes - 2] = [slice(place, place + 1) for place in places[: axes - 2]]
        part = level[tuple(index)]
        yield loaded(part)
