"""What the mouse does over the picture: point, click, drag a box, turn the wheel.

Callbacks stand on the viewer, not on the user's layers, and do nothing unless the plugin is asked to listen; napari's
own gestures are left alone: the wheel zooms, the right button zooms, Alt and drag zooms to a box, Ctrl and wheel goes
through the planes.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from napari.viewer import Viewer

LEFT = 1
STILL = 4  # pixels of the screen that a click may shake
World = tuple[float, ...]


class Listener(Protocol):
    """What wants to know."""

    def listens(self) -> bool:
        """Whether the mouse is ours now."""

    def draws_boxes(self) -> bool:
        """Whether a drag draws a box; else it moves the picture."""

    def hover(self, position: World) -> None:
        """Handle the pointer resting or moving, in world coordinates."""

    def click(self, position: World, sign: int) -> None:
        """Handle a click: 0 a plain one, 1 to include, -1 to exclude."""

    def stretch(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Handle a box that is being drawn, x, y in pixels of the canvas."""

    def box(self, start: World, end: World | None) -> None:
        """Handle a box that was drawn, or None: given up."""

    def cycle(self, step: int) -> None:
        """Handle a turn of the wheel."""


class Mouse:
    """Listens to the mouse over one viewer's picture until it is closed."""

    def __init__(self, viewer: Viewer, listener: Listener) -> None:
        self._viewer, self._listener = viewer, listener
        self._turned = 0.0
        viewer.mouse_move_callbacks.append(self._move)
        viewer.mouse_drag_callbacks.append(self._press)
        viewer.mouse_wheel_callbacks.append(self._wheel)

    def close(self) -> None:
        """Stop listening."""
        viewer = self._viewer
        for callbacks, own in (
            (viewer.mouse_move_callbacks, self._move),
            (viewer.mouse_drag_callbacks, self._press),
            (viewer.mouse_wheel_callbacks, self._wheel),
        ):
            if own in callbacks:
                callbacks.remove(own)

    def _move(self, _viewer: object, event: Any) -> None:
        if self._listener.listens():
            self._listener.hover(tuple(event.position))

    def _press(self, _viewer: object, event: Any) -> Generator[None, None, None]:
        if event.button != LEFT or not self._listener.listens() or "Alt" in event.modifiers:
            return
        sign = _sign(event.modifiers)
        boxes = sign == 0 and self._listener.draws_boxes()
        # The camera does not see a press that is handled, and so does not follow the drag either.
        event.handled = boxes or sign != 0
        start, position, corner = _pixels(event), tuple(event.position), None
        yield
        while event.type == "mouse_move":
            far = np.abs(np.subtract(_pixels(event), start)).max() > STILL
            if far or corner is not None:
                corner = tuple(event.position)
                if boxes:
                    self._listener.stretch(start, _pixels(event))
            yield
        if corner is None:
            self._listener.click(position, sign)
        elif boxes:
            self._listener.box(position, tuple(event.position))

    def _wheel(self, _viewer: object, event: Any) -> None:
        if list(event.modifiers) != ["Shift"] or not self._listener.listens():
            return
        # Some systems turn the wheel's axis where Shift is held; touch pads send many small steps.
        self._turned += float(np.clip(np.sum(event.delta), -1, 1))
        if abs(self._turned) >= 1:
            self._listener.cycle(int(np.sign(self._turned)))
            self._turned = 0.0


def _pixels(event: Any) -> tuple[float, float]:
    return float(event.pos[0]), float(event.pos[1])


def _sign(modifiers: Any) -> int:
    if "Shift" in modifiers:
        return -1
    return 1 if "Control" in modifiers or "Meta" in modifiers else 0
