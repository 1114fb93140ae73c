"""Simulated sections of tissue with exact truth: stained with haematoxylin and another stain, or fluorescent and hazy.

What a stain absorbs adds up as its amount times its colour (Beer and Lambert; the colours of the stains are those of
Ruifrok and Johnston, 2001, a little different on each plane). Nuclei are pale or dark, even, coarse or with a pale
inside and a dark rim, and lie among fibres, gaps and specks that are none.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam_core import samples
from sam_core.labels import renumber
from sam_core.training.examples import Example

Kind = Literal["eosin", "brown", "fluorescence"]
Floats = NDArray[np.float64]

HAEMATOXYLIN, EOSIN, BROWN = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78)  # absorbed of red, green, blue
MARGIN = 24  # pixels around a plane, from where nuclei are bent into it


def tissue(shape: tuple[int, int], kind: Kind, *, seed: int) -> Example:
    """Simulate a section.

    Parameters
    ----------
    shape
        Height and width in pixels.
    kind
        What it is stained with beside haematoxylin, or "fluorescence": nuclei that glow, gray, with those above and
        below as a haze.
    seed
        The same seed makes the same section.

    Returns
    -------
    Example
        Image (H, W, 3) uint8, its contrast as it came, not stretched; labels (H, W) int32; the kind is its group.
    """
    rng = np.random.default_rng((seed, get_args(Kind).index(kind)))
    labels = _nuclei(shape, rng)
    picture = _fluorescent(labels, rng) if kind == "fluorescence" else _stained(labels, kind, rng)
    blurred = ndimage.gaussian_filter(picture, (*[rng.uniform(0.4, 1.4)] * 2, 0))
    noisy = blurred + rng.normal(0, rng.uniform(0.003, 0.03), blurred.shape)
    rgb8 = np.asarray((255 * noisy.clip(0, 1)).round(), np.uint8)
    return Example(np.repeat(rgb8, 3 // rgb8.shape[2], axis=2), labels, kind)


def _nuclei(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int32]:
    """Place nuclei, crowded here and sparse there, and bend the plane so that some are long and some are round."""
    large = (shape[0] + 2 * MARGIN, shape[1] + 2 * MARGIN)
    diameter = float(np.exp(rng.uniform(np.log(11), np.log(38))))
    count = int(rng.uniform(0.2, 0.75) * large[0] * large[1] / diameter**2)
    round_ones = samples.cells(large, count=count, diameter=diameter, seed=int(rng.integers(2**31))).labels
    bent = np.indices(shape) + MARGIN + np.stack([_cloud(shape, diameter, rng) for _ in range(2)]) * 0.35 * diameter
    labels = ndimage.map_coordinates(round_ones, bent, order=0)
    sparse = _cloud(shape, 2 * diameter, rng) > rng.uniform(0.3, 2)
    gone = np.isin(labels, np.unique(labels[sparse]))
    return renumber(np.where(gone, 0, labels))


def _stained(labels: NDArray[np.int32], kind: Kind, rng: np.random.Generator) -> Floats:
    """Return a section in transmitted light, (H, W, 3) in 0..1."""
    amount = _chromatin(labels, rng, palest=0.35)
    ground = _fibres(labels.shape, rng)
    specks = _specks(labels.shape, rng) * (labels == 0)
    blue = 0.9 * amount + rng.uniform(0.03, 0.25) * ground + specks * rng.uniform(0.2, 0.9)
    second = rng.uniform(0.25, 0.8) * ground * np.where(labels > 0, 0.5, 1)
    if kind == "brown":
        positive = np.concatenate([[False], rng.random(labels.max()) < rng.uniform(0.1, 0.9)])[labels]
        blue, second = np.where(positive, 0.3, 1) * blue, 0.25 * second + np.where(positive, 1.1 * amount, 0)
    gap = ndimage.gaussian_filter((_cloud(labels.shape, 14, rng) > rng.uniform(0.8, 2.5)) * (labels == 0) * 1.0, 0.8)
    stains = np.array([HAEMATOXYLIN, BROWN if kind == "brown" else EOSIN]) + rng.normal(0, 0.07, (2, 3))
    absorbed = np.stack([blue, second], axis=-1) * (1 - 0.9 * gap[..., None]) @ stains.clip(0.02)
    light = rng.uniform(0.85, 1.0, 3)
    return np.asarray(light * np.exp(-rng.uniform(0.7, 1.4) * absorbed))


def _fluorescent(labels: NDArray[np.int32], rng: np.random.Generator) -> Floats:
    """Return a thick section of glowing nuclei, (H, W, 1) in 0..1, with those out of focus as a haze."""
    above = _chromatin(_nuclei((labels.shape[0], labels.shape[1]), rng), rng, palest=0.1)
    haze = ndimage.gaussian_filter(above, rng.uniform(3, 9)) * rng.uniform(0.1, 0.7)
    ground = rng.uniform(0, 0.12) * _fibres(labels.shape, rng)
    glow = 0.7 * _chromatin(labels, rng, palest=0.25) + haze + ground + rng.uniform(0.01, 0.1)
    photons = rng.uniform(40, 400)
    return np.asarray(rng.poisson(photons * glow) / photons)[..., None]


def _chromatin(labels: NDArray[np.int32], rng: np.random.Generator, *, palest: float) -> Floats:
    """Return how much stain each pixel of the nuclei holds, about 1, and 0 beside them."""
    count = int(labels.max(initial=0))
    dark = np.concatenate([[0.0], rng.uniform(palest, 1.0, count)])[labels]
    coarse = np.concatenate([[0.0], rng.uniform(0.05, 0.35, count)])[labels]
    hollow = np.concatenate([[0.0], rng.uniform(0, 0.6, count) * (rng.random(count) < 0.4)])[labels]
    edge = np.zeros(labels.shape)
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        own = np.pad(labels[place] == number, 1)
        depth = ndimage.distance_transform_edt(own)[1:-1, 1:-1]
        edge[place] += np.where(own[1:-1, 1:-1], np.exp(-depth / 2.0), 0)
    grain = 0.7 * _cloud(labels.shape, 1.3, rng) + 0.5 * _cloud(labels.shape, 3.0, rng)
    return np.asarray((dark * (1 + coarse * grain) * (1 - hollow * (1 - edge))).clip(0))


def _fibres(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return the ground that nuclei lie in, about 1: streaks of three directions, denser here and there."""
    streaks = [ndimage.gaussian_filter(rng.normal(size=shape), along) for along in ((1, 7), (7, 1), (2, 2))]
    weights = np.exp([_cloud(shape, 30, rng) for _ in streaks])
    ground = sum(w * s / s.std() for w, s in zip(weights, streaks, strict=True)) / weights.sum(axis=0)
    uneven = 1 + rng.uniform(0.1, 0.5) * ground + rng.uniform(0, 0.4) * _cloud(shape, 20, rng)
    return np.asarray(uneven.clip(0.05))


def _specks(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return small dark things that are no nuclei, 0 to 1."""
    seeds = rng.random(shape) < rng.uniform(0, 0.0015)
    spread = ndimage.gaussian_filter(seeds.astype(float), rng.uniform(0.7, 1.8))
    return np.asarray(spread / max(spread.max(), 1e-9))


def _cloud(shape: tuple[int, ...], size: float, rng: np.random.Generator) -> Floats:
    """Return smooth noise of mean 0 and deviation 1."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), size, mode="wrap")
    return np.asarray((noise - noise.mean()) / max(noise.std(), 1e-9))
