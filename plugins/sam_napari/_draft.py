"""What an object is while it is being made: its clicks, the candidates, and which pixels it takes.

Whose pixels an object takes
----------------------------
An object takes background, its own pixels, and those of objects that were clicked on; all others keep theirs, and what
is cut off from the clicks by them is left out. So a leaking answer does not eat the neighbours, and yet a nucleus can
be made inside a cell, half of two merged cells can be taken out, and a piece can be joined to its cell. Where napari's
`preserve_labels` is on, no other object ever loses a pixel, clicked on or not.

What an object gives back when it is corrected is what lay there before it.

What a click with Shift takes away
----------------------------------
From an object that others made: the thing under the pointer, as a plain click there would take it, where the model sees
one that lies in the object and is a good part of it. So one click divides two cells that are one object. Elsewhere, and
of the model's own answers, the model is asked to correct the object; should it take away more than half, the thing is
taken away instead, if there is one. Of a correction of what others made, only what the click is about is taken: see
`_local`.

Mean IoU of objects with mistakes made on purpose, before and after one click in the middle of the mistake, 898 objects
of validation and training images (dsb2018, emps, usiigaci, axon_sem), on which the limits below were chosen:

| two cells in one | a leak | too large all around | a bite missing | too small all around |
|---|---|---|---|---|
| 0.47 -> 0.66 | 0.78 -> 0.91 | 0.67 -> 0.81 | 0.78 -> 0.91 | 0.54 -> 0.78 |

A plain click on an object that is there already
-------------------------------------------------
| the answer ...                           | then                                               |
| is much the same                         | the object is selected, no pixel changes           |
| covers nearly all of it, and more        | the object grows, and keeps its number             |
| is a part of it                          | the part becomes an object; with preserve_labels   |
|                                          | the object is selected                             |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam_core import Masks, Prompt
from sam_napari._boxes import at, grown, pixel, united
from sam_napari._change import Canvas, Change, box_of, cropped, spread, standing, standing_if, under
from sam_napari._source import Plane

ALIKE = 0.95  # IoU from which two candidates are one
SAME = 0.7  # IoU from which an answer is the object that is there already
REDONE = 0.5  # the same for a box, which is drawn around an object on purpose
COVERED = 0.75  # of an object, from which an answer means all of it
KEPT = 0.5  # of the object before, or of the answer, that both must share after a correction
LEFT = 0.05  # of the object before that must be left of it when a part is cut off

# A thing under the pointer is taken away as it is ...
SCORE = 0.6  # if it has this score,
INSIDE = 0.85  # this part of it lies in the object,
LEAST, MOST = 0.25, 0.6  # and it is a part of the object within these limits;
LOOSE = 0.7  # or, where a correction would take away more than half, if this part of it lies in the object.

Point = tuple[float, float]


@dataclass(frozen=True, eq=False, slots=True)
class Draft:
    """An object as it was painted after one action.

    Parameters
    ----------
    plane, label
        Which object, on which plane.
    prompt
        What was asked, in the plane frame; None of an object that others made.
    masks
        The candidates, smallest first, in the plane frame.
    chosen
        Which of them was taken.
    shown
        The pixels it has on the canvas, 1 mask: the chosen one without what belongs to others.
    over
        Objects that it may take pixels of.
    ground
        What lay beneath it, where that was no background.
    """

    plane: Plane
    label: int
    prompt: Prompt | None
    masks: Masks
    chosen: int
    shown: Masks
    over: frozenset[int] = frozenset()
    ground: Change | None = None

    @property
    def mask(self) -> Masks:
        """The candidate that was taken, as the model answered."""
        return self.masks[self.chosen]

    @property
    def clicks(self) -> int:
        """How many clicks it is made of."""
        return 0 if self.prompt is None else len(self.prompt.points)

    @classmethod
    def of_pixels(cls, plane: Plane, label: int, pixels: Masks) -> Draft:
        """Start from what is painted, whoever painted it; `pixels` is 1 mask."""
        return cls(plane, label, None, pixels, 0, pixels)

    def click(self, point: Point, positive: bool) -> Prompt:
        """Return the prompt with one more click, as a correction of this draft."""
        start = Prompt.of([point], [positive]) if self.prompt is None else self.prompt.click(point, positive)
        return start.refine(self.mask)


def matching(drafts: Sequence[Draft], canvas: Canvas) -> Draft | None:
    """Return the latest draft that is what is painted now; None where there is none.

    After an undo or redo that is the draft of that time, after a stroke of the brush it is none: so nothing has to be
    kept in step with napari's history.
    """
    return next((draft for draft in reversed(drafts) if stands(draft, canvas)), None)


def stands(draft: Draft, canvas: Canvas) -> bool:
    """Tell whether the pixels of a draft, with a rim of one pixel, are painted as it says."""
    box = grown(box_of(draft.shown), 1, canvas.shape(draft.plane))
    return bool(np.array_equal(canvas.read(draft.plane, box) == draft.label, spread(draft.shown, box)))


def candidates_of(masks: Masks, point: Point | None = None) -> Masks:
    """Return the masks that differ from each other, smallest first; with a point only those that hold it.

    Of masks that are alike, the one with the best score stays.
    """
    kept: list[int] = []
    for i in np.argsort(-masks.scores, kind="stable"):
        one = masks[int(i)]
        fits = bool(one.areas[0]) and (point is None or holds(one, point))
        if fits and all(iou(one, masks[j]) < ALIKE for j in kept):
            kept.append(int(i))
    return masks[sorted(kept, key=lambda i: int(masks.areas[i]))] if kept else Masks.empty(masks.shape)


def best_of(candidates: Masks) -> int:
    """Return the number of the candidate with the best score."""
    return int(np.argmax(candidates.scores))


def objection(prompt: Prompt, before: Masks | None, after: Masks) -> str | None:
    """Say why a correction must not be taken; None where it may.

    Parameters
    ----------
    prompt
        What was asked; its last click is the correction.
    before
        The object that is corrected, 1 mask; None where there is none yet.
    after
        The answer, 0 or 1 masks.
    """
    if not len(after) or not after.areas[0]:
        return "The model sees nothing here." if before is None else f"Nothing would be left of the object. {_ADVICE}"
    if before is None or not len(prompt.points):
        return None
    for point, positive in zip(prompt.points[:-1], prompt.positive[:-1], strict=True):
        if _follows(before, point, positive) and not _follows(after, point, positive):
            lost = "lose a spot that you clicked on" if positive else "cover a spot again that you excluded"
            return f"The object would {lost}. {_ADVICE}"
    positive = bool(prompt.positive[-1])
    if not _follows(after, prompt.points[-1], positive):
        return f"The model does not {'add' if positive else 'take away'} this spot. {_ADVICE}"
    return _loss(before, after, positive)


def thing_of(candidates: Masks, before: Draft, *, sure: bool) -> Masks | None:
    """Return the candidate (1 mask) that a click means to take away from an object; None where it is none of them.

    Parameters
    ----------
    candidates
        What a plain click at that spot could take.
    before
        The object.
    sure
        Whether it is to be taken away without asking the model for a correction.
    """
    prompt, area = before.prompt, int(before.mask.areas[0])
    clicks = [] if prompt is None else prompt.points[prompt.positive].tolist()
    usable = [one for one in _each(candidates) if common(one, before.mask) <= MOST * area]
    usable = [one for one in usable if not any(holds(one, point) for point in clicks)]
    if not usable:
        return None
    thing = max(usable, key=lambda one: float(one.scores[0]))
    inside, size = common(thing, before.mask), int(thing.areas[0])
    if sure:
        fits = prompt is None and thing.scores[0] >= SCORE and inside >= INSIDE * size and inside >= LEAST * area
    else:
        fits = inside > 0 and inside >= LOOSE * size
    return thing if fits else None


def without(before: Draft, thing: Masks) -> Masks:
    """Return the mask of an object without a thing, and without what that cuts off from its clicks: 0 or 1 masks."""
    box = box_of(before.mask)
    points = [] if before.prompt is None else before.prompt.points[before.prompt.positive].tolist()
    inside = before.mask.crops[0] & ~spread(thing, box)
    kept = _connected(inside, [(y - box[0], x - box[1]) for y, x in points])
    return cropped(kept, box, thing.shape, replace(before.mask, logits=(None,)))


def _each(masks: Masks) -> list[Masks]:
    return [masks[i] for i in range(len(masks))]


_ADVICE = "The click was not taken; click nearer to the middle of what is wrong, or use napari's brush."


def _follows(mask: Masks, point: NDArray[np.float32], positive: bool) -> bool:
    """Tell whether a mask does what a click says; beside its edge, by a pixel, it does either way."""
    around = spread(mask, grown(at((float(point[0]), float(point[1]))), 1, mask.shape))
    return bool(around.any()) if positive else not around.all()


def _loss(before: Masks, after: Masks, positive: bool) -> str | None:
    """Say how a correction would lose the object: one that adds keeps it, one that takes away stays inside it."""
    shared, old, new = common(before, after), int(before.areas[0]), int(after.areas[0])
    if positive and shared < KEPT * old:
        return f"The object would lose {1 - shared / old:.0%} of its pixels. {_ADVICE}"
    if not positive and (shared < KEPT * new or new - shared > KEPT * old):
        return f"The object would move to another place. {_ADVICE}"
    if not positive and new < LEFT * old:
        return f"Only {new / old:.0%} of the object would be left. {_ADVICE}"
    return None


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """What a click or a box would do.

    Parameters
    ----------
    kind
        "make" an object, "grow" the one that is there, "select" it, or "nothing".
    label
        The object that is there; 0: none, or a new one is made.
    shown
        The pixels that the object would have: 1 mask, 0 for nothing.
    old
        The pixels that it has: 0 or 1 masks.
    over
        Objects that would lose pixels.
    """

    kind: Literal["make", "grow", "select", "nothing"]
    label: int
    shown: Masks
    old: Masks
    over: frozenset[int] = frozenset()


def plan_click(canvas: Canvas, plane: Plane, point: Point, mask: Masks) -> Plan:
    """Decide what a plain click does whose answer is `mask` (1 mask): see the table of this module."""
    label = under(canvas, plane, point)
    if not label:
        return _made(canvas, plane, mask, frozenset(), [point])
    body = standing_if(canvas, plane, label, mask, min(SAME, COVERED))
    if body is not None and iou(body, mask) >= SAME:
        return Plan("select", label, body, body)
    if body is not None and common(body, mask) >= COVERED * int(body.areas[0]):
        shown = fitted(canvas, plane, label, mask, frozenset(), [point])
        return Plan("grow", label, _union(shown, body), body)
    if canvas.preserve:
        body = standing(canvas, plane, label, at(point))
        return Plan("select", label, body, body)
    return _made(canvas, plane, mask, frozenset({label}), [point])


def plan_box(canvas: Canvas, plane: Plane, mask: Masks) -> Plan:
    """Decide what a box does whose answer is `mask` (1 mask): an object that is there is done again, or one is made."""
    label = _most(canvas, plane, mask)
    body = standing_if(canvas, plane, label, mask, REDONE) if label else None
    if body is not None and iou(body, mask) >= REDONE:
        return Plan("grow", label, fitted(canvas, plane, label, mask, frozenset(), []), body)
    return _made(canvas, plane, mask, frozenset(), [])


def plan_section(canvas: Canvas, plane: Plane, label: int, point: Point, mask: Masks) -> Plan:
    """Decide what a click does that adds to object `label` on a plane, or at a place, where it was not yet."""
    own = frozenset({label, 0})
    over = frozenset({under(canvas, plane, point)}) - own
    plan = _made(canvas, plane, mask, frozenset() if canvas.preserve else over, [point], label)
    return plan if plan.kind == "nothing" else Plan("grow", label, plan.shown, plan.old, plan.over)


def fitted(
    canvas: Canvas, plane: Plane, label: int, mask: Masks, over: frozenset[int], points: Sequence[Point]
) -> Masks:
    """Return the pixels of a mask of 1 that object `label` may take: 0 or 1 masks.

    What the pixels of others cut off from all points is left out, or without points all but the largest part. What is
    left of an object in `over` that is nearly all covered is taken as well, so that no crumbs of it stay.
    """
    if not mask.areas[0]:
        return Masks.empty(mask.shape)
    box = box_of(mask)
    there = canvas.read(plane, box)
    allowed = frozenset() if canvas.preserve else over
    inside = mask.crops[0] & np.isin(there, [0, label, *allowed])
    if (inside != mask.crops[0]).any():
        inside = _connected(inside, [(y - box[0], x - box[1]) for y, x in points])
    kept = cropped(inside, box, mask.shape, mask)
    for other in sorted(allowed & {int(value) for value in np.unique(there[inside])} - {0, label}):
        body = standing_if(canvas, plane, other, kept, COVERED)
        kept = kept if body is None else _union(kept, body)
    return kept


def iou(first: Masks, second: Masks) -> float:
    """Return the IoU of two masks of 1; 0 where both are empty."""
    shared = common(first, second)
    union = int(first.areas[0]) + int(second.areas[0]) - shared
    return shared / union if union else 0.0


def common(first: Masks, second: Masks) -> int:
    """Return how many pixels two masks of 1 share."""
    return int(np.count_nonzero(spread(first, box_of(second)) & second.crops[0]))


def holds(mask: Masks, point: Point) -> bool:
    """Tell whether a mask of 1 holds the pixel at y, x."""
    return bool(spread(mask, at(point)).any())


def _made(
    canvas: Canvas, plane: Plane, mask: Masks, over: frozenset[int], points: Sequence[Point], label: int = 0
) -> Plan:
    shown = fitted(canvas, plane, label, mask, over, points)
    return Plan("make" if len(shown) else "nothing", label, shown, Masks.empty(mask.shape), over)


def _most(canvas: Canvas, plane: Plane, mask: Masks) -> int:
    """Return the object that has most of the pixels of a mask; 0 for none."""
    there = canvas.read(plane, box_of(mask))[mask.crops[0]]
    labels, counts = np.unique(there[there != 0], return_counts=True)
    return int(labels[np.argmax(counts)]) if len(labels) else 0


def _connected(inside: NDArray[np.bool_], points: Sequence[Point]) -> NDArray[np.bool_]:
    """Return the parts that hold one of the points; the largest part where none does."""
    parts, count = ndimage.label(inside)
    if count < 2:
        return inside
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    rows, columns = inside.shape
    held = {int(parts[y, x]) for y, x in map(pixel, points) if 0 <= y < rows and 0 <= x < columns} - {0}
    return np.asarray(np.isin(parts, sorted(held) if held else [int(sizes.argmax())]))


def _union(first: Masks, second: Masks) -> Masks:
    """Return the union of two masks of 1, with the score and logits of the first."""
    box = united(box_of(first), box_of(second))
    return cropped(spread(first, box) | spread(second, box), box, first.shape, first)
