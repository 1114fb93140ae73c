"""Synthetic planes for training, of what the labelled sets lack."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sam_core import samples
from sam_core.contrast import stretch
from sam_core.errors import ImageError
from sam_core.image import to_rgb8
from sam_core.labels import renumber
from sam_core.training.examples import Example

SYNTHETIC = "synthetic"  # in the place of a folder
PLANES = 96
SIDE = 288  # pixels


def synthetic_examples(kind: str) -> list[Example]:
    """Draw the planes of a kind, "rods": the same ones each time.

    Raises
    ------
    ImageError
        There is no such kind.
    """
    if kind not in DRAWN:
        msg = f"got the synthetic set {kind!r}, expected one of {', '.join(DRAWN)}; a folder needs another name"
        raise ImageError(msg)
    return [_example(DRAWN[kind](seed), f"{kind} {seed % 2}") for seed in range(PLANES)]


def _example(sample: samples.Sample, group: str) -> Example:
    return Example(stretch(to_rgb8(sample.image)), renumber(sample.labels), group)


def _rods(seed: int) -> samples.Sample:
    """Draw bacteria, sparse or in colonies, some of them as filaments; half of the planes are of phase contrast."""
    rng = np.random.default_rng(seed)
    width = float(np.exp(rng.uniform(np.log(4.5), np.log(13))))
    length = width * float(np.exp(rng.uniform(np.log(1.8), np.log(12))))
    covered = rng.uniform(0.05, 0.6)
    count = max(4, int(covered * SIDE**2 / (width * length)))
    bend = rng.uniform(0, 1.2) / length
    return samples.rods(
        (SIDE, SIDE), count=count, width=width, length=length, bend=bend, phase=seed % 2 == 1, seed=seed
    )


DRAWN: dict[str, Callable[[int], samples.Sample]] = {"rods": _rods}
