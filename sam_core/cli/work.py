"""What is done with one image: encode its planes, ask, number the objects; told without files and screens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from sam_core.cli.common import tiling
from sam_core.embedding import Embedding
from sam_core.errors import PromptError
from sam_core.labels import stitch
from sam_core.masks import Masks
from sam_core.prompt import Prompt
from sam_core.propagate import propagate
from sam_core.segment import segment
from sam_core.segment_all import segment_all
from sam_core.tiling import windows
from sam_core.types import Segmenter

Plane = NDArray[Any]


class Follow(Protocol):
    """Passes steps on and shows how many were taken, as `Screen.follow` does."""

    def __call__(self, steps: Iterable[Any], title: str, total: int | None = None) -> Iterator[Any]:
        """Pass steps on."""


class Encoder:
    """Encodes planes, through a cache where there is one, and keeps the time.

    Parameters
    ----------
    model
        What encodes.
    tile
        Side of a tile in pixels, 0 for none, None to decide by the size of the plane.
    cached
        Encodes in place of the model: `EmbeddingCache.encode`; None to encode every time.
    """

    def __init__(
        self, model: Segmenter, tile: int | None = None, cached: Callable[..., Embedding] | None = None
    ) -> None:
        self.model = model
        self.seconds = 0.0
        self._tile = tile
        self._cached = cached

    def __call__(self, plane: Plane) -> Embedding:
        """Encode one plane."""
        started = time.perf_counter()
        tiles = tiling(self._tile, (plane.shape[0], plane.shape[1]))
        if self._cached is None:
            embedding = self.model.encode(plane, tiling=tiles)
        else:
            embedding = self._cached(self.model, plane, tiling=tiles)
        self.seconds += time.perf_counter() - started
        return embedding


class EncodedStack(Sequence[Embedding]):
    """Planes encoded when they are asked for; the last one is remembered."""

    def __init__(self, planes: Sequence[Plane], encode: Encoder) -> None:
        self._planes = planes
        self._encode = encode
        self._last: tuple[int, Embedding] | None = None

    def __len__(self) -> int:
        return len(self._planes)

    @overload
    def __getitem__(self, index: int) -> Embedding: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Embedding]: ...
    def __getitem__(self, index: int | slice) -> Embedding | Sequence[Embedding]:
        if isinstance(index, slice):
            return EncodedStack(self._planes[index], self._encode)
        if self._last is None or self._last[0] != index:
            self._last = (index, self._encode(self._planes[index]))
        return self._last[1]


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """The objects of one image.

    Parameters
    ----------
    masks
        Those of each plane.
    labels
        (H, W) or, for a stack, (Z, H, W) int32; 0 = background, one number for an object through all planes.
    """

    masks: Sequence[Masks]
    labels: NDArray[np.int32]

    @property
    def count(self) -> int:
        """How many objects there are."""
        return len(np.unique(self.labels[self.labels > 0]))


def find_everything(encode: Encoder, planes: Sequence[Plane], follow: Follow) -> Found:
    """Segment everything in every plane; what overlaps enough in neighbouring planes is one object, see `stitch`."""
    steps = follow(planes, "planes") if len(planes) > 1 else planes
    masks = [_everything(encode, plane, follow) for plane in steps]
    if not _is_stack(planes):
        return Found(masks, masks[0].to_labels())
    return Found(masks, stitch([each.to_labels() for each in masks]))


def _is_stack(planes: Sequence[Plane]) -> bool:
    """Tell a stack, though it be of one plane, from an image, whose labels are (H, W)."""
    return len(planes) != 1 or len(getattr(planes, "shape", ())) == 3


def _everything(encode: Encoder, plane: Plane, follow: Follow) -> Masks:
    embedding = encode(plane)
    tiles = len(windows(embedding.tiling, embedding.image_shape))
    parts = segment_all(encode.model, embedding)
    found = [part for part in (follow(parts, "tiles", tiles) if tiles > 1 else parts) if len(part)]
    return Masks.merge(found) if found else Masks.empty(embedding.image_shape)


def find_asked(
    encode: Encoder, planes: Sequence[Plane], prompts: Sequence[Prompt], start: int, follow: Follow
) -> Found:
    """Answer prompts about plane `start`, and follow the answers through the other planes.

    Raises
    ------
    PromptError
        There is no such plane, or a prompt lies outside it.
    """
    if not 0 <= start < len(planes):
        msg = f"got plane {start}, expected 0 to {len(planes) - 1}; count planes from 0"
        raise PromptError(msg)
    stack = EncodedStack(planes, encode)
    seeds = _seeds(encode.model, stack[start], prompts)
    if not _is_stack(planes):
        return Found([seeds], _numbered(seeds))
    masks = [Masks.empty(stack[start].image_shape)] * len(planes)
    masks[start] = seeds
    for index, found in follow(propagate(encode.model, stack, {start: seeds}), "planes", len(planes)):
        masks[index] = found
    return Found(masks, np.stack([_numbered(each) for each in masks]))


def _seeds(model: Segmenter, embedding: Embedding, prompts: Sequence[Prompt]) -> Masks:
    """Answer each prompt; what answers none is left out and what is left is numbered from 0."""
    answers = [answer for prompt in prompts if len(answer := segment(model, embedding, prompt))]
    return Masks.merge(answers) if answers else Masks.empty(embedding.image_shape)


def _numbered(masks: Masks) -> NDArray[np.int32]:
    """Draw masks with the number of their prompt, from 1, so that an object keeps it through all planes."""
    numbers = np.concatenate([[0], masks.prompt + 1]).astype(np.int32)
    labels: NDArray[np.int32] = numbers[masks.to_labels()]
    return labels
