"""What is asked of a model about a labelled image, and how its answers are measured."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_core.embedding import Embedding
from sam_core.evaluation.clicker import deepest, next_click
from sam_core.evaluation.dataset import LabelledImage
from sam_core.evaluation.metrics import Accuracy, accuracy, label_iou
from sam_core.masks import Masks
from sam_core.overlap import mask_iou
from sam_core.prompt import Prompt
from sam_core.segment_all import SegmentAllOptions, segment_all
from sam_core.types import Mask, Segmenter, Shape

IoU = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What is measured.

    Parameters
    ----------
    clicks
        How many clicks an object gets; 0 asks nothing by clicks.
    box
        Whether to ask by a box.
    automatic
        Whether to segment everything.
    segment_all
        How to; None for what the model recommends.
    objects_per_image
        At most so many objects of an image are clicked and boxed, drawn at random; None for all.
    seed
        The same seed draws the same objects.
    """

    clicks: int = 5
    box: bool = True
    automatic: bool = True
    segment_all: SegmentAllOptions | None = None
    objects_per_image: int | None = 64
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.clicks < 0 or (self.objects_per_image is not None and self.objects_per_image < 1):
            msg = (
                f"got clicks={self.clicks}, objects_per_image={self.objects_per_image}, expected >= 0 and >= 1 or None"
            )
            raise ValueError(msg)


@dataclass(frozen=True, eq=False, slots=True)
class ImageResult:
    """What came of one image.

    Parameters
    ----------
    name, set, modality
        Of the image.
    shape
        Height and width in pixels.
    objects
        How many there are in truth.
    asked
        How many of them, n, were clicked and boxed.
    found
        How many were found automatically.
    clicks
        (n, clicks) float32 IoU after each click.
    best_of_three
        (n,) float32 IoU of the best of three answers to one click.
    box
        (n,) float32 IoU of the answer to a box; (0,) where it was not asked.
    automatic
        How good the automatic segmentation is; None where it was not asked for.
    encode_seconds, click_seconds, box_seconds, automatic_seconds
        What took how long.
    """

    name: str
    set: str
    modality: str
    shape: Shape
    objects: int
    asked: int
    found: int
    clicks: IoU
    best_of_three: IoU
    box: IoU
    automatic: Accuracy | None
    encode_seconds: float
    click_seconds: float
    box_seconds: float
    automatic_seconds: float


def evaluate(
    model: Segmenter, items: Iterable[LabelledImage], *, options: EvaluateOptions | None = None
) -> Iterator[ImageResult]:
    """Measure a model on labelled images, one after the other.

    By clicks: the first one deepest inside the object, answered by the best-scored of three candidates; each next one
    deepest inside the largest error, together with all clicks before it and the previous answer. By the tight box. And
    automatically, by the accuracy of the label image that everything segmented makes.

    Parameters
    ----------
    model
        What is measured.
    items
        From `read_items`, or made by `LabelledImage.of`.
    options
        What is measured; None for all of it.

    Yields
    ------
    ImageResult
        One for each image. Stop asking to stop.

    Examples
    --------
    >>> from sam_core import Sam, samples
    >>> from sam_core.evaluation import LabelledImage, evaluate, summarise
    >>> sample = samples.cells((128, 128), count=4, seed=1)
    >>> items = [LabelledImage.of(sample.image, sample.labels, set="made up")]
    >>> rows = summarise(evaluate(Sam.from_pretrained("cell"), items))
    >>> rows[0]["set"], rows[0]["images"]
    ('made up', 1)
    """
    chosen = options or EvaluateOptions()
    for item in items:
        yield _evaluate_image(model, item, chosen)


def _evaluate_image(model: Segmenter, item: LabelledImage, options: EvaluateOptions) -> ImageResult:
    image, labels = item.load()
    truth = Masks.from_labels(labels)
    asked = truth[_chosen(len(truth), options)]
    clock = _Clock()
    embedding = model.encode(image)
    encode_seconds = clock.lap()
    clicks, best_of_three = _by_clicks(model, embedding, asked, options.clicks)
    click_seconds = clock.lap()
    box = _by_box(model, embedding, asked) if options.box else np.zeros(0, np.float32)
    box_seconds = clock.lap()
    found = _everything(model, embedding, options) if options.automatic else None
    automatic_seconds = clock.lap()
    return ImageResult(
        name=item.name,
        set=item.set,
        modality=item.modality,
        shape=truth.shape,
        objects=len(truth),
        asked=len(asked),
        found=0 if found is None else len(found),
        clicks=clicks,
        best_of_three=best_of_three,
        box=box,
        automatic=None if found is None else accuracy(label_iou(labels, found.to_labels())),
        encode_seconds=encode_seconds,
        click_seconds=click_seconds,
        box_seconds=box_seconds,
        automatic_seconds=automatic_seconds,
    )


