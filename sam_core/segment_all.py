"""Everything: prompts from proposals or a grid, answered, filtered and freed of doubles, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam_core.correction import corrected
from sam_core.embedding import Embedding
from sam_core.masks import Masks
from sam_core.overlap import box_iou, mask_iou, nms
from sam_core.prompt import Prompt
from sam_core.tiling import cores, home
from sam_core.types import Box, Mask, Segmenter

SAME_OBJECT = 0.5  # IoU from which the masks of two tiles are taken for the same object


@dataclass(frozen=True, slots=True)
class SegmentAllOptions:
    """How everything is segmented. The defaults are SAM's; a model may recommend others.

    Parameters
    ----------
    points_per_side
        Of the grid laid over each tile, for a model without proposals; clicks inside a mask already found are skipped.
    points_per_batch
        Prompts answered at a time.
    min_score
        Least predicted IoU of a mask.
    min_stability
        Least stability of a mask: IoU of the masks at logits of +1 and -1.
    max_box_iou
        Of two masks whose boxes overlap by more, the one with the lower score goes; across tiles, the later one.
    max_covered
        A mask of which a larger fraction is covered by better ones goes; 1 keeps parts of objects beside the objects.
    min_area
        Pixels; smaller islands and holes of a mask are cleared away, and masks that are smaller then.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    min_score: float = 0.88
    min_stability: float = 0.95
    max_box_iou: float = 0.7
    max_covered: float = 1.0
    min_area: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        fractions = ("min_score", "min_stability", "max_box_iou", "max_covered")
        wrong = [f"{n}={getattr(self, n)}" for n in fractions if not 0 <= getattr(self, n) <= 1]
        wrong += [f"{n}={getattr(self, n)}" for n in ("points_per_side", "points_per_batch") if getattr(self, n) < 1]
        wrong += [f"min_area={self.min_area}"] if self.min_area < 0 else []
        if wrong:
            msg = f"got {', '.join(wrong)}; expected fractions in 0..1, counts of at least 1 and an area of at least 0"
            raise ValueError(msg)


def segment_all(model: Segmenter, embedding: Embedding, options: SegmentAllOptions | None = None) -> Iterator[Masks]:
    """Segment everything on a plane.

    Prompts come from `model.propose` where the model has it, and from a grid of clicks with three candidates each
    (Kirillov et al. 2023, section 5) where not.

    Parameters
    ----------
    model
        The model that made the embedding.
    embedding
        An encoded plane.
    options
        None takes `model.segment_all_options`, or else the defaults.

    Yields
    ------
    Masks
        One part for each tile, then one for objects larger than a tile, if any are proposed; no object twice. Each mask
        has a number of its own in `prompt`, and no logits. Stop asking to cancel.

    Examples
    --------
    >>> from sam_core import Masks, Sam, samples, segment_all
    >>> sam = Sam.from_pretrained("cell")
    >>> embedding = sam.encode(samples.cells(seed=1).image)
    >>> labels = Masks.merge(list(segment_all(sam, embedding))).to_labels()
    """
    chosen = options or getattr(model, "segment_all_options", None) or SegmentAllOptions()
    clicked, taken = np.zeros(embedding.image_shape, bool), np.zeros(embedding.image_shape, bool)
    earlier: list[Masks] = []
    for prompts, is_grid in _rounds(model, embedding, chosen):
        answers = _answers(model, embedding, prompts, chosen, clicked if is_grid else None)
        part = Masks.merge([Masks.empty(embedding.image_shape), *answers])
        part = part[nms(part.boxes.astype(float), part.scores, chosen.max_box_iou)]
        part = part[~_repeats(part, earlier, chosen.max_box_iou)]
        part = part[~_covered(part, taken, chosen.max_covered)]
        # One click may have found a part and the whole: from here on each mask is an object of its own.
        part = replace(part, prompt=np.arange(len(part), dtype=np.int32))
        earlier.append(part)
        yield part


def _rounds(
    model: Segmenter, embedding: Embedding, options: SegmentAllOptions
) -> Iterator[tuple[Sequence[Prompt], bool]]:
    """Yield the prompts of each tile, then those of objects that no tile holds, and whether they are of a grid."""
    shape, tiling = embedding.image_shape, embedding.tiling
    tiles = cores(tiling, shape)
    propose = getattr(model, "propose", None)
    proposals: list[Prompt] | None = propose(embedding) if propose is not None else None
    if proposals is None:
        for core in tiles:
            yield _grid(core, tiles[0], options.points_per_side), True
        return
    of_tile: list[list[Prompt]] = [[] for _ in tiles]
    large: list[Prompt] = []
    for prompt in proposals:
        tile = home(tiling, prompt.extent, shape)
        (large if tile is None else of_tile[tile]).append(prompt)
    for prompts in (*of_tile, *([large] if large else [])):
        yield prompts, False


def _grid(core: Box, first: Box, points_per_side: int) -> list[Prompt]:
    """Click in the middles of equal cells of a core, as densely as in the first one, which is the largest.

    Soon the clicks are everywhere: large objects are found early, and the other clicks inside them need not be asked.
    """
    sides = []
    for axis in (0, 1):
        start, stop = core[axis], core[axis + 2]
        count = max(1, round(points_per_side * (stop - start) / (first[axis + 2] - first[axis])))
        middles = start + (np.arange(count) + 0.5) * ((stop - start) / count) - 0.5
        sides.append(np.unique(middles.round()))
    points = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)
    return [Prompt.of([point]) for point in np.random.default_rng(0).permutation(points)]


