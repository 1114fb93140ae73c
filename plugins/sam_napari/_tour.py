"""Going through a folder: the next image is opened, the objects of the last one are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sam_core import ImageError
from sam_napari._folder import Folder
from sam_napari._notify import sentence

if TYPE_CHECKING:
    from sam_napari._desk import Desk

T = TypeVar("T")


class Tour:
    """Opens the images of a folder one after the other.

    Only layers that it opened itself are removed again.

    Parameters
    ----------
    desk
        Where the images are worked on.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.folder: Folder | None = None
        self._opened: list[Any] = []
        self._strange = False  # whether a file of objects is there that is not of this image

    def open(self, path: Path) -> None:
        """Begin with the first unfinished image of a folder."""
        folder = self._trying(lambda: Folder.of(path))
        if folder is not None:
            self._keep(lambda: self._show(folder))

    def go(self, step: int) -> None:
        """Go that many images on."""
        folder = self.folder
        if folder is not None:
            self._keep(lambda: self._show(folder.went(step)))

    def go_unfinished(self) -> None:
        """Go to the next image that is not finished."""
        folder = self.folder
        if folder is not None and folder.next_open is not None:
            self.go(folder.next_open - folder.at)

    def mark(self, finished: bool) -> None:
        """Keep the objects, and mark the image as finished, or not."""
        folder = self.folder
        if folder is None:
            return

        def marked() -> None:
            self.folder = self._trying(lambda: folder.marked(finished)) or folder
            self.desk.changed()

        self._keep(marked)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _keep(self, then: Callable[[], None]) -> None:
        """Write the objects if there are any, and go on when that went well."""
        folder, canvas = self.folder, self.desk.canvas
        ours = folder is not None and canvas is not None and canvas.layer in self._opened
        if folder is None or canvas is None or not ours or not (folder.labels.exists() or canvas.next_label() > 1):
            then()
        elif self._strange:
            self.desk.tell(
                f"The objects of {folder.image.name} were not saved over {folder.labels}, which is not theirs."
            )
            then()
        else:
            self._trying(lambda: folder.labels.parent.mkdir(exist_ok=True))
            self.desk.archive.export(folder.labels, then)

    def _show(self, folder: Folder) -> None:
        """Take away what was opened, and open another image."""
        viewer, self.folder = self.desk.viewer, folder
        self.desk.use_image(None)
        for layer in self._opened:
            if layer in viewer.layers:
                viewer.layers.remove(layer)
        opened = self._trying(lambda: list(viewer.open(str(folder.image))))
        self._opened = [layer for layer in opened or () if layer in viewer.layers]
        images = [layer for layer in self.desk.images if layer in self._opened]
        if images:
            self.desk.use_image(images[0])
            self._opened += [self.desk.canvas.layer] if self.desk.canvas is not None else []
            self._strange = self._trying(self._fill) is None
        elif opened is not None:
            self.desk.tell(f"{folder.image.name} holds no image. Go on to the next one.")
        viewer.reset_view()
        self.desk.changed()

    def _fill(self) -> bool:
        """Put the objects that are there already into the target.

        Raises
        ------
        ImageError
            They are of another shape.
        """
        folder, canvas = self.folder, self.desk.canvas
        if folder is None or canvas is None or not folder.labels.exists():
            return True
        import tifffile

        labels = tifffile.imread(folder.labels)
        if labels.size != canvas.layer.data.size:
            msg = (
                f"got objects of {labels.shape} in {folder.labels}, expected {canvas.layer.data.shape} as the image "
                "has; move the file away to begin anew"
            )
            raise ImageError(msg)
        canvas.layer.data = labels.reshape(canvas.layer.data.shape).astype(canvas.layer.data.dtype)
        return True

    def _trying(self, act: Callable[[], T]) -> T | None:
        """Do something with files, and say so where it is not possible."""
        try:
            return act()
        except Exception as error:  # readers of all kinds raise all kinds of errors
            self.desk.tell(sentence(error))
            return None
