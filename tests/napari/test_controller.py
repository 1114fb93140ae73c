"""Pointing, clicking and correcting without a window, with answers at once, late, or in another order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sam_core import CheckpointError, Masks
from sam_napari._change import CanvasBusy, CanvasGone, Change
from sam_napari._source import Box, Plane, Source
from tests.napari.array_canvas import ArrayCanvas
from tests.napari.doubles import (
    ALONE,
    BELOW,
    FLAT,
    IN_ALONE,
    IN_BELOW,
    IN_LEFT,
    IN_RIGHT,
    LEFT,
    NOWHERE,
    RIGHT,
    SHAPE,
    Bench,
    Desk,
    boxed,
    masks_of,
)

UPPER = (LEFT, RIGHT)


def _is(desk: Desk, **objects: tuple[Box, ...]) -> bool:
    """Whether the plane shows exactly these objects; a number is written after one letter."""
    expected = np.zeros(SHAPE, np.int32)
    for name, boxes in objects.items():
        expected[boxed(*boxes)] = int(name[1:])
    return bool((desk.labels == expected).all())


def _of(*objects: tuple[Box, ...], dtype: Any = np.int32) -> NDArray[Any]:
    array = np.zeros(SHAPE, dtype)
    for i, boxes in enumerate(objects, start=1):
        array[boxed(*boxes)] = i
    return array


# -- one action an object ----------------------------------------------------------------------------------------------


def test_a_click_takes_what_is_shown_at_once() -> None:
    desk = Desk()
    desk.hover(IN_LEFT)
    assert (desk.ghost.mask == boxed(*UPPER)).all()
    assert desk.ghost.shown[-1][2:] == (pytest.approx(0.9), 1, 3)
    desk.click((IN_LEFT[0] + 0.3, IN_LEFT[1] - 0.3))
    assert _is(desk, o1=UPPER)
    assert (desk.bench.model.decoded, desk.canvas.steps, desk.canvas.selected) == (1, 1, 1)
    assert not desk.ghost.visible
    state = desk.controller.state
    assert (state.label, state.clicks, state.chosen, len(state.scores), state.waiting) == (1, 1, 1, 3, 0)
    assert desk.told == []


def test_one_action_an_object() -> None:
    desk = Desk()
    desk.click(IN_LEFT, IN_BELOW, IN_ALONE)
    assert _is(desk, o1=UPPER, o2=(BELOW,), o3=(ALONE,))
    assert desk.canvas.steps == 3


def test_hovering_shows_what_is_under_the_pointer_only() -> None:
    desk = Desk(at_once=False)
    desk.hover(IN_LEFT)
    desk.bench.answer()
    desk.hover(IN_RIGHT)
    assert desk.ghost.visible  # still inside of what is shown: it stays until something else is known
    desk.hover(IN_ALONE)
    assert not desk.ghost.visible
    desk.bench.answer()
    assert (desk.ghost.mask == boxed(ALONE)).all()
    desk.hover(NOWHERE)
    desk.bench.answer()
    assert not desk.ghost.visible
    desk.hover(IN_ALONE)
    assert desk.ghost.visible  # remembered
    desk.controller.leave()
    assert not desk.ghost.visible
    desk.hover((-3.0, 5.0))
    assert desk.bench.waiting == []


def test_late_answers_are_dropped() -> None:
    desk = Desk(at_once=False)
    desk.hover(IN_LEFT)
    late = desk.bench.waiting[0]
    desk.hover(IN_ALONE)
    desk.bench.answer()
    desk.bench.bring(late)
    assert (desk.ghost.mask == boxed(ALONE)).all()
    desk.controller.leave()
    desk.bench.bring(late)
    assert not desk.ghost.visible


def test_what_the_pointer_is_still_on_is_shown_while_it_moves() -> None:
    desk = Desk(at_once=False)
    desk.hover(IN_LEFT)
    asked = desk.bench.waiting[0]
    desk.hover((IN_LEFT[0], IN_LEFT[1] + 1))
    desk.bench.bring(asked)
    assert desk.ghost.visible
    desk.click((IN_LEFT[0], IN_LEFT[1] + 1))
    assert desk.canvas.steps == 1, "what is shown is taken, without asking again"
    assert _is(desk, o1=UPPER)


def test_a_candidate_that_was_turned_to_stays_while_the_pointer_is_on_it() -> None:
    desk = Desk()
    desk.hover(IN_LEFT)
    before = desk.ghost.mask
    desk.controller.cycle(1)
    turned = desk.ghost.mask
    assert (turned != before).any()
    desk.hover((IN_LEFT[0] + 1, IN_LEFT[1]))
    assert (desk.ghost.mask == turned).all()
    desk.hover(NOWHERE)
    desk.hover(IN_LEFT)
    assert (desk.ghost.mask == before).all()


def test_a_click_on_nothing_says_so() -> None:
    desk = Desk()
    desk.click(NOWHERE, (-5.0, 3.0), (3.0, 64.0))
    assert (desk.canvas.steps, len(desk.told)) == (0, 1)
    desk.controller.box(FLAT, (44, 50, 47, 60), 1)
    desk.controller.box(FLAT, (44, 50, 44, 60), 1)
    assert [text.split(".")[0] for text in desk.told] == [
        "The model sees nothing at this spot",
        "The model sees nothing in this box",
    ]


def test_a_box_makes_an_object_or_does_one_again() -> None:
    desk = Desk()
    desk.controller.box(FLAT, (3, 3, 13, 21), 1)
    assert _is(desk, o1=UPPER)
    desk.canvas.paint([Change(FLAT, LEFT, np.zeros((8, 8), np.int32), boxed((0, 0, 3, 8), shape=(8, 8)))])
    desk.controller.box(FLAT, (3, 3, 13, 21), 1)
    assert _is(desk, o1=UPPER)
    assert desk.controller.state.label == 1
    desk.controller.box(FLAT, (3, 3, 21, 21), 1)
    assert _is(desk, o1=(*UPPER, BELOW))


# -- while the model is busy -------------------------------------------------------------------------------------------


def test_clicks_wait_for_the_model_and_are_done_in_order() -> None:
    desk = Desk(at_once=False)
    desk.click(IN_ALONE, IN_LEFT, IN_BELOW)
    desk.hover(IN_RIGHT)
    assert (desk.controller.state.waiting, desk.canvas.steps) == (3, 0)
    desk.bench.answer_all()
    assert _is(desk, o1=(ALONE,), o2=UPPER, o3=(BELOW,))
    assert desk.controller.state.waiting == 0


def test_a_click_on_what_is_being_looked_at_is_not_asked_for_twice() -> None:
    desk = Desk(at_once=False)
    desk.hover(IN_LEFT)
    desk.click(IN_LEFT)
    desk.bench.answer("look")
    assert _is(desk, o1=UPPER)
    desk.bench.answer_all()  # what was asked for the click comes late, and is dropped
    assert desk.canvas.steps == 1
    assert not desk.ghost.visible


def test_a_click_and_at_once_a_correction_of_it() -> None:
    desk = Desk(at_once=False)
    desk.click(IN_LEFT)
    desk.exclude(IN_RIGHT)
    desk.include(IN_BELOW)
    desk.bench.answer_all()
    assert _is(desk, o1=(LEFT, BELOW))
    assert (desk.canvas.steps, desk.controller.state.clicks) == (3, 3)


def test_a_second_click_at_the_same_place_selects() -> None:
    desk = Desk(at_once=False)
    desk.click(IN_LEFT, IN_LEFT, IN_RIGHT)
    desk.bench.answer_all()
    assert _is(desk, o1=UPPER)
    assert (desk.canvas.steps, desk.controller.state.label) == (1, 1)


def test_escape_gives_up_what_waits_and_then_lets_go() -> None:
    desk = Desk(at_once=False)
    desk.click(IN_LEFT)
    desk.bench.answer_all()
    desk.exclude(IN_RIGHT)
    desk.controller.release()
    desk.bench.answer_all()
    assert _is(desk, o1=UPPER)
    assert desk.controller.state.label == 1
    desk.controller.release()
    assert desk.controller.state.label == 0


@pytest.mark.parametrize(
    ("meanwhile", "expected", "says"),
    [
        (lambda desk: desk.canvas.undo(), {}, "undone or erased before the answer came"),
        (lambda desk: desk.hover(IN_ALONE, FLAT), {"o1": (LEFT,)}, None),
        (lambda desk: setattr(desk.controller, "engine", desk.bench), {"o1": (LEFT,)}, None),
        (lambda desk: setattr(desk.controller, "source", _source()), {"o1": (LEFT,)}, None),
        (lambda desk: setattr(desk.controller, "source", None), {"o1": UPPER}, None),
        (lambda desk: desk.controller.retarget(ArrayCanvas.blank(SHAPE), None), {"o1": UPPER}, None),
        (lambda desk: desk.canvas.replace(np.zeros(SHAPE, np.int32)), {}, "undone or erased"),
        (lambda desk: _brush(desk, (4, 4, 5, 5)), {"o1": (LEFT,)}, None),
        (lambda desk: _vanish(desk), {"o1": UPPER}, "was removed"),
    ],
    ids=[
        "undone", "hovered", "another model", "another image", "no image", "another target", "replaced", "painted",
        "gone",
    ],
)  # fmt: skip
def test_what_happens_before_a_correction_is_answered(
    meanwhile: Callable[[Desk], None], expected: dict[str, tuple[Box, ...]], says: str | None
) -> None:
    desk = Desk()
    desk.click(IN_LEFT)
    desk.bench.at_once = False
    desk.exclude(IN_RIGHT)
    asked = desk.bench.waiting[0]
    meanwhile(desk)
    desk.bench.answer_all()
    desk.bench.bring(asked)  # comes once more, late
    shown = desk.labels.copy()
    shown[4, 4] = max(shown[4, 4], shown[5, 5])  # the brush took a pixel away
    expected_labels = np.zeros(SHAPE, np.int32)
    for name, boxes in expected.items():
        expected_labels[boxed(*boxes)] = int(name[1:])
    assert (shown == expected_labels).all()
    assert [says in text for text in desk.told] == ([] if says is None else [True])
    assert desk.controller.state.waiting == 0


def _source() -> Source:
    return Source.of([np.ones(SHAPE, np.uint8)])


def _brush(desk: Desk, box: Box, label: int = 0) -> None:
    size = (box[2] - box[0], box[3] - box[1])
    desk.canvas.paint([Change(FLAT, box, np.full(size, label, np.int32))])


def _vanish(desk: Desk) -> None:
    def gone(*_: object) -> Any:
        msg = "the target was removed; choose another one"
        raise CanvasGone(msg)

    desk.canvas.read = desk.canvas.writing = desk.canvas.shape = gone  # type: ignore[method-assign]


def test_clicks_on_other_planes_are_taken_there() -> None:
    desk = Desk(np.zeros((2, *SHAPE), np.int32), at_once=False)
    first, second = (Plane((1, 2), (z, 0, 0)) for z in (0, 1))
    desk.click(IN_LEFT, plane=first)
    desk.controller.leave()
    desk.click(IN_ALONE, plane=second)
    desk.hover(IN_BELOW, plane=second)
    desk.bench.answer_all()
    assert (desk.labels[0] == _of(UPPER)).all()
    assert (desk.labels[1] == 2 * boxed(ALONE)).all()
    assert desk.ghost.visible
    assert desk.ghost.shown[-1][0] == second


# -- corrections -------------------------------------------------------------------------------------------------------


def test_objects_that_others_made_are_corrected_in_place() -> None:
    desk = Desk(_of((LEFT, RIGHT, BELOW), (ALONE,)))
    desk.exclude(IN_BELOW)
    assert _is(desk, o1=UPPER, o2=(ALONE,))
    desk.exclude(IN_RIGHT)
    assert _is(desk, o1=(LEFT,), o2=(ALONE,))
    desk.click(IN_RIGHT)
    assert _is(desk, o1=(LEFT,), o2=(ALONE,), o3=(RIGHT,))
    desk.controller.select(FLAT, IN_ALONE)
    assert (desk.controller.state.label, desk.canvas.selected) == (2, 2)
    desk.controller.select(FLAT, NOWHERE)
    assert desk.told == ["There is no object at this spot."]


def test_merged_objects_are_divided_by_one_click() -> None:
    desk = Desk(_of((LEFT, RIGHT, BELOW)))
    desk.hover(IN_BELOW)
    assert (desk.ghost.mask == boxed(BELOW)).all()
    desk.click(IN_BELOW)
    assert _is(desk, o1=UPPER, o2=(BELOW,))


def test_pieces_are_joined_by_selecting_one_and_adding_the_other() -> None:
    desk = Desk(_of((LEFT,), (RIGHT,)))
    desk.controller.select(FLAT, IN_LEFT)
    desk.include(IN_RIGHT)
    assert _is(desk, o1=UPPER)
    desk.canvas.undo()
    desk.canvas.preserve = True
    desk.include(IN_RIGHT)
    assert _is(desk, o1=(LEFT,), o2=(RIGHT,))
    assert desk.told == ["This changes nothing: the object is like that already."]


def test_what_is_shown_is_what_shift_takes_away_without_asking() -> None:
    desk = Desk(_of((LEFT, RIGHT, BELOW)))
    desk.hover(IN_BELOW)
    desk.exclude(IN_BELOW)
    assert _is(desk, o1=UPPER)
    desk.canvas.undo()
    desk.hover(IN_LEFT)
    desk.controller.cycle(-1)  # the user wants a smaller part
    desk.exclude(IN_LEFT)
    assert _is(desk, o1=(RIGHT, BELOW))
    assert desk.bench.model.decoded == 2


def test_a_correction_that_takes_away_most_of_it_means_the_thing_under_the_click() -> None:
    desk = Desk(_of((LEFT, RIGHT), (ALONE,)))
    desk.bench.model.scores = (0.3, 0.9, 0.7)  # not sure enough of the part to take it away at once
    desk.bench.model.stubborn = masks_of([boxed((4, 4, 8, 8))])
    desk.exclude(IN_RIGHT)
    assert _is(desk, o1=(LEFT,), o2=(ALONE,))


def test_what_an_object_gives_back_belongs_to_the_others_again() -> None:
    desk = Desk(_of((LEFT, RIGHT, BELOW)))
    desk.click(IN_BELOW)
    desk.controller.cycle(1)
    desk.controller.cycle(-1)
    assert _is(desk, o1=UPPER, o2=(BELOW,))


def test_corrections_that_make_it_worse_are_refused() -> None:
    desk = Desk()
    desk.click(IN_LEFT)
    desk.bench.model.stubborn = masks_of([boxed(ALONE)])
    desk.include(IN_BELOW)
    assert _is(desk, o1=UPPER)
    assert "lose a spot" in desk.controller.state.objection
    assert desk.told == [desk.controller.state.objection]
    desk.bench.model.stubborn = Masks.empty(SHAPE)
    desk.exclude((5.0, 11.0))
    assert "Nothing would be left" in desk.controller.state.objection
    desk.bench.model.stubborn = None
    desk.exclude(IN_RIGHT)
    assert _is(desk, o1=(LEFT,))
    assert (desk.controller.state.objection, desk.controller.state.clicks) == ("", 2)


def test_the_state_follows_undo_and_redo() -> None:
    desk = Desk()
    desk.click(IN_LEFT)
    desk.exclude(IN_RIGHT)
    seen = []
    for step in ("undo", "undo", "redo", "redo"):
        getattr(desk.canvas, step)()
        seen.append((desk.controller.state.label, desk.controller.state.clicks))
    assert seen == [(1, 1), (0, 0), (1, 1), (1, 2)]
    desk.canvas.undo()
    desk.include(IN_BELOW)  # goes on from what is painted now
    assert _is(desk, o1=(*UPPER, BELOW))


def test_after_a_stroke_of_the_brush_a_correction_starts_from_the_pixels() -> None:
    desk = Desk()
    desk.click(IN_LEFT)
    _brush(desk, (4, 20, 12, 24), 1)
    assert desk.controller.state.clicks == 0
    desk.exclude(IN_LEFT)
    assert _is(desk, o1=(RIGHT, (4, 20, 12, 24)))


def test_without_an_active_object() -> None:
    desk = Desk()
    desk.exclude(IN_LEFT)
    desk.controller.erase()
    desk.controller.cycle(1)
    assert desk.canvas.steps == 0
    assert len(desk.told) == 3
    desk.include(IN_LEFT)
    assert _is(desk, o1=UPPER)


def test_the_active_object_goes_on_on_another_plane() -> None:
    desk = Desk(np.zeros((2, *SHAPE), np.int32))
    first, second = (Plane((1, 2), (z, 0, 0)) for z in (0, 1))
    desk.click(IN_LEFT, plane=first)
    desk.include(IN_ALONE, plane=second)
    desk.include(IN_BELOW, plane=second)
    assert (desk.labels[1] == boxed(ALONE, BELOW)).all()
    desk.click(IN_LEFT, plane=second)
    assert set(np.unique(desk.labels[1])) == {0, 1, 2}
    assert desk.canvas.steps == 4


def test_erase_is_one_step() -> None:
    desk = Desk(_of(UPPER, (ALONE,)))
    desk.controller.select(FLAT, IN_ALONE)
    desk.controller.erase()
    assert _is(desk, o1=UPPER)
    desk.canvas.undo()
    assert _is(desk, o1=UPPER, o2=(ALONE,))


# -- candidates --------------------------------------------------------------------------------------------------------


def test_the_candidates_of_the_ghost() -> None:
    desk = Desk()
    desk.hover(IN_LEFT)
    shown = []
    for turn in (1, 1, 1, -1):
        desk.controller.cycle(turn)
        shown.append((desk.ghost.shown[-1][3], int(desk.ghost.shown[-1][1].areas[0])))
    assert shown == [(2, 256), (0, 64), (1, 128), (0, 64)]
    desk.click(IN_LEFT)
    assert _is(desk, o1=(LEFT,))
    assert desk.bench.model.decoded == 1


def test_the_candidates_of_the_object_just_taken() -> None:
    desk = Desk()
    desk.hover(IN_LEFT)
    desk.click(IN_LEFT)
    desk.hover(IN_LEFT)  # the mouse shook
    desk.controller.cycle(1)
    assert _is(desk, o1=(*UPPER, BELOW))
    desk.controller.cycle(-1)
    assert _is(desk, o1=UPPER)
    desk.hover(IN_RIGHT)  # still on the active object
    desk.controller.cycle(-1)
    assert _is(desk, o1=(LEFT,))
    assert desk.canvas.steps == 4
    desk.hover(IN_ALONE)
    desk.controller.cycle(1)
    assert _is(desk, o1=(LEFT,))


def test_an_object_that_a_click_would_select_is_shown_as_it_is() -> None:
    desk = Desk(_of(UPPER))
    desk.hover(IN_LEFT)
    assert (desk.ghost.mask == boxed(*UPPER)).all()
    assert desk.ghost.shown[-1][4] == 0
    desk.controller.cycle(-1)  # its smaller part instead
    assert desk.ghost.shown[-1][3:] == (0, 3)
    desk.click(IN_LEFT)
    assert _is(desk, o1=(RIGHT,), o2=(LEFT,))


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_napari() -> None:
    desk = Desk(_of((ALONE,)))
    desk.click(IN_LEFT)  # 1 is selected from the beginning, and taken
    assert desk.canvas.selected == 2
    desk.canvas.selected = 40  # M, or typed
    desk.click(IN_BELOW)
    assert _is(desk, o1=(ALONE,), o2=UPPER, o40=(BELOW,))
    desk.controller.release()
    desk.canvas.undo()
    desk.click(IN_BELOW)
    assert desk.canvas.selected == 41


def test_a_class_keeps_its_number() -> None:
    desk = Desk()
    desk.controller.target.advance = False
    desk.canvas.selected = 3
    desk.click(IN_LEFT, IN_ALONE)
    assert _is(desk, o3=(*UPPER, ALONE))


def test_a_number_chosen_by_the_user_lets_go_of_the_active_object() -> None:
    desk = Desk(_of((ALONE,)))
    desk.click(IN_LEFT)
    desk.canvas.selected = 9
    desk.include(IN_BELOW)
    assert _is(desk, o1=(ALONE,), o2=UPPER, o9=(BELOW,))


def test_a_target_without_numbers_left_says_so() -> None:
    array = _of((ALONE,), dtype=np.uint8)
    array[boxed(ALONE)] = 255
    desk = Desk(array)
    desk.click(IN_LEFT, IN_BELOW)
    assert desk.canvas.steps == 0
    assert ["up to 255" in text for text in desk.told] == [True, True]


# -- what can go wrong -------------------------------------------------------------------------------------------------


def test_an_error_while_hovering_is_told_once_and_of_a_click_each_time() -> None:
    desk = Desk()
    desk.bench.error = CheckpointError("got no model; choose another")
    for x in range(5, 10):
        desk.hover((8.0, x))
    assert desk.told == ["got no model; choose another"]
    desk.click(IN_LEFT, IN_LEFT)
    assert len(desk.told) == 3
    desk.bench.error = None
    desk.click(IN_LEFT)
    assert _is(desk, o1=UPPER)


def test_a_target_of_another_shape_is_refused() -> None:
    desk = Desk()
    desk.controller.source = Source.of([np.zeros((3, *SHAPE), np.uint8)])
    desk.hover(IN_LEFT, Plane((1, 2), (0, 0, 0)))
    desk.hover(IN_ALONE, Plane((1, 2), (0, 0, 0)))
    assert len(desk.told) == 1
    assert "as the image" in desk.told[0]


def test_a_disk_without_room_for_the_labels_is_told(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    desk.canvas.writing = full  # type: ignore[assignment, method-assign]
    desk.click(IN_LEFT)
    del desk.canvas.writing
    desk.click(IN_LEFT)
    assert "No space left on device" in desk.told[0]
    assert _is(desk, o1=UPPER)
    desk.bench.error = KeyError("surprise")
    desk.click(IN_ALONE)
    assert "Something unexpected happened (KeyError" in desk.told[1]
    assert "surprise" in caplog.text


def test_a_click_waits_for_a_target_that_is_busy() -> None:
    desk = Desk()

    def busy() -> int:
        msg = "labels are still being counted"
        raise CanvasBusy(msg)

    desk.canvas.next_label = busy  # type: ignore[method-assign]
    desk.click(IN_LEFT, IN_ALONE)
    assert (desk.controller.tidy(), desk.controller.state.waiting, desk.told) == (True, 2, [])
    del desk.canvas.next_label
    desk.hover(IN_BELOW)
    while desk.controller.tidy():
        pass
    assert _is(desk, o1=UPPER, o2=(ALONE,))
    assert desk.ghost.visible


def test_after_closing_nothing_is_left() -> None:
    desk = Desk(at_once=False)
    desk.click(IN_LEFT)
    asked = desk.bench.waiting[0]
    desk.close()
    desk.bench.bring(asked)
    desk.canvas.undo()
    desk.hover(IN_LEFT)
    assert (desk.canvas.steps, desk.bench.forgotten > 0, desk.canvas._callbacks) == (0, True, [])


def test_two_controllers_share_a_canvas() -> None:
    desk, bench = Desk(), Bench()
    other = Desk(desk.labels)
    desk.click(IN_LEFT)
    other.click(IN_LEFT)  # its canvas is the same array: what is there is selected
    assert other.controller.state.label == 1
    other.exclude(IN_RIGHT)
    assert desk.controller.state.clicks == 0
    assert bench.waiting == []
