"""A correction makes an answer better, never worse: what clicks say is kept, whatever the network answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam_core.logits import OUTSIDE, Logits
from sam_core.masks import Masks
from sam_core.prompt import Prompt
from sam_core.types import Region

SURE = 1.0  # logit that a click has at least where it was made
MOST_PIXELS = 1 << 20  # of a mask whose logits are interpolated to keep clicks apart
REACHES = (1.5, 0.75, 0.4)  # cells around a click that follow it; less and less, for clicks close to one another


def corrected(prompts: Sequence[Prompt], answers: Masks) -> Masks:
    """Make the answers to corrections keep what the clicks say.

    The last click of a prompt that has a previous answer is a correction of it: a positive one adds and takes nothing
    away, a negative one takes away and adds nothing. Then every positive click is put inside, every negative one
    outside. Last, pieces are dropped that no positive click is on and that were not there before: specks far from what
    was clicked. A lone click only has its specks dropped; prompts without clicks, and masks without logits, are left.

    On images of cells the mean IoU then rises with each of eight clicks, where it fell with some of them before.

    Parameters
    ----------
    prompts
        What was asked.
    answers
        What the model answered; `prompt` says which prompt a mask answers.

    Returns
    -------
    Masks
        As many, in the same order, with their scores.

    Examples
    --------
    >>> before, after = np.zeros((2, 16, 16), bool)
    >>> before[4:12, 4:8], after[4:8, 4:12] = True, True
    >>> prompt = Prompt.of([(5, 10)], previous=before)
    >>> answer = Masks.from_logits((16, 16), [Logits.of_mask(after)], [0.9], [0])
    >>> bool((corrected([prompt], answer).dense()[0] == before | after).all())
    True
    """
    pairs = list(zip(answers.prompt, answers.logits, strict=True))
    kept = [None if logits is None else _kept(logits, prompts[i]) for i, logits in pairs]
    changed = [k for k, (_, logits) in enumerate(pairs) if kept[k] is not logits]
    if not changed:
        return answers
    parts = [answers[[k]] for k in range(len(answers))]
    for k in changed:
        logits = kept[k]
        if logits is not None:
            parts[k] = Masks.from_logits(answers.shape, [logits], answers.scores[[k]], answers.prompt[[k]])
    return replace(Masks.merge(parts), prompt=answers.prompt)


def _kept(logits: Logits, prompt: Prompt) -> Logits:
    if not len(prompt.points):
        return logits
    if not prompt.is_lone_click:
        logits = _with_previous(_covering(logits, prompt.extent), prompt)
        logits = _with_clicks(_per_pixel(logits, prompt), prompt)
    return _without_specks(logits, prompt)


def _covering(logits: Logits, region: Region) -> Logits:
    """Widen the logits by whole cells, certainly outside the object, until they cover a region of the plane."""
    box, margins = list(logits.box), []
    for axis in (0, 1):
        cell = (box[axis + 2] - box[axis]) / logits.values.shape[axis]
        before = max(0, math.ceil((box[axis] - region[axis]) / cell))
        after = max(0, math.ceil((region[axis + 2] - box[axis + 2]) / cell))
        box[axis], box[axis + 2] = box[axis] - before * cell, box[axis + 2] + after * cell
        margins.append((before, after))
    if not any(map(any, margins)):
        return logits
    y0, x0, y1, x1 = box
    return replace(logits, values=np.pad(logits.values, margins, constant_values=OUTSIDE), box=(y0, x0, y1, x1))


def _with_previous(logits: Logits, prompt: Prompt) -> Logits:
    if prompt.previous is None:
        return logits
    choose = np.maximum if prompt.positive[-1] else np.minimum
    previous = prompt.previous.resample(logits.box, (logits.values.shape[0], logits.values.shape[1]))
    return replace(logits, values=choose(logits.values.astype(np.float32), previous))


def _per_pixel(logits: Logits, prompt: Prompt) -> Logits:
    """Interpolate coarser logits at pixels: clicks beside each other then have cells of their own."""
    y0, x0, y1, x1 = logits.box
    region = logits.positive_region(margin=2) or logits.box
    points = np.concatenate([prompt.points - 1, prompt.points + 2, np.reshape(region, (2, 2))])
    low = np.floor(points.min(axis=0).clip((y0, x0), (y1, x1))).astype(int)
    high = np.ceil(points.max(axis=0).clip((y0, x0), (y1, x1))).astype(int)
    height, width = high - low
    if (y1 - y0) * (x1 - x0) <= logits.values.size or not 0 < height * width <= MOST_PIXELS:
        return logits
    box = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    return Logits(logits.sample(box), box, logits.shape)


def _with_clicks(logits: Logits, prompt: Prompt) -> Logits:
    """Raise or lower the logits around each click that the mask does not follow."""
    values = logits.values.astype(np.float32)
    height, width = values.shape
    for reach in REACHES:
        for cells, positive in zip(_cells(logits, prompt), prompt.positive, strict=True):
            for y, x in cells:
                lacking = (SURE if positive else -SURE) - values[y, x]
                if (lacking > 0) == bool(positive):
                    values += lacking * np.outer(_bump(height, y, reach), _bump(width, x, reach))
    return replace(logits, values=values)


def _without_specks(logits: Logits, prompt: Prompt) -> Logits:
    """Drop the pieces that are neither clicked on nor part of the previous answer; all stay where none is."""
    pieces, count = ndimage.label(logits.values > 0, np.ones((3, 3)))
    signed = zip(_cells(logits, prompt), prompt.positive, strict=True)
    clicked = [cell for cells, positive in signed for cell in cells if positive]
    wanted = {int(pieces[cell]) for cell in clicked}
    if prompt.previous is not None:
        before = prompt.previous.resample(logits.box, (pieces.shape[0], pieces.shape[1])) > 0
        wanted |= set(np.unique(pieces[before]).tolist())
    wanted -= {0}
    if not wanted or len(wanted) == count:
        return logits
    specks = (pieces > 0) & ~np.isin(pieces, list(wanted))
    return replace(logits, values=np.where(specks, np.float32(-SURE), logits.values))


def _cells(logits: Logits, prompt: Prompt) -> list[list[tuple[int, int]]]:
    """Return, for each click, the cells that its pixel is drawn between."""
    y0, x0, y1, x1 = logits.box
    height, width = logits.values.shape
    rows = (prompt.points[:, 0] + 0.5 - y0) * (height / (y1 - y0)) - 0.5
    columns = (prompt.points[:, 1] + 0.5 - x0) * (width / (x1 - x0)) - 0.5
    return [list(product(_around(y, height), _around(x, width))) for y, x in zip(rows, columns, strict=True)]


def _around(place: float, count: int) -> list[int]:
    """Return the one or two cells, of those there are, that a place lies on or between."""
    return sorted({math.floor(place), math.ceil(place)} & set(range(count)))


def _bump(count: int, middle: int, reach: float) -> NDArray[np.float32]:
    return np.asarray(np.exp(-((np.arange(count) - middle) ** 2) / (2 * reach**2)), np.float32)
