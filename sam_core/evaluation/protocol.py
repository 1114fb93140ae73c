"""What is asked of a model about one labelled image, and how the answers are counted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_core.evaluation import asking
from sam_core.evaluation.asking import Round
from sam_core.evaluation.baseline import otsu_watershed
from sam_core.evaluation.dataset import Item
from sam_core.evaluation.metrics import Accuracy, accuracy_of, boundary_iou, iou_of_crops, iou_table
from sam_core.masks import Masks
from sam_core.segment_all import SegmentAllOptions
from sam_core.types import Labels, Segmenter

DRAWN = (1, 3)  # after how many clicks the answers are also counted as a segmentation of the image
CANDIDATES = 3

Floats = NDArray[np.float64]


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
    baseline
        Whether Otsu's threshold and a watershed segment everything, too, for comparison.
    segment_all
        How everything is segmented; None for what the model recommends.
    """

    clicks: int = 8
    max_objects: int | None = None
    automatic: bool = True
    baseline: bool = True
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
    """What came of one image, with n objects that were asked for by k clicks and a box each.

    Parameters
    ----------
    name, set, modality, group
        Of the item.
    sizes
        (n,) area in pixels.
    clicks, box
        (n, k) and (n,) IoU of the answer; who sees a perfect answer clicks no more.
    click_edges, box_edges
        (n, k) and (n,) boundary IoU of these answers.
    click_scores, box_scores
        (n, k) and (n,) IoU that the model predicted for them; NaN where it did not answer.
    candidates, candidate_scores
        (n, 3) true and predicted IoU of the candidates for the first click; 0 and -1 where there are fewer.
    kept
        (n, 2, 2) clicks in the prompts of all rounds: positive and negative, all and followed by the answer.
    matched
        (n,) IoU of the best match of the object among everything segmented; NaN when left out.
    accuracy
        Of whole segmentations: of the answers to "1 click", "3 clicks" and "box", of "automatic" and of "baseline".
    found
        Objects in the automatic segmentation.
    seconds
        For encoding ("encode"), one click of one object on average ("click"), everything ("everything"), and
        all that was asked ("all").
    """

    name: str
    set: str
    modality: str
    group: str
    sizes: NDArray[np.int64]
    clicks: Floats
    box: Floats
    click_edges: Floats
    box_edges: Floats
    click_scores: Floats
    box_scores: Floats
    candidates: Floats
    candidate_scores: Floats
    kept: NDArray[np.int64]
    matched: Floats
    accuracy: dict[str, Accuracy] = field(default_factory=dict)
    found: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def only(self, chosen: NDArray[np.bool_]) -> ImageResult:
        """Keep the objects for which `chosen` (n,) is true; what is counted over the whole image stays."""
        columns = (f.name for f in fields(self) if isinstance(getattr(self, f.name), np.ndarray))
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})

    @property
    def oracle(self) -> Floats:
        """(n,) IoU of the best of the three candidates for the first click."""
        return np.asarray(self.candidates.max(axis=1))

    @property
    def msa(self) -> float:
        """Mean segmentation accuracy of the automatic segmentation; NaN when left out."""
        return self.accuracy.get("automatic", (np.nan, np.nan))[0]

    @property
    def ap50(self) -> float:
        """Precision at IoU .5 of the automatic segmentation; NaN when left out."""
        return self.accuracy.get("automatic", (np.nan, np.nan))[1]


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
    seconds = {"encode": time.perf_counter() - started}
    truth = asked_objects(labels, options.max_objects)
    asked = truth.to_labels()
    rounds, box = asking.click(model, embedding, truth, options.clicks), asking.box(model, embedding, truth)
    measures, accuracy, seconds["click"] = _clicks(truth, asked, rounds, options.clicks)
    measures["box"], measures["box_edges"], measures["box_scores"] = _counted(truth, box)
    if len(truth):
        accuracy["box"] = accuracy_of(asked, _as_labels(box))

    found, matched = 0, np.full(len(truth), np.nan)
    if options.automatic:
        started = time.perf_counter()
        everything = asking.everything(model, embedding, options.segment_all)
        seconds["everything"] = time.perf_counter() - started
        drawn, found = everything.to_labels(), len(everything)
        accuracy["automatic"] = accuracy_of(labels, drawn)
        matched = iou_table(asked, drawn).max(axis=1, initial=0)
    if options.baseline:
        accuracy["baseline"] = accuracy_of(labels, otsu_watershed(image))
    seconds["all"] = time.perf_counter() - begun
    return ImageResult(
        item.name, item.set, item.modality, item.group, truth.areas, **measures,
        matched=matched, accuracy=accuracy, found=found, seconds=seconds,
    )  # fmt: skip


