"""Embeddings found by the address of the image, in memory, and by its pixels, on disk."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sam_core import Embedding, EmbeddingCache, Planes, Segmenter, Tiling
from sam_label_studio.errors import FetchError
from sam_label_studio.images import ImageSource, shown
from sam_label_studio.later import Later

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Key: TypeAlias = tuple[str, str, str, int]
"""Fingerprint of the model, address of Label Studio, address of the image, page."""
MEMORY = 1 << 30  # bytes
FRESH = 600.0  # seconds after which an address is looked at again: the image behind it may be another
UNWRITTEN = 2  # the part of the memory, one in so many, that embeddings may take which wait to be written
LARGE = 2048  # pixels: a plane with a longer side is cut into tiles


@dataclass(frozen=True, slots=True)
class Page:
    """A page of an image that a task refers to.

    Parameters
    ----------
    reference
        Address of the image, as it stands in the task.
    number
        Which page, from 0.
    task
        Number of the task: Label Studio opens images in clouds for those who name a task of theirs.
    """

    reference: str
    number: int = 0
    task: Any = None


@dataclass(slots=True)
class Counts:
    """How often an embedding was in memory, had to be looked for, and had to be made."""

    hits: int = 0
    misses: int = 0
    encoded: int = 0


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Encodes each page of each image once; safe to share between threads.

    Parameters
    ----------
    disk
        Keeps what was encoded; None to keep nothing on disk.
    memory
        Bytes of embeddings that stay in memory.

    Examples
    --------
    >>> Embeddings(None).counts
    Counts(hits=0, misses=0, encoded=0)
    """

    disk: EmbeddingCache | None
    memory: int = MEMORY
    counts: Counts = field(default_factory=Counts, compare=False)
    _kept: OrderedDict[Key, tuple[float, Embedding]] = field(default_factory=OrderedDict, repr=False, compare=False)
    _making: dict[Key, threading.Lock] = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)
    _later: Later = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Put off what is to be written, as long as it fits into memory."""
        object.__setattr__(self, "_later", Later(limit=self.memory // UNWRITTEN))

    @classmethod
    def at(cls, root: str | Path | None = None, *, memory: int = MEMORY) -> Embeddings:
        """Keep embeddings in a folder; None takes the one that `sam-core` uses."""
        return cls(EmbeddingCache(root), memory)

    def page(self, model: Segmenter, images: ImageSource, page: Page) -> Embedding:
        """Return the embedding of a page; fetches, decodes and encodes only what is not in memory.

        Raises
        ------
        FetchError, ImageError
            The image cannot be had, or has no such page.
        """
        key = _key(model, images, page)
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        try:
            with self.answering(), making:  # who asks for the same page waits for it
                found = self._remembered(key)
                if found is None:
                    with images.open(page.reference, task=page.task) as planes:
                        found = self.of_plane(model, images, page, planes)
                return found
        finally:
            with self._lock:
                self._making.pop(key, None)

    def of_plane(self, model: Segmenter, images: ImageSource, page: Page, planes: Planes) -> Embedding:
        """Return the embedding of a page of an image that is open."""
        if page.number >= len(planes):
            msg = f"got page {page.number} of {shown(page.reference)}, which has {len(planes)}, counted from 0"
            raise FetchError(msg)
        key = _key(model, images, page)
        with self.answering():
            found = self._remembered(key, count=False)
            if found is None:
                found = self._encoded(model, planes, page.number)
                self._remember(key, found)
            return found

    def answering(self) -> AbstractContextManager[None]:
        """Say that somebody waits for an answer as long as the block takes: nothing is written to disk meanwhile."""
        return self._later.answering()

    def flush(self) -> None:
        """Wait until all that was encoded is on disk."""
        self._later.flush()

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        with self._lock:
            return sum(embedding.nbytes for _, embedding in self._kept.values())

    def _encoded(self, model: Segmenter, planes: Planes, number: int) -> Embedding:
        plane = planes[number]
        tiling = Tiling() if max(plane.shape[:2]) > LARGE else None
        found = None if self.disk is None else self.disk.get(model.fingerprint, plane, tiling=tiling)
        if found is not None:
            return found
        with self._lock:
            self.counts.encoded += 1
        made = model.encode(plane, tiling=tiling).halved()
        if self.disk is not None:
            write = partial(self.disk.put, made, plane, tiling=tiling)
            self._later.add(write, made.nbytes + plane.nbytes)
        return made

    def _remembered(self, key: Key, *, count: bool = True) -> Embedding | None:
        with self._lock:
            made, found = self._kept.get(key, (0.0, None))
            found = None if time.monotonic() - made > FRESH else found
            if found is not None:
                self._kept.move_to_end(key)
            if count:
                self.counts.hits += found is not None
                self.counts.misses += found is None
            return found

    def _remember(self, key: Key, embedding: Embedding) -> None:
        with self._lock:
            self._kept[key] = time.monotonic(), embedding
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and self.nbytes > self.memory:
                self._kept.popitem(last=False)


def _key(model: Segmenter, images: ImageSource, page: Page) -> Key:
    return model.fingerprint, images.name, images.key(page.reference), page.number
