"""What can be done to the work of a visitor, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from sam_space import edits
from sam_space.frame import box_of_page, number, point_of_page
from sam_space.given import Sent, place_on, whole_number
from sam_space.picture import Picture
from sam_space.refusal import Refusal
from sam_space.visitors import Visitor
from sam_space.work import Box, Click, Stroke, Work

if TYPE_CHECKING:
    from sam_space.desk import Desk

STROKE_POINTS = 2000  # of one stroke
LARGEST_PEN = 200.0  # pixels, its radius
Change: TypeAlias = Callable[["Desk", Visitor, Picture, int, Sent], None]


def _click(desk: Desk, visitor: Visitor, picture: Picture, plane: int, given: Sent) -> None:
    y, x = place_on(picture, given)
    at = Click(y, x, given.get("positive", True) is True, visitor.model)
    fresh = given.get("fresh") is True
    desk.change(
        visitor,
        edits.click(visitor.history.now, plane, at, desk.ask(visitor, picture, plane), desk.limits, fresh=fresh),
    )


def _box(desk: Desk, visitor: Visitor, picture: Picture, plane: int, given: Sent) -> None:
    y0, x0, y1, x1 = box_of_page(given.get("box"))
    height, width = picture.shape
    at = Box(max(y0, 0.0), max(x0, 0.0), min(y1, float(height)), min(x1, float(width)), visitor.model)
    if at.y1 - at.y0 < 1 or at.x1 - at.x0 < 1:
        msg = "got a box of less than a pixel on the picture, expected a larger one"
        raise Refusal(msg)
    fresh = given.get("fresh") is True
    desk.change(
        visitor, edits.box(visitor.history.now, plane, at, desk.ask(visitor, picture, plane), desk.limits, fresh=fresh)
    )


def _choose(desk: Desk, visitor: Visitor, picture: Picture, plane: int, given: Sent) -> None:
    desk.change(visitor, edits.choose(visitor.history.now, plane, whole_number(given, "index")))


def _stroke(desk: Desk, visitor: Visitor, picture: Picture, plane: int, given: Sent) -> None:
    points = given.get("points")
    if not isinstance(points, list) or not 1 <= len(points) <= STROKE_POINTS:
        msg = f"got a stroke without points or with more than {STROKE_POINTS}; make shorter ones"
        raise Refusal(msg)
    if not all(isinstance(each, list) and len(each) == 2 for each in points):
        msg = "got a stroke of something other than points, expected a list of [x, y]"
        raise Refusal(msg)
    radius = number(given.get("radius"), "a radius")
    if not 0.5 <= radius <= LARGEST_PEN:
        msg = f"got a brush of radius {radius:g}, expected 0.5 to {LARGEST_PEN:g} pixels"
        raise Refusal(msg)
    at = Stroke(tuple(point_of_page(x, y) for x, y in points), radius, given.get("add", True) is True)
    desk.change(visitor, edits.stroke(visitor.history.now, plane, at, picture.shape, desk.limits))


def _rename(desk: Desk, visitor: Visitor, picture: Picture, plane: int, given: Sent) -> None:
    name = given.get("name")
    if not isinstance(name, str):
        msg = "got a name that is no text"
        raise Refusal(msg)
    desk.change(visitor, edits.rename(visitor.history.now, whole_number(given, "number"), name))


def _recolour(desk: Desk, visitor: Visitor, picture: Picture, plane: int, given: Sent) -> None:
    desk.change(visitor, edits.recolour(visitor.history.now, whole_number(given, "number"), str(given.get("colour"))))


def _delete(desk: Desk, visitor: Visitor, picture: Picture, plane: int, given: Sent) -> None:
    desk.change(visitor, edits.delete(visitor.history.now, whole_number(given, "number")))


def _select(desk: Desk, visitor: Visitor, picture: Picture, plane: int, given: Sent) -> None:
    wanted = None if given.get("number") is None else whole_number(given, "number")
    visitor.history = visitor.history.aside(edits.select(visitor.history.now, wanted))


def _clear(desk: Desk, visitor: Visitor, picture: Picture, plane: int, given: Sent) -> None:
    if visitor.history.now.objects:
        desk.change(visitor, Work(next_number=visitor.history.now.next_number))


def _undo(desk: Desk, visitor: Visitor, picture: Picture, plane: int, given: Sent) -> None:
    visitor.history = visitor.history.undo()


def _redo(desk: Desk, visitor: Visitor, picture: Picture, plane: int, given: Sent) -> None:
    visitor.history = visitor.history.redo()


def _stop(desk: Desk, visitor: Visitor, picture: Picture, plane: int, given: Sent) -> None:
    visitor.run += 1


ACTIONS: dict[str, Change] = {
    "click": _click,
    "box": _box,
    "choose": _choose,
    "stroke": _stroke,
    "rename": _rename,
    "recolour": _recolour,
    "delete": _delete,
    "select": _select,
    "clear": _clear,
    "undo": _undo,
    "redo": _redo,
    "stop": _stop,
}
