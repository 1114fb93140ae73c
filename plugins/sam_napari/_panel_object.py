"""The object that is being made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton, QWidget

from sam_napari._keys import key_of
from sam_napari._ui import button, check, column, row, text_line

if TYPE_CHECKING:
    from sam_napari._controller import State
    from sam_napari._desk import Desk

SIZES = {2: ("smaller", "larger"), 3: ("part", "object", "cluster")}


class ObjectPanel(QWidget):
    """What is under the pointer, the active object, its candidates, and what can be done with it."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self.title, self.pointed, self.hint = text_line(), text_line(), text_line()
        self.hint.setMinimumHeight(2 * self.hint.fontMetrics().lineSpacing() + 4)  # the panel does not jump
        self.candidates = [self._candidate(i) for i in range(3)]
        self.erase = button("Erase", lambda: desk.act("erase"), key="erase")
        self.release = button("Let go", lambda: desk.act("release"), key="release")
        self.numbers = check("A new number for each object", desk.set_advance, NUMBERS, on=True)
        actions = row([self.erase, self.release])
        column(self, [self.hint, self.pointed, self.title, row(self.candidates), actions, self.numbers])

    def refresh(self) -> None:
        """Show the active object."""
        state = self._desk.state
        self.title.setText(_title(state))
        self.hint.setText(self._desk.message)
        names = SIZES.get(len(state.scores), ("object",))
        for i, each in enumerate(self.candidates):
            known = i < len(state.scores)
            each.setVisible(known or i == 0)
            each.setEnabled(known)
            each.setText(f"{names[i]}  {state.scores[i]:.2f}" if known else "—")
            each.setChecked(known and i == state.chosen)
        self.erase.setEnabled(bool(state.label))
        self.release.setEnabled(bool(state.label) or state.waiting > 0)
        self.point()

    def point(self) -> None:
        """Show what is under the pointer."""
        shown = self._desk.stage.shown
        if shown is None:
            self.pointed.setText("Under the pointer: —")
        elif not shown.of:
            self.pointed.setText("Under the pointer: an object that is there")
        else:
            which = f", {shown.chosen + 1} of {shown.of}" if shown.of > 1 else ""
            self.pointed.setText(f"Under the pointer: {shown.score:.2f}{which}")

    def _choose(self, number: int) -> None:
        self._desk.act("cycle", number - self._desk.state.chosen)

    def _candidate(self, number: int) -> QPushButton:
        larger, smaller = key_of("larger").text, key_of("smaller").text
        tip = f"How much to take, and how sure the model is; Shift and wheel, or {smaller} and {larger}"
        return button("—", lambda: self._choose(number), tip, checkable=True)


NUMBERS = "Off: all objects get the selected number, as where a number is a class and not an object"


def _title(state: State) -> str:
    waiting = f", {state.waiting} waiting" if state.waiting else ""
    if not state.label:
        return f"<b>No object</b>{waiting}"
    made = {0: "made elsewhere", 1: "1 click"}.get(state.clicks, f"{state.clicks} clicks")
    return f"<b>Object {state.label}</b>: {made}{waiting}"
