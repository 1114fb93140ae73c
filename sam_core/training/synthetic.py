"""Synthetic planes for training, of what the labelled sets lack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np

from sam_core import samples
from sam_core.contrast import stretch
from sam_core.errors import ImageError
from sam_core.image import to_rgb8
from sam_core.labels import renumber
from sam_core.training.examples import Example
from sam_core.training.tissue import Kind, tissue

SYNTHETIC = "synthetic"  # in the place of a folder
PLANES = 96
SIDE = 288  # pixels


def synthetic_examples(kind: str) -> list[Example]:
    """Draw the planes of a kind, "rods" or "tissue": the same ones each time.

    Raises
    ------
    ImageError
        There is no such kind.
    """
    if kind not in DRAWN:
        msg = f"got the synthetic set {kind!r}, expected one of {', '.join(DRAWN)}; a folder needs another name"
        raise ImageError(msg)
    return [DRAWN[kind](seed) for seed in range(PLANES)]


def _tissue(seed: int) -> Example:
    """Draw stained and fluorescent sections in turn."""
    kinds = get_args(Kind)
    section = tissue((SIDE, SIDE), kinds[seed % len(kinds)], seed=seed)
    return replace(section, image=stretch(section.image))


def _rods(seed: int) -> Example:
    """Draw bacteria, sparse or in colonies, some of them as filaments; half of the planes are of phase contrast."""
    rng = np.random.default_rng(seed)
    width = float(np.exp(rng.uniform(np.log(4.5), np.log(13))))
    length = width * float(np.exp(rng.uniform(np.log(1.8), np.log(12))))
    covered = rng.uniform(0.05, 0.6)
    count = max(4, int(covered * SIDE**2 / (width * length)))
    bend = rng.uniform(0, 1.2) / length
    sample = samples.rods(
        (SIDE, SIDE), count=count, width=width, length=length, bend=bend, phase=seed % 2 == 1, seed=seed
    )
    return Example(stretch(to_rgb8(sample.image)), renumber(sample.labels), f"rods {seed % 2}")


DRAWN: dict[str, Callable[[int], Example]] = {"rods": _rods, "tissue": _tissue}
