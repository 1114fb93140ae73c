"""What is asked of a model about one labelled image, and how the answers are counted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sam_core.embedding import Embedding
from sam_core.evaluation.clicker import deepest, next_click
from sam_core.evaluation.dataset import Item
from sam_core.evaluation.metrics import iou_of_crops, iou_table, msa, precision
from sam_core.masks import Masks
from sam_core.prompt import Prompt
from sam_core.segment_all import SegmentAllOptions, segment_all
from sam_core.types import Segmenter

MARGIN = 2  # pixels around truth and answer: a click beside the object must have room


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What is measured.

    Parameters
    ----------
    clicks
        Clicks an object gets at most; the IoU is recorded after each.
    max_objects
        Objects an image that are asked for one by one, evenly chosen; None for all.
    automatic
        Whether everything is segmented, too.
    segment_all
        How; None for what the model recommends.
    """

    clicks: int = 5
    max_objects: int | None = None
    automatic: bool = True
    segment_all: SegmentAllOptions | None = None


@dataclass(frozen=True, eq=False, slots=True)
class ImageResult:
    """What came of one image.

    Parameters
    ----------
    name, set, modality, group
        Of the item.
    clicks
        (objects, clicks) float IoU after each click.
    oracle
        (objects,) IoU of the best of the three candidates for the first click.
    box
        (objects,) IoU of the answer to the object's own box.
    sizes
        (objects,) area in pixels.
    found, msa, ap50
        Of the automatic segmentation: objects, mean segmentation accuracy, precision at IoU .5; NaN when left out.
    seconds
        For encoding, one click of one object on average, and everything.
    """

    name: str
    set: str
    modality: str
    group: str
    clicks: NDArray[np.float64]
    oracle: NDArray[np.float64]
    box: NDArray[np.float64]
    sizes: NDArray[np.int64]
    found: int = 0
    msa: float = float("nan")
    ap50: float = float("nan")
    seconds: dict[str, float] = field(default_factory=dict)


def evaluate_items(
    model: Segmenter, items: Iterable[Item], options: EvaluateOptions | None = None
) -> Iterator[ImageResult]:
    """Measure a model on labelled planes, one result a plane. Deterministic."""
    for item in items:
        yield evaluate_item(model, item, options or EvaluateOptions())


def evaluate_item(model: Segmenter, item: Item, options: EvaluateOptions) -> ImageResult:
    """Measure a model on one labelled plane."""
    image, labels = item.read()
    started = time.perf_counter()
    embedding = model.encode(image)
    encoded = time.perf_counter()
    truth = Masks.from_labels(labels)
    if options.max_objects is not None and len(truth) > options.max_objects:
        truth = truth[np.linspace(0, len(truth) - 1, options.max_objects).round().astype(int)]
    clicks, oracle = _click(model, embedding, truth, options.clicks)
    clicked = time.perf_counter()
    box = _ious(truth, model.decode(embedding, [Prompt.of(box=box) for box in truth.boxes])) if len(truth) else oracle
    seconds = {"encode": encoded - started, "click": (clicked - encoded) / max(1, clicks.size)}
    found, score, ap50 = 0, float("nan"), float("nan")
    if options.automatic:
        started = time.perf_counter()
        parts = list(segment_all(model, embedding, options.segment_all))
        everything = Masks.merge([Masks.empty(embedding.image_shape), *parts])
        seconds["everything"] = time.perf_counter() - started
        iou = iou_table(labels, everything.to_labels())
        found, score, ap50 = len(everything), msa(iou), precision(iou, 0.5)
    return ImageResult(
        item.name, item.set, item.modality, item.group, clicks, oracle, box, truth.areas, found, score, ap50, seconds
    )


def _click(
    model: Segmenter, embedding: Embedding, truth: Masks, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Click each object `count` times, the answer fed back: IoU after each, and the best of three at the first."""
    ious = np.zeros((len(truth), count))
    if not len(truth):
        return ious, np.zeros(0)
    starts = [deepest(crop) for crop in truth.crops]
    prompts = [Prompt.of([(y + dy, x + dx)]) for (y, x), (dy, dx) in zip(truth.offsets, starts, strict=True)]
    three = model.decode(embedding, prompts, candidates=3)
    oracle = _best_of_three(truth, three)
    answers = _in_order(three.best(), len(truth))
    ious[:, 0] = _ious(truth, answers)
    for round_ in range(1, count):
        prompts = [_corrected(prompts[i], truth[[i]], answers[i]) for i in range(len(truth))]
        answers = _in_order(model.decode(embedding, prompts), len(truth))
        ious[:, round_] = _ious(truth, answers)
    return ious, oracle


def _in_order(masks: Masks, count: int) -> list[Masks]:
    """Return the answer to each of `count` prompts, empty where there is none."""
    found = {int(p): i for i, p in enumerate(masks.prompt)}
    return [masks[[found[i]]] if i in found else Masks.empty(masks.shape) for i in range(count)]


def _ious(truth: Masks, answers: Masks | Sequence[Masks]) -> NDArray[np.float64]:
    each = _in_order(answers, len(truth)) if isinstance(answers, Masks) else answers
    return np.array([_iou(truth, i, answer, 0) if len(answer) else 0.0 for i, answer in enumerate(each)])


def _best_of_three(truth: Masks, masks: Masks) -> NDArray[np.float64]:
    best = np.zeros(len(truth))
    for j, i in enumerate(masks.prompt):
        best[i] = max(best[i], _iou(truth, int(i), masks, j))
    return best


def _iou(first: Masks, i: int, second: Masks, j: int) -> float:
    at, other = first.offsets[i], second.offsets[j]
    return iou_of_crops(first.crops[i], (int(at[0]), int(at[1])), second.crops[j], (int(other[0]), int(other[1])))


def _corrected(prompt: Prompt, truth: Masks, answer: Masks) -> Prompt:
    """Add the click that corrects an answer, and the answer itself."""
    both = truth.boxes if not len(answer) or not answer.areas[0] else np.concatenate([truth.boxes, answer.boxes])
    y0, x0 = np.maximum(both[:, :2].min(axis=0) - MARGIN, 0)
    y1, x1 = np.minimum(both[:, 2:].max(axis=0) + MARGIN, truth.shape)
    canvases = [np.zeros((y1 - y0, x1 - x0), bool) for _ in range(2)]
    for canvas, masks in zip(canvases, (truth, answer), strict=True):
        for crop, (a0, b0, a1, b1) in zip(masks.crops, masks.boxes, strict=True):
            if crop.size:
                canvas[a0 - y0 : a1 - y0, b0 - x0 : b1 - x0] = crop
    (y, x), positive = next_click(canvases[0], canvases[1])
    clicked = prompt.click((float(y + y0), float(x + x0)), positive)
    return clicked.refine(answer) if len(answer) else clicked
