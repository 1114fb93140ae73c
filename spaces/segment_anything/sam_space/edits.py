"""What a visitor can do to the work: each is a function from work to work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np

from sam_core import Masks, Prompt
from sam_space.limits import Limits
from sam_space.refusal import Refusal
from sam_space.work import Box, Choose, Click, Drawn, Followed, Found, Object, Stroke, Work

Ask: TypeAlias = Callable[[Prompt, Literal[1, 3]], Masks]
NAME = 60  # characters


def asked(work: Work, plane: int, click: Click, *, fresh: bool = False) -> Prompt:
    """Return what a click asks: of the active object if it is on this plane, else of a new one.

    Raises
    ------
    Refusal
        It excludes, and there is nothing to exclude from.
    """
    drawn = None if fresh else work.current(plane)
    if drawn is not None:
        return drawn.prompt(click)
    if not click.positive:
        msg = "there is nothing here to exclude from yet: click an object first"
        raise Refusal(msg, HTTPStatus.OK)
    return Prompt.of([(click.y, click.x)])


def click(work: Work, plane: int, at: Click, ask: Ask, limits: Limits, *, fresh: bool = False) -> Work:
    """Take, add to or cut from an object."""
    drawn = None if fresh else work.current(plane)
    if drawn is not None and len(drawn.clicks) >= limits.clicks:
        msg = f"got more than {limits.clicks} clicks on one object; paint the last pixels with the brush"
        raise Refusal(msg, HTTPStatus.OK)
    masks = ask(asked(work, plane, at, fresh=fresh), 3 if drawn is None else 1)
    if drawn is None:
        return _begun(work, plane, masks, at, limits, fresh=fresh)
    if not len(masks):
        msg = "nothing would be left: the object stays as it was"
        raise Refusal(msg, HTTPStatus.OK)
    return work.draw(plane, Drawn(masks[[0]], (*drawn.steps, at), Masks.empty(masks.shape)))


def box(work: Work, plane: int, at: Box, ask: Ask, limits: Limits, *, fresh: bool = False) -> Work:
    """Take what is in a box; an object that is there already stays, and a new one begins."""
    masks = ask(Prompt.of(box=(at.y0, at.x0, at.y1, at.x1)), 1)
    return _begun(work, plane, masks, at, limits, fresh=fresh or work.current(plane) is not None)


def _begun(work: Work, plane: int, masks: Masks, step: Click | Box, limits: Limits, *, fresh: bool) -> Work:
    if not len(masks):
        msg = "the model sees no object here"
        raise Refusal(msg, HTTPStatus.OK)
    _room(work, 1, limits)
    masks = masks[np.argsort(-masks.scores, kind="stable")]
    candidates = masks if len(masks) > 1 else Masks.empty(masks.shape)
    return work.draw(plane, Drawn(masks[[0]], (step,), candidates), fresh=fresh)


def choose(work: Work, plane: int, index: int) -> Work:
    """Take another candidate of the click that the active object began with."""
    drawn = work.current(plane)
    if drawn is None or not 0 <= index < len(drawn.candidates):
        msg = "there are no candidates to choose from: they belong to the first click on an object"
        raise Refusal(msg, HTTPStatus.OK)
    steps = (*(step for step in drawn.steps if not isinstance(step, Choose)), Choose(index))
    return work.draw(plane, Drawn(drawn.candidates[[index]], steps, drawn.candidates, index))


def stroke(work: Work, plane: int, at: Stroke, shape: tuple[int, int], limits: Limits) -> Work:
    """Paint pixels into the active object, or a new one, or erase them from it."""
    drawn = work.current(plane)
    if drawn is None and not at.add:
        msg = "there is nothing to erase from: choose an object first"
        raise Refusal(msg, HTTPStatus.OK)
    before = np.zeros(shape, bool) if drawn is None else drawn.mask.dense()[0]
    painted = _painted(at, shape)
    after = before | painted if at.add else before & ~painted
    if not after.any():
        msg = "nothing would be left: delete the object instead"
        raise Refusal(msg, HTTPStatus.OK)
    if drawn is None:
        _room(work, 1, limits)
    steps = (at,) if drawn is None else (*drawn.steps, at)
    return work.draw(plane, Drawn(Masks.from_labels(after.astype(np.uint8)), steps, Masks.empty(shape)))


def _painted(at: Stroke, shape: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Draw a round pen along a line: the pixels whose centres it passes over."""
    painted = np.zeros(shape, bool)
    places = [np.array(place) for place in at.points]
    for a, b in pairwise(places if len(places) > 1 else places * 2):
        low = np.clip(np.floor(np.minimum(a, b) - at.radius).astype(int), 0, shape)
        high = np.clip(np.ceil(np.maximum(a, b) + at.radius).astype(int) + 1, 0, shape)
        y, x = np.ogrid[low[0] : high[0], low[1] : high[1]]
        (dy, dx), length = b - a, max(float((b - a) @ (b - a)), 1e-9)
        along = np.clip(((y - a[0]) * dy + (x - a[1]) * dx) / length, 0, 1)
        near = np.hypot(y - a[0] - along * dy, x - a[1] - along * dx) <= at.radius
        painted[low[0] : high[0], low[1] : high[1]] |= near
    return painted


