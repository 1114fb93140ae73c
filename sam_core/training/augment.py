"""Photometric augmentation: the same cells under another microscope."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float = NDArray[np.float32]


def augment(rgb8: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return `rgb8` (H, W, 3) uint8 under random contrast, colour, light, blur and noise; same shape and dtype."""
    x: Float = rgb8.astype(np.float32) / np.float32(255)
    for step, chance in (
        (_colour, 0.5),
        (_invert, 0.2),
        (_contrast, 0.7),
        (_shade, 0.2),
        (_blur, 0.25),
        (_noise, 0.35),
    ):
        if rng.random() < chance:
            x = step(x, rng)
    return (255 * x.clip(0, 1)).round().astype(np.uint8)


def restain(rgb8: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return `rgb8` (H, W, 3) uint8 as other dyes and another lamp would show it; same shape and dtype.

    What is absorbed of red, green and blue adds up over the dyes (Beer and Lambert), so it is mixed and scaled there
    (after Tellez et al. 2018, who do it in the space of two known stains).
    """
    absorbed = -np.log((rgb8.astype(np.float32) + 1) / 256)
    mixed = absorbed @ (np.eye(3) + rng.normal(0, 0.12, (3, 3))).astype(np.float32)
    return (256 * np.exp(-mixed.clip(0)) - 1).clip(0, 255).round().astype(np.uint8)


def _colour(x: Float, rng: np.random.Generator) -> Float:
    kind = rng.integers(3)
    if kind == 0:
        return x[..., rng.permutation(3)]
    gray = x @ rng.dirichlet((2.0, 2.0, 2.0)).astype(np.float32)
    if kind == 1:
        return np.repeat(gray[..., None], 3, axis=-1)
    ends = rng.random((2, 3), dtype=np.float32)
    return ends[0] + gray[..., None] * (ends[1] - ends[0]) if np.abs(ends[1] - ends[0]).max() > 0.4 else x


def _invert(x: Float, rng: np.random.Generator) -> Float:
    return 1 - x


def _contrast(x: Float, rng: np.random.Generator) -> Float:
    gamma, gain, lift = np.exp(rng.normal(0, 0.4)), rng.uniform(0.6, 1.2), rng.uniform(-0.1, 0.15)
    out: Float = (x**gamma * gain + lift).astype(np.float32)
    return out


def _shade(x: Float, rng: np.random.Generator) -> Float:
    """Uneven illumination: a smooth random field."""
    coarse = rng.uniform(0.5, 1.2, (3, 3)).astype(np.float32)
    field = ndimage.zoom(coarse, (x.shape[0] / 3, x.shape[1] / 3), order=1)
    return x * field[: x.shape[0], : x.shape[1], None]


def _blur(x: Float, rng: np.random.Generator) -> Float:
    sigma = rng.uniform(0.3, 2.0)
    out: Float = ndimage.gaussian_filter(x, (sigma, sigma, 0))
    return out


def _noise(x: Float, rng: np.random.Generator) -> Float:
    sigma = rng.uniform(0.01, 0.1)
    if rng.random() < 0.5:
        return x + rng.normal(0, sigma, (*x.shape[:2], 1)).astype(np.float32)
    return x + rng.normal(0, sigma, x.shape).astype(np.float32)
