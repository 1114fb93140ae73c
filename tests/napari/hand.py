"""A hand on the mouse and the keys of a window of napari."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

NONE, SHIFT, CONTROL, ALT = (
    Qt.KeyboardModifier.NoModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.AltModifier,
)
LEFT, NO_BUTTON = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
PATIENCE = 30.0  # seconds


class Window:
    """A viewer that is shown; places are y, x of the world."""

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.canvas: QWidget = viewer.window._qt_viewer.canvas.native
        QApplication.processEvents()

    def at(self, y: float, x: float) -> QPoint:
        """Return where on the canvas a place of the world is."""
        camera = self.viewer.scene.camera
        middle = np.array([self.canvas.height(), self.canvas.width()]) / 2
        place = middle + (np.array([y, x]) - camera.center[-2:]) * camera.zoom
        return QPoint(round(place[1]), round(place[0]))

    def move(self, y: float, x: float) -> None:
        """Move the mouse to a place."""
        _send_move(self.canvas, self.at(y, x), NONE, NO_BUTTON)
        self.settle()

    def click(self, y: float, x: float, modifier: Any = NONE, button: Any = LEFT) -> None:
        """Click at a place."""
        QTest.mouseClick(self.canvas, button, modifier, self.at(y, x))
        self.settle()

    def drag(self, start: tuple[float, float], end: tuple[float, float], modifier: Any = NONE, steps: int = 6) -> None:
        """Press the left button, move, and let go."""
        first, last = self.at(*start), self.at(*end)
        QTest.mousePress(self.canvas, LEFT, modifier, first)
        for i in range(1, steps + 1):
            _send_move(self.canvas, first + (last - first) * (i / steps), modifier, LEFT)
        QTest.mouseRelease(self.canvas, LEFT, modifier, last)
        self.settle()

    def wheel(self, steps: int, modifier: Any = NONE) -> None:
        """Turn the wheel over the middle of the picture."""
        point = QPointF(self.canvas.width() / 2, self.canvas.height() / 2)
        event = QWheelEvent(
            point, self.canvas.mapToGlobal(point), QPoint(), QPoint(0, 120 * steps),
            NO_BUTTON, modifier, Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(self.canvas, event)
        self.settle()

    def press(self, key: Any, modifier: Any = NONE) -> None:
        """Press a key over the picture."""
        self.canvas.setFocus()
        QTest.keyClick(self.canvas, key, modifier)
        self.settle()

    def settle(self, milliseconds: int = 20) -> None:
        """Let napari look at the mouse, which it does every 5 ms."""
        QTest.qWait(milliseconds)

    def until(self, true: Callable[[], object]) -> None:
        """Wait until something is true."""
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, "it did not come true"
            QTest.qWait(10)


def _send_move(widget: QWidget, point: QPoint, modifier: Any, button: Any) -> None:
    place = QPointF(point)
    event = QMouseEvent(QEvent.Type.MouseMove, place, widget.mapToGlobal(place), NO_BUTTON, button, modifier)
    QApplication.sendEvent(widget, event)
    QTest.qWait(8)
