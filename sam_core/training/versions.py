"""Encoded once, trained on many times: augmented versions of a few images, with the features of a frozen encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sam_core.families.cell import FILL, enlarged
from sam_core.modeling.cell import TOKEN_STRIDE, CellNetwork
from sam_core.training.augment import augment
from sam_core.training.crops import Crop, CropOptions, crop_of, random_object
from sam_core.training.examples import Example
from sam_core.training.resample import cut, turn

WINDOWS = 2  # windows along a side of a version: several different crops lie in it
LARGEST = 768  # pixels a side of a plane; of a larger one a part is taken
MAGNIFIED = 0.3  # largest logarithm by which a version is larger or smaller than the model would look at the image
PHOTOMETRIC = 0.5  # chance that contrast, colour, light, blur or noise are changed: the images are the user's own


@dataclass(frozen=True, eq=False, slots=True)
class Version:
    """A large cut of an image, turned, magnified and perhaps changed in contrast.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8.
    labels
        (H, W) int32.
    levels
        Its features as the encoder gives them, each (C, H / stride, W / stride) float16; empty if not encoded.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]
    levels: tuple[Tensor, ...]


def draw_plane(example: Example, rng: np.random.Generator) -> Example:
    """Draw a plane as a model meets it: every other one as it is, but turned; of a large one a part."""
    pixels, labels = example.image, example.labels
    if rng.random() < 0.5:
        zoom = float(np.exp(rng.uniform(-MAGNIFIED, MAGNIFIED)))
        size = round(labels.shape[1] * zoom), round(labels.shape[0] * zoom)
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
        labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
        pixels = augment(pixels, rng) if rng.random() < PHOTOMETRIC else pixels
    y, x = (int(rng.integers(max(0, side - LARGEST) + 1)) for side in labels.shape)
    part = slice(y, y + LARGEST), slice(x, x + LARGEST)
    return Example(*turn(pixels[part], labels[part], rng), example.group)


def draw_versions(examples: Sequence[Example], count: int, window: int, seed: int) -> list[Version]:
    """Draw about `count` versions, as many of each image and the same for the same seed; not encoded yet."""
    rng = np.random.default_rng(seed)
    drawn = (_draw(examples[i % len(examples)], window, rng) for i in range(max(count, len(examples))))
    return [version for version in drawn if version is not None]


def _draw(example: Example, window: int, rng: np.random.Generator) -> Version | None:
    focus = random_object(example.labels, rng)
    if focus is None:
        return None
    zoom = _looked_at(example.labels, focus[2], window) * float(np.exp(rng.uniform(-MAGNIFIED, MAGNIFIED)))
    pixels, labels = turn(*cut(example, focus[:2], zoom, WINDOWS * window, rng), rng)
    return Version(augment(pixels, rng) if rng.random() < PHOTOMETRIC else pixels, labels, ())


def _looked_at(labels: NDArray[np.int32], diameter: float, window: int) -> float:
    """Return the magnification at which the model looks for an object: the finest at which it fits into a window."""
    zoom = float(enlarged((labels.shape[0], labels.shape[1]), window))
    while diameter * zoom > FILL * window:
        zoom = 1.0 if zoom > 1 else zoom / 2
    return zoom


@torch.no_grad()
def encoded(version: Version, network: CellNetwork, *, bfloat16: bool) -> Version:
    """Return a square version with its features."""
    device = next(network.parameters()).device
    pixels = torch.from_numpy(version.pixels).permute(2, 0, 1).unsqueeze(0).to(device).float() / 255
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        levels = network.encoder(pixels.contiguous(memory_format=torch.channels_last))
    largest = torch.finfo(torch.float16).max
    kept = tuple(level[0].float().clamp(-largest, largest).half().cpu() for level in levels)
    return Version(version.pixels, version.labels, kept)


def draw_window(version: Version, options: CropOptions, rng: np.random.Generator) -> tuple[Crop, list[Tensor]] | None:
    """Cut a crop around a random object of a version, and the features that lie there; None where there is no object.

    The crop begins at a token, so that features and pixels fit.
    """
    focus = random_object(version.labels, rng)
    if focus is None:
        return None
    free = version.labels.shape[0] - options.size
    corner = [round((m - options.size * rng.uniform(0.15, 0.85)) / TOKEN_STRIDE) * TOKEN_STRIDE for m in focus[:2]]
    y, x = (min(max(at, 0), free) for at in corner)
    window = slice(y, y + options.size), slice(x, x + options.size)
    crop = crop_of(version.pixels[window], version.labels[window], options, rng)
    levels = [_cut(level, y, x, version.labels.shape[0], options.size) for level in version.levels]
    return None if crop is None else (crop, levels)


def _cut(level: Tensor, y: int, x: int, side: int, size: int) -> Tensor:
    stride = side // level.shape[-1]
    return level[:, y // stride : (y + size) // stride, x // stride : (x + size) // stride]
