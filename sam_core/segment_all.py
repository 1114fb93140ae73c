"""Everything: prompts from proposals or a grid, answered, filtered and freed of doubles, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import remove_small_holes, remove_small_objects

from sam_core.embedding import Embedding
from sam_core.masks import Masks
from sam_core.overlap import mask_iou, nms
from sam_core.prompt import Prompt
from sam_core.tiling import cores, home, owner
from sam_core.types import Segmenter

SAME_OBJECT = 0.5  # IoU from which the masks of two tiles are taken for the same object


@dataclass(frozen=True, slots=True)
class SegmentAllOptions:
    """How everything is segmented. The defaults are SAM's; a model may recommend others.

    Parameters
    ----------
    points_per_side
        Of the grid laid over each tile, for a model without proposals.
    points_per_batch
        Prompts answered at a time.
    min_score
        Least predicted IoU of a mask.
    min_stability
        Least stability of a mask: IoU of the masks at logits of +1 and -1.
    max_box_iou
        Of two masks whose boxes overlap by more, the one with the lower score goes; also across tiles.
    max_covered
        A mask of which a larger fraction is covered by better ones goes; 1 keeps parts of objects beside the objects.
    min_area
        Pixels; smaller masks go, and smaller islands and holes of a mask are cleared away.
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
        One part for each tile, then one for objects larger than a tile; no object twice. Stop asking to cancel.

    Examples
    --------
    >>> from sam_core import Masks, Sam, samples, segment_all
    >>> sam = Sam.from_pretrained("cell")
    >>> embedding = sam.encode(samples.cells(seed=1).image)
    >>> labels = Masks.merge(list(segment_all(sam, embedding))).to_labels()
    """
    chosen = options or getattr(model, "segment_all_options", None) or SegmentAllOptions()
    earlier: list[Masks] = []
    taken = np.zeros(embedding.image_shape, bool)
    for prompts, candidates in _rounds(model, embedding, chosen):
        part = _answer(model, embedding, prompts, candidates, chosen)
        part = part[nms(part.boxes.astype(float), part.scores, chosen.max_box_iou)]
        for before in earlier:
            part = part[~_repeats(part, before, chosen)]
        part = part[~_covered(part, taken, chosen.max_covered)]
        earlier.append(part)
        yield part


def _rounds(
    model: Segmenter, embedding: Embedding, options: SegmentAllOptions
) -> Iterator[tuple[Sequence[Prompt], int]]:
    """Yield the prompts of each tile, then those of objects that no tile holds."""
    shape, tiling = embedding.image_shape, embedding.tiling
    tiles = range(len(cores(tiling, shape)))
    propose = getattr(model, "propose", None)
    proposals: list[Prompt] | None = propose(embedding) if propose is not None else None
    if proposals is None:
        for tile in tiles:
            yield _grid(cores(tiling, shape)[tile], options.points_per_side), 3
        return
    of_tile: dict[int, list[Prompt]] = {tile: [] for tile in [*tiles, -1]}
    for prompt in proposals:
        y, x = prompt.points[0]
        fits = home(tiling, prompt.extent, shape) is not None
        of_tile[owner(tiling, (float(y), float(x)), shape) if fits else -1].append(prompt)
    large = of_tile.pop(-1)
    yield from ((prompts, 1) for prompts in of_tile.values())
    if large:
        yield large, 1


def _grid(core: tuple[int, int, int, int], side: int) -> list[Prompt]:
    y0, x0, y1, x1 = core
    ys, xs = ((np.arange(side) + 0.5) / side * (b - a) + a - 0.5 for a, b in ((y0, y1), (x0, x1)))
    return [Prompt.of([(y, x)]) for y in np.unique(ys.round()) for x in np.unique(xs.round())]


def _answer(
    model: Segmenter, embedding: Embedding, prompts: Sequence[Prompt], candidates: int, options: SegmentAllOptions
) -> Masks:
    """Answer prompts in batches; a click of the grid that lies inside a mask already found is not asked again."""
    found = Masks.empty(embedding.image_shape)
    taken = np.zeros(embedding.image_shape, bool) if candidates == 3 else None
    for start in range(0, len(prompts), options.points_per_batch):
        batch = prompts[start : start + options.points_per_batch]
        if taken is not None:
            batch = [p for p in batch if not taken[tuple(p.points[0].round().astype(int))]]
        masks = model.decode(
            embedding,
            batch,
            candidates=3 if candidates == 3 else 1,
            min_score=options.min_score,
            min_stability=options.min_stability,
        )
        masks = _cleaned(masks, options.min_area)
        for crop, (y0, x0, y1, x1) in zip(masks.crops, masks.boxes, strict=True):
            if taken is not None:
                taken[y0:y1, x0:x1] |= crop
        found = Masks.merge([found, masks])
    return found


def _cleaned(masks: Masks, min_area: int) -> Masks:
    if min_area > 1:
        crops = tuple(
            remove_small_holes(remove_small_objects(crop, max_size=min_area - 1), max_size=min_area - 1)
            for crop in masks.crops
        )
        masks = replace(masks, crops=crops)
    return masks[masks.areas >= max(min_area, 1)]


def _covered(masks: Masks, taken: NDArray[np.bool_], limit: float) -> NDArray[np.bool_]:
    """Tell which masks, best first, are mostly covered by those before them; `taken` (H, W) gains the others."""
    covered = np.zeros(len(masks), bool)
    for i, (crop, (y0, x0, y1, x1)) in enumerate(zip(masks.crops, masks.boxes, strict=True)):
        under = taken[y0:y1, x0:x1]
        covered[i] = (under & crop).sum() > limit * crop.sum()
        if not covered[i]:
            under |= crop
    return covered


def _repeats(part: Masks, before: Masks, options: SegmentAllOptions) -> NDArray[np.bool_]:
    """Tell which masks of `part` were found before, in another tile."""
    if not len(part) or not len(before):
        return np.zeros(len(part), bool)
    return np.asarray((mask_iou(part, before) > min(options.max_box_iou, SAME_OBJECT)).any(axis=1))
