"""Answers on one plane."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from sam_core.labels import renumber
from sam_core.logits import Logits
from sam_core.types import Labels, Mask, Shape


@dataclass(frozen=True, eq=False, slots=True)
class Masks:
    """Any number of masks on one plane; each is kept as a tight crop.

    Parameters
    ----------
    shape
        Height and width of the plane.
    crops
        n arrays (h, w) bool, without empty border; (0, 0) for an empty mask.
    offsets
        (n, 2) int32 y, x of the crops on the plane.
    scores
        (n,) float32 predicted IoU, 1 for masks that are given.
    stability
        (n,) float32 in [0, 1]: how little the mask depends on its threshold.
    prompt
        (n,) int32: which prompt, or which object, each mask answers.
    logits
        n low-resolution logits, or None where there are none.

    Raises
    ------
    ValueError
        These are not all n.

    Examples
    --------
    >>> masks = Masks.from_labels(np.array([[0, 1, 1], [2, 0, 0]], np.int32))
    >>> len(masks), masks.areas.tolist(), masks.boxes.tolist()
    (2, [2, 1], [[0, 1, 1, 3], [1, 0, 2, 1]])
    """

    shape: Shape
    crops: tuple[Mask, ...]
    offsets: NDArray[np.int32]
    scores: NDArray[np.float32]
    stability: NDArray[np.float32]
    prompt: NDArray[np.int32]
    logits: tuple[Logits | None, ...]

    def __post_init__(self) -> None:
        """Refuse columns of different length."""
        columns = ("crops", "offsets", "scores", "stability", "prompt", "logits")
        lengths = {name: len(getattr(self, name)) for name in columns}
        if len(set(lengths.values())) != 1:
            msg = f"got masks with {lengths}, expected as many of each"
            raise ValueError(msg)

    @classmethod
    def empty(cls, shape: Shape) -> Masks:
        """Return no masks, on a plane of this height and width."""
        return cls.from_logits(shape, (), (), ())

    @classmethod
    def from_logits(cls, shape: Shape, logits: Sequence[Logits], scores: ArrayLike, prompt: ArrayLike) -> Masks:
        """Draw masks from n logits with their scores (n,) and prompts (n,)."""
        drawn = [one.mask() for one in logits]
        return cls(
            shape=shape,
            crops=tuple(crop for crop, _ in drawn),
            offsets=np.array([offset for _, offset in drawn], np.int32).reshape(-1, 2),
            scores=np.asarray(scores, np.float32),
            stability=np.array([one.stability() for one in logits], np.float32),
            prompt=np.asarray(prompt, np.int32),
            logits=tuple(logits),
        )

    @classmethod
    def from_labels(cls, labels: NDArray[np.integer]) -> Masks:
        """Make one mask for each label of a label image (H, W), in ascending order; score and stability are 1.

        Raises
        ------
        ValueError
            The image is not two-dimensional, or its labels are not integers of at least 0.
        """
        if labels.ndim != 2:
            msg = f"got labels of shape {labels.shape}, expected (H, W); choose one plane"
            raise ValueError(msg)
        dense = renumber(labels)
        places = ndimage.find_objects(dense) if dense.size else []
        return cls(
            shape=(labels.shape[0], labels.shape[1]),
            crops=tuple(dense[place] == i for i, place in enumerate(places, start=1)),
            offsets=np.array([(p[0].start, p[1].start) for p in places], np.int32).reshape(-1, 2),
            scores=np.ones(len(places), np.float32),
            stability=np.ones(len(places), np.float32),
            prompt=np.arange(len(places), dtype=np.int32),
            logits=(None,) * len(places),
        )

    @classmethod
    def merge(cls, parts: Iterable[Masks]) -> Masks:
        """Join masks of one plane; prompts are renumbered so that those of different parts stay different.

        Raises
        ------
        ValueError
            There is no part, or parts are of different planes.
        """
        parts = list(parts)
        shapes = {part.shape for part in parts}
        if len(shapes) != 1:
            msg = f"got parts of shapes {sorted(shapes)}, expected at least one part, all of one plane"
            raise ValueError(msg)
        first = np.cumsum([0, *(int(p.prompt.max(initial=-1)) + 1 for p in parts)])
        return cls(
            shape=parts[0].shape,
            crops=tuple(crop for p in parts for crop in p.crops),
            offsets=np.concatenate([p.offsets for p in parts]),
            scores=np.concatenate([p.scores for p in parts]),
            stability=np.concatenate([p.stability for p in parts]),
            prompt=np.concatenate([p.prompt + n for p, n in zip(parts, first, strict=False)]).astype(np.int32),
            logits=tuple(one for p in parts for one in p.logits),
        )

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.crops)

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]) -> Masks:
        """Choose masks: one, a slice, by numbers, or by a boolean for each."""
        chosen = np.atleast_1d(np.arange(len(self))[index])
        return Masks(
            shape=self.shape,
            crops=tuple(self.crops[i] for i in chosen),
            offsets=self.offsets[chosen],
            scores=self.scores[chosen],
            stability=self.stability[chosen],
            prompt=self.prompt[chosen],
            logits=tuple(self.logits[i] for i in chosen),
        )

    @property
    def boxes(self) -> NDArray[np.int32]:
        """(n, 4) int32 half-open y0, x0, y1, x1."""
        sizes = np.array([crop.shape for crop in self.crops], np.int32).reshape(-1, 2)
        return np.concatenate([self.offsets, self.offsets + sizes], axis=1)

    @property
    def areas(self) -> NDArray[np.int64]:
        """(n,) int64 pixels."""
        return np.array([np.count_nonzero(crop) for crop in self.crops], np.int64)

    def best(self) -> Masks:
        """Return the mask with the highest score of each prompt, in the order of the prompts."""
        order = np.lexsort((np.arange(len(self)), -self.scores, self.prompt))
        _, first = np.unique(self.prompt[order], return_index=True)
        return self[order[first]]

    def dense(self) -> NDArray[np.bool_]:
        """Return (n, H, W) bool. Large: for a few masks, or a small plane."""
        out = np.zeros((len(self), *self.shape), bool)
        for plane, crop, (y0, x0, y1, x1) in zip(out, self.crops, self.boxes, strict=True):
            plane[y0:y1, x0:x1] = crop
        return out

    def to_labels(self) -> Labels:
        """Draw a label image (H, W) int32: mask i becomes label i + 1; where masks overlap the higher score wins."""
        labels = np.zeros(self.shape, np.int32)
        boxes = self.boxes
        for i in np.argsort(self.scores, kind="stable"):
            y0, x0, y1, x1 = boxes[i]
            labels[y0:y1, x0:x1][self.crops[i]] = i + 1
        return labels

    def moved(self, offset: tuple[int, int], shape: Shape) -> Masks:
        """Place the masks on a larger plane, their own plane's corner at `offset` y, x.

        Raises
        ------
        ValueError
            Their plane does not fit there.
        """
        if min(offset) < 0 or any(o + n > m for o, n, m in zip(offset, self.shape, shape, strict=True)):
            msg = f"got a plane of {self.shape} at {offset}, expected it to fit into {shape}"
            raise ValueError(msg)
        y, x = offset
        logits = tuple(
            one and Logits(one.values, (one.box[0] + y, one.box[1] + x, one.box[2] + y, one.box[3] + x), shape)
            for one in self.logits
        )
        return replace(self, shape=shape, offsets=self.offsets + np.array(offset, np.int32), logits=logits)
