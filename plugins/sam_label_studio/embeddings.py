"""Embeddings found by the address of the image, in memory, and by its pixels, on disk.

Where somebody waits, only the part of a large page that the answer needs is encoded, and the whole page when nothing
else is to be done.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from sam_core import Embedding, EmbeddingCache, Planes, Segmenter, Tiling
from sam_label_studio.errors import FetchError
from sam_label_studio.images import ImageSource, shown
from sam_label_studio.later import Later, is_over
from sam_label_studio.memory import Key, Memory
from sam_label_studio.part import Box, Region, Shape, area, holds, part_around
from sam_label_studio.serial import SerialSegmenter

Around: TypeAlias = Callable[[Shape], Region | None]
"""Where on a page of this height and width something is asked; None where that is nowhere."""
MEMORY = 1 << 30  # bytes
UNWRITTEN = 2  # the part of the memory, one in so many, that embeddings may take which wait to be written
LARGE = 2048  # pixels: a plane with a longer side is cut into tiles
MOST = 8  # pages that wait until all of them is encoded


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
    """Encodes each page of each image once, or the part that is asked about; safe to share between threads.

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
    _kept: Memory = field(init=False, repr=False, compare=False)
    _later: Later = field(init=False, repr=False, compare=False)
    _finishing: Later = field(init=False, repr=False, compare=False)
    _begun: OrderedDict[Key, None] = field(default_factory=OrderedDict, repr=False, compare=False)
    _making: dict[tuple[Key, bool], threading.Lock] = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Put off what nobody waits for: the rest of pages, and writing, as long as memory is left for it."""
        object.__setattr__(self, "_kept", Memory(self.memory))
        object.__setattr__(self, "_later", Later(limit=self.memory // UNWRITTEN))
        object.__setattr__(self, "_finishing", Later(limit=1))

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
        with self.answering(), self._alone(key):  # who asks for the same page waits for it
            found = self._counted(self._whole(key))
            if found is None:
                with images.open(page.reference, task=page.task) as planes:
                    found = self.of_plane(model, images, page, planes)
            return found

    def near(self, model: Segmenter, images: ImageSource, page: Page, around: Around) -> Embedding:
        """Return an embedding of a page that knows what is asked, for somebody who waits.

        Of a large page that is new, that is a part. The whole is encoded when nobody has asked for anything for about
        as long as a step of that will take; or when it is next needed, after parts of it have cost as much.

        Raises
        ------
        FetchError, ImageError
            The image cannot be had, or has no such page.
        """
        key = _key(model, images, page)
        with self.answering(), self._alone(key, part=True):
            found = self._counted(self._whole(key) or self._holding(key, around))
            if found is None:
                with images.open(page.reference, task=page.task) as planes:
                    found = self._part(model, images, page, planes, around)
                    if found is None:
                        with self._alone(key):
                            found = self.of_plane(model, images, page, planes)
            return found

    def of_plane(self, model: Segmenter, images: ImageSource, page: Page, planes: Planes) -> Embedding:
        """Return the embedding of a page of an image that is open."""
        with self.answering():
            self._take_over(_key(model, images, page))
            return self._of_plane(model, images, page, planes)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Say that somebody waits for an answer as long as the block takes: what was put off waits, too."""
        with self._later.answering(), self._finishing.answering():
            yield

    def flush(self) -> None:
        """Wait until all that was encoded is on disk; pages of which only a part is encoded are left so."""
        with self._lock:
            self._begun.clear()
        self._finishing.flush()
        self._later.flush()

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._kept.nbytes

    # -- the whole of a page -----------------------------------------------------------------------------------------

    def _of_plane(self, model: Segmenter, images: ImageSource, page: Page, planes: Planes) -> Embedding:
        plane, key = _plane(planes, page), _key(model, images, page)
        found = self._whole(key)
        if found is None:
            found = self._on_disk(model, plane) or self._encoded(model, plane)
            self._kept.keep(key, found)
        return found

    def _whole(self, key: Key) -> Embedding | None:
        return next((embedding for embedding in self._kept.of(key) if embedding.part is None), None)

    def _on_disk(self, model: Segmenter, plane: NDArray[Any]) -> Embedding | None:
        return None if self.disk is None else self.disk.get(model.fingerprint, plane, tiling=_tiling(plane))

    def _encoded(self, model: Segmenter, plane: NDArray[Any]) -> Embedding:
        with self._lock:
            self.counts.encoded += 1
        made = model.encode(plane, tiling=_tiling(plane)).halved()
        if self.disk is not None:
            write = partial(self.disk.put, made, plane, tiling=_tiling(plane))
            self._later.add(write, made.nbytes + plane.nbytes)
        return made

    # -- a part of a page --------------------------------------------------------------------------------------------

    def _holding(self, key: Key, around: Around) -> Embedding | None:
        """Return what is kept of a page and holds what is asked."""
        for embedding in reversed(self._kept.of(key)):
            region = around(embedding.image_shape)
            if embedding.part and region is not None and holds(embedding.part, region, embedding.image_shape):
                return embedding
        return None

    def _part(
        self, model: Segmenter, images: ImageSource, page: Page, planes: Planes, around: Around
    ) -> Embedding | None:
        """Encode a part of a page and put off the rest; or take all of it from disk. None where it is to be encoded."""
        plane, key = _plane(planes, page), _key(model, images, page)
        shape = (plane.shape[0], plane.shape[1])
        region = around(shape)
        part = None if region is None else part_around(region, shape)
        if part is None:
            return None
        if (found := self._on_disk(model, plane)) is not None:
            self._kept.keep(key, found)
            return found
        spent = sum(area(embedding.part) for embedding in self._kept.of(key) if embedding.part)
        started = time.monotonic()
        made = _encode_part(model, plane, part) if spent < shape[0] * shape[1] else None
        if made is not None:
            tile = (_tiling(plane) or Tiling.whole(shape)).windows(shape)[0]
            step = area(tile) / area(part) * (time.monotonic() - started)
            with self._lock:
                self.counts.encoded += 1
                self._begun[key] = None
                while len(self._begun) > MOST:
                    self._begun.popitem(last=False)
            self._kept.keep(key, made)
            self._finishing.add(partial(self._finish, model, images, page, step), 0, rest=step)
        return made

    def _finish(self, model: Segmenter, images: ImageSource, page: Page, step: float) -> None:
        """Encode all of a page of which only a part is, unless others do, or newer pages are more important."""
        key = _key(model, images, page)

        def go_on() -> None:
            self._finishing.pause(step)
            if key not in self._begun or is_over():
                raise _TakenOverError

        patient = model.patient(go_on) if isinstance(model, SerialSegmenter) else model
        with suppress(_TakenOverError):
            go_on()
            with images.open(page.reference, task=page.task) as planes:
                self._of_plane(patient, images, page, planes)
        self._take_over(key)

    def _take_over(self, key: Key) -> None:
        """Have nobody encode all of a page later."""
        with self._lock:
            self._begun.pop(key, None)

    # -- both --------------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self, key: Key, *, part: bool = False) -> Iterator[None]:
        """Wait for others who make the same."""
        with self._lock:
            making = self._making.setdefault((key, part), threading.Lock())
        try:
            with making:
                yield
        finally:
            with self._lock:
                self._making.pop((key, part), None)

    def _counted(self, found: Embedding | None) -> Embedding | None:
        with self._lock:
            self.counts.hits += found is not None
            self.counts.misses += found is None
        return found


class _TakenOverError(Exception):
    """Leaves a page to others."""


def _key(model: Segmenter, images: ImageSource, page: Page) -> Key:
    return model.fingerprint, images.name, images.key(page.reference), page.number


def _plane(planes: Planes, page: Page) -> NDArray[Any]:
    if page.number >= len(planes):
        msg = f"got page {page.number} of {shown(page.reference)}, which has {len(planes)}, counted from 0"
        raise FetchError(msg)
    return planes[page.number]


def _tiling(plane: NDArray[Any]) -> Tiling | None:
    return Tiling() if max(plane.shape[:2]) > LARGE else None


def _encode_part(model: Segmenter, plane: NDArray[Any], part: Box) -> Embedding | None:
    encode: Callable[[NDArray[Any], Box], Embedding | None] | None = getattr(model, "encode_part", None)
    made = None if encode is None else encode(plane, part)
    return None if made is None else made.halved()
