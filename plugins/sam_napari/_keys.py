"""The keys: what each does, and where it is listened to.

Keys are heard while the picture has the focus, or the plugin's own panel where no text is being written, and only those
that mean something at the moment; napari's own keys keep their meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import QApplication, QMainWindow, QWidget


@dataclass(frozen=True, slots=True)
class Key:
    """A key.

    Parameters
    ----------
    action
        What it calls.
    keys
        As Qt writes them; any of them.
    what
        For the user: what it does.
    when
        "always", "triage" or "hold" (while it is held down).
    """

    action: str
    keys: tuple[str, ...]
    what: str
    when: str = "always"

    @property
    def text(self) -> str:
        """The first of the keys as this system writes it, for buttons and tool tips."""
        return QKeySequence(self.keys[0]).toString(QKeySequence.SequenceFormat.NativeText)


KEYS = (
    Key("release", ("Esc",), "Let go of the object, give up a box"),
    Key("erase", ("Del", "Backspace"), "Erase the active object"),
    Key("larger", (".",), "Next candidate, as Shift and wheel up"),
    Key("smaller", (",",), "Previous candidate, as Shift and wheel down"),
    Key("move", ("Space",), "Move the picture by dragging, instead of drawing a box", "hold"),
    Key("keep", ("Space",), "Keep the object and go to the next", "triage"),
    Key("drop", ("X",), "Drop the object and go to the next", "triage"),
    Key("skip", ("N",), "Go to the next without deciding", "triage"),
    Key("back", ("Ctrl+Z",), "Take the last decision back", "triage"),
    Key("commit", ("Return", "Enter", "Num+Enter"), "Paint all objects that are not dropped, as one step", "triage"),
)


def key_of(action: str) -> Key:
    """Return the key of an action."""
    return next(key for key in KEYS if key.action == action)


class Keys(QObject):
    """Hears the keys of one window until it is closed.

    Parameters
    ----------
    panel
        The plugin's widget.
    canvas
        What shows the picture.
    means
        Says whether an action means anything at the moment.
    press
        Called with an action whose key was pressed.
    release
        Called with an action that ends when its key is let go.
    """

    def __init__(
        self,
        panel: QWidget,
        canvas: QWidget,
        means: Callable[[str], bool],
        press: Callable[[str], None],
        release: Callable[[str], None],
    ) -> None:
        super().__init__(panel)
        self._panel, self._means, self._press, self._release = panel, means, press, release
        self._held: dict[int, str] = {}
        self._watched = [panel, canvas]
        above = canvas.parentWidget()
        while above is not None:  # what the canvas has no use for goes up to the window
            self._watched.append(above)
            above = None if isinstance(above, QMainWindow) else above.parentWidget()
        for each in self._watched:
            each.installEventFilter(self)

    def close(self) -> None:
        """Hear no more."""
        for each in self._watched:
            each.removeEventFilter(self)
        self._watched = []

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take the keys that are ours."""
        if not isinstance(event, QKeyEvent) or not self._ours():
            return False
        if event.type() == QEvent.Type.KeyRelease:
            return self._let_go(event)
        action = self._action(event)
        if action is None:
            return False
        if event.type() == QEvent.Type.ShortcutOverride:
            event.accept()  # comes to us as a press, and not to a menu that has the same key
        elif event.type() == QEvent.Type.KeyPress and not event.isAutoRepeat():
            self._press(action)
            if key_of(action).when == "hold":
                self._held[event.key()] = action
        return True

    def _action(self, event: QKeyEvent) -> str | None:
        actions = _ACTIONS.get(QKeySequence(event.keyCombination()).toString(), ())
        return next((action for action in actions if self._means(action)), None)

    def _let_go(self, event: QKeyEvent) -> bool:
        action = None if event.isAutoRepeat() else self._held.pop(event.key(), None)
        if action is not None:
            self._release(action)
        return action is not None

    def _ours(self) -> bool:
        """Whether the focus is on the picture, the window as such, or the panel."""
        focus = QApplication.focusWidget()
        return focus is None or focus in self._watched or self._panel.isAncestorOf(focus)


def _table() -> Mapping[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for key in sorted(KEYS, key=lambda key: key.when != "triage"):  # what is being reviewed comes first
        for each in key.keys:
            table[each] = (*table.get(each, ()), key.action)
    return table


_ACTIONS = _table()
