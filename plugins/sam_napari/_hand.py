"""What the mouse and the keys mean, on one desk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sam_napari._desk import Desk
from sam_napari._keys import key_of
from sam_napari._mouse import World
from sam_napari._notify import told
from sam_napari._source import Plane


class Band(Protocol):
    """A frame over the picture while a box is drawn."""

    def stretch(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Show it between two places x, y of the canvas."""

    def hide(self) -> None:
        """Show it no more."""


class Reviewer(Protocol):
    """What takes clicks and keys while found objects are reviewed."""

    @property
    def is_open(self) -> bool:
        """Whether there is something to review."""
        ...

    def fix(self, plane: Plane, point: tuple[float, float], step: int, sign: int) -> bool:
        """Correct the object in question by a click; whether the click was about it."""
        ...


class Hand:
    """Hears the mouse (as `_mouse.Listener`) and the keys, and has the desk or the review do what they mean."""

    def __init__(self, desk: Desk, review: Reviewer, band: Band, visible: Callable[[], bool]) -> None:
        self._desk, self._review, self._band, self._visible = desk, review, band, visible
        self._moving = False
        self._stretching = False

    # -- the mouse ---------------------------------------------------------------------------------------------------

    def listens(self) -> bool:
        """Whether the mouse is ours: over the image or its target, and no tool of napari's is in use."""
        return not self._moving and self._visible() and self._desk.is_pointed_at

    def draws_boxes(self) -> bool:
        """Whether a drag draws a box."""
        return self._desk.settings.box

    @told
    def hover(self, position: World) -> None:
        """Show what a click would take; while objects are reviewed, the one that is asked about stays shown."""
        if not self._review.is_open:
            self._desk.hover(position)

    def leave(self) -> None:
        """Show nothing: the pointer has left the picture."""
        if not self._review.is_open:
            self._desk.leave()

    @told
    def click(self, position: World, sign: int) -> None:
        """Take, include or exclude what is at a place."""
        place = self._desk.place(position)
        if place is not None and not (self._review.is_open and self._review.fix(*place, self._desk.step, sign)):
            self._desk.act(("click", "include", "exclude")[sign], *place, self._desk.step)

    def stretch(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Show the box that is being drawn."""
        if not self._stretching:
            self._desk.leave()
        self._stretching = True
        self._band.stretch(start, end)

    @told
    def box(self, start: World, end: World | None) -> None:
        """Make the object in a box, or give the box up."""
        given_up, self._stretching = not self._stretching, False
        self._band.hide()
        if end is None or given_up:
            return
        first, second = self._desk.place(start), self._desk.place(end, clip=True)
        if first is not None and second is not None and first[0] == second[0]:
            (y0, x0), (y1, x1) = first[1], second[1]
            box = (min(y0, y1) + 0.5, min(x0, x1) + 0.5, max(y0, y1) + 0.5, max(x0, x1) + 0.5)
            self._desk.act("box", first[0], box, self._desk.step)

    @told
    def cycle(self, step: int) -> None:
        """Go to the next candidate."""
        self._desk.act("cycle", step)

    # -- the keys ----------------------------------------------------------------------------------------------------

    def means(self, action: str) -> bool:
        """Whether a key means anything at the moment."""
        if not self._visible() or not self._desk.is_pointed_at:
            return False
        when = key_of(action).when
        if when == "triage":
            return self._review.is_open
        state = self._desk.state
        if action == "erase":
            return bool(state.label)
        return action != "release" or bool(state.label or state.waiting or self._stretching or self._review.is_open)

    @told
    def press(self, action: str) -> None:
        """Do what a key says."""
        if key_of(action).when == "triage":
            getattr(self._review, action)()
        elif action in ("larger", "smaller"):
            self.cycle(1 if action == "larger" else -1)
        elif action == "move":
            self._moving = True
            self.leave()
        elif action == "release" and self._stretching:
            self._stretching = False
            self._band.hide()
        else:
            self._desk.act(action)

    def release(self, action: str) -> None:
        """End what a key held down."""
        if action == "move":
            self._moving = False