def asked_objects(labels: Labels, max_objects: int | None) -> Masks:
    """Return the objects of a plane that are asked for one by one: all of them, or so many evenly chosen ones."""
    truth = Masks.from_labels(labels)
    if max_objects is None or len(truth) <= max_objects:
        return truth
    return truth[np.linspace(0, len(truth) - 1, max_objects).round().astype(int)]


def _clicks(
    truth: Masks, asked: Labels, rounds: Iterable[Round], count: int
) -> tuple[dict[str, Any], dict[str, Accuracy], float]:
    """Measure the answers after each click, also as segmentations, and the seconds to an answer."""
    names = ("clicks", "click_edges", "click_scores")
    measures: dict[str, Any] = {name: np.zeros((len(truth), count)) for name in names}
    measures["kept"] = np.zeros((len(truth), 2, 2), np.int64)
    accuracy: dict[str, Accuracy] = {}
    answered, seconds = 0, 0.0
    for i, one in enumerate(rounds):
        for name, column in zip(names, _counted(truth, one), strict=True):
            measures[name][:, i] = column
        for mine, prompt, answer in zip(measures["kept"], one.prompts, one.answers, strict=True):
            mine += asking.kept(prompt, answer)
        if one.candidates is not None:
            measures["candidates"], measures["candidate_scores"] = _candidates(truth, one.candidates)
        if i + 1 in DRAWN and len(truth):
            accuracy[f"{i + 1} click{'s' * (i > 0)}"] = accuracy_of(asked, _as_labels(one))
        answered, seconds = answered + one.asked, seconds + one.seconds
    return measures, accuracy, seconds / max(1, answered)


def _counted(truth: Masks, one: Round) -> tuple[Floats, Floats, Floats]:
    """Return IoU, boundary IoU and predicted IoU of the answers, (n,) each; 0, 0 and NaN where there is none."""
    table = np.zeros((len(truth), 3))
    table[:, 2] = np.nan
    for i, answer in enumerate(one.answers):
        if len(answer):
            crops = _crops(truth, i, answer, 0)
            table[i] = iou_of_crops(*crops), boundary_iou(*crops), answer.scores[0]
    iou, edges, scores = table.T
    return iou, edges, scores


def _candidates(truth: Masks, masks: Masks) -> tuple[Floats, Floats]:
    """Return true and predicted IoU of the candidates, (n, 3) each."""
    true, predicted = np.zeros((len(truth), CANDIDATES)), np.full((len(truth), CANDIDATES), -1.0)
    rank = np.zeros(len(truth), int)
    for j, i in enumerate(masks.prompt):
        true[i, rank[i]] = iou_of_crops(*_crops(truth, int(i), masks, j))
        predicted[i, rank[i]] = masks.scores[j]
        rank[i] += 1
    return true, predicted


def _crops(first: Masks, i: int, second: Masks, j: int) -> tuple[Any, ...]:
    at, other = first.offsets[i], second.offsets[j]
    return first.crops[i], (int(at[0]), int(at[1])), second.crops[j], (int(other[0]), int(other[1]))


def _as_labels(one: Round) -> Labels:
    return Masks.merge(one.answers).to_labels()
