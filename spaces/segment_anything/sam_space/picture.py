"""An image that somebody brought: read with care, from one folder only."""

from __future__ import annotations

import hashlib
import math
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sam_core import ImageError, read_planes, to_rgb8
from sam_space.kept import settled
from sam_space.limits import Limits
from sam_space.refusal import Refusal

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "GIF")
PLAIN = (tifffile.COMPRESSION.NONE, tifffile.COMPRESSION.LZW, tifffile.COMPRESSION.JPEG)
DEFLATED = (tifffile.COMPRESSION.ADOBE_DEFLATE, tifffile.COMPRESSION.DEFLATE)
MOST_PAGES = 512
EXPECTED = "a PNG, JPEG, TIFF, WebP, BMP or GIF"


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """An image, or a small stack, in memory alone.

    Parameters
    ----------
    name
        What the visitor calls it: for what is downloaded, never a path.
    planes
        Each (H, W) or (H, W, C) of the dtype of the file, or shrunk and then uint8 RGB.
    axes
        "YX", "ZYX" or "TYX".
    shrunk
        By how much it was shrunk to be worked on; 1 where it is as it came.
    key
        Tells these pixels from all others.
    source
        Python that makes `planes`, for "copy as Python".
    whole
        The planes as they came, where they were shrunk.
    """

    name: str
    planes: tuple[NDArray[Any], ...]
    axes: str
    shrunk: int
    key: str
    source: str
    whole: tuple[NDArray[Any], ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        planes: list[NDArray[Any]],
        axes: str,
        source: str,
        *,
        shrunk: int = 1,
        whole: Sequence[NDArray[Any]] = (),
    ) -> Picture:
        """Make one of planes."""
        digest = hashlib.sha256()
        for plane in planes:
            digest.update(f"{plane.dtype.str}{plane.shape}".encode())
            digest.update(np.ascontiguousarray(plane).data)
        kept = tuple(settled(plane) for plane in planes)
        return cls(name, kept, axes, shrunk, digest.hexdigest(), source, tuple(settled(plane) for plane in whole))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.planes[0].shape[:2]
        return height, width

    @property
    def own(self) -> tuple[NDArray[Any], ...]:
        """The planes as they came."""
        return self.whole or self.planes

    @property
    def own_shape(self) -> tuple[int, int]:
        """Height and width of the planes as they came."""
        height, width = self.own[0].shape[:2]
        return height, width

    @property
    def nbytes(self) -> int:
        """Of its pixels."""
        return sum(plane.nbytes for plane in (*self.planes, *self.whole))


def safe_name(name: str) -> str:
    """Return what is left of a file name when it can do no harm.

    Examples
    --------
    >>> safe_name("../../etc/passwd"), safe_name('<img src=x>.tif'), safe_name("")
    ('passwd', 'img_src_x_.tif', 'image')
    """
    last = re.split(r"[/\\]", name)[-1]
    kept = re.sub(r"[^\w.+-]+", "_", last, flags=re.ASCII).strip("._- ")
    return kept[-80:] or "image"


def inside(path: str | Path, folder: str | Path) -> Path:
    """Return the real path of a file, provided that it lies in a folder, links followed.

    Raises
    ------
    Refusal
        It lies elsewhere, is no file, or is no path.
    """
    try:
        real = Path(path).resolve()
        good = real.is_relative_to(Path(folder).resolve()) and real.is_file()
    except (OSError, ValueError, RuntimeError):
        good = False
    if not good:
        msg = "got a path that is no upload of yours, expected an uploaded image; upload it first"
        raise Refusal(msg)
    return real


def read_upload(path: Path, name: str, limits: Limits) -> Picture:
    """Read an image that a stranger sent; what it needs is told from its header before it is decoded.

    Raises
    ------
    Refusal
        It is no image, or too large, or a trap.
    """
    name = safe_name(name)
    try:
        return _read(path, name, limits)
    except ImageError as error:
        # Its messages name the file, which is one of ours here.
        told = str(error).replace(str(path), name).replace(str(path.parent), "")
        raise Refusal(told) from error
    except Refusal:
        raise
    except MemoryError as error:
        msg = f"got {name}, too large for the memory here; make it smaller"
        raise Refusal(msg, HTTPStatus.REQUEST_ENTITY_TOO_LARGE) from error
    except Exception as error:  # decoders raise almost anything on a damaged file
        msg = f"got {name}, which cannot be read, expected {EXPECTED}; save it once more"
        raise Refusal(msg) from error


