"""OME-Zarr images, NGFF 0.1 to 0.5."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_core.errors import ImageError
from sam_core.storage.planes import Source, guessed_axes
from sam_core.storage.units import alike

if TYPE_CHECKING:
    import zarr

Meta = Mapping[str, Any]
BY_TYPE = {"time": "T", "channel": "C"}


def read_zarr(path: Path) -> Source:
    """Open the finest level of an OME-Zarr image, or a plain zarr array."""
    import zarr

    try:
        found = zarr.open(path, mode="r")
    except (FileNotFoundError, zarr.errors.NodeNotFoundError) as error:
        msg = f"got {path}, a folder without a zarr image in it, expected OME-Zarr; name the image itself"
        raise ImageError(msg) from error
    if isinstance(found, zarr.Array):
        return Source(found, _array_axes(path, found))
    about = _about(found)
    if "multiscales" not in about and "bioformats2raw.layout" in about and "0" in found:
        return read_zarr(path / "0")  # the first of the images that a converter put side by side
    if not about.get("multiscales"):
        inside = ", ".join(sorted(found.keys())) or "nothing"
        msg = f"got {path}, a zarr group with {inside} in it, expected the image itself; name one inside it"
        raise ImageError(msg)
    return _finest(path, found, about["multiscales"][0])


def _about(group: zarr.Group) -> Meta:
    attributes: dict[str, Any] = dict(group.attrs)
    inner = attributes.get("ome")  # since 0.5
    return inner if isinstance(inner, dict) else attributes


def _finest(path: Path, group: zarr.Group, image: Meta) -> Source:
    import zarr

    level = image["datasets"][0]
    values = group[level["path"]]
    if not isinstance(values, zarr.Array):
        msg = f"got {path}, whose level {level['path']} is a group, expected an array; export it once more"
        raise ImageError(msg)
    axes = image.get("axes") or [{"name": name} for name in "tczyx"]  # before 0.3
    named = [axis if isinstance(axis, dict) else {"name": axis} for axis in axes]
    letters = "".join(map(_letter, named))
    return Source(values, letters, *_sizes(letters, named, level, image))


def _letter(axis: Meta) -> str:
    name = str(axis["name"])
    return BY_TYPE.get(str(axis.get("type")), name.upper() if len(name) == 1 else "?")


def _sizes(letters: str, axes: Sequence[Meta], level: Meta, image: Meta) -> tuple[dict[str, float], str]:
    """Return the size of a pixel along each axis; nothing where it is 1 for want of a better number."""
    scale = [math.prod(pair) for pair in zip(_scale(level, len(axes)), _scale(image, len(axes)), strict=True)]
    units = [str(axis.get("unit", "")) for axis in axes]
    known = {a: (s, u) for a, s, u in zip(letters, scale, units, strict=True) if a in "ZYX"}
    if all(size == 1 and not unit for size, unit in known.values()):
        return {}, ""
    sizes, unit = alike(known)
    times = {a: s for a, s, u in zip(letters, scale, units, strict=True) if a == "T" and u == "second"}
    return sizes | times, unit


def _scale(place: Meta, count: int) -> Sequence[float]:
    for step in place.get("coordinateTransformations", ()):
        if step.get("type") == "scale" and len(step["scale"]) == count:
            return [float(size) for size in step["scale"]]
    return [1.0] * count


def _array_axes(path: Path, array: zarr.Array[Any]) -> str:
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if isinstance(names, (list, tuple)) and all(isinstance(name, str) and len(name) == 1 for name in names):
        return "".join(map(str, names)).upper()
    return guessed_axes(path, array.shape)
