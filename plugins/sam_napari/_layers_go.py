"""To a place of a layer: what is looked at is moved there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam_napari._layers_axes import Axes, bare, roles_of
from sam_napari._layers_view import data_at, resolution
from sam_napari._source import Box, Plane

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

SMALL, LARGE = 40, 600  # pixels of the screen: of what is smaller or larger, the zoom is changed ...
GOOD = 80  # ... so that its longer side has so many


def go_to(viewer: Viewer, layer: Layer, plane: Plane, box: Box, roles: Sequence[str] | None = None) -> None:
    """Show a plane of a layer with a box of it in the middle of the screen: the eye can stay where it is.

    The zoom stays as it is unless the box would be very small on screen, or very large.
    """
    viewer, layer = bare(viewer), bare(layer)
    axes = Axes(tuple(roles) if roles is not None else roles_of(layer))
    place = data_at(viewer, layer, viewer.dims.point)
    place[list(axes.kept)] = plane.index
    for axis, low, high in zip(plane.axes, box[:2], box[2:], strict=True):
        place[axes.kept[axis]] = (low + high - 1) / 2
    world, offset = _world(viewer, layer, place), viewer.dims.ndim - layer.ndim
    for axis in range(layer.ndim):
        if axis + offset not in viewer.dims.displayed:
            viewer.dims.set_point(axis + offset, float(world[axis]))
    camera = getattr(viewer, "scene", viewer).camera  # before napari 0.9 it belonged to the viewer
    camera.center = tuple(float(world[axis - offset]) for axis in viewer.dims.displayed)
    side = max(box[2] - box[0], box[3] - box[1]) / resolution(viewer, layer, axes, plane.axes)
    if not SMALL <= side <= LARGE:
        camera.zoom *= GOOD / side


def standpoint(viewer: Viewer) -> Callable[[], None]:
    """Return what brings the view back to where it is now."""
    viewer = bare(viewer)
    camera = getattr(viewer, "scene", viewer).camera
    center, zoom, point = camera.center, camera.zoom, viewer.dims.point

    def back() -> None:
        viewer.dims.point = point
        camera.center, camera.zoom = center, zoom

    return back


def _world(viewer: Viewer, layer: Layer, place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where in the viewer's world a place of the layer is: one number for each axis of the layer."""
    count = layer.ndim
    origin = data_at(viewer, layer, np.zeros(count))
    columns = [data_at(viewer, layer, row) - origin for row in np.eye(count)]
    return np.asarray(np.linalg.solve(np.stack(columns, axis=1), place - origin))
