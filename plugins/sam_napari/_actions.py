"""Entries of the menu Layers and of the command palette; they open the panel where it is not open yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from sam_napari._widget import SegmentAnything


def segment_everything(viewer: Viewer) -> None:
    """Segment everything that is on screen."""
    _panel(viewer).review.start("screen")


def segment_stack(viewer: Viewer) -> None:
    """Segment everything on all planes."""
    _panel(viewer).review.start("stack")


def follow_object(viewer: Viewer) -> None:
    """Follow the active object through the stack or through time."""
    _panel(viewer).pursuit.start()


def export_objects(viewer: Viewer) -> None:
    """Ask for a file, and write the objects there."""
    _panel(viewer).save.choose_file()


def _panel(viewer: Viewer) -> SegmentAnything:
    """Return the panel of a window."""
    from sam_napari._widget import SegmentAnything

    for each in dict(getattr(viewer.window, "dock_widgets", {})).values():
        if isinstance(each, SegmentAnything):
            return each
    _, panel = viewer.window.add_plugin_dock_widget("sam-core", "Segment Anything")
    assert isinstance(panel, SegmentAnything)
    return panel
