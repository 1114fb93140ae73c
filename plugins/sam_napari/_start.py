"""Napari with the panel beside the picture, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import napari

from sam_napari._settings import read_settings
from sam_napari._widget import SegmentAnything


def start(files: Sequence[Path], labels: Path | None, model: str | None) -> None:
    """Open a window with the images, or with the first of a folder, and stay until it is closed."""
    opened(files, labels, model)
    napari.run()


def opened(files: Sequence[Path], labels: Path | None, model: str | None) -> tuple[napari.Viewer, SegmentAnything]:
    """Open a window with the images and the panel."""
    viewer = napari.Viewer(title="Segment Anything")
    folder = files[0] if len(files) == 1 and files[0].is_dir() and files[0].suffix != ".zarr" else None
    for path in files if folder is None else ():
        viewer.open(path)
    if labels is not None:
        viewer.open(labels, layer_type="labels")
    settings = read_settings()
    panel = SegmentAnything(viewer, replace(settings, weights=model) if model else settings)
    viewer.window.add_dock_widget(panel, name="Segment Anything", area="right")
    if folder is not None:
        panel.open_folder(folder)
    return viewer, panel
