"""Layers of the plugin's own, for looking at only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sam_napari._layers_axes import bare

if TYPE_CHECKING:
    from napari.layers import Labels, Layer
    from napari.viewer import Viewer
    from numpy.typing import NDArray

KEY, VALUE = "sam-core", "view"  # in the metadata of these layers


class Sheet:
    """A Labels layer that nobody but the plugin paints: never selected, locked, and not undone.

    It is made when it is first asked for, and again where the user removed it.

    Parameters
    ----------
    viewer
        Where it is shown.
    make
        Returns the layer, not yet added.
    """

    def __init__(self, viewer: Viewer, make: Callable[[], Labels]) -> None:
        self._viewer, self._make = bare(viewer), make
        self._layer: Labels | None = None
        self._active: Layer | None = None
        self._viewer.layers.selection.events.changed.connect(self._deselect)

    @property
    def there(self) -> bool:
        """Whether the layer is among those of the viewer."""
        return self._layer is not None and self._layer in self._viewer.layers

    @property
    def layer(self) -> Labels:
        """The layer; added to the viewer where it is not there."""
        if self._layer is None or self._layer not in self._viewer.layers:
            self._layer = self._make()
            self._layer.metadata[KEY] = VALUE
            self._add(self._layer)
        return self._layer

    def owns(self, layer: Layer | None) -> bool:
        """Tell whether this is the layer."""
        return layer is not None and bare(layer) is self._layer

    def raise_to_top(self) -> None:
        """Put the layer above all others."""
        layers = self._viewer.layers
        if layers[-1] is not self.layer:
            layers.move(layers.index(self.layer), len(layers))

    def redraw(self, pixels: NDArray[Any], corner: tuple[int, int]) -> None:
        """Draw pixels (h, w) of the plane on screen whose first is at y, x; nothing else is drawn anew.

        They are in the array of the layer already; this is the event by which napari itself draws what was painted.
        """
        self.layer.events.labels_update(data=pixels, offset=list(corner))

    def close(self) -> None:
        """Remove the layer."""
        self._viewer.layers.selection.events.changed.disconnect(self._deselect)
        if self._layer is not None:
            with suppress(ValueError):  # the user was quicker
                self._viewer.layers.remove(self._layer)
        self._layer = None

    def _add(self, layer: Labels) -> None:
        selection = self._viewer.layers.selection
        chosen, active = set(selection), selection.active
        self._viewer.add_layer(layer)
        if hasattr(layer, "locked"):  # new in napari 0.9: not deleted together with others that are selected
            layer.locked = True
        selection.active = active
        selection.update(chosen)

    def _deselect(self, _event: object = None) -> None:
        """Give the selection back to what had it."""
        selection = self._viewer.layers.selection
        if self._layer not in selection:
            self._active = selection.active or self._active
        elif len(selection) > 1:
            selection.discard(self._layer)
        else:
            selection.active = self._active if self._active in self._viewer.layers else None


def is_own(layer: Layer) -> bool:
    """Tell whether a layer is one of the plugin's for looking at only: nothing to choose, to segment or to save."""
    return bool(bare(layer).metadata.get(KEY) == VALUE)
