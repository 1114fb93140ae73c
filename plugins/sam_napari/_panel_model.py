"""Which model answers, and how it is doing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QLabel, QWidget

from sam_napari._licence import licence_of
from sam_napari._notify import told
from sam_napari._ui import button, column, fill, row, text_line

if TYPE_CHECKING:
    from sam_napari._desk import Desk
    from sam_napari._engine import EngineStats

EMBEDDED = "cell"
NOT_YET = "—"


class ModelPanel(QWidget):
    """The choice of a model, and numbers that are measured and not promised."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._known = [EMBEDDED]
        self._source = self._licence = ""
        self.choice = QComboBox()
        self.choice.setEditable(True)
        self.choice.setAccessibleName("Model")
        self.choice.setToolTip("“cell”, a folder, a checkpoint file, or a repository of the Hugging Face Hub; Enter")
        self.choice.textActivated.connect(told(self._choose))
        browse = button("File…", self._browse, "A checkpoint file, or the config.json in the folder of a model")
        self.lines = {name: text_line(NOT_YET) for name in ("Runs on", "Encode", "Decode", "Pictures", "Licence")}
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        for name, line in self.lines.items():
            form.addRow(QLabel(name), line)
        facts = QWidget()
        facts.setLayout(form)
        column(self, [row([self.choice, browse]), facts])

    def refresh(self) -> None:
        """Show what is known by now."""
        source = self._desk.model
        if source not in self._known:
            self._known.append(source)
        if source != self._source:
            self._source, self._licence = source, licence_of(source)
        fill(self.choice, self._known, self._known.index(source))
        for name, text in _written(self._licence, self._desk.stats).items():
            self.lines[name].setText(text)

    def _choose(self, source: str) -> None:
        if source.strip():
            self._desk.use_model(source.strip())

    def _browse(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Open a model", "", "Models (*.pt *.pth *.safetensors *.json)")
        if chosen:
            path = Path(chosen)
            self._choose(str(path.parent if path.name == "config.json" else path))


def _written(licence: str, stats: EngineStats) -> dict[str, str]:
    """Write numbers for people."""
    known = {"Licence": licence}
    if not stats.loaded:
        return known | {"Runs on": stats.trouble or "not loaded yet"}
    asked = stats.memory_hits + stats.disk_hits + stats.encodes
    found = f"{stats.memory_hits} from memory, {stats.disk_hits} from disk, {stats.encodes} encoded"
    return known | {
        "Runs on": f"{stats.device}, {stats.dtype}",
        "Encode": _milliseconds(stats.encode_ms),
        "Decode": _milliseconds(stats.decode_ms),
        "Pictures": f"{found if asked else NOT_YET}; {stats.kept_bytes / 2**20:.0f} MiB kept",
    }


def _milliseconds(times: tuple[float, float] | None) -> str:
    """Write the last time and the median."""
    return NOT_YET if times is None else f"{times[0]:.0f} ms, mostly {times[1]:.0f} ms"
