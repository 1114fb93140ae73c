"""What was found on a picture that was shrunk to be worked on, at the picture's own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sam_core import Masks, Prompt

T = TypeVar("T", bound=np.generic)


def enlarged(pixels: NDArray[T], factor: int, shape: tuple[int, int]) -> NDArray[T]:
    """Return a plane (h, w) with each pixel `factor` times as high and as wide, cut to a shape (H, W).

    Examples
    --------
    >>> enlarged(np.array([[1, 2]]), 2, (2, 3))
    array([[1, 1, 2],
           [1, 1, 2]])
    """
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)[: shape[0], : shape[1]]


def enlarged_masks(masks: Masks, factor: int, shape: tuple[int, int]) -> Masks:
    """Return masks on a plane of another shape (H, W), as `enlarged` does; they lose their logits."""
    if factor == 1:
        return masks
    offsets = masks.offsets * factor
    crops = tuple(
        enlarged(crop, factor, (shape[0] - y, shape[1] - x))
        for crop, (y, x) in zip(masks.crops, offsets.tolist(), strict=True)
    )
    return replace(masks, shape=shape, crops=crops, offsets=offsets, logits=(None,) * len(masks))


def shrunk_prompt(
    points: Sequence[tuple[float, float]],
    signs: Sequence[bool],
    box: tuple[float, float, float, float] | None,
    factor: int,
) -> Prompt:
    """Return a prompt in pixels of the picture, y, x, in those of the picture shrunk by a factor.

    Examples
    --------
    >>> prompt = shrunk_prompt([(3.0, 1.0)], [True], (0, 0, 4, 6), 2)
    >>> prompt.points.tolist(), [float(v) for v in prompt.box]
    ([[1.25, 0.25]], [0.0, 0.0, 2.0, 3.0])
    """
    # Whole numbers are centres of pixels: the corner of the picture is at -0.5.
    places = [((y + 0.5) / factor - 0.5, (x + 0.5) / factor - 0.5) for y, x in points]
    return Prompt.of(places, signs, box=None if box is None else tuple(v / factor for v in box))


def area(masks: Masks, factor: int, shape: tuple[int, int]) -> int:
    """Return the pixels of the first mask once it is enlarged."""
    if factor == 1:
        return int(masks.areas[0])
    y0, x0, y1, x1 = masks.boxes[0].tolist()
    rows, columns = (
        np.minimum(factor, most - factor * np.arange(start, end))
        for start, end, most in ((y0, y1, shape[0]), (x0, x1, shape[1]))
    )
    return int(rows @ masks.crops[0].astype(np.int64) @ columns)
