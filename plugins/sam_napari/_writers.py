"""Labels layers in the formats of other programs; what napari calls when a layer is saved (npe2 writers).

Every writer takes a path, the array of a Labels layer and what napari knows of the layer, and returns the paths that
were written.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from sam_core import ImageError, Masks, __version__, save_coco, save_geojson, save_labels, save_measures
from sam_napari._layers_axes import roles_of

ORDER = "tzyx"


def write_tiff(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write labels as TIFF that Fiji opens with the size of its pixels."""
    _write_labels(Path(path), Objects.of(data, meta))
    return [path]


def write_zarr(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write labels as OME-Zarr with scale, unit and origin."""
    objects = Objects.of(data, meta)
    _write_labels(Path(path), objects)
    if any(objects.origin):
        _move(Path(path), objects.origin)
    return [path]


def write_coco(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write masks as COCO-RLE JSON; annotations also have `label`, and images `t` and `z` where there are several."""
    objects = Objects.of(data, meta)
    planes = [labels for _, labels in objects.planes]
    with _placed(Path(path)) as beside:
        save_coco(beside, [Masks.from_labels(each) for each in planes], file_name=objects.name, made_by=_made_by())
        about = json.loads(beside.read_text(encoding="utf-8"))
        numbers = [int(number) for each in planes for number in np.unique(each[each > 0])]
        for annotation, number in zip(about["annotations"], numbers, strict=True):
            annotation["label"] = number
        for image, (place, _) in zip(about["images"], objects.planes, strict=True):
            image.update(place)
        beside.write_text(json.dumps(about), encoding="utf-8")
    return [path]


def write_rois(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write a zip of ImageJ ROIs, one for each object on each plane, whose pixels are exactly those of the object."""
    try:
        from roifile import roiwrite
    except ImportError as error:
        msg = "got no roifile, which writes ImageJ ROIs; pip install roifile"
        raise ImportError(msg, name="roifile") from error
    objects = Objects.of(data, meta)
    with _placed(Path(path)) as beside:
        roiwrite(beside, _rois(objects), mode="w")
    return [path]


def write_csv(path: str, data: Any, meta: Mapping[str, Any], image: Any = None) -> list[str]:
    """Write a row of measures for each object, in pixels and in physical units.

    Parameters
    ----------
    path, data, meta
        As for all writers.
    image
        Array of the same shape as `data`, and perhaps an axis of channels or colours at the end, for columns of
        intensities; None for a table without.
    """
    objects = Objects.of(data, meta)
    pixels = np.zeros((*np.shape(data), 0), np.uint8) if image is None else np.asarray(image)
    pixels = np.transpose(pixels, (*objects.axes_of, *range(len(objects.axes_of), pixels.ndim)))
    pixels = pixels.reshape(*objects.labels.shape, *pixels.shape[len(objects.axes_of) :])
    with _placed(Path(path)) as beside:
        _measure(beside, objects, pixels)
    return [path]


@dataclass(frozen=True, eq=False, slots=True)
class Objects:
    """What a Labels layer holds, in the order that files have.

    Parameters
    ----------
    labels
        (H, W), (Z, H, W), (T, H, W) or (T, Z, H, W).
    axes
        "yx", "zyx", "tyx" or "tzyx".
    axes_of
        The axes of the layer in this order; those left out, of length 1, come first.
    scale
        Size of a pixel along each axis, in `unit`; along t in seconds, or 1 where that is not known. None where nothing
        is known.
    unit
        Of length; "" where it is not known.
    origin
        Place of the middle of the first pixel along each axis, as `scale`.
    name
        Of the layer.
    """

    labels: NDArray[Any]
    axes: str
    axes_of: tuple[int, ...]
    scale: tuple[float, ...] | None
    unit: str
    origin: tuple[float, ...]
    name: str

    @classmethod
    def of(cls, data: Any, meta: Mapping[str, Any]) -> Objects:
        """Look at a layer.

        Raises
        ------
        ImageError
            It has more axes than time and space.
        """
        array = np.asarray(data[0] if meta.get("multiscale") else data)
        axes = _axes(array.shape, meta)
        own = tuple(axes[letter] for letter in ORDER if letter in axes)
        spare = tuple(axis for axis in range(array.ndim) if axis not in own)
        labels = np.transpose(array, (*spare, *own)).reshape([array.shape[axis] for axis in own])
        letters = "".join(letter for letter in ORDER if letter in axes)
        scale, origin, unit = _sizes(letters, own, meta)
        return cls(labels, letters, (*spare, *own), scale, unit, origin, str(meta.get("name", "")))

    @property
    def stacked(self) -> list[NDArray[Any]]:
        """What is measured at once: all, or the stack of each time."""
        return list(self.labels) if self.labels.ndim == 4 else [self.labels]

    @property
    def stacked_axes(self) -> str:
        """Axes of what is measured at once, as the core has them."""
        return self.axes[-3:].upper() if len(self.axes) == 4 else self.axes.upper()

    @property
    def stacked_scale(self) -> tuple[float, ...] | None:
        """Scale of what is measured at once."""
        return None if self.scale is None else self.scale[-len(self.stacked_axes) :]

    @property
    def planes(self) -> Iterator[tuple[dict[str, int], NDArray[Any]]]:
        """Where each plane is along t and z, and its labels (H, W)."""
        for index in product(*map(range, self.labels.shape[:-2])):
            yield dict(zip(self.axes, index, strict=False)), self.labels[index]


# -- what napari knows -----------------------------------------------------------------------------------------------


def _axes(shape: Sequence[int], meta: Mapping[str, Any]) -> dict[str, int]:
    """Return which axis is t, z, y and x, as far as there are such."""
    layer = SimpleNamespace(
        ndim=len(shape),
        data=SimpleNamespace(shape=shape),
        axis_labels=meta.get("axis_labels") or [""] * len(shape),
        units=_units(meta, len(shape)),
    )
    roles = list(roles_of(cast("Any", layer)))
    for axis in reversed(range(len(shape))):  # labels have no channels: what looks like some is a short stack
        free = [letter for letter in "zt" if letter not in roles]
        if roles[axis] not in ORDER and shape[axis] > 1 and free:
            roles[axis] = free[0]
    left = [axis for axis, role in enumerate(roles) if role not in ORDER and shape[axis] > 1]
    if left:
        msg = f"got labels of shape {tuple(shape)} with axes {roles}, expected t, z, y and x; save a part of them"
        raise ImageError(msg)
    return {role: axis for axis, role in enumerate(roles) if role in ORDER}


def _units(meta: Mapping[str, Any], count: int) -> tuple[Any, ...]:
    """Return the unit of each axis."""
    import pint

    registry = cast("Any", pint).get_application_registry()
    given = meta.get("units") or "pixel"
    return tuple(registry.Unit(str(unit)) for unit in ([given] * count if isinstance(given, str) else given))


def _sizes(
    letters: str, own: Sequence[int], meta: Mapping[str, Any]
) -> tuple[tuple[float, ...] | None, tuple[float, ...], str]:
    """Return scale, origin and unit of axes; those of space in the unit of x."""
    count = max(own) + 1
    units = _units(meta, count)
    of_x = units[own[-1]]
    factors = [_factor(letter, units[axis], of_x) for letter, axis in zip(letters, own, strict=True)]
    scale, origin = meta.get("scale", [1.0] * count), meta.get("translate", [0.0] * count)
    sizes = tuple(abs(float(scale[axis])) * by if by else 1.0 for axis, by in zip(own, factors, strict=True))
    places = tuple(float(origin[axis]) * by for axis, by in zip(own, factors, strict=True))
    known = str(of_x) != "pixel"
    return sizes if known or any(size != 1 for size in sizes) else None, places, str(of_x) if known else ""


def _factor(letter: str, unit: Any, of_x: Any) -> float:
    """Return by what sizes along an axis become those in the unit of x, or in seconds; 0 for time without a unit."""
    if letter == "t":
        return float((1 * unit).to("second").magnitude) if str(unit.dimensionality) == "[time]" else 0.0
    return float((1 * unit).to(of_x).magnitude) if unit.dimensionality == of_x.dimensionality else 1.0


# -- files -----------------------------------------------------------------------------------------------------------


def _write_labels(path: Path, objects: Objects) -> None:
    axes = objects.axes.upper()
    save_labels(path, objects.labels, scale=objects.scale, unit=objects.unit, axes=axes, made_by=_made_by())


def _move(path: Path, origin: Sequence[float]) -> None:
    """Note in an OME-Zarr image where its first pixel lies."""
    file = path / ".zattrs"
    about = json.loads(file.read_text(encoding="utf-8"))
    for level in about["multiscales"][0]["datasets"]:
        level["coordinateTransformations"].append({"type": "translation", "translation": list(origin)})
    with _placed(file) as beside:
        beside.write_text(json.dumps(about), encoding="utf-8")


def _measure(path: Path, objects: Objects, pixels: NDArray[Any]) -> None:
    """Write measures; of a stack at several times with a column `time`, as those of a time-lapse have `plane`."""
    several = len(objects.axes) == 4
    rows: list[list[str]] = []
    for time, labels in enumerate(objects.stacked):
        image: Any = pixels[time] if several else pixels
        about: dict[str, Any] = {"scale": objects.stacked_scale, "unit": objects.unit, "axes": objects.stacked_axes}
        save_measures(path, labels, image if labels.ndim == 3 else [image], **about)
        with path.open(newline="", encoding="utf-8") as file:
            table = list(csv.reader(file))
        rows += [["time", *table[0]]] if not time else []
        rows += [[str(time), *row] for row in table[1:]]
    if several:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


@contextmanager
def _placed(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to, and move it there when all went well."""
    beside = path.with_name(f".{path.stem}.{uuid4().hex[:12]}{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _made_by() -> str:
    return f"sam-core {__version__}"


# -- ImageJ ----------------------------------------------------------------------------------------------------------


def _rois(objects: Objects) -> Iterator[Any]:
    """Yield the ROIs, plane by plane, in the order of the numbers of the objects."""
    several = len(objects.axes) > 2
    for number, (place, labels) in enumerate(objects.planes, start=1):
        for label, polygons in _outlines(labels):
            roi = _roi(polygons)
            roi.name = f"{label:04d}-{number:04d}" if several else f"{label:04d}"
            if len(objects.axes) == 4:
                roi.z_position, roi.t_position = place["z"] + 1, place["t"] + 1
            elif several:
                roi.position = number
            yield roi


def _outlines(labels: NDArray[Any]) -> Iterator[tuple[int, list[list[list[list[int]]]]]]:
    """Yield number and polygons of each object: outer ring and holes, x, y of corners of pixels."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "outlines.geojson")
        save_geojson(file, labels)
        features = json.loads(file.read_text(encoding="utf-8"))["features"]
    for feature in features:
        shape, parts = feature["geometry"]["type"], feature["geometry"]["coordinates"]
        yield feature["properties"]["label"], [parts] if shape == "Polygon" else parts


def _roi(polygons: Sequence[Sequence[Sequence[Sequence[int]]]]) -> Any:
    """Make a ROI: as the wand traces it, or a composite one where there are holes or several parts."""
    from roifile import ROI_TYPE, ImagejRoi

    rings = [np.array(ring[:-1]) for polygon in polygons for ring in polygon]
    roi = ImagejRoi.frompoints(rings[0])
    roi.roitype = ROI_TYPE.TRACED
    if len(rings) == 1:
        return roi
    corners = np.concatenate(rings)
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    path = np.concatenate([_path(ring) for ring in rings])
    return ImagejRoi(
        roitype=ROI_TYPE.RECT,
        options=roi.options,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        shape_roi_size=len(path),
        multi_coordinates=path,
    )


def _path(ring: NDArray[Any]) -> NDArray[np.float32]:
    """Write a ring as a path: 0, x, y to begin, 1, x, y to go on, 4 to close."""
    kinds = np.ones((len(ring), 1))
    kinds[0] = 0
    return np.append(np.hstack([kinds, ring]).ravel(), 4).astype(np.float32)


WRITERS: Mapping[str, Callable[..., list[str]]] = {
    ".tif": write_tiff,
    ".tiff": write_tiff,
    ".zarr": write_zarr,
    ".json": write_coco,
    ".zip": write_rois,
    ".csv": write_csv,
}
"""By the ending of a path."""
