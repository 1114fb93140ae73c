"""From plane to plane: an object clicked on one plane is followed along z or t until it is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from sam_core.embedding import Embedding
from sam_core.logits import Logits
from sam_core.masks import Masks
from sam_core.overlap import mask_iou
from sam_core.prompt import Prompt
from sam_core.types import Segmenter


def propagate(
    model: Segmenter, stack: Sequence[Embedding], seeds: Mapping[int, Masks], *, min_iou: float = 0.5
) -> Iterator[tuple[int, Masks]]:
    """Follow objects through the planes of a stack, from the planes where they are known, in both directions.

    On each next plane an object is asked for by a click deepest inside its last mask, the box of that mask, a little
    larger, and the mask itself. It is lost where the answer overlaps the last mask by less than `min_iou`. Between two
    planes where the same object is known, each half is followed from its nearer end.

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
        A seed lies outside the stack or its plane is of another shape.

    Examples
    --------
    >>> from sam_core import Prompt, Sam, propagate, samples, segment
    >>> sam = Sam.from_pretrained("cell")
    >>> stack = [sam.encode(plane) for plane in samples.z_stack(seed=1).image]
    >>> seed = segment(sam, stack[8], Prompt.of([(64, 64)]))
    >>> found = dict(propagate(sam, stack, {8: seed}))
    """
    _check(stack, seeds)
    for start, step in [(plane, step) for plane in sorted(seeds) for step in (1, -1)]:
        masks, plane = seeds[start], start + step
        while 0 <= plane < len(stack) and len(masks := masks[~_is_met(masks, seeds, start, plane, step)]):
            masks = _next(model, stack[plane], masks, min_iou)
            if not len(masks):
                break
            yield plane, masks
            plane += step


def _check(stack: Sequence[Embedding], seeds: Mapping[int, Masks]) -> None:
    outside = [plane for plane in seeds if not 0 <= plane < len(stack)]
    if outside:
        msg = f"got seeds on planes {outside}, expected planes 0..{len(stack) - 1}; count planes from 0"
        raise ValueError(msg)
    for plane, masks in seeds.items():
        if masks.shape != stack[plane].image_shape:
            msg = f"got seeds of shape {masks.shape} on plane {plane}, expected {stack[plane].image_shape}"
            raise ValueError(msg)


def _is_met(masks: Masks, seeds: Mapping[int, Masks], start: int, plane: int, step: int) -> np.ndarray:
    """Tell which objects are nearer to another of their seeds in this direction (the plane in the middle: upwards)."""
    met = np.zeros(len(masks), bool)
    for other, known in seeds.items():
        distance, way = (plane - start) * step, (other - start) * step
        if way > 0 and (2 * distance > way or (2 * distance == way and step < 0)):
            met |= np.isin(masks.prompt, known.prompt)
    return met


def _next(model: Segmenter, embedding: Embedding, masks: Masks, min_iou: float) -> Masks:
    prompts = [project(masks[[i]]) for i in range(len(masks))]
    answers = model.decode(embedding, prompts, candidates=1)
    kept = []
    for answer, before in zip(answers.prompt, masks.prompt[answers.prompt], strict=True):
        here = answers[np.flatnonzero(answers.prompt == answer)]
        if here.areas[0] and mask_iou(here, masks[[answer]])[0, 0] >= min_iou:
            kept.append(replace(here, prompt=np.array([before], np.int32)))
    return _joined(kept, embedding.image_shape)


def _joined(kept: Sequence[Masks], shape: tuple[int, int]) -> Masks:
    """Merge single masks, keeping their identities."""
    merged = Masks.merge([Masks.empty(shape), *kept])
    return replace(merged, prompt=np.array([int(m.prompt[0]) for m in kept], np.int32))


def project(mask: Masks) -> Prompt:
    """Make the prompt that asks the next plane for what one mask shows here: its deepest point, its box and itself."""
    (crop,), ((y0, x0, y1, x1),) = mask.crops, mask.boxes
    depth = ndimage.distance_transform_edt(np.pad(crop, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), crop.shape)
    margin = 1 + 0.05 * np.array([y1 - y0, x1 - x0])
    height, width = mask.shape
    box = (max(y0 - margin[0], 0), max(x0 - margin[1], 0), min(y1 + margin[0], height), min(x1 + margin[1], width))
    previous = mask.logits[0] or Logits.of_crop(crop, (int(y0), int(x0)), mask.shape)
    return Prompt.of([(y0 + y, x0 + x)], box=box, previous=previous)
