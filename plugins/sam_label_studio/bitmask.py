"""Masks as the PNG of a bitmask region, and back."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray

from sam_label_studio.errors import CodecError

START = "data:image/png;base64,"


def encode(mask: NDArray[np.bool_]) -> str:
    """Encode a mask (H, W) bool as a data URI: white where it is, transparent black elsewhere.

    Examples
    --------
    >>> encode(np.array([[False, True]]))[:30]
    'data:image/png;base64,iVBORw0K'
    """
    from PIL import Image

    image = Image.fromarray(mask.astype(np.uint8), mode=None).convert("P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    file = io.BytesIO()
    image.save(file, "PNG", transparency=0, bits=1)
    return START + base64.b64encode(file.getvalue()).decode()


def decode(uri: object, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode to a mask (H, W) bool: what is neither transparent nor black.

    Raises
    ------
    CodecError
        This is no PNG in a data URI, or is of an image of another size.

    Examples
    --------
    >>> decode(encode(np.array([[False, True]])), (1, 2)).tolist()
    [[False, True]]
    """
    from PIL import Image

    if not isinstance(uri, str) or not uri.startswith(START):
        msg = f"got a bitmask that starts with {str(uri)[:30]!r}, expected {START!r}"
        raise CodecError(msg)
    try:
        with Image.open(io.BytesIO(base64.b64decode(uri[len(START) :])), formats=["PNG"]) as image:
            if (image.height, image.width) != tuple(shape):
                msg = f"got a bitmask of {image.height} x {image.width} pixels, expected {shape[0]} x {shape[1]}"
                raise CodecError(msg)
            rgba = np.asarray(image.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, CodecError):
            raise
        msg = f"got a bitmask that is no PNG ({error})"
        raise CodecError(msg) from error
    return np.asarray((rgba[..., 3] > 0) & rgba[..., :3].any(axis=2))
