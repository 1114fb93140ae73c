"""Label images as TIFF and OME-Zarr, that other programs open with scale and origin."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from sam_core.atomic import placed
from sam_core.storage.units import SYMBOLS, named

if TYPE_CHECKING:
    import os

CHUNK = 1024  # pixels, side of the chunks of OME-Zarr; a level that fits into one is the last
ZLIB: Mapping[str, Any] = {"id": "zlib", "level": 6}  # readers in other languages all have it
IMAGEJ_MOST = 2**31  # bytes: more than that ImageJ's own format holds only in ways that others do not read
Scale = Sequence[float]
Writer = Callable[[Path, NDArray[Any], str, Scale | None, str, str], None]


def save_labels(
    path: str | os.PathLike[str],
    labels: NDArray[np.integer],
    *,
    scale: Scale | None = None,
    made_by: str = "",
    unit: str = "",
    axes: str | None = None,
) -> None:
    """Write a label image in the format that the ending of `path` names; what was there is replaced.

    The numbers of the objects stay as they are; they are written in the smallest unsigned type that holds them, as
    more programs open uint8 and uint16 than int32.

    `.tif` and `.tiff` are what Fiji takes for its own, or OME-TIFF where a number is above 65535; `.ome.tif` and
    `.ome.tiff` are always OME-TIFF. `.zarr` and `.ome.zarr` are an OME-Zarr 0.4 label image with a pyramid. All are
    compressed with zlib.

    Parameters
    ----------
    path
        File to write, or folder for OME-Zarr; the folder around it exists.
    labels
        (H, W), (Z, H, W) or (T, Z, H, W) integers of at least 0, 0 = background.
    scale
        Size of a pixel along each axis: (z,) y, x in `unit`, t in seconds.
    made_by
        What made them; kept in the tag Software of TIFF and in `multiscales[0].metadata` of OME-Zarr.
    unit
        "micrometer", "nm", ...; "" where it is not known.
    axes
        "YX", "ZYX", "TYX" or "TZYX"; left out, three axes are a stack.

    Raises
    ------
    ValueError
        Labels or scale that make no sense, or an ending that is not known.
    FileExistsError
        At `path` is a folder with something other than labels in it.
    OSError
        It cannot be written; what was at `path` is still there.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "cells.tif"
    >>> save_labels(file, np.array([[0, 1], [2, 2]], np.int32), scale=(0.5, 0.5), unit="um", made_by="me")
    >>> tifffile.imread(file).tolist()
    [[0, 1], [2, 2]]
    """
    path = Path(path)
    write = _writer(path)
    small = smallest(labels, most=4)
    axes = axes or "TZYX"[-small.ndim :]
    if axes not in ("YX", "ZYX", "TYX", "TZYX") or len(axes) != small.ndim:
        msg = f"got axes {axes} for labels of shape {small.shape}, expected YX, ZYX, TYX or TZYX; one letter an axis"
        raise ValueError(msg)
    check_scale(scale, small.ndim)
    with placed(path) as beside:
        write(beside, small, axes, scale, named(unit), made_by)


def smallest(labels: NDArray[np.integer], *, most: int = 3) -> NDArray[Any]:
    """Return labels in the smallest unsigned type that holds them.

    Raises
    ------
    ValueError
        They are not (H, W), (Z, H, W) or, where `most` is 4, (T, Z, H, W) integers of at least 0, or there are no
        pixels.
    """
    labels = np.asarray(labels)
    if not 2 <= labels.ndim <= most or labels.dtype.kind not in "biu" or not labels.size or labels.min() < 0:
        least = labels.min() if labels.size and labels.dtype.kind in "iu" else ""
        msg = (
            f"got labels of shape {labels.shape} and type {labels.dtype} {f'from {least}' if least != '' else ''}, "
            f"expected (H, W) or {'(T, Z, H, W)' if most == 4 else '(Z, H, W)'} integers of at least 0, and some pixels"
        )
        raise ValueError(msg)
    return labels.astype(np.min_scalar_type(int(labels.max())))


def check_scale(scale: Scale | None, count: int) -> None:
    """Raise a ValueError where a scale is not `count` finite positive numbers."""
    if scale is not None and not (len(scale) == count and all(math.isfinite(size) and size > 0 for size in scale)):
        msg = f"got scale {tuple(scale)}, expected {count} positive numbers, one for each axis, or None"
        raise ValueError(msg)


def _writer(path: Path) -> Writer:
    name = path.name.lower()
    if name.endswith((".ome.tif", ".ome.tiff")):
        return _write_ome
    if name.endswith((".tif", ".tiff")):
        return _write_tiff
    if name.endswith(".zarr"):
        _keep_images(path)
        return _write_zarr
    msg = f"got {path}, expected an ending among .tif .tiff .ome.tif .ome.tiff .zarr .ome.zarr"
    raise ValueError(msg)


def _keep_images(path: Path) -> None:
    """Refuse to replace a folder that is not a label image: it may be the image that the labels are of."""
    if not path.is_dir() or not any(path.iterdir()):
        return
    import zarr

    try:
        attributes = dict(zarr.open_group(path, mode="r").attrs)
    except Exception:  # whatever it is, it is not ours
        attributes = {}
    inner = attributes.get("ome")
    if "image-label" not in (inner if isinstance(inner, dict) else attributes):
        msg = f"got {path}, a folder that holds something other than labels; choose another name, or remove it first"
        raise FileExistsError(msg)


def _write_tiff(path: Path, labels: NDArray[Any], axes: str, scale: Scale | None, unit: str, made_by: str) -> None:
    if labels.dtype.itemsize > 2 or labels.nbytes > IMAGEJ_MOST:
        _write_ome(path, labels, axes, scale, unit, made_by)
        return
    about: dict[str, Any] = {"axes": axes, "min": 0.0, "max": float(max(1, labels.max()))}
    about |= {"Info": made_by} if made_by else {}
    resolution = None
    if scale is not None:
        about |= {"unit": SYMBOLS[unit]} if unit else {}
        sizes = dict(zip(axes, scale, strict=True))
        about |= {name: sizes[axis] for axis, name in (("Z", "spacing"), ("T", "finterval")) if axis in sizes}
        resolution = (1 / scale[-1], 1 / scale[-2])
    tifffile.imwrite(
        path,
        labels,
        imagej=True,
        compression="zlib",
        resolution=resolution,
        metadata=about,
        software=_ascii(made_by),
    )


def _write_ome(path: Path, labels: NDArray[Any], axes: str, scale: Scale | None, unit: str, made_by: str) -> None:
    about: dict[str, Any] = {"axes": axes, "Name": "labels"}
    about |= {"Creator": made_by} if made_by else {}
    symbol = {"micrometer": "µm", "angstrom": "Å"}.get(unit) or SYMBOLS.get(unit, "reference frame")
    for axis, size in zip(axes, scale or (), strict=False):
        if axis == "T":
            about |= {"TimeIncrement": size, "TimeIncrementUnit": "s"}
        else:
            about |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": symbol}
    tifffile.imwrite(
        path,
        labels,
        ome=True,
        bigtiff=labels.nbytes > IMAGEJ_MOST,
        photometric="minisblack",
        compression="zlib",
        metadata=about,
        software=_ascii(made_by),
    )


def _ascii(text: str) -> str:
    """Return what a tag can hold."""
    return text.encode("ascii", "replace").decode() or "sam-core"


def _write_zarr(path: Path, labels: NDArray[Any], axes: str, scale: Scale | None, unit: str, made_by: str) -> None:
    import zarr

    path.mkdir()  # zarr would make the folders around it as well
    group = zarr.open_group(path, mode="w", zarr_format=2)
    levels = _levels(labels)
    for i, level in enumerate(levels):
        array = group.create_array(
            str(i),
            shape=level.shape,
            chunks=(1, 1, CHUNK, CHUNK)[-level.ndim :],
            dtype=level.dtype,
            compressors=ZLIB,
            fill_value=0,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
        array[...] = level
    group.attrs.update(_metadata(len(levels), axes, scale, unit, made_by))


def _levels(labels: NDArray[Any]) -> list[NDArray[Any]]:
    """Return labels and smaller and smaller ones, each every second pixel of the last: no number is mixed."""
    levels = [labels]
    while max(levels[-1].shape[-2:]) > CHUNK:
        levels.append(levels[-1][..., ::2, ::2])
    return levels


def _metadata(levels: int, axes: str, scale: Scale | None, unit: str, made_by: str) -> dict[str, Any]:
    sizes = [1.0] * len(axes) if scale is None else [float(size) for size in scale]
    image = {
        "version": "0.4",
        "name": "labels",
        "axes": [_axis(letter, unit, scale is not None) for letter in axes],
        "datasets": [
            {
                "path": str(i),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [*sizes[:-2], sizes[-2] * 2**i, sizes[-1] * 2**i]}
                ],
            }
            for i in range(levels)
        ],
        "type": "nearest",
        "metadata": {"made_by": made_by},
    }
    return {"multiscales": [image], "image-label": {"version": "0.4"}}


def _axis(letter: str, unit: str, known: bool) -> dict[str, str]:
    if letter == "T":
        return {"name": "t", "type": "time"} | ({"unit": "second"} if known else {})
    return {"name": letter.lower(), "type": "space"} | ({"unit": unit} if known and unit else {})
