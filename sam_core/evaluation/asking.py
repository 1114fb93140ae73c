"""A simulated user at work: clicks and boxes on objects whose truth is known, answered by a model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_core.correction import corrected
from sam_core.embedding import Embedding
from sam_core.evaluation.clicker import deepest, next_click
from sam_core.masks import Masks
from sam_core.prompt import Prompt
from sam_core.segment_all import SegmentAllOptions, segment_all
from sam_core.types import Mask, Segmenter


@dataclass(frozen=True, eq=False, slots=True)
class Round:
    """What was asked about n objects of a plane, and answered.

    Parameters
    ----------
    prompts
        One an object.
    answers
        Each one mask, or none.
    candidates
        All that was answered to the first click, up to three masks a prompt; None after other ones.
    asked, seconds
        How many of the prompts are new in this round, and how long it took to answer them.
    """

    prompts: tuple[Prompt, ...]
    answers: tuple[Masks, ...]
    candidates: Masks | None = None
    asked: int = 0
    seconds: float = 0.0


def click(model: Segmenter, embedding: Embedding, truth: Masks, count: int) -> Iterator[Round]:
    """Click each object `count` times and yield what was answered after each click.

    The first click goes deepest inside the object and is answered by the best-scored of three candidates; each next one
    deepest inside the largest error, with all clicks before it and the answer to them. Who sees a perfect answer clicks
    no more. All objects of a round are asked together.
    """
    starts = [deepest(crop) for crop in truth.crops]
    prompts = [Prompt.of([(y + dy, x + dx)]) for (y, x), (dy, dx) in zip(truth.offsets, starts, strict=True)]
    began = time.perf_counter()
    three = model.decode(embedding, prompts, candidates=3) if prompts else Masks.empty(truth.shape)
    answers = _in_order(corrected(prompts, three.best()), len(prompts))
    yield Round(tuple(prompts), tuple(answers), three, len(prompts), time.perf_counter() - began)
    for _ in range(count - 1):
        clicked = _with_clicks(truth, prompts, answers)
        began = time.perf_counter()
        if clicked:
            found = corrected(list(clicked.values()), model.decode(embedding, list(clicked.values())))
            for (i, prompt), answer in zip(clicked.items(), _in_order(found, len(clicked)), strict=True):
                prompts[i], answers[i] = prompt, answer
        yield Round(tuple(prompts), tuple(answers), None, len(clicked), time.perf_counter() - began)


def box(model: Segmenter, embedding: Embedding, truth: Masks) -> Round:
    """Draw the tight box of each object."""
    prompts = [Prompt.of(box=box) for box in truth.boxes]
    began = time.perf_counter()
    masks = model.decode(embedding, prompts) if prompts else Masks.empty(truth.shape)
    answers = _in_order(masks, len(prompts))
    return Round(tuple(prompts), tuple(answers), None, len(prompts), time.perf_counter() - began)


def everything(model: Segmenter, embedding: Embedding, options: SegmentAllOptions | None = None) -> Masks:
    """Ask for no object in particular."""
    return Masks.merge([Masks.empty(embedding.image_shape), *segment_all(model, embedding, options)])


def kept(prompt: Prompt, answer: Masks) -> NDArray[np.int64]:
    """Count clicks, and those that the answer follows: positive ones inside, negative ones outside.

    Returns
    -------
    (2, 2) int64
        Positive and negative, all and followed.
    """
    inside = np.zeros(len(prompt.points), bool)
    for crop, (y0, x0, y1, x1) in zip(answer.crops, answer.boxes, strict=True):
        pixels = prompt.points.round().astype(int) - (y0, x0)
        near = ((pixels >= 0) & (pixels < (y1 - y0, x1 - x0))).all(axis=1)
        inside[near] = crop[*pixels[near].T]
    followed = inside == prompt.positive
    return np.array([[mine.sum(), (mine & followed).sum()] for mine in (prompt.positive, ~prompt.positive)], np.int64)


def _with_clicks(truth: Masks, prompts: Sequence[Prompt], answers: Sequence[Masks]) -> dict[int, Prompt]:
    """Click once more on each object whose answer is not perfect: the new prompts by the number of the object."""
    more = (_with_click(p, truth[[i]], a) for i, (p, a) in enumerate(zip(prompts, answers, strict=True)))
    return {i: prompt for i, prompt in enumerate(more) if prompt is not None}


def _in_order(masks: Masks, count: int) -> list[Masks]:
    """Return the answer to each of `count` prompts, empty where there is none."""
    found = {int(p): i for i, p in enumerate(masks.prompt)}
    return [masks[[found[i]]] if i in found else Masks.empty(masks.shape) for i in range(count)]


def _with_click(prompt: Prompt, truth: Masks, answer: Masks) -> Prompt | None:
    """Add the click that corrects an answer, and the answer itself; None where nothing is wrong."""
    both = truth.boxes if not len(answer) or not answer.areas[0] else np.concatenate([truth.boxes, answer.boxes])
    window = (*both[:, :2].min(axis=0), *both[:, 2:].max(axis=0))
    found = next_click(drawn(truth, window), drawn(answer, window))
    if found is None:
        return None
    (y, x), positive = found
    clicked = prompt.click((float(y + window[0]), float(x + window[1])), positive)
    return clicked.refine(answer) if len(answer) else clicked


def drawn(masks: Masks, window: Sequence[int]) -> Mask:
    """Draw masks of a plane as one, as far as a window y0, x0, y1, x1 shows them; it may reach outside the plane."""
    y0, x0, y1, x1 = window
    canvas = np.zeros((y1 - y0, x1 - x0), bool)
    for crop, (a0, b0, a1, b1) in zip(masks.crops, masks.boxes, strict=True):
        rows, columns = slice(max(a0, y0), min(a1, y1)), slice(max(b0, x0), min(b1, x1))
        if rows.start < rows.stop and columns.start < columns.stop:
            canvas[_from(rows, y0), _from(columns, x0)] |= crop[_from(rows, a0), _from(columns, b0)]
    return canvas


def _from(part: slice, start: int) -> slice:
    return slice(part.start - start, part.stop - start)
