"""Labelled image sets on disk, made ready for training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_core.contrast import stretch
from sam_core.errors import ImageError
from sam_core.evaluation.dataset import Item, read_items
from sam_core.image import to_rgb8
from sam_core.labels import renumber


@dataclass(frozen=True, eq=False, slots=True)
class Example:
    """One labelled plane, ready to be cropped.

    Parameters
    ----------
    image
        (H, W, 3) uint8, contrast already stretched as the model will see it.
    labels
        (H, W) int32, 0 = background, consecutive.
    group
        What was imaged and how: sampling balances groups before images.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    group: str


def read_examples(folder: Path, split: str = "train", modality: str = "") -> list[Example]:
    """Read the planes of one set that belong to a split, as `sam_core.evaluation.read_items` finds them.

    Raises
    ------
    ImageError
        There are none, or none of this modality; "" stands for all.
    """
    items = list(read_items(folder, split))
    chosen = [item for item in items if modality in ("", item.modality)]
    if not chosen:
        there = sorted({item.modality for item in items})
        msg = f"got modality {modality!r} of {folder}, which has {there} in its part {split!r}; choose one of these"
        raise ImageError(msg)
    return [example_of(item) for item in chosen]


def example_of(item: Item) -> Example:
    """Read a plane and stretch its contrast as the model will see it."""
    image, labels = item.read()
    return Example(stretch(to_rgb8(image)), renumber(np.ascontiguousarray(labels)), item.group)
