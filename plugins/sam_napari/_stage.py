"""What is shown over the image and not painted: the object under the pointer, and objects that were found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sam_core import Masks
from sam_napari._layers import Ghost, Preview
from sam_napari._source import Plane

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from sam_napari._picture import Picture


@dataclass(frozen=True, slots=True)
class Shown:
    """What is under the pointer.

    Parameters
    ----------
    score
        How good it may be.
    chosen, of
        Which candidate it is, of how many; `of` is 0 for an object that is there already.
    """

    score: float
    chosen: int
    of: int


class Stage:
    """The plugin's own layers in one viewer (and a `_controller.Ghost`).

    napari takes long to add and remove layers, so they stay as long as the image does.

    Parameters
    ----------
    viewer
        Where the layers are.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._ghost: Ghost | None = None
        self._prepared = True
        self._pinned = False
        self.preview: Preview | None = None
        """Shows what was found and is not painted yet."""
        self.shown: Shown | None = None
        """What is under the pointer."""
        self.changed: Callable[[], None] = lambda: None
        """Called when `shown` changes, with each move of the mouse."""

    def open(self, picture: Picture) -> None:
        """Make layers for an image, in place of those for another one."""
        self.close()
        self._ghost = Ghost(self._viewer, picture.layer, picture.roles)
        self.preview = Preview(self._viewer, picture.layer, picture.roles)
        self._prepared = False

    def close(self, later: Callable[[Callable[[], None]], None] | None = None) -> None:
        """Remove the layers: now, or by what calls a function later."""
        for each in (self._ghost, self.preview):
            if each is not None and later is not None:
                later(each.close)
            elif each is not None:
                each.close()
        self._ghost = self.preview = self.shown = None
        self._prepared, self._pinned = True, False

    def prepare(self) -> bool:
        """Add the layer of what is under the pointer, before it is wanted; whether that was to be done."""
        if self._prepared or self._ghost is None:
            return False
        self._prepared = True
        self._ghost.prepare()
        return True

    def show(self, plane: Plane, masks: Masks, score: float, chosen: int, of: int) -> None:
        """Draw what is under the pointer."""
        if self._ghost is not None and not self._pinned:
            self._ghost.show(plane, masks, score, chosen, of)
            self.shown = Shown(score, chosen, of)
            self.changed()

    def hide(self) -> None:
        """Draw nothing under the pointer."""
        if self._ghost is not None and not self._pinned:
            self._ghost.hide()
        self.shown = None
        self.changed()

    def point_out(self, plane: Plane, masks: Masks, score: float) -> None:
        """Draw an object that is asked about, and nothing under the pointer until `let_go`."""
        self._pinned = True
        if self._ghost is not None:
            self._ghost.show(plane, masks, score)

    def let_go(self) -> None:
        """Draw the object that was asked about no more."""
        self._pinned = False
        self.hide()
