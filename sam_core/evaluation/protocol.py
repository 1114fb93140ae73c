"""What is asked of a model about one labelled image, and how the answers are counted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sam_core.correction import corrected
from sam_core.embedding import Embedding
from sam_core.evaluation.clicker import deepest, next_click
from sam_core.evaluation.dataset import Item
from sam_core.evaluation.metrics import iou_of_crops, iou_table, msa, precision
from sam_core.masks import Masks
from sam_core.prompt import Prompt
from sam_core.segment_all import SegmentAllOptions, segment_all
from sam_core.types import Mask, Segmenter


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

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.clicks < 1 or (self.max_objects is not None and self.max_objects < 1):
            msg = (
                f"got clicks={self.clicks} and max_objects={self.max_objects}, expected 1 or more; None for all objects"
            )
            raise ValueError(msg)


@dataclass(frozen=True, eq=False, slots=True)
class ImageResult:
    """What came of one image.

    Parameters
    ----------
    name, set, modality, group
        Of the item.
    clicks
        (objects, clicks) float IoU after each click; who sees a perfect answer clicks no more.
    oracle
        (objects,) IoU of the best of the three candidates for the first click.
    box
        (objects,) IoU of the answer to the object's own box.
    sizes
        (objects,) area in pixels.
    found, msa, ap50
        Of the automatic segmentation: objects, mean segmentation accuracy, precision at IoU .5; NaN when left out.
    seconds
        For encoding ("encode"), one click of one object on average ("click"), everything ("everything"), and
        all that was asked ("all").
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
    """Measure a model on labelled planes, one result a plane; stop asking to cancel.

    Examples
    --------
    >>> from sam_core import Sam, samples
    >>> from sam_core.evaluation import EvaluateOptions, Item, evaluate_items
    >>> sample = samples.cells((128, 128), count=4, seed=1)
    >>> items = [Item.of(sample.image, sample.labels, set="made up")]
    >>> results = list(evaluate_items(Sam.from_pretrained("cell"), items, EvaluateOptions(clicks=3)))
    >>> results[0].clicks.shape[1]
    3
    """
    for item in items:
        yield evaluate_item(model, item, options)


def evaluate_item(model: Segmenter, item: Item, options: EvaluateOptions | None = None) -> ImageResult:
    """Measure a model on one labelled plane.

    By clicks: the first deepest inside the object, answered by the best-scored of three candidates; each next one
    deepest inside the largest error, together with all clicks before it and the answer to them. By the tight box of the
    object. And by the label image that everything segmented makes. Nothing is left to chance.
    """
    options = options or EvaluateOptions()
    image, labels = item.read()
    begun = started = time.perf_counter()
    embedding = model.encode(image)
    encoded = time.perf_counter()
    truth = Masks.from_labels(labels)
    if options.max_objects is not None and len(truth) > options.max_objects:
        truth = truth[np.linspace(0, len(truth) - 1, options.max_objects).round().astype(int)]
    clicks, oracle = _click(model, embedding, truth, options.clicks)
    clicked = time.perf_counter()
    box = _box(model, embedding, truth)
    seconds = {"encode": encoded - started, "click": (clicked - encoded) / max(1, clicks.size)}
    found, score, ap50 = 0, float("nan"), float("nan")
    if options.automatic:
        started = time.perf_counter()
        parts = list(segment_all(model, embedding, options.segment_all))
        everything = Masks.merge([Masks.empty(embedding.image_shape), *parts])
        seconds["everything"] = time.perf_counter() - started
        iou = iou_table(labels, everything.to_labels())
        found, score, ap50 = len(everything), msa(iou), precision(iou, 0.5)
    seconds["all"] = time.perf_counter() - begun
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
    for more in range(1, count):
        _correct(model, embedding, truth, prompts, answers)
        ious[:, more] = _ious(truth, answers)
    return ious, oracle


def _correct(model: Segmenter, embedding: Embedding, truth: Masks, prompts: list[Prompt], answers: list[Masks]) -> None:
    """Click once more on each object whose answer is not perfect: its prompt and its answer are replaced."""
    clicked = {i: p for i, p in enumerate(map(_corrected, prompts, _singly(truth), answers)) if p is not None}
    if not clicked:
        return
    asked = list(clicked.values())
    masks = _in_order(corrected(asked, model.decode(embedding, asked)), len(asked))
    for (i, prompt), answer in zip(clicked.items(), masks, strict=True):
        prompts[i], answers[i] = prompt, answer


def _box(model: Segmenter, embedding: Embedding, truth: Masks) -> NDArray[np.float64]:
    """Return the IoU of the answer to each object's tight box."""
    if not len(truth):
        return np.zeros(0)
    return _ious(truth, _in_order(model.decode(embedding, [Prompt.of(box=box) for box in truth.boxes]), len(truth)))


def _singly(masks: Masks) -> list[Masks]:
    return [masks[[i]] for i in range(len(masks))]


def _in_order(masks: Masks, count: int) -> list[Masks]:
    """Return the answer to each of `count` prompts, empty where there is none."""
    found = {int(p): i for i, p in enumerate(masks.prompt)}
    return [masks[[found[i]]] if i in found else Masks.empty(masks.shape) for i in range(count)]


def _ious(truth: Masks, answers: Sequence[Masks]) -> NDArray[np.float64]:
    return np.array([_iou(truth, i, answer, 0) if len(answer) else 0.0 for i, answer in enumerate(answers)])


def _best_of_three(truth: Masks, masks: Masks) -> NDArray[np.float64]:
    best = np.zeros(len(truth))
    for j, i in enumerate(masks.prompt):
        best[i] = max(best[i], _iou(truth, int(i), masks, j))
    return best


def _iou(first: Masks, i: int, second: Masks, j: int) -> float:
    at, other = first.offsets[i], second.offsets[j]
    return iou_of_crops(first.crops[i], (int(at[0]), int(at[1])), second.crops[j], (int(other[0]), int(other[1])))


def _corrected(prompt: Prompt, truth: Masks, answer: Masks) -> Prompt | None:
    """Add the click that corrects an answer, and the answer itself; None where nothing is wrong."""
    both = truth.boxes if not len(answer) or not answer.areas[0] else np.concatenate([truth.boxes, answer.boxes])
    window = (*both[:, :2].min(axis=0), *both[:, 2:].max(axis=0))
    found = next_click(_drawn(truth, window), _drawn(answer, window))
    if found is None:
        return None
    (y, x), positive = found
    clicked = prompt.click((float(y + window[0]), float(x + window[1])), positive)
    return clicked.refine(answer) if len(answer) else clicked


def _drawn(masks: Masks, window: tuple[int, ...]) -> Mask:
    """Draw one mask, or none, in a window of the plane that holds it."""
    y0, x0, y1, x1 = window
    canvas = np.zeros((y1 - y0, x1 - x0), bool)
    for crop, (a0, b0, a1, b1) in zip(masks.crops, masks.boxes, strict=True):
        if crop.size:
            canvas[a0 - y0 : a1 - y0, b0 - x0 : b1 - x0] = crop
    return canvas