def _answers(
    model: Segmenter,
    embedding: Embedding,
    prompts: Sequence[Prompt],
    options: SegmentAllOptions,
    clicked: NDArray[np.bool_] | None,
) -> Iterator[Masks]:
    """Answer prompts in batches.

    `clicked` (H, W) is given for the clicks of a grid: those inside a mask already found are not asked, and it gains
    what is found.
    """
    left = list(prompts)
    while left:
        if clicked is not None:
            left = [p for p in left if not clicked[tuple(p.points[0].astype(int))]]
        batch, left = left[: options.points_per_batch], left[options.points_per_batch :]
        if batch:
            masks = _decode(model, embedding, batch, options, all_of_three=clicked is not None)
            # The logits of thousands of masks would fill the memory; they also know nothing of what is cleared away.
            masks = _cleaned(replace(masks, logits=(None,) * len(masks)), options.min_area)
            if clicked is not None:
                _paint(masks, clicked)
            yield masks


def _decode(
    model: Segmenter, embedding: Embedding, prompts: Sequence[Prompt], options: SegmentAllOptions, *, all_of_three: bool
) -> Masks:
    """Answer clicks with the best of three candidates, or with all, and clear prompts with one, as `segment` does.

    What a proposal's click found keeps what the click says, as there; of the clicks of a grid parts may be meant, too.
    """
    lone = [p for p in prompts if p.is_lone_click]
    clear = [p for p in prompts if not p.is_lone_click]
    least = {"min_score": options.min_score, "min_stability": options.min_stability}
    parts = [Masks.empty(embedding.image_shape)]
    if lone:
        three = model.decode(embedding, lone, candidates=3, **least)
        parts.append(three if all_of_three else corrected(lone, three.best()))
    if clear:
        parts.append(corrected(clear, model.decode(embedding, clear, candidates=1, **least)))
    return Masks.merge(parts)


def _paint(masks: Masks, plane: NDArray[np.bool_]) -> None:
    for crop, (y0, x0, y1, x1) in zip(masks.crops, masks.boxes, strict=True):
        plane[y0:y1, x0:x1] |= crop


def _cleaned(masks: Masks, min_area: int) -> Masks:
    """Clear away islands and holes of less than `min_area` pixels, then the masks that are as small."""
    if min_area > 1:
        drawn = [_tight(_without_specks(crop, min_area)) for crop in masks.crops]
        shifts = np.array([shift for _, shift in drawn], np.int32).reshape(-1, 2)
        masks = replace(masks, crops=tuple(crop for crop, _ in drawn), offsets=masks.offsets + shifts)
    return masks[masks.areas >= max(min_area, 1)]


def _without_specks(crop: Mask, min_area: int) -> Mask:
    """Fill the holes of a crop, then drop its islands (8-connected), where they are small."""
    # The frame joins all that is not enclosed into one region, which is no hole however small it is.
    ground, _ = ndimage.label(np.pad(~crop, 1, constant_values=True))
    sizes = np.bincount(ground.ravel())
    sizes[[0, ground[0, 0]]] = min_area
    filled = crop | (sizes < min_area)[ground[1:-1, 1:-1]]
    islands, _ = ndimage.label(filled, np.ones((3, 3)))
    large = np.bincount(islands.ravel()) >= min_area
    return np.asarray(filled & large[islands])


def _tight(crop: Mask) -> tuple[Mask, tuple[int, int]]:
    """Return a crop without its empty border, and how far its corner has moved."""
    rows, cols = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    if not len(rows):
        return crop[:0, :0], (0, 0)
    return crop[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1], (int(rows[0]), int(cols[0]))


def _covered(masks: Masks, taken: NDArray[np.bool_], limit: float) -> NDArray[np.bool_]:
    """Tell which masks, best first, are mostly covered by those before them; `taken` (H, W) gains the others."""
    covered = np.zeros(len(masks), bool)
    for i, (crop, (y0, x0, y1, x1)) in enumerate(zip(masks.crops, masks.boxes, strict=True)):
        under = taken[y0:y1, x0:x1]
        covered[i] = np.count_nonzero(under & crop) > limit * np.count_nonzero(crop)
        if not covered[i]:
            under |= crop
    return covered


def _repeats(part: Masks, earlier: Sequence[Masks], max_box_iou: float) -> NDArray[np.bool_]:
    """Tell which masks of `part` were found before, in another tile."""
    repeats = np.zeros(len(part), bool)
    boxes = part.boxes
    for before in earlier if len(part) else ():
        others = before.boxes
        near = (others[:, :2] < boxes[:, 2:].max(axis=0)) & (others[:, 2:] > boxes[:, :2].min(axis=0))
        close = before[near.all(axis=1)]
        if len(close):
            repeats |= (box_iou(boxes.astype(float), close.boxes.astype(float)) > max_box_iou).any(axis=1)
            repeats |= (mask_iou(part, close) > SAME_OBJECT).any(axis=1)
    return repeats
