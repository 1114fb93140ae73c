"""Taking the objects elsewhere, and going on where one stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QWidget

from sam_napari._export import KINDS
from sam_napari._record import written
from sam_napari._ui import button, column, fill, picker, row, text_line

if TYPE_CHECKING:
    from sam_napari._desk import Desk


class SavePanel(QWidget):
    """Export, and the journals of this image."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self.export = button("Export…", self.choose_file, "As labels, COCO, ImageJ ROIs or measures; also File > Save")
        self.journals = picker("Journals of this image", lambda _: None)
        self.resume = button("Resume", self._resume, "Paint what this journal says on a new layer, and go on from it")
        self.known = text_line()
        self._past = row([self.journals, self.resume])
        column(self, [self.export, self.known, self._past])

    def refresh(self) -> None:
        """Show what can be resumed."""
        record = self._desk.archive.record
        entries = () if record is None else record.entries
        self.export.setEnabled(self._desk.is_ready)
        self._past.setVisible(bool(entries))
        chosen = min(max(self.journals.currentIndex(), 0), len(entries) - 1)
        fill(self.journals, [written(entry) for entry in entries], chosen)
        self.known.setText("You worked on this image before:" if entries else "No earlier work on this image.")

    def choose_file(self) -> None:
        """Ask where to, and write the objects there."""
        canvas = self._desk.canvas
        if canvas is None:
            return
        path, kind = QFileDialog.getSaveFileName(self, "Export objects", canvas.layer.name, ";;".join(KINDS))
        if path:
            self._desk.archive.export(
                Path(path if path.lower().endswith((*KINDS.values(), ".tiff")) else path + KINDS[kind])
            )

    def _resume(self) -> None:
        record = self._desk.archive.record
        if record is not None and 0 <= self.journals.currentIndex() < len(record.entries):
            self._desk.archive.resume(record.entries[self.journals.currentIndex()])
