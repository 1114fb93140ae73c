"""Synthetic cells with exact truth: a plane of round or of rod-shaped ones, a z-stack, a time-lapse.

Made by simulation, so they need no download and no licence. Cells are smooth random blobs, or bent rods, that may touch
but do not overlap, textured, unevenly lit, blurred by the optics and counted as photons by a noisy camera; or roughly
as phase contrast shows them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam_core.types import Labels

PHOTONS = 180.0  # of a bright pixel
READ_NOISE = 4.0  # photons
BESIDE = 0.7  # of rods lie along another one, as cells do that have divided


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """An image and its truth.

    Parameters
    ----------
    image
        (H, W), (Z, H, W) or (T, H, W) uint16.
    labels
        The same shape, int32; a number is the same cell on all planes and at all times.
    axes
        "YX", "ZYX" or "TYX".
    """

    image: NDArray[np.uint16]
    labels: Labels
    axes: str


def cells(
    shape: tuple[int, int] = (256, 256),
    *,
    count: int = 24,
    diameter: float = 28.0,
    dark: bool = False,
    seed: int = 0,
) -> Sample:
    """Make a plane of cells.

    Parameters
    ----------
    shape
        Height and width in pixels.
    count
        Cells to try to place; fewer where they do not fit.
    diameter
        Mean diameter in pixels.
    dark
        Dark cells on a bright ground instead of bright ones on a dark ground.
    seed
        The same seed makes the same picture.

    Raises
    ------
    ValueError
        A side or the diameter is less than a pixel, or the count negative.

    Examples
    --------
    >>> sample = cells(seed=1)
    >>> sample.image.shape, sample.image.dtype, bool(sample.labels.max() > 10)
    ((256, 256), dtype('uint16'), True)
    """
    _check(shape, count, diameter)
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for blob in _blobs(rng, (1, *shape), count, diameter, 1.0):
        blob.paint(labels[None], np.zeros(3))
    return Sample(_photograph(labels, rng, dark), labels, "YX")


def rods(
    shape: tuple[int, int] = (256, 256),
    *,
    count: int = 60,
    width: float = 8.0,
    length: float = 30.0,
    bend: float = 0.02,
    phase: bool = False,
    seed: int = 0,
) -> Sample:
    """Make a plane of rod-shaped cells, bacteria for instance, many of them side by side.

    Parameters
    ----------
    shape
        Height and width in pixels.
    count
        Cells to try to place; fewer where they do not fit.
    width, length
        Mean ones in pixels.
    bend
        Standard deviation of the curvature, in radians a pixel.
    phase
        As in phase contrast, dark with a bright halo, instead of bright on a dark ground.
    seed
        The same seed makes the same picture.

    Raises
    ------
    ValueError
        A side, the width or the length is less than a pixel, or the count negative.

    Examples
    --------
    >>> sample = rods(seed=1)
    >>> sample.labels.shape, bool(sample.labels.max() > 10)
    ((256, 256), True)
    """
    for size in (width, length):
        _check(shape, count, size)
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    placed: list[_Rod] = []
    for _ in range(4 * count):
        if len(placed) == count:
            break
        radius, long = width / 2 * rng.uniform(0.85, 1.15), length * rng.uniform(0.6, 1.4)
        middle, angle = rng.uniform(0, shape), rng.uniform(0, np.pi)
        if placed and rng.random() < BESIDE:
            middle, angle = placed[rng.integers(len(placed))].beside(radius, rng)
        rod = _Rod.of(middle, angle, long, radius, rng.normal(0, bend))
        if rod.paint(labels, len(placed) + 1):
            placed.append(rod)
    return Sample(_phase_contrast(labels, rng) if phase else _photograph(labels, rng, dark=False), labels, "YX")


def z_stack(
    shape: tuple[int, int, int] = (16, 128, 128), *, count: int = 14, diameter: float = 30.0, seed: int = 0
) -> Sample:
    """Make a stack (Z, Y, X) of round cells; a plane is three times as thick as a pixel is wide.

    Raises
    ------
    ValueError
        A side or the diameter is less than a pixel, or the count negative.

    Examples
    --------
    >>> z_stack(seed=1).labels.shape
    (16, 128, 128)
    """
    _check(shape, count, diameter)
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for blob in _blobs(rng, shape, count, diameter, 3.0):
        blob.paint(labels, np.zeros(3))
    return Sample(_photograph(labels, rng, dark=False), labels, "ZYX")


def time_lapse(
    shape: tuple[int, int, int] = (12, 160, 160), *, count: int = 12, diameter: float = 26.0, seed: int = 0
) -> Sample:
    """Make a time-lapse (T, Y, X) of cells that drift by about a pixel a frame.

    Raises
    ------
    ValueError
        A side or the diameter is less than a pixel, or the count negative.

    Examples
    --------
    >>> time_lapse(seed=1).axes
    'TYX'
    """
    _check(shape, count, diameter)
    rng = np.random.default_rng(seed)
    blobs = _blobs(rng, (1, *shape[1:]), count, diameter, 1.0)
    drifts = rng.normal(0, 0.8, (len(blobs), 3)) * (0, 1, 1)
    labels = np.zeros(shape, np.int32)
    for time, frame in enumerate(labels):
        for blob, drift in zip(blobs, drifts, strict=True):
            blob.paint(frame[None], drift * time)
    return Sample(_photograph(labels, rng, dark=False), labels, "TYX")


@dataclass(frozen=True, eq=False, slots=True)
class _Blob:
    """An ellipsoid with a wavy outline, in pixels; z in planes."""

    number: int
    centre: NDArray[np.float64]
    radii: NDArray[np.float64]
    angle: float
    waves: NDArray[np.float64]

    def paint(self, labels: Labels, shift: NDArray[np.float64]) -> None:
        """Write its number into a stack (Z, Y, X) where nothing else is."""
        centre = self.centre + shift
        reach = np.array([self.radii[0], *[1.4 * self.radii[1:].max()] * 2])
        low = np.maximum(np.floor(centre - reach), 0).astype(int)
        high = np.minimum(np.ceil(centre + reach) + 1, labels.shape).astype(int)
        if (low >= high).any():
            return
        place = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        z, y, x = (g - c for g, c in zip(np.ogrid[place], centre, strict=True))
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        v, u = (y * cos + x * sin) / self.radii[1], (x * cos - y * sin) / self.radii[2]
        around = np.arctan2(v, u)
        edge = 1 + sum(w * np.sin(k * around + p) for k, (w, p) in enumerate(self.waves, start=2))
        inside = np.hypot(u, v) / edge < np.sqrt(np.clip(1 - (z / self.radii[0]) ** 2, 0, None))
        region = labels[place]
        region[inside & (region == 0)] = self.number


@dataclass(frozen=True, eq=False, slots=True)
class _Rod:
    """All that is near a curved line, in pixels (y, x)."""

    line: NDArray[np.float64]
    radius: float

    @classmethod
    def of(cls, middle: NDArray[np.float64], angle: float, length: float, radius: float, bend: float) -> _Rod:
        """Draw a line with round ends through a middle, with points so close that their discs have a smooth edge."""
        straight = max(length - 2 * radius, 0.0)
        along = np.linspace(-straight / 2, straight / 2, 2 + int(4 * straight / radius))
        heading = angle + bend * along
        steps = np.stack([np.sin(heading), np.cos(heading)], axis=1) * (along[1] - along[0])
        line = np.cumsum(steps, axis=0)
        return cls(line - line[len(line) // 2] + middle, radius)

    def beside(self, radius: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
        """Return middle and angle of a rod that touches this one along its side."""
        (y0, x0), (y1, x1) = self.line[0], self.line[-1]
        angle = np.arctan2(y1 - y0, x1 - x0)
        away = rng.choice((-1, 1)) * (self.radius + radius + rng.uniform(0, 1.5))
        middle = self.line[rng.integers(len(self.line))] + away * np.array([np.cos(angle), -np.sin(angle)])
        return middle, angle + rng.normal(0, 0.1)

    def paint(self, labels: Labels, number: int) -> bool:
        """Write a number into a plane, unless much of the rod is taken or outside; tell whether it was written."""
        low = np.maximum(np.floor(self.line.min(axis=0) - self.radius), 0).astype(int)
        high = np.minimum(np.ceil(self.line.max(axis=0) + self.radius) + 1, labels.shape).astype(int)
        if (low >= high).any():
            return False
        ys, xs = (np.arange(a, b) for a, b in zip(low, high, strict=True))
        near = np.zeros((len(ys), len(xs)), bool)
        for y, x in self.line:
            near |= np.add.outer((ys - y) ** 2, (xs - x) ** 2) <= self.radius**2
        region = labels[low[0] : high[0], low[1] : high[1]]
        free = near & (region == 0)
        if not near.any() or free.sum() < 0.9 * near.sum():
            return False
        region[free] = number
        return True


def _check(shape: tuple[int, ...], count: int, diameter: float) -> None:
    if min(shape) < 1 or count < 0 or not diameter >= 1:
        msg = (
            f"got {count} cells of {diameter} pixels in {shape}, expected a count of at least 0, sides and a diameter "
            "of at least 1 pixel"
        )
        raise ValueError(msg)


def _blobs(
    rng: np.random.Generator, shape: tuple[int, int, int], count: int, diameter: float, thickness: float
) -> list[_Blob]:
    """Place blobs so that they touch here and there: each at least 0.9 mean diameters from the others."""
    placed: list[_Blob] = []
    centres = np.full((count, 3), np.inf)
    size = np.array([thickness, 1.0, 1.0])
    for _ in range(60 * count):
        if len(placed) == count:
            break
        centre = rng.uniform(0, np.array(shape) - 1) if shape[0] > 1 else np.array([0, *rng.uniform(0, shape[1:])])
        if np.linalg.norm((centres - centre) * size, axis=1).min() > 0.9 * diameter:
            centres[len(placed)] = centre
            radii = diameter / 2 * rng.uniform(0.75, 1.15, 3) / size
            waves = np.stack([rng.uniform(0, 0.08, 3), rng.uniform(0, 2 * np.pi, 3)], axis=1)
            placed.append(_Blob(len(placed) + 1, centre, radii, rng.uniform(0, np.pi), waves))
    return placed


def _photograph(labels: Labels, rng: np.random.Generator, dark: bool) -> NDArray[np.uint16]:
    """Light, blur and count photons: uint16 of the shape of `labels`."""
    brightness = np.concatenate([[0.06], rng.uniform(0.45, 1.0, int(labels.max(initial=0)))])
    scene = brightness[labels]
    texture = ndimage.gaussian_filter(rng.normal(size=labels.shape), 2.5)
    scene = scene * (1 + 0.25 * texture / max(texture.std(), 1e-9) * (labels > 0))
    if dark:
        scene = 1.1 - scene
    height, width = labels.shape[-2:]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    light = 1 - 0.25 * ((y - rng.uniform(-0.5, 0.5)) ** 2 + (x - rng.uniform(-0.5, 0.5)) ** 2)
    blurred = ndimage.gaussian_filter(scene * light, (*[0] * (labels.ndim - 2), 1.1, 1.1))
    photons = rng.poisson(PHOTONS * blurred.clip(0)) + rng.normal(0, READ_NOISE, labels.shape)
    return np.asarray((100 + 8 * photons).clip(0, 65535), np.uint16)


def _phase_contrast(labels: Labels, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Darken cells and brighten what is around them: uint16 of the shape of `labels`."""
    darkness = np.concatenate([[0.0], rng.uniform(0.3, 0.45, int(labels.max(initial=0)))])[labels]
    inside = (labels > 0).astype(float)
    halo = ndimage.gaussian_filter(inside, rng.uniform(2, 5)) * (1 - inside)
    scene = ndimage.gaussian_filter(0.5 - darkness + rng.uniform(0.3, 0.8) * halo, rng.uniform(0.7, 1.2))
    noisy = scene + rng.normal(0, rng.uniform(0.01, 0.03), labels.shape)
    return np.asarray((40000 * noisy).clip(0, 65535), np.uint16)
