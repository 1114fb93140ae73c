"""Pictures for people: objects drawn over the image they were found in.

Nothing here needs torch. What is drawn is for the eye; what is measured comes from the labels themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import find_objects, gaussian_filter
from skimage.measure import find_contours

GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))  # no two of the first few dozen hues fall together
COMFORTABLE = 1200  # a picture with a long side of about so many pixels shows its contours well
SMOOTHING = 0.7  # px; takes the stairs off a contour and leaves the shape alone
INK = (12, 12, 16)


def colours(count: int) -> NDArray[np.uint8]:
    """Choose colours that are equally bright and far apart, also from those of the next few numbers.

    Parameters
    ----------
    count
        How many.

    Returns
    -------
    (count, 3) uint8
        sRGB; the first n are the same whatever the count.

    Examples
    --------
    >>> from sam_core.overlay import colours
    >>> colours(40).shape
    (40, 3)
    >>> bool((colours(40)[:7] == colours(7)).all())
    True
    """
    index = np.arange(count)
    lightness = 0.80 + 0.05 * (index % 3 - 1)
    return _srgb_of_oklch(lightness, np.full(count, 0.17), index * GOLDEN_ANGLE + 2.6)


def overlay(
    rgb8: NDArray[np.uint8], labels: NDArray[np.integer], *, scale: int | None = None, fill: float = 0.24
) -> NDArray[np.uint8]:
    """Draw objects over their image: a thin contour and a light fill, one colour per label.

    Parameters
    ----------
    rgb8
        (H, W, 3) uint8.
    labels
        (H, W) integers, 0 = background.
    scale
        By how much the picture is enlarged; None brings a small image to a size at which contours are crisp.
    fill
        How opaque the inside is, 0 to 1.

    Returns
    -------
    (H * scale, W * scale, 3) uint8

    Raises
    ------
    ValueError
        The labels are of another shape than the image.

    Examples
    --------
    >>> import numpy as np
    >>> from sam_core.overlay import overlay
    >>> labels = np.zeros((32, 48), np.int32)
    >>> labels[8:20, 10:30] = 1
    >>> overlay(np.zeros((32, 48, 3), np.uint8), labels, scale=2).shape
    (64, 96, 3)
    """
    if rgb8.shape[:2] != labels.shape:
        msg = f"got labels of shape {labels.shape}, expected {rgb8.shape[:2]}, that of the image"
        raise ValueError(msg)
    scale = scale or comfortable_scale(rgb8.shape[:2])
    size = (rgb8.shape[1] * scale, rgb8.shape[0] * scale)
    picture = Image.fromarray(rgb8).resize(size, Image.Resampling.BICUBIC)
    # Drawn at twice the size and shrunk, which smooths the lines; a huge plane has pixels enough as it is.
    finer = 2 if max(size) <= 4096 else 1
    drawing = _drawing(labels, scale * finer, width=max(2.0, 2.2 * finer), fill=fill)
    drawing = drawing.resize(size, Image.Resampling.BOX)
    picture.paste(drawing, mask=drawing)
    return np.asarray(picture)


def comfortable_scale(shape: tuple[int, int]) -> int:
    """Give the whole number, 1 to 4, that brings a plane nearest to a comfortable size.

    Examples
    --------
    >>> from sam_core.overlay import comfortable_scale
    >>> comfortable_scale((303, 384)), comfortable_scale((1411, 1411))
    (3, 1)
    """
    return int(np.clip(round(COMFORTABLE / max(shape)), 1, 4))


def montage(
    pictures: Sequence[NDArray[np.uint8]],
    captions: Sequence[str] = (),
    *,
    columns: int | None = None,
    gap: int = 8,
) -> NDArray[np.uint8]:
    """Lay pictures of one size out on a dark sheet, row by row.

    Parameters
    ----------
    pictures
        Each (h, w, 3) uint8, all of one shape.
    captions
        What stands in the upper left corner of each; () for nothing.
    columns
        How many stand side by side; None makes the sheet about square.
    gap
        Pixels between pictures, and around them.

    Returns
    -------
    (H, W, 3) uint8

    Raises
    ------
    ValueError
        There is no picture, or they differ in shape.

    Examples
    --------
    >>> import numpy as np
    >>> from sam_core.overlay import montage
    >>> montage([np.zeros((10, 20, 3), np.uint8)] * 5, columns=3, gap=2).shape
    (26, 68, 3)
    """
    if len({picture.shape for picture in pictures}) != 1:
        shapes = [picture.shape for picture in pictures]
        msg = f"got pictures of shapes {shapes}, expected one or more of one shape"
        raise ValueError(msg)
    height, width = pictures[0].shape[:2]
    columns = columns or int(np.ceil(np.sqrt(len(pictures) * height / width)))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), INK)
    for i, picture in enumerate(pictures):
        x, y = gap + i % columns * (width + gap), gap + i // columns * (height + gap)
        sheet.paste(Image.fromarray(picture), (x, y))
        if i < len(captions):
            _write(sheet, captions[i], (x + 8, y + 6), size=max(12, height // 16))
    return np.asarray(sheet)


def _write(sheet: Image.Image, text: str, at: tuple[int, int], *, size: int) -> None:
    font = ImageFont.load_default(size)
    ImageDraw.Draw(sheet).text(at, text, font=font, fill=(255, 255, 255), stroke_width=2, stroke_fill=INK)


def _drawing(labels: NDArray[np.integer], scale: int, *, width: float, fill: float) -> Image.Image:
    """Draw all objects on a clear sheet, (H * scale, W * scale) RGBA."""
    sheet = Image.new("RGBA", (labels.shape[1] * scale, labels.shape[0] * scale), (*INK, 0))
    pen = ImageDraw.Draw(sheet)
    palette = colours(int(labels.max(initial=0)) + 1)
    contours = [
        (label, (contour + 0.5) * scale, _area(contour))
        for label, mask, offset in _objects(labels)
        for contour in _contours(mask, offset)
    ]
    # From large to small, so that a hole is cut out of its object before what lies in the hole is drawn.
    for label, contour, area in sorted(contours, key=lambda c: -abs(c[2])):
        opacity = round(255 * fill) if area > 0 else 0
        pen.polygon(_xy(contour), fill=(*palette[label].tolist(), opacity))
    # A dark line under the bright one keeps it readable on a bright image.
    for _, contour, _ in contours:
        pen.line(_xy(contour), fill=(*INK, 110), width=round(width * 1.9), joint="curve")
    for label, contour, _ in contours:
        pen.line(_xy(contour), fill=(*palette[label].tolist(), 255), width=round(width), joint="curve")
    return sheet


def _xy(contour: NDArray[np.float64]) -> list[tuple[float, float]]:
    return [(x, y) for y, x in contour.tolist()]


def _area(contour: NDArray[np.float64]) -> float:
    """Give the area inside a closed contour; negative for a hole, which is walked the other way round."""
    y, x = contour.T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2


def _objects(labels: NDArray[np.integer]) -> Iterator[tuple[int, NDArray[np.bool_], tuple[int, int]]]:
    for label, where in enumerate(find_objects(np.asarray(labels, np.int32)), start=1):
        if where is not None:
            yield label, labels[where] == label, (where[0].start, where[1].start)


def _contours(mask: NDArray[np.bool_], offset: tuple[int, int]) -> list[NDArray[np.float64]]:
    """Trace a mask, (n, 2) y, x in the plane with integers at pixel centres."""
    margin = 3
    padded = np.pad(mask, margin).astype(np.float32)
    found: list[NDArray[np.float64]] = find_contours(gaussian_filter(padded, SMOOTHING), 0.5)
    found = found or find_contours(padded, 0.5)  # what is one pixel thin would be smoothed away
    return [contour - margin + offset for contour in found]


def _srgb_of_oklch(
    lightness: NDArray[np.floating], chroma: NDArray[np.floating], hue: NDArray[np.floating]
) -> NDArray[np.uint8]:
    """Convert OKLCH (hue in radians) to sRGB, clipped to what a screen can show."""
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], -1)
    to_lms = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.707614701],
        ]
    )
    linear = np.clip((lab @ to_lms.T) ** 3 @ to_rgb.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rgb8: NDArray[np.uint8] = np.rint(255 * srgb).astype(np.uint8)
    return rgb8
