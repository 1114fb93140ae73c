"""Labelled image sets on disk, made ready for training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.io import imread
from skimage.segmentation import relabel_sequential

from sam_core.contrast import stretch
from sam_core.image import to_rgb8
from sam_core.training.crops import Example


def read_examples(folder: Path, split: str = "train") -> list[Example]:
    """Read the planes of one set (`images/`, `labels/`, `items.json`, or `.npz` stacks) that belong to a split.

    Stacks are taken plane by plane; planes without objects are left out.
    """
    items = json.loads((folder / "items.json").read_text())
    return [example for item in items if item["split"] == split for example in _examples_of(folder, item)]


def _examples_of(folder: Path, item: dict[str, Any]) -> Iterator[Example]:
    group = "/".join(str(item[key]) for key in ("modality", "acq", "subject") if key in item)
    stack = folder / f"{item['name']}.npz"
    if stack.exists():
        with np.load(stack) as arrays:
            volume, labels = arrays["image"], arrays["label"]
        limits = tuple(np.percentile(volume, (0.5, 99.8)))
        for plane, plane_labels in zip(volume, labels, strict=True):
            if plane_labels.any():
                yield _example(to_rgb8(plane, limits=limits), plane_labels, group)
        return
    (path,) = (folder / "images").glob(f"{item['name']}.*")
    yield _example(to_rgb8(imread(path)), imread(folder / "labels" / f"{item['name']}.png"), group)


def _example(rgb8: NDArray[np.uint8], labels: NDArray[np.integer], group: str) -> Example:
    consecutive, _, _ = relabel_sequential(np.ascontiguousarray(labels, dtype=np.int32))
    return Example(stretch(rgb8), consecutive.astype(np.int32), group)
