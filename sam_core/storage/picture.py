"""Pictures: PNG, JPEG, and whatever else Pillow reads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from sam_core.errors import ImageError
from sam_core.storage.planes import Source

AS_THEY_ARE = ("1", "L", "I", "F", "RGB", "RGBA")  # and I;16, in either order of bytes


def read_picture(path: Path, start: bytes, known: str) -> Source:
    """Read a picture, turned as its EXIF data says; the frames of an animation are planes.

    16 bits are kept, also of RGB. Palettes and other colour spaces become RGB; the alpha of gray is dropped. A picture
    of over 179 million pixels is refused, as Pillow has it: it may be a small file that fills the memory.
    """
    with opened(path, start, known) as image:
        count = getattr(image, "n_frames", 1)
        if count > 1 and image.format != "MPO":  # a camera's other pictures of the same scene
            return Source(_Frames(path, (count, image.height, image.width, 3)), "TYXS")
        depth = _deep(image)
        values = _upright(image)
    if depth:
        with opened(path, start, known) as image:
            image.tile = [tile._replace(args=depth) for tile in image.tile]  # type: ignore[attr-defined]
            values = values.astype(np.uint16) << 8 | _upright(image)
    return Source(values, "YX" if values.ndim == 2 else "YXS")


@contextmanager
def opened(path: Path, start: bytes = b"", known: str = "a picture") -> Iterator[Image.Image]:
    """Open a picture with Pillow, with errors that say what to do."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # twice as many pixels are an error
            image = Image.open(path)
    except UnidentifiedImageError as error:
        msg = f"got {path}, which starts with {start!r} and is no image, expected {known}; check what the file is"
        raise ImageError(msg) from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        msg = (
            f"got {path} with more than {most} pixels, expected fewer; save it as TIFF or OME-Zarr, which may be larger"
        )
        raise ImageError(msg) from error
    with image:
        yield image


def _upright(image: Image.Image) -> NDArray[Any]:
    turned = ImageOps.exif_transpose(image)
    if turned.mode in ("LA", "La"):
        turned = turned.getchannel(0)
    if turned.mode not in AS_THEY_ARE and not turned.mode.startswith("I;16"):
        turned = turned.convert("RGB")
    return np.asarray(turned)


def _deep(image: Image.Image) -> str:
    """Return how to read the lower 8 of 16 bits, where Pillow reads the upper 8 alone; "" where it does not.

    Pillow has no 16-bit RGB. In a PNG, whose upper byte comes first, what it takes for the upper byte of the other
    order is the lower one.
    """
    tiles: Any = getattr(image, "tile", None) or [None]
    if image.format != "PNG":
        return ""
    args = getattr(tiles[0], "args", "")
    return args.replace("16B", "16L") if args in ("RGB;16B", "RGBA;16B") else ""


class _Frames:
    """Frames of an animation, (T, H, W, 3) uint8, each read when it is asked for."""

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._path = path

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        with opened(self._path) as image:
            image.seek(index[0])
            frame: NDArray[Any] = np.asarray(image.convert("RGB"))[index[1:]]
        return frame
