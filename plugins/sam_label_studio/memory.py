"""Embeddings that stay in memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TypeAlias

from sam_core import Embedding

Key: TypeAlias = tuple[str, str, str, int]
"""Fingerprint of the model, address of Label Studio, address of the image, page."""
FRESH = 600.0  # seconds after which an address is looked at again: the image behind it may be another


class Memory:
    """Embeddings of pages, or of parts of them; those used last stay. Safe to share between threads.

    Parameters
    ----------
    limit
        Bytes; a single page may take more.

    Examples
    --------
    >>> memory = Memory(limit=1 << 20)
    >>> memory.of(("cell", "http://localhost:8080", "/data/1.png", 0)), memory.nbytes
    ([], 0)
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pages: OrderedDict[Key, list[tuple[float, Embedding]]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        with self._lock:
            return self._nbytes()

    def of(self, key: Key) -> list[Embedding]:
        """Return what is kept of a page: all of it, or parts, or nothing."""
        with self._lock:
            young = self._young(key)
            if young:
                self._pages.move_to_end(key)
            return [embedding for _, embedding in young]

    def keep(self, key: Key, embedding: Embedding) -> None:
        """Keep a page in the place of its parts, or one more part of a page that is not there."""
        with self._lock:
            parts = self._young(key) if embedding.part is not None else []
            if any(other.part is None for _, other in parts):
                return
            self._pages[key] = [*parts, (time.monotonic(), embedding)]
            self._pages.move_to_end(key)
            while len(self._pages) > 1 and self._nbytes() > self._limit:
                self._pages.popitem(last=False)

    def _young(self, key: Key) -> list[tuple[float, Embedding]]:
        return [each for each in self._pages.get(key, ()) if time.monotonic() - each[0] <= FRESH]

    def _nbytes(self) -> int:
        return sum(embedding.nbytes for page in self._pages.values() for _, embedding in page)
