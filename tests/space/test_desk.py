"""What a page asks and gets, over HTTP, with a model of which every answer is known."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_core import Masks, Sam
from sam_space.desk import Desk
from sam_space.frame import box_of_page, page_of_box, page_of_point, point_of_page, sent
from tests.space.drive import EASY, SQUARES, Page, desk, drawn, opened, png, squares

FIRST = {"x": 10, "y": 10}
SECOND = {"x": 40, "y": 25}


def square(index: int) -> np.ndarray:
    y0, x0, y1, x1 = SQUARES[index]
    mask = np.zeros((40, 60), bool)
    mask[y0:y1, x0:x1] = True
    return mask


@given(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5))
def test_places_go_to_the_core_and_back(x: float, y: float) -> None:
    assert page_of_point(*point_of_page(x, y)) == pytest.approx((x, y))


@given(st.lists(st.integers(-1000, 1000), min_size=4, max_size=4))
def test_boxes_go_to_the_core_and_back_in_order(box: list[int]) -> None:
    x0, y0, x1, y1 = page_of_box(box_of_page(box))
    assert [x0, y0, x1, y1] == [*map(min, box[:2], box[2:]), *map(max, box[:2], box[2:])]


@given(st.data())
def test_a_mask_is_drawn_by_the_page_as_it_was(data: st.DataObject) -> None:
    shape = (data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)))
    size = shape[0] * shape[1]
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size))).reshape(shape)
    if mask.any():
        np.testing.assert_array_equal(drawn(sent(Masks.from_labels(mask.astype(int))), shape), mask)


def test_a_click_takes_what_is_under_it_and_offers_candidates() -> None:
    view = opened().act("click", **FIRST)
    (each,) = view["objects"]
    np.testing.assert_array_equal(drawn(view["drawn"][str(each["key"])]), square(0))
    assert [c["score"] for c in view["candidates"]] == [0.95, 0.7, 0.5]
    assert (each["area"], each["score"], view["active"], view["clicks"]) == (100, 0.95, 1, [[10, 10, 1]])


def test_a_drawing_is_sent_once() -> None:
    page = opened()
    assert page.act("click", **FIRST)["drawn"]
    assert not page.act("select", number=1)["drawn"]
    assert page.post("/look", {"plane": 0, "anew": True}).json()["drawn"]


def test_a_box_begins_another_object() -> None:
    page = opened()
    page.act("click", **FIRST)
    view = page.act("box", box=[51, 35, 29, 19])
    assert [each["number"] for each in view["objects"]] == [1, 2]
    assert view["box"] == [29, 19, 51, 35]
    assert view["active"] == 2


def test_a_candidate_is_chosen() -> None:
    page = opened()
    page.act("click", **FIRST)
    view = page.act("choose", index=2)
    assert (view["chosen"], view["objects"][0]["score"]) == (2, 0.5)
    assert "refused" in page.act("choose", index=3)


def test_undo_redo_and_clear() -> None:
    page = opened()
    page.act("click", **FIRST)
    page.act("click", **SECOND, fresh=True)
    page.act("clear")
    counts = [
        len(page.act(each)["objects"]) for each in ("undo", "undo", "undo", "undo", "redo", "redo", "redo", "redo")
    ]
    assert counts == [2, 1, 0, 0, 1, 2, 0, 0]


def test_the_brush_paints_and_the_eraser_erases_pixels() -> None:
    page = opened()
    view = page.act("stroke", points=[[3.5, 4.5]], radius=0.5, add=True)
    (key,) = view["drawn"]
    assert np.argwhere(drawn(view["drawn"][key])).tolist() == [[4, 3]]
    page.act("clear")
    page.act("click", **FIRST)
    view = page.act("stroke", points=[[5.5, 5.5], [5.5, 14.5]], radius=0.5, add=False)
    assert view["objects"][0]["area"] == 90


def test_objects_are_named_coloured_and_deleted() -> None:
    page = opened()
    page.act("click", **FIRST)
    page.act("rename", number=1, name="  a\n<b>cell</b>\0 ")
    view = page.act("recolour", number=1, colour="#ABCDEF")
    assert (view["objects"][0]["name"], view["objects"][0]["colour"]) == ("a <b>cell</b>", "#abcdef")
    assert page.act("delete", number=1)["objects"] == []
    assert page.act("undo")["objects"][0]["name"] == "a <b>cell</b>"


@pytest.mark.parametrize(
    ("action", "given_", "said"),
    [
        ("click", {"x": 1, "y": 1}, "sees no object"),
        ("click", {**FIRST, "positive": False}, "nothing here to exclude"),
        ("stroke", {"points": [[1, 1]], "radius": 1, "add": False}, "nothing to erase"),
        ("choose", {"index": 0}, "no candidates"),
        ("delete", {"number": 7}, "gone"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(action: str, given_: dict[str, Any], said: str) -> None:
    page = opened()
    assert said in page.act(action, **given_)["refused"]
    assert page.post("/look", {"plane": 0}).json()["objects"] == []


def test_a_preview_shows_what_a_click_would_take_and_takes_nothing() -> None:
    page = opened()
    answer = page.post("/preview", {"plane": 0, **SECOND}).json()
    np.testing.assert_array_equal(drawn(answer["mask"]), square(1))
    assert page.post("/look", {"plane": 0}).json()["objects"] == []
    assert page.post("/preview", {"plane": 0, "x": 1, "y": 1}).json()["mask"] is None


def test_a_preview_on_its_way_does_not_wait_for_what_is_doubtful() -> None:
    page = opened()
    quick = page.post("/preview", {"plane": 0, **SECOND}).json()
    sure = page.post("/preview", {"plane": 0, **SECOND, "sure": True}).json()
    assert (quick["mask"], quick["score"]) == (sure["mask"], sure["score"])
    assert page.post("/preview", {"plane": 0, "x": 1, "y": 1}).json()["doubt"]
    assert not page.post("/preview", {"plane": 0, "x": 1, "y": 1, "sure": True}).json()["doubt"]


@pytest.mark.slow
def test_a_quick_preview_is_what_the_click_takes() -> None:
    desk = Desk(Sam.from_pretrained("cell"), EASY)
    desk.prepare()
    page = Page(desk)
    page.post("/example", {"name": "cells"})
    seen = 0
    for y, x in np.random.default_rng(0).integers(5, 315, (40, 2)).tolist():
        preview = page.post("/preview", {"plane": 0, "x": x, "y": y, "fresh": True}).json()
        if preview["mask"]:
            view = page.act("click", x=x, y=y, fresh=True)
            (sent_,) = view["drawn"].values()
            a, b = drawn(preview["mask"], (320, 384)), drawn(sent_, (320, 384))
            assert (a & b).sum() / (a | b).sum() > 0.98
            seen += 1
    assert seen > 8


def test_an_older_preview_gives_way_to_a_newer_one() -> None:
    page = opened()
    visitor = page.desk.visitors.find(page.key)
    answers: list[Any] = []
    with page.desk.engine.answering.through():
        waiting = threading.Thread(target=lambda: answers.append(page.post("/preview", {"plane": 0, **FIRST}).json()))
        waiting.start()
        while not page.desk.engine.answering.length:
            pass
        visitor.turn += 1
        waiting.join(10)
    assert answers == [{"stopped": True}]


def test_everything_tells_how_far_it_is_and_leaves_out_what_is_there() -> None:
    page = opened()
    page.act("click", **FIRST)
    *told, view = page.lines("/everything", {"plane": 0})
    assert told[0] == {"queue": 0}
    assert told[-1]["done"] == told[-1]["total"] > 0
    assert [each["area"] for each in view["objects"]] == [100, 280]
    assert view["active"] is None
    assert len(page.act("undo")["objects"]) == 1


def test_everything_stops_when_told_and_changes_nothing() -> None:
    page = opened()
    visitor = page.desk.visitors.find(page.key)
    told = []

    def tell(event: dict[str, Any]) -> None:
        told.append(event)
        if "done" in event:
            visitor.run += 1

    from sam_space.engine import Stopped

    with pytest.raises(Stopped):
        page.desk.everything(visitor, {"plane": 0}, tell, lambda: False)
    assert len(told) == 2
    assert visitor.history.now.objects == ()


def test_everything_that_takes_too_long_is_refused_and_changes_nothing() -> None:
    page = opened(replace(EASY, everything_seconds=0))
    assert "took longer than 0 seconds" in page.lines("/everything", {"plane": 0})[-1]["refused"]
    assert page.post("/look", {"plane": 0}).json()["objects"] == []


def test_an_object_is_followed_through_a_stack_and_its_planes_come_when_looked_at() -> None:
    import io

    import tifffile

    out = io.BytesIO()
    planes = np.stack([np.roll(squares(), shift, axis=1) for shift in range(4)])
    tifffile.imwrite(out, planes, photometric="minisblack")
    page = Page(desk())
    about = page.open(out.getvalue(), "stack.tif").json()["picture"]
    assert (about["planes"], about["axes"]) == (4, "ZYX")
    page.act("click", plane=1, **SECOND)
    *told, view = page.lines("/follow", {"plane": 1})
    assert [event["done"] for event in told] == [1, 2, 3]
    assert view["objects"][0]["planes"] == [0, 1, 2, 3]
    other = page.post("/look", {"plane": 3}).json()
    np.testing.assert_array_equal(drawn(next(iter(other["drawn"].values()))), np.roll(square(1), 3, axis=1))


def test_visitors_do_not_see_each_other() -> None:
    one = opened()
    other = Page(one.desk)
    one.act("click", **FIRST)
    assert other.post("/look", {"plane": 0}).status_code == 404
    other.open(png(squares()))
    assert other.post("/look", {"plane": 0}).json()["objects"] == []
    assert len({one.key, other.key}) == 2
    assert len(one.key) >= 32


def test_who_leaves_is_forgotten() -> None:
    page = opened()
    page.http.post("/leave", content=page.key)
    assert page.post("/look", {}).status_code == 404
    assert len(page.desk.visitors) == 0


def test_an_example_is_open_at_once_and_encoded_already() -> None:
    page = Page(desk(EASY))
    page.desk.prepare()
    encoded = page.desk.engine.model.encoded  # type: ignore[attr-defined]
    answer = page.post("/example", {"name": "cells"}).json()
    assert answer["picture"]["encoded"]
    assert page.lines("/encode", {"plane": 0})[-1]["encode_ms"] == 0
    assert page.desk.engine.model.encoded == encoded  # type: ignore[attr-defined]
    assert page.http.get("/example/cells").headers["content-type"] == "image/png"
