"""Whose pixels an object takes, what a click on one means, which draft is painted, which correction is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sam_core import Masks, Prompt
from sam_napari._change import Change, painted
from sam_napari._draft import (
    Draft,
    best_of,
    candidates_of,
    fitted,
    matching,
    objection,
    plan_box,
    plan_click,
    plan_section,
    thing_of,
    without,
)
from sam_napari._source import Box, Plane
from tests.napari.array_canvas import ArrayCanvas
from tests.napari.doubles import FLAT, boxed, masks_of

SHAPE = (12, 24)
CELL, NUCLEUS, WALL = (2, 2, 10, 12), (4, 4, 8, 8), (0, 12, 12, 14)


def _mask(*boxes: Box) -> NDArray[np.bool_]:
    return boxed(*boxes, shape=SHAPE)


def _canvas(*objects: Box, preserve: bool = False) -> ArrayCanvas:
    canvas = ArrayCanvas.blank(SHAPE)
    for i, (y0, x0, y1, x1) in enumerate(objects, start=1):
        canvas.array[y0:y1, x0:x1] = i
    canvas.preserve = preserve
    return canvas


@pytest.mark.parametrize(
    ("objects", "answer", "point", "preserve", "kind", "label", "pixels"),
    [
        ([], [CELL], (5, 5), False, "make", 0, [CELL]),
        ([NUCLEUS], [CELL], (3, 3), False, "make", 0, [CELL, NUCLEUS]),
        ([CELL], [NUCLEUS], (5, 5), False, "make", 0, [NUCLEUS]),
        ([CELL], [NUCLEUS], (5, 5), True, "select", 1, [CELL]),
        ([CELL], [(2, 2, 10, 11)], (5, 5), False, "select", 1, [CELL]),
        ([NUCLEUS], [CELL], (5, 5), False, "grow", 1, [CELL]),
        ([NUCLEUS], [(4, 5, 12, 12)], (5, 6), True, "grow", 1, [NUCLEUS, (4, 5, 12, 12)]),
        ([WALL], [(4, 4, 8, 20)], (5, 5), False, "make", 0, [(4, 4, 8, 12)]),
        ([WALL], [(4, 4, 8, 20)], (5, 18), False, "make", 0, [(4, 14, 8, 20)]),
        ([CELL, WALL], [(0, 0, 12, 24)], (5, 5), False, "grow", 1, [(0, 0, 12, 12)]),
    ],
    ids=[
        "an object",
        "a cell around its nucleus",
        "a nucleus inside its cell",
        "labels are preserved",
        "the same again",
        "a cell from its nucleus",
        "grown though labels are preserved",
        "not through a wall",
        "nor from the other side",
        "nor where it grows",
    ],
)
def test_what_a_click_does(
    objects: list[Box], answer: list[Box], point: tuple[float, float], preserve: bool, kind: str, label: int,
    pixels: list[Box],
) -> None:  # fmt: skip
    canvas = _canvas(*objects, preserve=preserve)
    plan = plan_click(canvas, FLAT, point, masks_of([_mask(*answer)]))
    expected = _mask(*pixels) if kind != "make" or pixels[-1:] != [NUCLEUS] or len(pixels) == 1 else _ring()
    assert (plan.kind, plan.label) == (kind, label)
    assert (plan.shown.dense()[0] == expected).all()


def _ring() -> NDArray[np.bool_]:
    return _mask(CELL) & ~_mask(NUCLEUS)


def test_nothing_is_taken_where_all_belongs_to_others() -> None:
    plan = plan_box(_canvas(CELL), FLAT, masks_of([_mask((3, 3, 5, 5))]))
    assert (plan.kind, len(plan.shown)) == ("nothing", 0)


@pytest.mark.parametrize(
    ("answer", "kind", "label", "pixels"),
    [
        ((2, 2, 10, 9), "grow", 1, (2, 2, 10, 9)),
        ((2, 2, 10, 16), "grow", 1, (2, 2, 10, 12)),
        ((2, 15, 10, 20), "make", 0, (2, 15, 10, 20)),
    ],
    ids=["done again", "done again beside a wall", "made"],
)
def test_what_a_box_does(answer: Box, kind: str, label: int, pixels: Box) -> None:
    plan = plan_box(_canvas(CELL, WALL), FLAT, masks_of([_mask(answer)]))
    assert (plan.kind, plan.label) == (kind, label)
    assert (plan.shown.dense()[0] == _mask(pixels)).all()


@pytest.mark.parametrize(("preserve", "taken"), [(False, True), (True, False)])
def test_a_piece_is_joined_to_its_cell_without_crumbs(preserve: bool, taken: bool) -> None:
    # The answer leaves a rim of the piece uncovered: it is joined as well.
    canvas = _canvas((2, 2, 10, 8), (2, 8, 10, 14), preserve=preserve)
    answer = masks_of([_mask((2, 2, 10, 13))])
    shown = fitted(canvas, FLAT, 1, answer, frozenset({2}), [(5, 5), (5, 10)])
    assert (shown.dense()[0] == _mask((2, 2, 10, 14 if taken else 8))).all()


def test_a_section_on_another_plane_takes_the_object_that_was_clicked_on() -> None:
    plan = plan_section(_canvas(CELL), FLAT, 7, (5, 5), masks_of([_mask(NUCLEUS)]))
    assert (plan.kind, plan.label, len(plan.old)) == ("grow", 7, 0)
    preserved = plan_section(_canvas(CELL, preserve=True), FLAT, 7, (5, 5), masks_of([_mask(NUCLEUS)]))
    assert preserved.kind == "nothing"


def test_candidates_differ_and_hold_the_point() -> None:
    boxes = [(0, 0, 9, 9), (0, 0, 4, 4), (0, 0, 9, 9), (0, 14, 4, 20), (0, 0, 0, 0)]
    masks = masks_of([_mask(box) for box in boxes], [0.5, 0.6, 0.7, 0.9, 1.0])
    assert candidates_of(masks, (1, 1)).scores.tolist() == pytest.approx([0.6, 0.7])
    assert candidates_of(masks).scores.tolist() == pytest.approx([0.6, 0.9, 0.7])
    assert best_of(candidates_of(masks)) == 1
    assert len(candidates_of(masks, (11, 23))) == 0


def _draft(box: Box, label: int = 1) -> Draft:
    mask = masks_of([_mask(box)])
    return Draft(FLAT, label, Prompt.of([box[:2]]), mask, 0, mask)


def _paint(canvas: ArrayCanvas, draft: Draft, old: Masks | None) -> None:
    change = painted(canvas, FLAT, draft.label, draft.shown, old=old)
    assert change is not None
    canvas.write([change])


def test_the_draft_that_is_painted_is_found_after_undo_redo_and_brush() -> None:
    canvas, drafts = _canvas(), [_draft(NUCLEUS), _draft(CELL), _draft(NUCLEUS, 2)]
    assert matching(drafts, canvas) is None
    _paint(canvas, drafts[0], None)
    _paint(canvas, drafts[1], drafts[0].shown)
    assert matching(drafts, canvas) is drafts[1]
    canvas.undo()
    assert matching(drafts, canvas) is drafts[0]
    canvas.redo()
    assert matching(drafts, canvas) is drafts[1]
    canvas.paint([Change(FLAT, (10, 3, 11, 4), np.array([[1]], np.int32))])
    assert matching(drafts, canvas) is None
    canvas.undo()
    assert matching(drafts, canvas) is drafts[1]


def test_a_correction_starts_from_the_pixels_of_others() -> None:
    pixels = masks_of([_mask(CELL)])
    foreign = Draft.of_pixels(FLAT, 1, replace(pixels, logits=(None,)))
    prompt = foreign.click((5, 5), False)
    assert (prompt.positive.tolist(), foreign.clicks) == ([False], 0)
    assert prompt.previous is not None
    assert ((prompt.previous.sample((0, 0, *SHAPE)) > 0) == _mask(CELL)).all()
    assert _draft(CELL).click((5, 5), True).positive.tolist() == [True, True]


GOOD = (2, 2, 10, 12)


@pytest.mark.parametrize(
    ("points", "positive", "before", "after", "says"),
    [
        ([(5, 5)], [1], None, GOOD, None),
        ([(5, 5)], [1], None, (0, 0, 0, 0), "sees nothing"),
        ([(5, 5), (5, 15)], [1, 1], GOOD, (2, 2, 10, 18), None),
        ([(5, 5), (5, 15)], [1, 1], GOOD, (3, 3, 9, 18), None),
        ([(5, 5), (5, 15)], [1, 1], GOOD, (2, 14, 10, 18), "lose a spot that you clicked on"),
        ([(5, 15)], [1], GOOD, (2, 14, 10, 18), "lose 100% of its pixels"),
        ([(5, 5), (5, 15)], [1, 1], GOOD, GOOD, "does not add"),
        ([(5, 5), (5, 15), (9, 9)], [1, 0, 1], GOOD, (2, 2, 10, 18), "cover a spot again that you excluded"),
        ([(5, 5), (6, 9)], [1, 0], GOOD, (2, 2, 10, 8), None),
        ([(5, 5), (6, 9)], [1, 0], GOOD, GOOD, "does not take away"),
        ([(5, 5), (5, 5)], [1, 0], GOOD, (0, 0, 0, 0), "Nothing would be left"),
        ([(9, 10)], [0], GOOD, (2, 2, 3, 3), "Only 1% of the object"),
        ([(9, 10)], [0], GOOD, (2, 14, 10, 20), "move to another place"),
        ([(9, 10)], [0], GOOD, (0, 0, 8, 24), "move to another place"),
    ],
)
def test_corrections_that_are_refused(
    points: list[tuple[int, int]], positive: list[int], before: Box | None, after: Box, says: str | None
) -> None:
    old = None if before is None else masks_of([_mask(before)])
    why = objection(Prompt.of(points, positive), old, masks_of([_mask(after)]))
    assert (why is None) == (says is None)
    if why is not None and says is not None:
        assert says in why
        assert why.endswith(".")


@pytest.mark.parametrize(
    ("candidates", "score", "sure", "loose"),
    [
        ([(2, 8, 10, 12)], 0.65, True, True),
        ([(2, 8, 10, 12)], 0.55, False, True),
        ([(2, 8, 10, 13)], 0.65, False, True),
        ([(2, 8, 10, 16)], 0.65, False, False),
        ([(2, 11, 10, 12)], 0.9, False, True),
        ([(2, 4, 10, 12)], 0.9, False, False),
        ([(4, 4, 8, 8)], 0.9, False, False),
        ([(2, 2, 10, 12), (2, 8, 10, 12)], 0.65, True, True),
        ([], 0.65, False, False),
    ],
    ids=[
        "sure", "not sure", "partly outside", "half outside", "small", "nearly all of it", "clicked on", "of several",
        "nothing",
    ],
)  # fmt: skip
def test_the_thing_that_a_click_takes_away(candidates: list[Box], score: float, sure: bool, loose: bool) -> None:
    pairs = [_mask(box) for box in candidates], [score] * len(candidates)
    found = masks_of(*pairs) if candidates else Masks.empty(SHAPE)
    pixels = masks_of([_mask(CELL)])
    foreign, own = Draft.of_pixels(FLAT, 1, pixels), Draft(FLAT, 1, Prompt.of([(5, 5)]), pixels, 0, pixels)
    assert (thing_of(found, foreign, sure=True) is not None) == sure
    assert thing_of(found, own, sure=True) is None
    assert (thing_of(found, own, sure=False) is not None) == loose


def test_what_is_cut_off_from_the_clicks_goes_too() -> None:
    before = Draft(FLAT, 1, Prompt.of([(5, 4)]), masks_of([_mask(CELL)]), 0, masks_of([_mask(CELL)]))
    left = without(before, masks_of([_mask((2, 8, 10, 10))]))
    assert (left.dense()[0] == _mask((2, 2, 10, 8))).all()
    assert len(without(before, masks_of([_mask(CELL)]))) == 0
    foreign = Draft.of_pixels(FLAT, 1, masks_of([_mask(CELL)]))
    assert int(without(foreign, masks_of([_mask((2, 8, 10, 10))])).areas[0]) == 48


def test_around_an_object_that_fills_the_plane_only_some_pixels_are_looked_at() -> None:
    canvas = ArrayCanvas(np.ones((2000, 2000), np.int32))
    read, pixels = canvas.read, list[int]()

    def counted(plane: Plane, box: Box) -> NDArray[np.integer]:
        pixels.append((box[2] - box[0]) * (box[3] - box[1]))
        return read(plane, box)

    canvas.read = counted  # type: ignore[method-assign]
    mask = masks_of([boxed((990, 990, 1010, 1010), shape=(2000, 2000))])
    plan = plan_click(canvas, FLAT, (1000, 1000), mask)
    assert (plan.kind, int(plan.shown.areas[0])) == ("make", 400)
    assert sum(pixels) < 10_000