class _Clock:
    def __init__(self) -> None:
        self._at = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        before, self._at = self._at, time.perf_counter()
        return self._at - before


def _chosen(count: int, options: EvaluateOptions) -> NDArray[np.intp]:
    """Draw the objects that are asked about."""
    limit = options.objects_per_image
    if limit is None or count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(options.seed).choice(count, limit, replace=False))


# -- by prompts ----------------------------------------------------------------------------------------------------


def _by_clicks(model: Segmenter, embedding: Embedding, truth: Masks, count: int) -> tuple[IoU, IoU]:
    """Return the IoU (n, count) after each click, and (n,) of the best of three answers to the first."""
    n = len(truth)
    iou = np.zeros((n, count), np.float32)
    if n == 0 or count == 0:
        return iou, np.zeros(0, np.float32)
    prompts = [Prompt.of([_first_click(truth[i])]) for i in range(n)]
    candidates = model.decode(embedding, prompts, candidates=3)
    of_each = [candidates[candidates.prompt == i] for i in range(n)]
    best_of_three = np.array([_iou(truth[i], three).max(initial=0) for i, three in enumerate(of_each)], np.float32)
    answers = [three.best() for three in of_each]
    for k in range(count):
        if k > 0:
            _correct(model, embedding, truth, prompts, answers)
        iou[:, k] = [_iou(truth[i], answer).max(initial=0) for i, answer in enumerate(answers)]
    return iou, best_of_three


def _correct(model: Segmenter, embedding: Embedding, truth: Masks, prompts: list[Prompt], answers: list[Masks]) -> None:
    """Click once more at each object whose answer is not perfect, and replace its prompt and its answer."""
    corrections = {i: click for i, answer in enumerate(answers) if (click := _next_click(truth[i], answer)) is not None}
    for i, (point, positive) in corrections.items():
        refined = prompts[i].refine(answers[i]) if _is_seen(answers[i]) else prompts[i]
        prompts[i] = refined.click(point, positive)
    masks = model.decode(embedding, [prompts[i] for i in corrections], candidates=1) if corrections else None
    for k, i in enumerate(corrections):
        if masks is not None:
            answers[i] = masks[masks.prompt == k]


def _by_box(model: Segmenter, embedding: Embedding, truth: Masks) -> IoU:
    if not len(truth):
        return np.zeros(0, np.float32)
    masks = model.decode(embedding, [Prompt.of(box=box) for box in truth.boxes], candidates=1)
    return np.array(
        [_iou(truth[i], masks[masks.prompt == i]).max(initial=0) for i in range(len(truth))],
        np.float32,
    )


def _iou(one: Masks, answers: Masks) -> IoU:
    return mask_iou(one, answers)[0]


def _is_seen(answer: Masks) -> bool:
    return len(answer) == 1 and bool(answer.areas[0])


def _first_click(one: Masks) -> tuple[float, float]:
    (y, x), (top, left) = deepest(one.crops[0]), one.offsets[0]
    return float(y + top), float(x + left)


def _next_click(one: Masks, answer: Masks) -> tuple[tuple[float, float], bool] | None:
    """Correct an answer (one mask or none), looking only at the window that holds it and the truth."""
    seen = _is_seen(answer)
    boxes = np.concatenate([one.boxes, answer.boxes]) if seen else one.boxes
    window = (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))
    truth = _drawn(one, window)
    found = next_click(truth, _drawn(answer, window) if seen else np.zeros_like(truth))
    if found is None:
        return None
    (y, x), positive = found
    return (float(y + window[0]), float(x + window[1])), positive


def _drawn(one: Masks, window: tuple[int, ...]) -> Mask:
    top, left, bottom, right = window
    y0, x0, y1, x1 = one.boxes[0]
    out = np.zeros((bottom - top, right - left), bool)
    out[y0 - top : y1 - top, x0 - left : x1 - left] = one.crops[0]
    return out


# -- automatically -------------------------------------------------------------------------------------------------


def _everything(model: Segmenter, embedding: Embedding, options: EvaluateOptions) -> Masks:
    parts = list(segment_all(model, embedding, options.segment_all))
    return Masks.merge(parts) if parts else Masks.empty(embedding.image_shape)
