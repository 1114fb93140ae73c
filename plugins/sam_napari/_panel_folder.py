"""A folder of images, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QWidget

from sam_napari._ui import button, check, column, quietly, row, text_line

if TYPE_CHECKING:
    from sam_napari._tour import Tour


class FolderPanel(QWidget):
    """Buttons to go through a folder."""

    def __init__(self, tour: Tour) -> None:
        super().__init__()
        self._tour = tour
        self.where = text_line()
        self.previous = button("← Previous", lambda: tour.go(-1), "Save the objects, open the image before")
        self.next = button("Next →", lambda: tour.go(1), "Save the objects, open the image after")
        self.unfinished = button("Next unfinished →→", tour.go_unfinished, "Save the objects, go where work is left")
        self.finished = check("This image is finished", tour.mark, "Written down in sam-core.json beside the images")
        self._inside = column(None, [row([self.previous, self.next]), self.unfinished, self.finished])
        column(self, [button("Open folder…", self._open, "Go through a folder of images"), self.where, self._inside])

    def refresh(self) -> None:
        """Show where one stands."""
        folder = self._tour.folder
        self._inside.setVisible(folder is not None)
        self.where.setVisible(folder is not None)
        if folder is None:
            return
        count = len(folder.images)
        self.where.setText(f"{folder.image.name}: {folder.at + 1} of {count}, {folder.done} finished")
        self.previous.setEnabled(folder.at > 0)
        self.next.setEnabled(folder.at < count - 1)
        self.unfinished.setEnabled(folder.next_open is not None)
        with quietly(self.finished):
            self.finished.setChecked(folder.is_finished)

    def _open(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Open a folder of images")
        if chosen:
            self._tour.open(Path(chosen))
