"""TIFF of any kind: plain, ImageJ, OME, pyramids."""

from __future__ import annotations

import math
import re
import threading
import weakref
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from sam_core.errors import ImageError
from sam_core.storage.picture import opened
from sam_core.storage.planes import REMEDY, Source
from sam_core.storage.tiff_structure import check_structure
from sam_core.storage.units import alike

CENTIMETRE = 3  # as the tag ResolutionUnit has it


def read_tiff(path: Path) -> Source:
    """Open the first image of a TIFF at its finest level.

    Axes are those that ImageJ, OME or tifffile wrote; pages without are planes. The size of a pixel is what OME or
    ImageJ wrote, or else the resolution where it is given in centimetres: in inches it is about printing.
    """
    check_structure(path)
    file = tifffile.TiffFile(path)
    try:
        if not file.series:
            msg = f"got {path}, a TIFF without an image, expected at least one; {REMEDY}"
            raise ImageError(msg)
        series = file.series[0]
        values = _values(path, file, series)
        sizes, unit = alike(_sizes(file, series))
    except BaseException:
        file.close()
        raise
    return Source(values, series.axes, sizes, unit)


def _values(path: Path, file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Any:
    """Map the pixels into memory where they lie one after the other, else read page by page."""
    if series.dtype is None or not math.prod(series.shape):
        msg = f"got {path} with values of a type or number that cannot be read, expected numbers; convert it"
        raise ImageError(msg)
    if series.dataoffset is None or series.keyframe is None or not series.keyframe.is_memmappable:
        return _Pages(path, file, series)
    dtype = series.dtype.newbyteorder(file.byteorder)
    part = Path(series.keyframe.parent.filehandle.path)  # OME may point at another file
    _check_end(part, series.dataoffset + math.prod(series.shape) * dtype.itemsize)
    mapped: NDArray[Any] = np.memmap(part, dtype, "r", series.dataoffset, series.shape)
    file.close()
    return mapped


def _check_end(path: Path, needed: int) -> None:
    size = path.stat().st_size
    if size < needed:
        msg = f"got {path} of {size} bytes, expected at least {needed}: it is cut short; copy it once more"
        raise ImageError(msg)


class _Pages:
    """Pages of a file as one array of which all leading axes are pages; each is read when it is asked for."""

    def __init__(self, path: Path, file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
        self.shape = series.shape
        self.dtype = series.dtype
        self._path = path
        self._pages: list[Any] = list(series.pages)
        self._lock = threading.Lock()
        self._leading = _leading(path, series)
        self._check()
        weakref.finalize(self, file.close)

    def _check(self) -> None:
        """Find out now, not at the last plane, that some of them are not there."""
        if any(page is None for page in self._pages):
            msg = f"got {self._path} with planes missing, expected all; if it came in several files, put them together"
            raise ImageError(msg)
        ends = [o + n for page in self._pages for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if len({page.parent.filehandle.path for page in self._pages}) == 1:
            _check_end(self._path, max(ends, default=0))

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        count = len(self._leading)
        numbers = np.arange(len(self._pages)).reshape(self._leading)[index[:count]]
        pages = [self._page(int(number))[index[count:]] for number in np.ravel(numbers)]
        return np.stack(pages).reshape(*np.shape(numbers), *pages[0].shape)

    def _page(self, number: int) -> NDArray[Any]:
        page = self._pages[number]
        try:
            with self._lock:
                found = np.asarray(page.asarray())
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            found = self._by_pillow(page, error)
        return found.reshape(self.shape[len(self._leading) :])

    def _by_pillow(self, page: Any, error: ValueError) -> NDArray[Any]:
        """Read a page that is compressed as tifffile alone cannot: LZW, JPEG."""
        name = page.keyframe.compression.name
        try:
            with opened(self._path) as image:
                image.seek(page.index)
                found = np.asarray(image)
        except Exception:
            found = None
        if found is None or found.shape != page.shape or found.dtype.newbyteorder("=") != self.dtype.newbyteorder("="):
            msg = f"got {self._path}, compressed with {name}; install imagecodecs (pip install imagecodecs) to read it"
            raise ImageError(msg) from error
        return found


def _leading(path: Path, series: tifffile.TiffPageSeries) -> tuple[int, ...]:
    """Return the axes along which pages lie."""
    shape, count = series.shape, len(series.pages)
    for axis in range(len(shape) + 1):
        if math.prod(shape[:axis]) == count and math.prod(shape[axis:]) == math.prod(series.keyframe.shape):
            return shape[:axis]
    msg = f"got {path} with {count} pages for an image of shape {shape}, expected them to fit; {REMEDY}"
    raise ImageError(msg)


def _sizes(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> dict[str, tuple[float, str]]:
    """Return the size of a pixel along the axes for which it is known, each with its unit."""
    if file.is_ome and file.ome_metadata:
        return _ome_sizes(file.ome_metadata)
    resolution = _resolution(series.keyframe)
    if file.is_imagej and file.imagej_metadata:
        about = file.imagej_metadata
        unit = str(about.get("unit", ""))
        if unit in ("", "pixel", "pixels") and set(resolution.values()) <= {1.0}:
            return {}
        sizes = {axis: (size, unit) for axis, size in resolution.items()}
        return sizes | {"Z": (float(about.get("spacing", 1.0)), unit)} if sizes else {}
    tag = series.keyframe.tags.get("ResolutionUnit")
    if tag is None or int(tag.value) != CENTIMETRE:
        return {}
    return {axis: (1e4 * size, "micrometer") for axis, size in resolution.items()}


def _resolution(page: Any) -> dict[str, float]:
    """Return the size of a pixel in the unit of the resolution."""
    found = {}
    for axis in "YX":
        tag = page.tags.get(f"{axis}Resolution")
        if tag is not None and all(tag.value):
            found[axis] = tag.value[1] / tag.value[0]
    return found if len(found) == 2 else {}


def _ome_sizes(xml: str) -> dict[str, tuple[float, str]]:
    """Read the sizes of the first image of OME's XML; without a unit they are in micrometers."""
    start = re.search(r"<(\w+:)?Pixels\b[^>]*>", xml)
    if start is None:
        return {}
    plain = re.sub(r"\b\w+:(?=\w)", "", start.group()).rstrip("/>")
    about = ElementTree.fromstring(plain + "/>").attrib
    return {
        axis: (float(about[f"PhysicalSize{axis}"]), about.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "ZYX"
        if f"PhysicalSize{axis}" in about
    }
