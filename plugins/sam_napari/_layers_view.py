"""Of an image layer: its pixels, what lies at a place of the world, and what is on screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_core import ImageError
from sam_napari._layers_axes import Axes, bare, roles_of, sizes_of
from sam_napari._layers_lazy import Channel
from sam_napari._source import Plane, Region, Source

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer


def source_of(
    layer: Image,
    *,
    roles: Sequence[str] | None = None,
    channel: int | None = None,
    as_displayed: bool = False,
) -> Source:
    """Take a snapshot of an image layer; nothing is loaded.

    Parameters
    ----------
    layer
        Of one level or several, numpy, dask, zarr or whatever else napari shows.
    roles
        What each axis is; by default `roles_of`.
    channel
        Which channel, where an axis holds channels; by default the first.
    as_displayed
        Whether the contrast of the layer is used, and not one that is measured.

    Raises
    ------
    ImageError
        The roles do not fit the layer, or there is no such channel.
    """
    layer = bare(layer)
    axes = Axes(tuple(roles) if roles is not None else roles_of(layer))
    levels = tuple(layer.data) if layer.multiscale else (layer.data,)
    if axes.channel is not None and axes.channel < layer.ndim:
        levels = tuple(_one(level, axes.channel, channel or 0) for level in levels)
    limits = None
    if as_displayed and not layer.rgb:
        low, high = layer.contrast_limits
        limits = float(low), float(high)
    return Source.of(levels, rgb=bool(layer.rgb), roles=axes.without_channel, limits=limits)


def _one(level: Any, axis: int, channel: int) -> Any:
    """Take one channel of a level, without loading it."""
    if not 0 <= channel < level.shape[axis]:
        msg = f"got channel {channel}, expected one of 0 to {level.shape[axis] - 1}; choose another channel"
        raise ImageError(msg)
    if isinstance(level, np.ndarray) or hasattr(level, "__dask_graph__"):
        return level[(slice(None),) * axis + (channel,)]
    return Channel(level, axis, channel)


def where(
    viewer: Viewer, layer: Layer, position: Sequence[float], roles: Sequence[str] | None = None, *, clip: bool = False
) -> tuple[Plane, tuple[float, float]] | None:
    """Return what of a layer lies at a place of the world: the plane on screen, and y, x on it.

    Parameters
    ----------
    viewer, layer
        Whose world it is, and the layer that is asked about.
    position
        One number for each axis of the viewer, as mouse events have it.
    roles
        What each axis of the layer is; by default `roles_of`.
    clip
        Whether a place beside the plane stands for the nearest one on it.

    Returns
    -------
    tuple[Plane, tuple[float, float]] | None
        None beside the layer, in 3D, or where the axes on screen are not two of the source.
    """
    viewer, layer = bare(viewer), bare(layer)
    axes = Axes(tuple(roles) if roles is not None else roles_of(layer))
    shown = axes.shown(viewer)
    if shown is None:
        return None
    plane, (y, x) = axes.place(shown, data_at(viewer, layer, position))
    sizes = [sizes_of(layer)[axis] for axis in axes.kept]
    height, width = (sizes[axis] for axis in shown)
    if not _there(plane, sizes):
        return None
    if clip:
        return plane, (min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0))
    return (plane, (y, x)) if -0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5 else None


def _there(plane: Plane, sizes: Sequence[int]) -> bool:
    """Tell whether a layer has such a plane; a slider may go further than one of several layers."""
    return all(0 <= place < n for place, n in zip(plane.index, sizes, strict=True))


def view_of(viewer: Viewer, layer: Layer, roles: Sequence[str] | None = None) -> tuple[Plane, Region, float] | None:
    """Return what of a layer is on screen.

    Returns
    -------
    tuple[Plane, Region, float] | None
        The plane; which part of it is on screen, half-open and clipped to the plane; how many of its pixels (along a
        side) make a pixel of the screen. None where nothing of the layer is on screen, or in 3D.
    """
    viewer, layer = bare(viewer), bare(layer)
    axes = Axes(tuple(roles) if roles is not None else roles_of(layer))
    shown = axes.shown(viewer)
    if shown is None:
        return None
    camera, size = _camera(viewer)
    center, turn = _linear(viewer, layer, axes, shown)
    plane, middle = axes.place(shown, center)
    sizes = [sizes_of(layer)[axis] for axis in axes.kept]
    if not _there(plane, sizes):
        return None
    reach = np.abs(turn) @ (np.asarray(size, float) / 2 / camera.zoom)
    # Integers are centres of pixels, and regions are measured between their edges.
    low, high = np.array(middle) + 0.5 - reach, np.array(middle) + 0.5 + reach
    full = np.array([sizes[axis] for axis in shown], float)
    (y0, x0), (y1, x1) = np.clip(low, 0, full).tolist(), np.clip(high, 0, full).tolist()
    if y0 >= y1 or x0 >= x1:
        return None
    return plane, (y0, x0, y1, x1), float(np.sqrt(abs(np.linalg.det(turn))) / camera.zoom)


def plane_on_screen(viewer: Viewer, layer: Layer, axes: Axes) -> Plane | None:
    """Return the plane of a layer that the viewer shows; None in 3D, or beside the layer."""
    shown = axes.shown(viewer)
    if shown is None:
        return None
    plane, _ = axes.place(shown, data_at(viewer, layer, viewer.dims.point))
    sizes = [sizes_of(layer)[axis] for axis in axes.kept]
    return plane if _there(plane, sizes) else None


def resolution(viewer: Viewer, layer: Layer, axes: Axes, shown: tuple[int, int]) -> float:
    """Return how many pixels of a layer, along a side, make a pixel of the screen."""
    _, turn = _linear(viewer, layer, axes, shown)
    return float(np.sqrt(abs(np.linalg.det(turn))) / zoom_of(viewer))


def zoom_of(viewer: Viewer) -> float:
    """Return how many pixels of the screen make a unit of the world."""
    return float(_camera(viewer)[0].zoom)


def data_at(viewer: Viewer, layer: Layer, position: ArrayLike) -> NDArray[np.float64]:
    """Convert a place of the viewer's world into the pixels of a layer, one number for each of its axes."""
    place = np.asarray(position, float)[-layer.ndim :]
    factors = _units(viewer, layer)
    return np.asarray(layer.world_to_data(place if factors is None else place * factors), float)


