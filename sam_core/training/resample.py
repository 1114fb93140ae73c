"""Squares out of a plane and its labels: magnified, turned, stretched."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam_core.training.examples import Example


def cut(
    example: Example, focus: tuple[float, float], zoom: float, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Resample a square of `size` / `zoom` source pixels around the focus (y, x); black where it leaves the plane."""
    side = size / zoom
    origin = np.array(focus) - side * rng.uniform(0.15, 0.85, 2)
    for axis, extent in enumerate(example.labels.shape):
        # Stay inside where the plane is large enough; else let it lie anywhere in the crop.
        low, high = sorted((0.0, extent - side))
        origin[axis] = np.clip(origin[axis], low, high)
    # Labels are not blended: begin where their samples fall on the middles of pixels, or pixels on whole samples.
    middle = min(0.0, 0.5 - 0.5 / zoom)
    origin = np.floor(origin - middle) + middle
    rows, cols = (np.floor(o + (np.arange(size) + 0.5) / zoom).astype(int) for o in origin)
    keep_rows, keep_cols = ((i >= 0) & (i < n) for i, n in zip((rows, cols), example.labels.shape, strict=True))
    image = np.zeros((size, size, 3), np.uint8)
    labels = np.zeros((size, size), np.int32)
    inner = np.ix_(keep_rows, keep_cols)
    labels[inner] = example.labels[np.ix_(rows[keep_rows], cols[keep_cols])]
    (top, bottom), (left, right) = _span(keep_rows, origin[0], zoom), _span(keep_cols, origin[1], zoom)
    height, width = int(keep_rows.sum()), int(keep_cols.sum())
    # The float box keeps pixels and labels aligned; whole pixels would shift edges by up to one of the source's.
    resized = Image.fromarray(example.image).resize(
        (width, height), Image.Resampling.BILINEAR, box=_inside((left, top, right, bottom), example.labels.shape)
    )
    image[inner] = np.asarray(resized)
    return image, labels


def warp(
    example: Example, focus: tuple[float, float], zoom: float, ratio: float, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Resample a square of `size` around the focus (y, x), turned, flipped or not, and `ratio` times as long as wide.

    Area is magnified by the square of `zoom`. Cells of other laboratories are long: rods, fibres, spindles.
    """
    longer, shorter = zoom * np.sqrt(ratio), zoom / np.sqrt(ratio)
    flip = np.diag([1.0, rng.choice((-1.0, 1.0))])
    # From pixels x, y of the crop to those of the plane.
    back = (
        _turned(rng.uniform(0, 2 * np.pi)) @ np.diag([1 / longer, 1 / shorter]) @ _turned(rng.uniform(0, np.pi)) @ flip
    )
    beside = back @ (size * (0.5 - rng.uniform(0.15, 0.85, 2)))
    reach = 0.35 * size * np.abs(back).sum(axis=1)
    middle = _held(np.array(focus)[::-1] + 0.5 + beside, reach, example.labels.shape)
    shift = middle - back @ (size / 2, size / 2)
    coarse = max(1, int(1 / shorter))  # pixels that are averaged first, so that none is passed over
    pixels = _resampled(Image.fromarray(example.image).reduce(coarse), back / coarse, shift / coarse, size, smooth=True)
    labels = _resampled(Image.fromarray(example.labels), back, shift, size, smooth=False)
    return np.array(pixels), np.array(labels)


def _held(middle: NDArray[np.float64], reach: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Move the middle x, y of a crop until it reaches so far without leaving the plane, where that is large enough."""
    bounds = np.sort(np.stack([reach, np.array(shape)[::-1] - reach]), axis=0)
    return middle.clip(*bounds)


def _turned(angle: float) -> NDArray[np.float64]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _resampled(
    plane: Image.Image, back: NDArray[np.float64], shift: NDArray[np.float64], size: int, *, smooth: bool
) -> Image.Image:
    """Look each pixel (x, y) of a crop up at `back` @ (x, y) + `shift` of a plane, both from their outer edges."""
    kind = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    coefficients = np.column_stack([back, shift]).ravel().tolist()
    return plane.transform((size, size), Image.Transform.AFFINE, coefficients, kind)


def _span(keep: NDArray[np.bool_], origin: float, zoom: float) -> tuple[float, float]:
    """Return where the kept ones of the crop's rows or columns begin and end in the source, in pixels from its edge."""
    kept = np.flatnonzero(keep)
    return origin + kept[0] / zoom, origin + (kept[-1] + 1) / zoom


def _inside(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, float(shape[1])), min(bottom, float(shape[0]))


def turn(
    image: NDArray[np.uint8], labels: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Turn pixels and labels by a random multiple of 90 degrees, and flip them or not."""
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if flip:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)