def _read(path: Path, name: str, limits: Limits) -> Picture:
    size = path.stat().st_size
    if size > limits.file_bytes:
        msg = f"got {name} of {size / 2**20:.0f} MiB, expected at most {limits.file_bytes / 2**20:.0f}; make it smaller"
        raise Refusal(msg, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    with path.open("rb") as file:
        start = file.read(4)
    if start in TIFF:
        _check_tiff(path, name, limits)
    else:
        _check_picture(path, name, limits)
    found = read_planes(path)
    _check_planes(name, len(found), found.size, found.channels or 1, found.dtype.itemsize, limits)
    planes = [np.array(plane) for plane in found]
    if not all(np.isfinite(plane).any() for plane in planes):
        msg = f"got {name} with a plane of which no pixel is a number, expected an image; save it once more"
        raise Refusal(msg)
    factor = math.ceil(math.sqrt(math.prod(found.size) / limits.work_pixels)) if planes else 1
    source = f'planes = list(read_planes("{name}"))'
    whole: list[NDArray[Any]] = []
    if factor > 1:
        whole, planes = planes, [_shrunk(plane, factor) for plane in planes]
        source += f"\nplanes = [np.array(Image.fromarray(to_rgb8(plane)).reduce({factor})) for plane in planes]"
    return Picture.of(name, planes, found.axes, source, shrunk=max(factor, 1), whole=whole)


def _shrunk(plane: NDArray[Any], factor: int) -> NDArray[np.uint8]:
    return np.array(Image.fromarray(to_rgb8(plane)).reduce(factor))


def _check_planes(name: str, count: int, size: tuple[int, int], channels: int, itemsize: int, limits: Limits) -> None:
    height, width = size
    if count > limits.planes:
        msg = f"got {name} with {count} planes, expected at most {limits.planes}; cut out the part you need"
        raise Refusal(msg, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if height * width > limits.file_pixels:
        msg = (
            f"got {name} of {width} x {height} pixels, expected at most {limits.file_pixels // 10**6} million; "
            "cut out the part you need, or use sam-core on your own machine, which has no such limit"
        )
        raise Refusal(msg, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if count * height * width * channels * itemsize > limits.stack_bytes:
        msg = f"got {name}, more than {limits.stack_bytes >> 20} MiB when it is unpacked; cut out the part you need"
        raise Refusal(msg, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def _check_picture(path: Path, name: str, limits: Limits) -> None:
    """Look at the header of what Pillow reads, and at that alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow would warn of is checked here, with less patience
        try:
            image = Image.open(path, formats=FORMATS)
        except Image.DecompressionBombError:
            msg = f"got {name} with far too many pixels; cut out the part you need"
            raise Refusal(msg, HTTPStatus.REQUEST_ENTITY_TOO_LARGE) from None
    with image:
        count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        _check_planes(name, count, (image.height, image.width), len(image.getbands()), 2, limits)


def _check_tiff(path: Path, name: str, limits: Limits) -> None:
    """Refuse a TIFF that points at other files, has too many pages, or unpacks to more than it says."""
    with tifffile.TiffFile(path) as file:
        _check_alone(file.ome_metadata or "", name)
        for number, page in enumerate(file.pages):
            if number >= MOST_PAGES:
                msg = f"got {name} with more than {MOST_PAGES} pages, expected fewer; cut out the part you need"
                raise Refusal(msg, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            whole = page.aspage()
            shape, dtype = whole.shape, whole.dtype
            if dtype is None or len(shape) < 2:
                msg = f"got {name} with a page that has no plane of numbers, expected an image; save it once more"
                raise Refusal(msg)
            _check_planes(name, 1, (max(shape[-3:-1]), shape[-1]), 1, 1, limits)
            if math.prod(shape) * dtype.itemsize > limits.stack_bytes:
                msg = f"got {name}, more than {limits.stack_bytes >> 20} MiB when it is unpacked; make it smaller"
                raise Refusal(msg, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            _check_segments(path, name, whole)


def _check_alone(ome: str, name: str) -> None:
    """OME-TIFF may say that its planes are in other files, anywhere on the machine that opens it."""
    own = re.search(r'<(?:\w+:)?OME\b[^>]*\bUUID="([^"]*)"', ome)
    named = set(re.findall(r"<(?:\w+:)?UUID\b[^>]*>\s*([^<]*?)\s*<", ome))
    if named - ({own.group(1)} if own else set()) or "BinaryOnly" in ome:
        msg = f"got {name}, of which parts are in other files, expected one whole file; save it as one TIFF"
        raise Refusal(msg)


def _check_segments(path: Path, name: str, page: Any) -> None:
    """Unpack the parts of a page into nothing, and stop where one is larger than it may be."""
    if page.compression in PLAIN:
        return
    if page.compression not in DEFLATED:
        msg = f"got {name}, compressed with {page.compression.name}, expected none, LZW or deflate; save it with one"
        raise Refusal(msg)
    most = math.prod(page.chunks) * page.dtype.itemsize
    with path.open("rb") as file:
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            file.seek(offset)
            unpacked = zlib.decompressobj().decompress(file.read(count), most + 1)
            if len(unpacked) > most:
                msg = f"got {name}, which unpacks to more than it says, expected an honest TIFF; save it once more"
                raise Refusal(msg)


def previews(picture: Picture) -> Iterator[NDArray[np.uint8]]:
    """Yield each plane as it is shown: (H, W, 3) uint8."""
    for plane in picture.planes:
        yield to_rgb8(plane)