def everything(work: Work, plane: int, found: Masks, limits: Limits, by: str = "") -> Work:
    """Add what was found of everything; what overlaps an object that is there is left out."""
    taken = np.zeros(found.shape, bool)
    for each in work.objects:
        if plane in each.drawn:
            taken |= each.drawn[plane].mask.dense()[0]
    new = []
    for i, (crop, (y0, x0, y1, x1)) in enumerate(zip(found.crops, found.boxes, strict=True)):
        if np.count_nonzero(taken[y0:y1, x0:x1] & crop) <= np.count_nonzero(crop) / 2:
            new.append(Drawn(found[[i]], (Found(i, by),), Masks.empty(found.shape)))
    if not new:
        msg = "everything the model finds here is an object already" if len(found) else "the model finds nothing here"
        raise Refusal(msg, HTTPStatus.OK)
    return replace(work.add(plane, new[: _room(work, 1, limits)]), active=None)


def seeds(work: Work, number: int) -> dict[int, Drawn]:
    """Return the planes that an object is followed from: those on which somebody said where it is, or corrected it."""
    each = _existing(work, number)
    return {plane: drawn for plane, drawn in each.drawn.items() if not isinstance(drawn.steps[-1], Followed)}


def followed(
    work: Work, number: int, known: Mapping[int, Drawn], found: Sequence[tuple[int, Masks]], by: str = ""
) -> Work:
    """Put an object on the planes that it was followed to from `known`; what was said meanwhile stays."""
    each = _existing(work, number)
    kept = seeds(work, number)
    for plane, masks in found:
        if plane not in kept:
            kept[plane] = Drawn(masks[[0]], (Followed(known, by),), Masks.empty(masks.shape))
    return work.put(replace(each, drawn=kept))


def rename(work: Work, number: int, name: str) -> Work:
    """Give an object another name."""
    each = _existing(work, number)
    kept = " ".join("".join(c if c.isprintable() else " " for c in name).split())[:NAME]
    return replace(work.put(replace(each, name=kept or each.name)), active=work.active)


def recolour(work: Work, number: int, colour: str) -> Work:
    """Give an object another colour, "#rrggbb"."""
    each = _existing(work, number)
    if len(colour) != 7 or colour[0] != "#" or not set(colour[1:].lower()) <= set("0123456789abcdef"):
        msg = "got a colour that is none, expected one such as #ff8800"
        raise Refusal(msg)
    return replace(work.put(replace(each, colour=colour.lower())), active=work.active)


def delete(work: Work, number: int) -> Work:
    """Remove an object."""
    _existing(work, number)
    return work.without(number)


def select(work: Work, number: int | None) -> Work:
    """Make an object the one that clicks correct, or none."""
    return replace(work, active=None if number is None else _existing(work, number).number)


def _existing(work: Work, number: int) -> Object:
    each = work.find(number)
    if each is None:
        msg = "got the number of an object that is gone; choose another"
        raise Refusal(msg, HTTPStatus.OK)
    return each


def _room(work: Work, count: int, limits: Limits) -> int:
    left = limits.objects - len(work.objects)
    if left < count:
        msg = f"got more than {limits.objects} objects, expected fewer; use sam-core on your own machine for more"
        raise Refusal(msg, HTTPStatus.OK)
    return left
