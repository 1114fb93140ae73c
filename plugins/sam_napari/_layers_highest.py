"""The largest number among labels, without making anybody wait for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from sam_napari._source import loaded

SLAB = 1 << 24  # bytes looked through at a time
GRACE = 0.04  # seconds that closing waits


class Highest:
    """The largest number in an array, looked for in the background where that takes long.

    Parameters
    ----------
    data
        Label numbers.
    """

    def __init__(self, data: Any) -> None:
        self._data, self._seen, self._done = data, 0, 0
        self._boxes = list(_boxes(data))
        self._ended, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        if len(self._boxes) <= 1:
            self._look()
        else:
            self._thread = threading.Thread(target=self._look, name="sam-napari-labels", daemon=True)
            self._thread.start()

    @property
    def part(self) -> float:
        """Which part of the array has been looked at, 0 to 1."""
        return self._done / max(len(self._boxes), 1)

    def learn(self, label: int) -> None:
        """Take note of a number that was painted."""
        self._seen = max(self._seen, label)

    def value(self, patience: float = 0.0) -> int | None:
        """Return the largest number; None where it is not known after so many seconds."""
        return self._seen if self._ended.wait(patience) else None

    def close(self) -> None:
        """Look no further; what is being read at this moment is read to its end, but not waited for."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(GRACE)

    def _look(self) -> None:
        for box in self._boxes:
            if self._stopped.is_set():
                return
            self.learn(int(np.max(loaded(self._data[box]), initial=0)))
            self._done += 1
        self._ended.set()


def _boxes(data: Any) -> Iterator[tuple[slice, ...]]:
    """Yield parts of an array that together are all of it, as it is stored."""
    shape = tuple(int(n) for n in data.shape)
    lengths = _stored(data, shape)
    for place in np.ndindex(*(-(-n // length) for n, length in zip(shape, lengths, strict=True))):
        yield tuple(slice(i * n, (i + 1) * n) for i, n in zip(place, lengths, strict=True))


def _stored(data: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the parts in which an array is best read."""
    chunks = getattr(data, "chunksize", None) or getattr(data, "chunks", None)
    if chunks is not None and all(isinstance(n, int) for n in chunks):
        return tuple(max(n, 1) for n in chunks)
    left, lengths = max(1, SLAB // np.dtype(data.dtype).itemsize), []
    for n in reversed(shape):
        lengths.append(max(1, min(n, left)))
        left //= lengths[-1]
    return tuple(reversed(lengths))