def _units(viewer: Viewer, layer: Layer) -> list[float] | None:
    """Return by what the viewer's units are larger than those of the layer; None for not at all."""
    units = getattr(viewer.dims, "units", None)  # napari before 0.9 had one unit for all layers
    if units is None or len(units) < layer.ndim:
        return None
    own = layer.units
    if own == units[-layer.ndim :]:
        return None
    return [float((1 * theirs).to(mine).magnitude) for theirs, mine in zip(units[-layer.ndim :], own, strict=True)]


def _linear(
    viewer: Viewer, layer: Layer, axes: Axes, shown: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the place on the layer at the middle of the screen, and (2, 2): by how much y, x grow along the world."""
    world = np.array(viewer.dims.point, float)
    displayed = list(viewer.dims.displayed)
    world[displayed] = _camera(viewer)[0].center[-2:]
    middle = data_at(viewer, layer, world)
    own = [axes.kept[axis] for axis in shown]
    columns = []
    for axis in displayed:
        world[axis] += 1
        columns.append((data_at(viewer, layer, world) - middle)[own])
        world[axis] -= 1
    return middle, np.stack(columns, axis=1)


def _camera(viewer: Viewer) -> tuple[Any, tuple[float, float]]:
    """Return the camera, and the height and width of what it fills in pixels of the screen."""
    canvas = getattr(viewer, "canvas", None)
    if canvas is None:  # napari before 0.9, which does not make the size public
        return viewer.camera, getattr(viewer, "_canvas_size", (600, 800))
    return viewer.scene.camera, canvas.viewbox_size(viewer.layers)
