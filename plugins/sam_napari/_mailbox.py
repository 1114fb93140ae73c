"""From the thread of the model to the thread of the windows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from qtpy.QtCore import QObject, Qt, Signal  # type: ignore[attr-defined]  # qtpy's own name for it

from sam_napari._notify import told


class Mailbox(QObject):
    """Calls functions on the thread of the windows, in the order in which they were posted, until it is closed."""

    _arrived = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._open = True
        self._arrived.connect(self.call, Qt.ConnectionType.QueuedConnection)

    def post(self, fn: Callable[[], None]) -> None:
        """Have a function called; from any thread."""
        if self._open:
            with suppress(RuntimeError):  # closed at this moment
                self._arrived.emit(fn)

    def close(self) -> None:
        """Throw away what has not been called."""
        self._open = False

    @told
    def call(self, fn: Callable[[], None]) -> None:
        """Call a function now; what goes wrong is told, and nobody sees a traceback. Nothing after `close`."""
        if self._open:
            fn()
