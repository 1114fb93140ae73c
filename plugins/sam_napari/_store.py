"""Embeddings found again: in memory, up to so many bytes, and on disk, where they are written later than made."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from sam_core import Embedding, EmbeddingCache
from sam_napari._turns import Key

LOG = logging.getLogger(__name__)

DELAY = 0.5  # seconds between making an embedding and writing it: the first answer comes in between
UNWRITTEN = 128 << 20  # bytes that may wait to be written; what comes while a slow disk has so many is not kept
AGAIN = 60.0  # seconds after which a disk that was full is tried again


class Store:
    """Embeddings by what was looked at, in memory, and by its pixels, on disk. Memory is for one thread.

    Parameters
    ----------
    disk
        Keeps embeddings; None to keep nothing on disk.
    keep_bytes
        Of embeddings in memory; the latest one stays whatever its size.
    tell
        Told once, in whatever thread, why embeddings cannot be kept on disk.

    Examples
    --------
    >>> Store(None, 1 << 20, print).nbytes
    0
    """

    def __init__(self, disk: EmbeddingCache | None, keep_bytes: int, tell: Callable[[str], None]) -> None:
        self._disk = disk
        self._keep_bytes = keep_bytes
        self._kept: OrderedDict[Key, Embedding] = OrderedDict()
        self._tell = tell
        self._told = False
        self._writer = _Writer(disk, self._failed) if disk is not None else None
        self.nbytes = 0

    # -- memory ------------------------------------------------------------------------------------------------------

    def recall(self, key: Key) -> Embedding | None:
        """Return what is in memory."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def remember(self, key: Key, embedding: Embedding) -> None:
        """Keep an embedding in memory, in the place of those not used for the longest time."""
        self._drop(key)
        self._kept[key] = embedding
        self.nbytes += embedding.nbytes
        while len(self._kept) > 1 and self.nbytes > self._keep_bytes:
            self._drop(next(iter(self._kept)))

    def make_room(self, nbytes: int, spare: Collection[Key]) -> bool:
        """Drop embeddings until so many bytes fit, but none of `spare`; tell whether they fit now."""
        for key in [key for key in self._kept if key not in spare]:
            if self.nbytes + nbytes <= self._keep_bytes:
                break
            self._drop(key)
        return self.nbytes + nbytes <= self._keep_bytes

    def _drop(self, key: Key) -> None:
        dropped = self._kept.pop(key, None)
        self.nbytes -= 0 if dropped is None else dropped.nbytes

    # -- disk --------------------------------------------------------------------------------------------------------

    def read(self, fingerprint: str, picture: NDArray[Any]) -> Embedding | None:
        """Return what a model of this fingerprint once made of a picture, from disk."""
        if self._disk is None:
            return None
        try:
            return self._disk.get(fingerprint, picture)
        except OSError as error:  # a folder that must not be looked into
            self._failed(error)
            return None

    def write(self, embedding: Embedding, picture: NDArray[Any]) -> None:
        """Have an embedding written later, in another thread."""
        if self._writer is not None:
            self._writer.add(embedding, picture)

    def close(self) -> None:
        """Write what is still to be written, and end the thread that does."""
        if self._writer is not None:
            self._writer.close()

    def _failed(self, error: Exception) -> None:
        LOG.debug("embeddings are not kept", exc_info=error)
        if not self._told:
            self._told = True
            self._tell(f"Encoded images are not kept on disk, so they are encoded again next time: {error}")


@dataclass(frozen=True, eq=False, slots=True)
class _Unwritten:
    embedding: Embedding
    picture: NDArray[Any]
    due: float

    @property
    def nbytes(self) -> int:
        return self.embedding.nbytes + self.picture.nbytes


class _Writer:
    """A thread that writes embeddings some time after they were made; it starts when there is something to write."""

    def __init__(self, disk: EmbeddingCache, failed: Callable[[Exception], None]) -> None:
        self._disk = disk
        self._failed = failed
        self._queue: deque[_Unwritten] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._broken = float("-inf")  # when it last failed

    def add(self, embedding: Embedding, picture: NDArray[Any]) -> None:
        one = _Unwritten(embedding, picture, time.monotonic() + DELAY)
        with self._changed:
            full = sum(each.nbytes for each in self._queue) + one.nbytes > UNWRITTEN
            if self._closing or full or time.monotonic() < self._broken + AGAIN:
                return
            self._queue.append(one)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sam-napari-writer", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (one := self._next()) is not None:
            try:
                self._disk.put(one.embedding, one.picture)
            except Exception as error:  # a warning that is an error, too
                self._give_up(error)

    def _next(self) -> _Unwritten | None:
        """Wait until something is to be written; None when all is and nothing more will come."""
        with self._changed:
            while not self._closing and (not self._queue or self._queue[0].due > time.monotonic()):
                self._changed.wait(max(0.0, self._queue[0].due - time.monotonic()) if self._queue else None)
            return self._queue.popleft() if self._queue else None

    def _give_up(self, error: Exception) -> None:
        with self._changed:
            self._broken = time.monotonic()
            self._queue.clear()
        self._failed(error)
