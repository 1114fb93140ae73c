"""Labelled images on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_core.errors import ImageError

Plane = NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class Item:
    """One labelled plane, read when it is asked for.

    Parameters
    ----------
    name
        Of the image; of a plane of a stack with its number.
    set
        Name of the folder.
    group
        What was imaged and how: the fields modality, acq and subject of `items.json`.
    modality
        The first of them, "" where there is none.
    read
        Returns image (H, W) or (H, W, C) and labels (H, W) int32.
    """

    name: str
    set: str
    group: str
    modality: str
    read: Callable[[], tuple[Plane, NDArray[np.int32]]] = field(repr=False)


def read_items(folder: Path, split: str | None = "test") -> Iterator[Item]:
    """Yield the labelled planes of a folder.

    The folder holds `images/` and `labels/` with files of equal stems, and stacks as `<name>.npz` (arrays `image` and
    `label`), which are taken plane by plane, leaving out planes without objects. `items.json`, a list of objects with
    `name` and `split` and, where known, `modality`, `acq` and `subject`, says what belongs to which split; without it
    everything belongs to every split.

    Raises
    ------
    ImageError
        The folder has neither, or nothing in this split.
    """
    listed = folder / "items.json"
    if listed.is_file():
        records = [r for r in json.loads(listed.read_text()) if split is None or r.get("split", split) == split]
    else:
        files = [*(folder / "images").glob("*.*"), *folder.glob("*.npz")]
        records = [{"name": path.stem} for path in sorted(files)]
    if not records:
        msg = (
            f"got no labelled images in {folder} for split {split!r}, expected images/ and labels/ with files of equal "
            "names, or items.json; check the folder and the split"
        )
        raise ImageError(msg)
    for record in records:
        yield from _items_of(folder, record)


def _items_of(folder: Path, record: dict[str, Any]) -> Iterator[Item]:
    name = str(record["name"])
    group = "/".join(str(record[key]) for key in ("modality", "acq", "subject") if key in record)
    modality = str(record.get("modality", ""))
    stack = folder / f"{name}.npz"
    if not stack.is_file():
        yield Item(name, folder.name, group, modality, lambda: _read_pair(folder, name))
        return
    with np.load(stack, allow_pickle=False) as arrays:
        volume, labels = arrays["image"], arrays["label"]
    limits = tuple(np.percentile(volume, (0.5, 99.8)))
    for index in np.flatnonzero(labels.any(axis=(1, 2))):
        yield Item(f"{name}[{index}]", folder.name, group, modality, _reader(volume[index], labels[index], limits))


def _reader(plane: Plane, labels: Plane, limits: tuple[Any, ...]) -> Callable[[], tuple[Plane, NDArray[np.int32]]]:
    from sam_core.image import to_rgb8

    # One contrast for the whole stack: an empty plane must not be stretched into noise.
    return lambda: (to_rgb8(plane, limits=(float(limits[0]), float(limits[1]))), labels.astype(np.int32))


def _read_pair(folder: Path, name: str) -> tuple[Plane, NDArray[np.int32]]:
    from skimage.io import imread

    image, labels = (imread(_only(folder / kind, name)) for kind in ("images", "labels"))
    if labels.ndim != 2 or labels.shape != image.shape[:2]:
        msg = f"got labels of shape {labels.shape} for {name}, expected the {image.shape[:2]} of its image"
        raise ImageError(msg)
    return image, np.asarray(labels, np.int32)


def _only(folder: Path, name: str) -> Path:
    found = [path for path in folder.iterdir() if path.stem == name]
    if len(found) != 1:
        msg = f"got {len(found)} files named {name} in {folder}, expected one"
        raise ImageError(msg)
    return found[0]
