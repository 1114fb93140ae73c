"""A store that is bounded in bytes: what was not used for longest goes."""

from __future__ import annotations

import mmap
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

D = TypeVar("D", bound=np.generic)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by key, at most so many bytes of them, for several threads.

    Parameters
    ----------
    most
        Bytes; a value that is larger by itself is not kept.
    size
        Says how many bytes a value takes.

    Examples
    --------
    >>> kept = Kept(10, len)
    >>> kept.put("a", b"123456"); kept.put("b", b"123456")
    >>> kept.get("a"), kept.get("b"), kept.nbytes
    (None, b'123456', 6)
    """

    def __init__(self, most: int, size: Callable[[V], int]) -> None:
        self._most = most
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Of all that is kept."""
        return self._nbytes

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """Return a value, which then counts as just used; None where there is none."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value, in place of those that were not used for longest."""
        with self._lock:
            self._remove(key)
            if self._size(value) > self._most:
                return
            self._values[key] = value
            self._nbytes += self._size(value)
            while self._nbytes > self._most:
                self._remove(next(iter(self._values)))

    def drop(self, key: K) -> None:
        """Forget a value, if it is there."""
        with self._lock:
            self._remove(key)

    def drop_if(self, unwanted: Callable[[K], bool]) -> None:
        """Forget all values whose key says so."""
        with self._lock:
            for key in [key for key in self._values if unwanted(key)]:
                self._remove(key)

    def _remove(self, key: K) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._nbytes -= self._size(value)


def settled(array: NDArray[D]) -> NDArray[D]:
    """Copy an array that is kept for long into pages of its own, which go back to the system with it.

    Between the short-lived arrays of a network it would keep their memory from being used again.

    Examples
    --------
    >>> settled(np.arange(6).reshape(2, 3))
    array([[0, 1, 2],
           [3, 4, 5]])
    """
    pages = mmap.mmap(-1, max(array.nbytes, 1))
    copy: NDArray[Any] = np.frombuffer(pages, array.dtype, array.size).reshape(array.shape)
    copy[...] = array
    return copy
