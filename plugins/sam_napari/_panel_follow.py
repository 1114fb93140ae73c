"""From plane to plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from sam_napari._ui import Amount, button, column, row, text_line

if TYPE_CHECKING:
    from sam_napari._pursuit import Pursuit

NAMES = {"z": "z", "t": "time"}


class FollowPanel(QWidget):
    """Buttons that follow objects through a stack or through time."""

    def __init__(self, pursuit: Pursuit) -> None:
        super().__init__()
        self._pursuit = pursuit
        self.one = button("This object", pursuit.start, "Follow the active object from the planes you clicked on")
        self.all = button("All on this plane", lambda: pursuit.start(True), "Follow all objects of this plane")
        self.stop = button("Stop", pursuit.stop, "Follow no further; what was found is painted")
        self.overlap = Amount("Overlap", 100, lambda i: i / 100, "{:.2f}".format, at=round(100 * pursuit.desk.min_iou))
        self.overlap.setToolTip("How much an object must overlap itself on the next plane; thick planes need less")
        self.overlap.on_change(self._set_overlap)
        self.known = text_line()
        column(self, [row([self.one, self.all, self.stop]), self.overlap, self.known])

    def refresh(self) -> None:
        """Show what can be followed."""
        pursuit, running = self._pursuit, self._pursuit.is_running
        there = bool(pursuit.axis) and pursuit.desk.is_ready
        self.one.setVisible(not running)
        self.all.setVisible(not running)
        self.stop.setVisible(running)
        self.one.setEnabled(there and bool(pursuit.desk.state.label))
        self.all.setEnabled(there)
        self.known.setText(pursuit.sentence if there else "This image has one plane only.")

    def _set_overlap(self) -> None:
        self._pursuit.desk.min_iou = self.overlap.value
