"""A hand on the mouse."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

NONE = Qt.KeyboardModifier.NoModifier


def move(widget: QWidget, point: QPoint, modifier: Any = NONE, *, pressed: bool = False) -> None:
    """Move the mouse over a widget, with the left button held down or not."""
    place = QPointF(point)
    button = Qt.MouseButton.LeftButton if pressed else Qt.MouseButton.NoButton
    kind, none = QEvent.Type.MouseMove, Qt.MouseButton.NoButton
    QApplication.sendEvent(widget, QMouseEvent(kind, place, widget.mapToGlobal(place), none, button, modifier))
    QTest.qWait(8)  # napari looks at the mouse every 5 ms


def drag(widget: QWidget, start: QPoint, end: QPoint, modifier: Any = NONE, *, steps: int = 6) -> None:
    """Press the left button, move, and let go."""
    QTest.mousePress(widget, Qt.MouseButton.LeftButton, modifier, start)
    for i in range(1, steps + 1):
        move(widget, start + (end - start) * (i / steps), modifier, pressed=True)
    QTest.mouseRelease(widget, Qt.MouseButton.LeftButton, modifier, end)
