"""The image that is worked on, as the user wants it to be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sam_napari._layers import Axes, bare, roles_of, source_of, view_of, where
from sam_napari._layers_axes import ROLES
from sam_napari._layers_view import data_at
from sam_napari._source import Plane, Region, Source

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer


class Wires:
    """Connections to events, all of which are undone together."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Any, Callable[..., object]]] = []

    def connect(self, emitter: Any, callback: Callable[..., object]) -> None:
        """Call back at each event; events that this napari does not have are passed over."""
        if emitter is not None:
            emitter.connect(callback)
            self._pairs.append((emitter, callback))

    def close(self) -> None:
        """Undo all."""
        for emitter, callback in self._pairs:
            with suppress(ValueError, RuntimeError):
                emitter.disconnect(callback)
        self._pairs.clear()


class Picture:
    """An image layer, read as the user says: which axis is which, which channel, with which contrast.

    The layer is only looked at: nothing of it is changed.

    Parameters
    ----------
    viewer, layer
        Where the layer is, and the layer.
    changed
        Called after `source` was replaced because the layer or a choice changed.

    Raises
    ------
    ImageError
        The layer has fewer than two axes to be shown.
    """

    def __init__(self, viewer: Viewer, layer: Image, changed: Callable[[], None]) -> None:
        self.viewer, self.layer = bare(viewer), bare(layer)
        self._changed, self._chosen = changed, dict[int, str]()
        self.channel, self.as_displayed = 0, False
        self.roles: tuple[str, ...] = ()
        """What each axis of the layer is."""
        self.source = self._read()
        self._wires = Wires()
        self._wires.connect(self.layer.events.data, self._renew)
        self._wires.connect(getattr(self.layer.events, "axis_labels", None), self._renew)
        self._wires.connect(self.layer.events.contrast_limits, self._contrast)

    def close(self) -> None:
        """Look at the layer no more."""
        self._wires.close()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Length of each axis of the layer, colours left out."""
        data = self.layer.data[0] if self.layer.multiscale else self.layer.data
        return tuple(int(n) for n in data.shape[: self.layer.ndim])

    @property
    def channels(self) -> int:
        """How many channels there are to choose from; 0 where no axis holds channels."""
        axis = Axes(self.roles).channel
        return 0 if axis is None else self.sizes[axis]

    def choose_role(self, axis: int, role: str) -> None:
        """Say what an axis is; the axis that was that becomes what this one was.

        Raises
        ------
        ImageError
            There would not be two axes left to be shown.
        """
        roles, before = list(self.roles), dict(self._chosen)
        if role in ROLES and role in roles:
            roles[roles.index(role)] = roles[axis]
        roles[axis] = role
        self._chosen = dict(enumerate(roles))
        try:
            self._renew()
        except Exception:
            self._chosen = before
            raise

    def choose_channel(self, channel: int) -> None:
        """Look at another channel."""
        self.channel = channel
        self._renew()

    def choose_contrast(self, as_displayed: bool) -> None:
        """Let the model see the contrast that is on screen, or one that is measured."""
        self.as_displayed = as_displayed
        self._renew()

    def place(self, position: Sequence[float], *, clip: bool = False) -> tuple[Plane, tuple[float, float]] | None:
        """Return the plane at a place of the world, and y, x on it; beside the image None, or with `clip` its edge."""
        found = where(self.viewer, self.layer, position, self.roles)
        axes = Axes(self.roles)
        shown = axes.shown(self.viewer)
        if found is not None or not clip or shown is None:
            return found
        plane, (y, x) = axes.place(shown, data_at(self.viewer, self.layer, position))
        height, width = self.source.shape(plane)
        return plane, (min(max(y, -0.5), height - 0.5), min(max(x, -0.5), width - 0.5))

    def view(self) -> tuple[Plane, Region, float] | None:
        """Return plane and part of it on screen, and pixels to a pixel of the screen; None where there is nothing."""
        return view_of(self.viewer, self.layer, self.roles)

    def _read(self) -> Source:
        self.roles = roles_of(self.layer, self._chosen)
        self.channel = min(self.channel, max(self.channels - 1, 0))
        return source_of(self.layer, roles=self.roles, channel=self.channel, as_displayed=self.as_displayed)

    def _renew(self, _event: object = None) -> None:
        self.source = self._read()
        self._changed()

    def _contrast(self, _event: object = None) -> None:
        if self.as_displayed:
            self._renew()
