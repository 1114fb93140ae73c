"""What is written down about an image, and what was; and objects as files. All of it in the background."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam_core import EmbeddingCache
from sam_napari._background import in_background
from sam_napari._export import export
from sam_napari._journal import Entry, Journal
from sam_napari._layers import LabelsCanvas, new_target
from sam_napari._notify import sentence
from sam_napari._record import Record, record_of
from sam_napari._replay import replay

if TYPE_CHECKING:
    from sam_napari._desk import Desk
    from sam_napari._picture import Picture
    from sam_napari._settings import Settings


class Archive:
    """The journals of one desk.

    Parameters
    ----------
    desk
        What is worked on.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.record: Record | None = None
        """What is known of the image from before; None while it is looked up."""
        self._begun = False

    def look_up(self, picture: Picture | None) -> None:
        """Find out what was done with an image before; None: with no image."""
        self.record = None
        if picture is None:
            return
        layer, folder = picture.layer, self._desk.settings.journal_folder
        pixels = _finest(picture)

        def found(came: Record | Exception) -> None:
            if isinstance(came, Record) and picture is self._desk.picture:
                self.record = came
                self._desk.changed()

        if isinstance(pixels, np.ndarray):
            found(record_of(pixels, layer.ndim, folder))
        else:
            in_background(lambda: record_of(pixels, layer.ndim, folder), found, self._desk.post, "record")

    def journal(self, canvas: LabelsCanvas) -> Journal | None:
        """Begin a journal; None where none is wanted, or it is not known yet which image this is."""
        picture, settings = self._desk.picture, self._desk.settings
        self._begun = self.record is not None or not settings.keep
        if self.record is None or picture is None or not settings.keep:
            return None
        opened = _about(picture, canvas) | {"model": self._desk.model}
        return Journal(settings.journal_folder, self.record.key, opened, self._desk.tell_later)

    def begin_late(self) -> None:
        """Begin a journal that could not be begun with the target."""
        controller, canvas = self._desk.controller, self._desk.canvas
        if not self._begun and self.record is not None and controller is not None and canvas is not None:
            controller.retarget(canvas, self.journal(canvas))

    def resume(self, entry: Entry) -> None:
        """Paint what a journal says on a new target, and go on from there."""
        desk, picture = self._desk, self._desk.picture
        if picture is None:
            return
        layer = new_target(desk.viewer, picture.layer, picture.roles)
        data = layer.data

        def painted(came: object) -> None:
            layer.refresh()
            if isinstance(came, Exception):
                desk.tell(sentence(came))
            elif picture is desk.picture and layer in desk.viewer.layers:
                desk.use_target(layer)

        in_background(lambda: replay(entry.path, out=data), painted, desk.post, "replay")

    def export(self, path: Path, then: Callable[[], None] | None = None) -> None:
        """Write the objects in the format that the ending of a path names.

        Parameters
        ----------
        path
            Where to.
        then
            Called when that went well; without it the user is told.
        """
        desk, canvas, picture = self._desk, self._desk.canvas, self._desk.picture
        if canvas is None or picture is None:
            return
        data, meta, _ = canvas.layer.as_layer_data_tuple()
        data = data.copy() if isinstance(data, np.ndarray) else data  # one may go on painting
        image = _finest(picture)

        def written(came: object) -> None:
            if isinstance(came, Exception):
                desk.tell(sentence(came))
            elif then is not None:
                then()
            else:
                desk.tell(f"{path} is written.")

        in_background(lambda: export(path, data, meta, image), written, desk.post, "export")


def make_room(settings: Settings, post: Callable[[Callable[[], None]], None]) -> None:
    """Remove from the disk what was not used for longest, where there is more than the user wants."""
    keep, folder = int(settings.gigabytes * 2**30), settings.cache_folder
    in_background(lambda: EmbeddingCache(folder).prune(keep_bytes=keep), lambda _: None, post, "room")


def _about(picture: Picture, canvas: LabelsCanvas) -> dict[str, Any]:
    """Return what a journal says about the image and its target."""
    layer = canvas.layer
    return {
        "image": picture.layer.name,
        "path": str(getattr(picture.layer.source, "path", None) or ""),
        "target": layer.name,
        "shape": canvas.array_shape,
        "dtype": str(canvas.dtype),
        "axes": list(picture.source.roles),
        "scale": [float(size) for size in layer.scale],
        "units": [str(unit) for unit in layer.units],
        "channel": picture.channel,
        "as_displayed": picture.as_displayed,
    }


def _finest(picture: Picture) -> Any:
    """Return the pixels of an image at full resolution."""
    return picture.layer.data[0] if picture.layer.multiscale else picture.layer.data
