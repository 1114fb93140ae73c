"""Layers that lie over an image pixel by pixel, and Labels layers to paint objects on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from napari.layers import Labels
from napari.utils.transforms import CompositeAffine
from numpy.typing import NDArray

from sam_core import ImageError
from sam_napari._change import CanvasError
from sam_napari._layers_axes import Axes, bare, roles_of, sizes_of
from sam_napari._source import Box, Plane

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

LARGE = 256 * 1024**2  # bytes from which labels are kept compressed
MANY = 6_553_500  # pixels that may hold more objects than 16 bits number
QUICK = 1 << 20  # pixels of a plane that napari shows quickly whatever the type


@dataclass(frozen=True, eq=False, slots=True)
class Over:
    """Where a layer has to lie to cover an image pixel by pixel.

    An axis of channels that comes first is left out; elsewhere it becomes a single place that reaches over all
    channels, because the axes of a layer are matched with those of others from the last one on.

    Parameters
    ----------
    shape
        Of the layer.
    kept
        Which of its axes are those of the source.
    scale, translate, rotate, shear, affine
        As layers have them: (n,), (n,), (n, n), (m,) or (n, n), (n + 1, n + 1).
    units, axis_labels
        One for each axis.
    """

    shape: tuple[int, ...]
    kept: tuple[int, ...]
    scale: NDArray[np.float64]
    translate: NDArray[np.float64]
    rotate: NDArray[np.float64]
    shear: NDArray[np.float64]
    affine: NDArray[np.float64]
    units: tuple[Any, ...]
    axis_labels: tuple[str, ...]

    @classmethod
    def of(cls, layer: Layer, axes: Axes) -> Over:
        """Look where a layer lies.

        Raises
        ------
        ImageError
            The roles are of another number of axes.
        """
        layer = bare(layer)
        if len(axes.roles) != layer.ndim:
            msg = f"got roles {axes.roles}, expected one for each of the {layer.ndim} axes of {layer.name!r}"
            raise ImageError(msg)
        shape = list(sizes_of(layer))
        scale, translate = np.array(layer.scale, float), np.array(layer.translate, float)
        if axes.channel is not None:
            translate[axes.channel] += scale[axes.channel] * (shape[axes.channel] - 1) / 2
            scale[axes.channel] *= shape[axes.channel]
            shape[axes.channel] = 1
        whole = CompositeAffine(scale, translate, rotate=layer.rotate, shear=layer.shear, ndim=layer.ndim)
        own = list(range(layer.ndim))[axes.channel == 0 :]
        part = whole.set_slice(own)
        return cls(
            shape=tuple(shape[axis] for axis in own),
            kept=tuple(axis - own[0] for axis in axes.kept),
            scale=part.scale,
            translate=part.translate,
            rotate=part.rotate,
            shear=part.shear,
            affine=np.asarray(layer.affine.set_slice(own).affine_matrix),
            units=tuple(layer.units[axis] for axis in own),
            axis_labels=tuple(layer.axis_labels[axis] for axis in own),
        )

    @property
    def arguments(self) -> dict[str, Any]:
        """What a layer is made with to lie there."""
        names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
        return {name: getattr(self, name) for name in names}

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(n + 1, n + 1): from pixels into the world."""
        inner = CompositeAffine(self.scale, self.translate, rotate=self.rotate, shear=self.shear, ndim=len(self.shape))
        return np.asarray(self.affine @ inner.affine_matrix)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Length of each axis of the source."""
        return tuple(self.shape[axis] for axis in self.kept)


@dataclass(frozen=True, eq=False, slots=True)
class Fit:
    """Which places of a Labels layer are those of an image's source.

    Parameters
    ----------
    sizes
        Length of each axis of the source.
    axes
        Axis of the labels for each axis of the source.
    base
        Where on each axis of the labels one is otherwise: 0, or the channel.
    """

    sizes: tuple[int, ...]
    axes: tuple[int, ...]
    base: tuple[int, ...]

    @classmethod
    def of(cls, labels: Labels, image: Layer, axes: Axes, channel: int = 0) -> Fit:
        """Match the axes of labels with those of an image, from the last one on, as napari does.

        Raises
        ------
        CanvasError
            The labels are not of the image's shape, or cannot be edited.
        """
        _editable(labels)
        over = Over.of(image, axes)
        shape = tuple(int(n) for n in labels.data.shape)
        offset = len(shape) - len(axes.roles)
        own = tuple(axis + offset for axis in axes.kept)
        channels = None if axes.channel is None else axes.channel + offset
        spare = [n for axis, n in enumerate(shape) if axis not in own and axis != channels]
        if min(own) < 0 or tuple(shape[axis] for axis in own) != over.sizes or any(n != 1 for n in spare):
            msg = (
                f"got the target {labels.name!r} of shape {shape}, expected {over.shape}, which {bare(image).name!r} "
                "needs; choose the image that it belongs to, or a new target"
            )
            raise CanvasError(msg)
        base = tuple(min(channel, n - 1) if axis == channels else 0 for axis, n in enumerate(shape))
        return cls(over.sizes, own, base)

    def index(self, plane: Plane, box: Box) -> tuple[int | slice, ...]:
        """Return the index of a box of a plane in the labels; see `turned` for the order of its axes."""
        index: list[int | slice] = list(self.base)
        for axis, place in zip(self.axes, plane.index, strict=True):
            index[axis] = place
        rows, columns = (self.axes[axis] for axis in plane.axes)
        index[rows], index[columns] = slice(box[0], box[2]), slice(box[1], box[3])
        return tuple(index)

    def points(
        self, plane: Plane, rows: NDArray[np.intp], columns: NDArray[np.intp], dtype: np.dtype[Any]
    ) -> tuple[NDArray[np.integer], ...]:
        """Return the index of pixels (n,), (n,) of a plane in the labels: (n,) for each axis."""
        box = (0, 0, 0, 0)
        parts: list[Any] = list(self.index(plane, box))
        parts[self.axes[plane.axes[0]]], parts[self.axes[plane.axes[1]]] = rows, columns
        return tuple(np.broadcast_to(part, rows.shape).astype(dtype) for part in parts)

    def planes(self, box: Sequence[slice]) -> list[tuple[Plane, Box]]:
        """Return the planes, with the boxes on them, that a box of the labels goes through; as few as possible."""
        spans = [box[axis] for axis in self.axes]
        lengths = [span.stop - span.start for span in spans]
        # In the order of the axes; of equally few planes those of the last axes, which are y and x as a rule.
        pairs = [(a, b) for b in range(len(spans)) for a in range(b)]
        rows, columns = max(pairs, key=lambda pair: (lengths[pair[0]] * lengths[pair[1]], pair[1], pair[0]))
        y, x = spans[rows], spans[columns]
        ranges = [range(1) if i in (rows, columns) else range(s.start, s.stop) for i, s in enumerate(spans)]
        places = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, len(spans))
        return [(Plane((rows, columns), tuple(place)), (y.start, x.start, y.stop, x.stop)) for place in places.tolist()]


def _editable(labels: Labels) -> None:
    """Refuse labels that napari does not let anybody edit."""
    if labels.multiscale:
        msg = f"got the target {labels.name!r} of several levels, which napari cannot edit; choose a new target"
        raise CanvasError(msg)
    if not labels.editable:
        msg = f"got the target {labels.name!r}, which is not editable; set `editable`, or choose a new target"
        raise CanvasError(msg)


def new_target(viewer: Viewer, image: Layer, roles: Sequence[str] | None = None) -> Labels:
    """Add an empty Labels layer that lies over an image pixel by pixel, and select it.

    It has the image's axes (without that of the channels), scale, translation, rotation, shear, affine, units and axis
    labels; of an image of several levels it has the finest. What would take much memory is kept compressed.

    Parameters
    ----------
    viewer, image
        Where the image is, and the image; not touched.
    roles
        What each axis of the image is; by default `roles_of`.

    Raises
    ------
    ImageError
        The image has no pixels, or the roles are of another number of axes.
    """
    viewer, image = bare(viewer), bare(image)
    over = Over.of(image, Axes(tuple(roles) if roles is not None else roles_of(image)))
    if 0 in over.shape:
        msg = f"got {image.name!r} of shape {over.shape}, expected an image with pixels; choose another layer"
        raise ImageError(msg)
    layer = Labels(empty(over.shape, dtype_for(over.shape)), name=f"{image.name} objects", **over.arguments)
    viewer.add_layer(layer)
    return layer


def dtype_for(shape: tuple[int, ...]) -> np.dtype[Any]:
    """Return the type of label numbers: int32 where there may be more than 65,535 objects and planes are small.

    napari shows 16-bit labels as they are, but computes the colours of wider ones anew whenever a plane is shown: 1.7 s
    for a plane of 8192 x 8192 pixels.

    Examples
    --------
    >>> dtype_for((8192, 8192)), dtype_for((200, 512, 512))
    (dtype('uint16'), dtype('int32'))
    """
    wide = int(np.prod(shape)) > MANY and int(np.prod(sorted(shape)[-2:])) <= QUICK
    return np.dtype(np.int32 if wide else np.uint16)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return zeros: a numpy array, or a zarr array compressed in memory where that would be larger than 256 MiB."""
    if int(np.prod(shape)) * dtype.itemsize <= LARGE:
        return np.zeros(shape, dtype)
    codec = zarr.codecs.ZstdCodec(level=0)
    return zarr.create_array(
        zarr.storage.MemoryStore(), shape=shape, dtype=dtype, chunks=chunks_for(shape), compressors=codec, fill_value=0
    )


def chunks_for(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of chunks with which a plane is quickly read, and an object quickly written, from any side.

    Examples
    --------
    >>> chunks_for((50, 400, 512, 512)), chunks_for((4, 20000, 30000))
    ((1, 8, 256, 256), (1, 1024, 1024))
    """
    longest = max(shape[-2:])
    depth, side = (8, 256) if longest <= 1024 else (4, 512) if longest <= 4096 else (1, 1024)
    lengths = (*(1,) * (len(shape) - 3), *(depth,) * (len(shape) > 2), side, side)
    return tuple(min(length, max(n, 1)) for length, n in zip(lengths, shape, strict=True))
