"""Which reader a file needs, told by what is in it and not by its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam_core.errors import ImageError
from sam_core.storage.planes import Planes, Source, arrange, guessed_axes, readable

if TYPE_CHECKING:
    import os

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NPY = b"\x93NUMPY"
KNOWN = "PNG, JPEG, TIFF, OME-TIFF, OME-Zarr, npy, GIF, BMP or WebP"


def read_planes(path: str | os.PathLike[str], *, channel: int | None = None, time: int | None = None) -> Planes:
    """Open an image of any kind that is known: PNG, JPEG, TIFF, OME-TIFF, OME-Zarr, npy, GIF, BMP, WebP.

    What kind it is, is told by its content. Planes of TIFF, OME-Zarr and npy are read when they are asked for; a
    picture is turned as its EXIF data says. Of a file with several images the first is taken, of a pyramid the finest
    level. Pages of a TIFF and frames of a GIF are planes.

    Parameters
    ----------
    path
        File, or folder of an OME-Zarr image.
    channel
        Take this channel alone, counted from 0. Left out, up to 4 channels are kept, as the last axis.
    time
        Take this time alone, counted from 0: needed for an image with both times and a stack at each.

    Raises
    ------
    ImageError
        It is missing, empty, damaged, cut short, no image, too large, or has no such channel or time: what was got,
        what was expected and what to do.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "stack.npy"
    >>> np.save(file, np.zeros((5, 20, 30), np.uint16))
    >>> planes = read_planes(file)
    >>> len(planes), planes[0].shape, planes.shape, planes.axes, planes.scale
    (5, (20, 30), (5, 20, 30), 'ZYX', None)
    """
    file = Path(path)
    with readable(file):
        return arrange(file, _source(file), channel=channel, time=time)


def _source(path: Path) -> Source:
    if path.is_dir():
        from sam_core.storage.ngff import read_zarr

        return read_zarr(path)
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        msg = f"got {path}, which is empty (0 bytes), expected {KNOWN}; export or copy it once more"
        raise ImageError(msg)
    if start.startswith(TIFF):
        from sam_core.storage.tiff import read_tiff

        return read_tiff(path)
    if start.startswith(NPY):
        return _read_npy(path)
    from sam_core.storage.picture import read_picture

    return read_picture(path, start, KNOWN)


def _read_npy(path: Path) -> Source:
    values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return Source(values, guessed_axes(path, values.shape))
