"""From plane to plane: an object clicked on one plane is followed along z or t until it is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam_core.embedding import Embedding
from sam_core.logits import Logits
from sam_core.masks import Masks
from sam_core.overlap import mask_iou
from sam_core.prompt import Prompt
from sam_core.types import Mask, Segmenter

SAME_OBJECT = 0.5  # IoU from which two answers on one plane are taken for the same object


def propagate(
    model: Segmenter, stack: Sequence[Embedding], seeds: Mapping[int, Masks], *, min_iou: float = 0.5
) -> Iterator[tuple[int, Masks]]:
    """Follow objects through the planes of a stack, from the planes where they are known, in both directions.

    On each next plane an object is asked for by a click deepest inside its last mask, the box of that mask, a little
    larger, and the mask itself. It is lost where the answer overlaps the last mask by less than `min_iou`, or where an
    object that resembles it more gets the same answer. Between two planes where the same object is known, each half is
    followed from its nearer end.

    Parameters
    ----------
    model
        The model that made the embeddings.
    stack
        Encoded planes, all of one shape; they are asked for one at a time.
    seeds
        Plane to the masks known there; `prompt[i]` is the identity of an object, the same on all planes.
    min_iou
        Least IoU of the masks of an object on neighbouring planes.

    Yields
    ------
    plane, masks
        The masks found on a plane, seeds left out; `prompt` is the identity. A plane may come more than once, with
        different objects. Stop asking to cancel.

    Raises
    ------
    ValueError
        A seed lies outside the stack, planes or seeds are of different shapes, or `min_iou` is not in 0..1.
    EmbeddingError
        Another model made the embeddings.

    Examples
    --------
    >>> from sam_core import Prompt, Sam, propagate, samples, segment
    >>> sam = Sam.from_pretrained("cell")
    >>> stack = [sam.encode(plane) for plane in samples.z_stack(seed=1).image]
    >>> seed = segment(sam, stack[8], Prompt.of([(64, 64)]))
    >>> found = dict(propagate(sam, stack, {8: seed}))
    """
    _check(stack, seeds, min_iou)
    ways = _ways(seeds)
    for start, step in [(plane, step) for plane in sorted(seeds) for step in (1, -1)]:
        masks = seeds[start][seeds[start].areas > 0]
        for plane in range(start + step, len(stack) if step > 0 else -1, step):
            far = np.array([ways.get((int(i), start, step), len(stack)) for i in masks.prompt], int)
            masks = masks[far >= abs(plane - start)]
            if len(masks):
                masks = _next(model, stack[plane], masks, min_iou)
            if not len(masks):
                break
            yield plane, masks


def _check(stack: Sequence[Embedding], seeds: Mapping[int, Masks], min_iou: float) -> None:
    if not 0 <= min_iou <= 1:
        msg = f"got min_iou={min_iou}, expected an IoU in 0..1; the lower, the longer objects are followed"
        raise ValueError(msg)
    outside = [plane for plane in seeds if not 0 <= plane < len(stack)]
    if outside:
        msg = f"got seeds on planes {outside}, expected planes 0..{len(stack) - 1}; count planes from 0"
        raise ValueError(msg)


def _ways(seeds: Mapping[int, Masks]) -> dict[tuple[int, int, int], int]:
    """Say how many planes an object is followed from a plane in a direction: half-way to the next plane it is known on.

    Keys are identity, plane, step; missing where there is no next one. The plane in the middle is reached upwards.
    """
    known: dict[int, list[int]] = {}
    for plane in sorted(seeds):
        for identity in np.unique(seeds[plane].prompt):
            known.setdefault(int(identity), []).append(plane)
    ways = {}
    for identity, planes in known.items():
        for low, high in pairwise(planes):
            ways[identity, low, 1] = (high - low) // 2
            ways[identity, high, -1] = (high - low - 1) // 2
    return ways


def _next(model: Segmenter, embedding: Embedding, masks: Masks, min_iou: float) -> Masks:
    """Answer for each object on the next plane, without those that are lost."""
    if masks.shape != embedding.image_shape:
        msg = f"got masks of shape {masks.shape} and a plane of {embedding.image_shape}, expected all planes alike"
        raise ValueError(msg)
    answers = model.decode(embedding, [project(masks[[i]]) for i in range(len(masks))]).best()
    answers = answers[answers.areas > 0]
    iou = np.array([mask_iou(answers[[i]], masks[[p]])[0, 0] for i, p in enumerate(answers.prompt)])
    kept = iou >= min_iou
    answers, iou = answers[kept], iou[kept]
    answers = replace(answers, prompt=masks.prompt[answers.prompt])
    return answers[_unshared(answers, iou)]


def _unshared(answers: Masks, iou: NDArray[np.floating]) -> NDArray[np.intp]:
    """Choose, of answers that are the same mask, that of the object which resembles it most; in their order."""
    same = mask_iou(answers, answers) > SAME_OBJECT
    kept: list[int] = []
    for i in np.argsort(-iou, kind="stable"):
        if not same[i, kept].any():
            kept.append(int(i))
    return np.array(sorted(kept), np.intp)


def project(mask: Masks) -> Prompt:
    """Make the prompt that asks the next plane for what one mask shows here: its deepest point, its box and itself."""
    (crop,), ((y0, x0, y1, x1),) = mask.crops, mask.boxes
    y, x = _deepest(crop)
    margin = 1 + 0.05 * np.array([y1 - y0, x1 - x0])
    height, width = mask.shape
    box = (max(y0 - margin[0], 0), max(x0 - margin[1], 0), min(y1 + margin[0], height), min(x1 + margin[1], width))
    previous = mask.logits[0] or Logits.of_crop(crop, (int(y0), int(x0)), mask.shape)
    return Prompt.of([(y0 + y, x0 + x)], box=box, previous=previous)


def _deepest(crop: Mask) -> tuple[int, int]:
    """Return the point of a crop that is farthest from its border; of those along an elongated one, the middle one."""
    depth = ndimage.distance_transform_edt(np.pad(crop, 1))[1:-1, 1:-1]
    points = np.argwhere(depth == depth.max())
    y, x = points[((points - np.argwhere(crop).mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return int(y), int(x)
