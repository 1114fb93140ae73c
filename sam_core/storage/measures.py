"""Measures of objects as a table."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam_core.atomic import placed
from sam_core.labels import renumber
from sam_core.storage.labels import check_scale, smallest
from sam_core.storage.units import SYMBOLS, named

if TYPE_CHECKING:
    import os

Table = dict[str, NDArray[Any]]


def save_measures(
    path: str | os.PathLike[str],
    labels: NDArray[np.integer],
    planes: Sequence[NDArray[Any]],
    *,
    scale: Sequence[float] | None = None,
    unit: str = "",
    axes: str | None = None,
) -> None:
    """Write a row of measures for each object as CSV; what was there is replaced. See `measure` for the columns.

    Raises
    ------
    ValueError
        Labels, planes and scale that do not fit each other.
    OSError
        It cannot be written; what was at `path` is still there.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "cells.csv"
    >>> save_measures(file, np.array([[0, 7]]), [np.array([[3, 5]])])
    >>> print(file.read_text().splitlines()[1])
    7,1,0,1,1.128379,0,5,5,5
    """
    table = measure(labels, planes, scale=scale, unit=unit, axes=axes)
    with placed(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows([_text(value) for value in row] for row in zip(*table.values(), strict=True))


def measure(
    labels: NDArray[np.integer],
    planes: Sequence[NDArray[Any]],
    *,
    scale: Sequence[float] | None = None,
    unit: str = "",
    axes: str | None = None,
) -> Table:
    """Measure objects, reading the image one plane at a time.

    Columns end in their unit: `_px` for pixels, and where `scale` is known as well `_um` or what the unit is.

    label
        Number of the object.
    plane
        Of a time-lapse, in which an object has a row for each time it is seen: counted from 0.
    area_px, area_um2; in a stack volume_px, volume_um3
        Number of pixels, and size.
    centroid_z_px, centroid_y_px, centroid_x_px, ..._um
        Centre; whole numbers are centres of pixels.
    diameter_px, diameter_um
        Of the circle, or in a stack the sphere, of the same size. In pixels it leaves out that planes may be farther
        apart than pixels.
    eccentricity
        Of the ellipse with the same second moments: 0 for a circle, towards 1 for a line. Not in a stack.
    intensity_mean, intensity_min, intensity_max
        Of the finite values; with `_c0`, `_c1`, ... where there are channels.

    Parameters
    ----------
    labels
        (H, W) or (Z, H, W) integers, 0 = background.
    planes
        The image: one plane, or one for each of the labels; (H, W) or (H, W, C).
    scale
        Size of a pixel along each axis: (z,) y, x in `unit`.
    unit
        "micrometer", "nm", ...; "" where it is not known, and columns then end in `_unit`.
    axes
        "TYX" for a time-lapse; left out, three axes are a stack.

    Raises
    ------
    ValueError
        Labels, planes and scale that do not fit each other.

    Examples
    --------
    >>> table = measure(np.array([[0, 7, 7]]), [np.array([[3, 5, 6]])], scale=(0.5, 0.5), unit="um")
    >>> float(table["area_um2"][0]), float(table["intensity_mean"][0])
    (0.5, 5.5)
    """
    labels = smallest(labels)
    check_scale(scale, labels.ndim)
    _check(labels, planes)
    symbol = SYMBOLS.get(named(unit), "unit")
    if labels.ndim == 3 and axes and axes[0] == "T":
        size = None if scale is None else tuple(scale[1:])
        times = [_measured(each[None], planes[i : i + 1], size, symbol, flat=True) for i, each in enumerate(labels)]
        rows = [{"label": t["label"], "plane": np.full(len(t["label"]), i)} | t for i, t in enumerate(times)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    stack = labels if labels.ndim == 3 else labels[None]
    return _measured(stack, planes, None if scale is None else tuple(scale), symbol, flat=labels.ndim == 2)


def _check(labels: NDArray[np.integer], planes: Sequence[NDArray[Any]]) -> None:
    count = len(labels) if labels.ndim == 3 else 1
    if len(planes) != count:
        msg = f"got {len(planes)} planes for labels of shape {labels.shape}, expected {count}; give all of the image"
        raise ValueError(msg)


def _measured(
    labels: NDArray[Any], planes: Sequence[NDArray[Any]], scale: tuple[float, ...] | None, symbol: str, *, flat: bool
) -> Table:
    """Measure the objects of a stack, or, where it is flat, of its one plane."""
    numbers = np.unique(labels[labels > 0]).astype(np.int64)
    dense = renumber(labels)
    shapes = _shapes(dense[0] if flat else dense, len(numbers), scale, symbol)
    return {"label": numbers} | shapes | _intensities(dense, planes, len(numbers))


def _shapes(dense: NDArray[np.int32], count: int, scale: tuple[float, ...] | None, symbol: str) -> Table:
    from skimage.measure import regionprops_table

    flat = dense.ndim == 2
    names = ("num_pixels", "centroid", *(("eccentricity",) if flat else ()))
    found = regionprops_table(dense, properties=names, spacing=scale or (1.0,) * dense.ndim)
    pixels = found["num_pixels"] if count else np.zeros(0, int)
    size = "area" if flat else "volume"
    table: Table = {f"{size}_px": pixels}
    if scale is not None:
        table[f"{size}_{symbol}{dense.ndim}"] = pixels * np.prod(scale)
    for i, axis in enumerate("zyx"[-dense.ndim :]):
        table[f"centroid_{axis}_px"] = found[f"centroid-{i}"] / (scale[i] if scale else 1.0)
    for i, axis in enumerate("zyx"[-dense.ndim :] if scale else ""):
        table[f"centroid_{axis}_{symbol}"] = found[f"centroid-{i}"]
    table["diameter_px"] = _diameter(pixels, dense.ndim)
    if scale is not None:
        table[f"diameter_{symbol}"] = _diameter(pixels * np.prod(scale), dense.ndim)
    return table | ({"eccentricity": found["eccentricity"]} if flat else {})


def _diameter(size: NDArray[Any], ndim: int) -> NDArray[np.float64]:
    """Return the diameter of the circle or sphere of this size."""
    return np.asarray((2 * ndim * size / np.pi) ** (1 / ndim), np.float64)


def _intensities(dense: NDArray[np.int32], planes: Sequence[NDArray[Any]], count: int) -> Table:
    sums = lows = highs = seen = np.zeros((0, 0))
    for plane, pixels, values in _inside(dense, planes):
        if not plane:
            sums, seen = (np.zeros((values.shape[1], count + 1)) for _ in range(2))
            lows, highs = np.full_like(sums, np.inf), np.full_like(sums, -np.inf)
        for i, channel in enumerate(values.T):
            finite = np.isfinite(channel)
            here, value = pixels[finite], channel[finite]
            seen[i] += np.bincount(here, minlength=count + 1)
            sums[i] += np.bincount(here, value, minlength=count + 1)
            np.minimum.at(lows[i], here, value)
            np.maximum.at(highs[i], here, value)
    none = seen == 0
    mean = np.divide(sums, seen, out=np.full_like(sums, np.nan), where=~none)
    found = {"mean": mean, "min": np.where(none, np.nan, lows), "max": np.where(none, np.nan, highs)}
    channels = range(len(sums))
    ends = [""] if len(sums) == 1 else [f"_c{i}" for i in channels]
    return {f"intensity_{name}{ends[i]}": found[name][i, 1:] for i in channels for name in found}


def _inside(
    dense: NDArray[np.int32], planes: Sequence[NDArray[Any]]
) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.float64]]]:
    """Yield, plane by plane, the labels (n,) of all pixels that have one, and their values (n, C)."""
    for number, (labels, plane) in enumerate(zip(dense, planes, strict=True)):
        if plane.shape[:2] != labels.shape:
            msg = f"got labels of shape {labels.shape} for a plane of shape {plane.shape}, expected the same size"
            raise ValueError(msg)
        chosen = labels > 0
        yield number, labels[chosen], plane.reshape(*labels.shape, -1)[chosen].astype(np.float64)


def _text(value: Any) -> str:
    """Write a number with seven digits, and nothing where there is none."""
    if isinstance(value, np.integer):
        return str(value)
    return "" if np.isnan(value) else f"{value:.7g}"
