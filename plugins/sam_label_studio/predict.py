"""One task in, one prediction out; nothing in here knows of HTTP."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

from sam_core import Embedding, Masks, PromptError, SegmentAllOptions, Segmenter, segment, segment_all
from sam_label_studio.config import Control, Controls, ImageTag, Kind
from sam_label_studio.embeddings import Embeddings, Page
from sam_label_studio.errors import CodecError, ConfigError, FetchError
from sam_label_studio.images import ImageSource
from sam_label_studio.part import Region, Shape, are_complete, extent
from sam_label_studio.prompts import Asked, Group, asked, groups
from sam_label_studio.regions import Place, regions

Json: TypeAlias = dict[str, Any]
Mode: TypeAlias = Literal["everything", "boxes", "refine", "off"]
STARTS: dict[str, tuple[Kind, ...]] = {"boxes": ("rectangle", "ellipse"), "refine": ("brush", "polygon", "bitmask")}
"""What each mode starts from."""
OURS = "sam-core"  # how our model versions start: predictions that are not taken for somebody's boxes
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How tasks are answered.

    Parameters
    ----------
    kind
        What to answer with, where the labelling config allows several; None takes the first of brush, polygon,
        bitmask, rectangle and ellipse that it has.
    tolerance
        Pixels that a polygon may lie beside the outline of its mask.
    label
        What to call objects that were not asked for one by one; None takes the first label of the tag.
    everything
        How everything is segmented; None takes what the model recommends.
    version
        The `model_version` of the predictions.

    Examples
    --------
    >>> Options(kind="polygon", tolerance=0.5).version
    'sam-core'
    """

    kind: Kind | None = None
    tolerance: float = 1.0
    label: str | None = None
    everything: SegmentAllOptions | None = None
    version: str = OURS


def predict_task(
    task: Mapping[str, Any],
    controls: Controls,
    model: Segmenter,
    cache: Embeddings,
    images: ImageSource,
    *,
    context: Mapping[str, Any] | None = None,
    mode: Mode = "everything",
    options: Options | None = None,
) -> Json:
    """Answer one task with one prediction.

    Parameters
    ----------
    task
        As Label Studio sends it: `id`, `data`, and for the modes "boxes" and "refine" `annotations` and `predictions`.
    controls
        Of the project.
    model
        What segments.
    cache
        Keeps embeddings.
    images
        Opens what the task refers to.
    context
        What somebody just drew, `{"result": [...]}`; None to predict the task as a whole.
    mode
        How a task is predicted as a whole: "everything" there is; "boxes" of its latest annotation, or else prediction,
        become masks; "refine" its masks; "off".
    options
        How it is answered.

    Returns
    -------
    dict
        `{"result": [...], "score": 0..1, "model_version": "..."}`.

    Raises
    ------
    ConfigError
        Nothing can be answered with this labelling config.
    CodecError, PromptError
        Nothing of what was drawn can be understood.
    FetchError, ImageError
        The image cannot be had.
    """
    job = _Job(task, controls.of_task(task.get("data")), model, cache, images, options or Options())
    with cache.answering():
        found = list(job.found(context, mode))
    scores = [region["score"] for region in found]
    score = sum(scores) / len(scores) if scores else 0.0
    return {"result": found, "score": round(score, 4), "model_version": job.options.version}


