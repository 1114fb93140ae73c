"""The part of napari's window that shows the picture."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject, QPoint, QRect
from qtpy.QtWidgets import QMainWindow, QRubberBand, QWidget

CANVAS = "CanvasBackend"  # how vispy's widgets are called


def canvas_of(panel: QWidget) -> QWidget | None:
    """Return the widget that shows the picture of the window that a panel is docked to; None where there is none."""
    window = panel.window()
    if not isinstance(window, QMainWindow):
        return None
    middle = window.centralWidget()
    children = middle.findChildren(QWidget) if middle is not None else []
    return next((each for each in children if type(each).__name__.startswith(CANVAS)), None)


class Frame:
    """A frame over the picture while a box is drawn, in the colours of the system."""

    def __init__(self, canvas: QWidget) -> None:
        self._band = QRubberBand(QRubberBand.Shape.Rectangle, canvas)

    def stretch(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Show it between two places x, y of the canvas."""
        corners = [QPoint(round(x), round(y)) for x, y in (start, end)]
        self._band.setGeometry(QRect(*corners).normalized())
        self._band.show()

    def hide(self) -> None:
        """Show it no more."""
        self._band.hide()

    def close(self) -> None:
        """Remove it."""
        self._band.setParent(None)
        self._band.deleteLater()


class Watch(QObject):
    """Tells when the pointer leaves the picture, and when the window goes; keeps a double click from zooming.

    Parameters
    ----------
    canvas
        What shows the picture.
    left
        Called when the pointer leaves it.
    ours
        Whether clicks are ours: then the second click of two is no more than the first, and does not zoom.
    gone
        Called when the window is closed.
    """

    def __init__(
        self, canvas: QWidget, left: Callable[[], None], ours: Callable[[], bool], gone: Callable[[], None]
    ) -> None:
        super().__init__()
        self._canvas, self._window = canvas, canvas.window() or canvas
        self._left, self._ours, self._gone = left, ours, gone
        self._canvas.installEventFilter(self)
        self._window.installEventFilter(self)

    def close(self) -> None:
        """Watch no more."""
        self._canvas.removeEventFilter(self)
        self._window.removeEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Look at what happens."""
        kind = event.type() if event is not None else QEvent.Type.None_
        if watched is self._canvas and kind == QEvent.Type.Leave:
            self._left()
        elif watched is self._canvas and kind == QEvent.Type.MouseButtonDblClick:
            return self._ours()
        # A window that the user closes may ask whether it should, and stay; when it really goes, it is deleted.
        elif watched is self._window and event is not None:
            closed = kind == QEvent.Type.Close and not event.spontaneous()
            if closed or kind == QEvent.Type.DeferredDelete:
                self._gone()
        return False