@dataclass(frozen=True, slots=True)
class _Job:
    """A task, and all that is needed to answer it."""

    task: Mapping[str, Any]
    controls: Controls
    model: Segmenter
    cache: Embeddings
    images: ImageSource
    options: Options

    def found(self, context: Mapping[str, Any] | None, mode: Mode) -> Iterator[Json]:
        """Answer what was drawn, or else the task as a whole."""
        if context is not None:
            yield from self.drawn(_results(context), is_click=True)
        elif mode == "everything":
            yield from self.everything()
        elif mode in STARTS:
            yield from self.drawn(_given(self.task, STARTS[mode]), refine=mode == "refine")

    # -- everything --------------------------------------------------------------------------------------------------

    def everything(self) -> Iterator[Json]:
        """Segment everything on every page."""
        for tag in self.controls.pictures() or [self._image(None)]:
            control = self._control(tag.name, self.options.label)
            label = self.options.label or (control.labels[0] if control.labels else None)
            for item, embedding in self._pages(tag):
                parts = [part for part in segment_all(self.model, embedding, self.options.everything) if len(part)]
                masks = Masks.merge([Masks.empty(embedding.image_shape), *parts])
                masks = masks[masks.areas > 0]
                yield from self._regions(masks, control, item, [label] * len(masks), [None] * len(masks))

    def _pages(self, tag: ImageTag) -> Iterator[tuple[int | None, Embedding]]:
        """Yield every page of every image of the task, and the `item_index` that its regions need."""
        data, number = self._data(), self.task.get("id")
        references = self._references(tag)
        for i, reference in enumerate(references):
            with self.images.open(reference, task=number) as planes:
                count = 1 if tag.is_list(data) else len(planes)
                for page in range(count):
                    item = i if tag.is_list(data) else page if count > 1 else None
                    yield item, self.cache.of_plane(self.model, self.images, Page(reference, page, number), planes)

    # -- what was drawn ----------------------------------------------------------------------------------------------

    def drawn(self, results: Sequence[Any], *, refine: bool = False, is_click: bool = False) -> Iterator[Json]:
        """Answer regions with regions; what cannot be answered is logged, and an error where it is all there is."""
        problems: list[str] = []
        answered = 0
        for group in groups(results):
            tag = self._image(group.to_name or None)
            page = self._page(tag, group)
            given = self.model, self.images, page
            embedding = self.cache.near(*given, partial(_extent, group)) if is_click else self.cache.page(*given)
            found, wrong = asked(group, embedding.image_shape, refine=refine)
            problems += wrong
            answered += len(found)
            yield from self._answered(found, embedding, page, tag)
        for problem in problems:
            log.warning("task %s: %s", self.task.get("id"), problem)
        if problems and not answered:
            raise PromptError("; ".join(problems))

    def _page(self, tag: ImageTag, group: Group) -> Page:
        """Return the page that a group was drawn on."""
        references, item = self._references(tag), group.item or 0
        is_list = tag.is_list(self._data())
        if is_list and item >= len(references):
            msg = f"got a region on image {item}, but the task has {len(references)}, counted from 0"
            raise CodecError(msg)
        reference, page = (references[item], 0) if is_list else (references[0], item)
        if not isinstance(reference, str):
            msg = f"got {str(reference)[:60]!r} in the place of an image, expected its address; check the task's data"
            raise FetchError(msg)
        return Page(reference, page, self.task.get("id"))

    def _answered(self, found: Sequence[Asked], embedding: Embedding, page: Page, tag: ImageTag) -> Iterator[Json]:
        if not found:
            return
        masks = _answers(self.model, embedding, found)
        if embedding.part is not None and not are_complete(masks, embedding.part, len(found)):
            masks = _answers(self.model, self.cache.page(self.model, self.images, page), found)
        mine = [found[i] for i in masks.prompt]
        first = found[0]
        control = self._control(tag.name, first.label)
        labels = [self._label(each.label, control) for each in mine]
        keys = [each.ids[0] or None for each in mine]
        yield from self._regions(masks, control, first.item, labels, keys)

    def _label(self, label: str | None, control: Control) -> str | None:
        if label is None or control.knows(label):
            return label
        log.warning("task %s: %s cannot say %r; it has no label", self.task.get("id"), control.name, label)
        return None

    # -- both --------------------------------------------------------------------------------------------------------

    def _data(self) -> Any:
        return self.task.get("data")

    def _image(self, name: str | None) -> ImageTag:
        tag = self.controls.image(name)
        if self.controls.problems or tag is None:
            named = (
                f"a region on {name!r}, which is no image of the config" if name else "a task without an image to show"
            )
            problem = "; ".join(self.controls.problems) or f"got {named}"
            raise ConfigError(problem)
        return tag

    def _control(self, to_name: str, label: str | None) -> Control:
        control = self.controls.output(to_name, label, self.options.kind)
        if control is None:
            kind = f" of kind {self.options.kind}" if self.options.kind else ""
            msg = f"got a labelling config without a tag{kind} that can show an answer on {to_name!r}; add one"
            raise ConfigError(msg)
        return control

    def _references(self, tag: ImageTag) -> list[Any]:
        references = tag.references(self._data())
        if not references:
            msg = f"got a task without an image: its data has no {tag.value_list or tag.value!r}; import it with one"
            raise FetchError(msg)
        return references

    def _regions(
        self,
        masks: Masks,
        control: Control,
        item: int | None,
        labels: Sequence[str | None],
        keys: Sequence[str | None],
    ) -> list[Json]:
        place = Place(self.task.get("id"), item)
        return regions(masks, control, place, labels=labels, keys=keys, tolerance=self.options.tolerance)


def _answers(model: Segmenter, embedding: Embedding, found: Sequence[Asked]) -> Masks:
    """Answer each prompt with one mask, or none; `prompt` says which each answers."""
    prompts = [each.prompt for each in found]
    if len(prompts) == 1:
        return segment(model, embedding, prompts[0])
    masks = model.decode(embedding, prompts).best()
    return masks[masks.areas > 0]


def _extent(group: Group, shape: Shape) -> Region | None:
    """Return where on a page of this height and width a group asks."""
    return extent([each.prompt for each in asked(group, shape)[0]])


def _results(context: Mapping[str, Any]) -> Sequence[Any]:
    results = context.get("result") if isinstance(context, Mapping) else None
    return results if isinstance(results, list) else []


def _given(task: Mapping[str, Any], kinds: tuple[Kind, ...]) -> list[Any]:
    """Return the regions of these kinds of the latest annotation that has some, or else of the latest prediction."""
    annotations = [each for each in _listed(task, "annotations") if not each.get("was_cancelled")]
    predictions = [each for each in _listed(task, "predictions") if not str(each.get("model_version")).startswith(OURS)]
    for given in (annotations, predictions):
        for each in sorted(given, key=_made, reverse=True):
            found = [region for region in _results(each) if isinstance(region, Mapping)]
            found = [region for region in found if str(region.get("type")).removesuffix("labels") in kinds]
            if found:
                return found
    return []


def _listed(task: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    given = task.get(name)
    return [each for each in given if isinstance(each, Mapping)] if isinstance(given, list) else []


def _made(answer: Mapping[str, Any]) -> tuple[str, int]:
    number = answer.get("id")
    return str(answer.get("updated_at") or answer.get("created_at") or ""), number if isinstance(number, int) else 0
