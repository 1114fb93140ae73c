"""Labelled images on disk, read one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.io import imread

from sam_core.errors import ImageError
from sam_core.types import Labels

Loaded = tuple[NDArray[Any], Labels]

LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".npy")


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """A plane and its truth, read when asked for.

    Parameters
    ----------
    name
        Tells it from the others of its set.
    set
        The set it belongs to.
    modality
        How the picture was made, "" where that is not known.
    load
        Returns the image (H, W) or (H, W, C), and its labels (H, W) int32, 0 = background.
    """

    name: str
    set: str
    modality: str
    load: Callable[[], Loaded]

    @classmethod
    def of(
        cls, image: NDArray[Any], labels: NDArray[np.integer], *, name: str = "", set: str = "", modality: str = ""
    ) -> LabelledImage:
        """Make one of arrays.

        Examples
        --------
        >>> from sam_core import samples
        >>> sample = samples.cells(seed=1)
        >>> LabelledImage.of(sample.image, sample.labels, set="made up").load()[1].dtype
        dtype('int32')
        """
        return cls(name, set, modality, lambda: (image, np.asarray(labels, np.int32)))


def read_items(folder: str | Path, *, split: str | None = "test", planes: int | None = None) -> list[LabelledImage]:
    """List the labelled images of a folder, without reading their pixels.

    A folder of images and label images holds `images/NAME.*` and `labels/NAME.*` (0 = background). With an `items.json`
    beside them, a list of records with `name`, and perhaps `split`, `set` and `modality`, only those named there are
    taken; a name may then also stand for a stack `NAME.npz` of `image` and `label` (Z, Y, X), which is taken plane by
    plane, without planes that have no objects. A folder of such folders is the sum of them.

    Parameters
    ----------
    folder
        Where they are.
    split
        Take the items of this split alone, and those that have none; None takes all.
    planes
        At most so many planes of each stack, evenly spaced; None takes all.

    Raises
    ------
    ImageError
        There is no such folder, nothing in it is of this kind, or a file that should be there is not.
    """
    root = Path(folder)
    if not root.is_dir():
        msg = f"got {root}, which is not a folder; give a folder of images/ and labels/"
        raise ImageError(msg)
    homes = [home for home in (root, *sorted(root.iterdir())) if _is_set(home)]
    if not homes:
        msg = f"got {root} without images/ and labels/ or items.json, expected them in it or in folders in it"
        raise ImageError(msg)
    return [item for home in homes for record in _records(home, split) for item in _items(home, record, planes)]


def _is_set(folder: Path) -> bool:
    return (folder / "items.json").is_file() or all((folder / part).is_dir() for part in ("images", "labels"))


def _records(folder: Path, split: str | None) -> list[dict[str, Any]]:
    index = folder / "items.json"
    if not index.is_file():
        return [{"name": path.stem} for path in sorted((folder / "images").iterdir()) if path.name[0] != "."]
    try:
        records = json.loads(index.read_text())
        chosen = [dict(record) for record in records if split is None or record.get("split", split) == split]
        names = [record["name"] for record in chosen]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        msg = f"got {index} that cannot be read ({error!r}), expected a JSON list of records with a `name`"
        raise ImageError(msg) from error
    return chosen if names else []


def _items(folder: Path, record: dict[str, Any], planes: int | None) -> Iterator[LabelledImage]:
    name, about = str(record["name"]), (str(record.get("set", folder.resolve().name)), str(record.get("modality", "")))
    stack = folder / f"{name}.npz"
    if stack.is_file():
        for z in _occupied(stack, planes):
            yield LabelledImage(f"{name}[{z}]", *about, partial(_load_plane, stack, z))
        return
    image, labels = (_find(folder / part, name) for part in ("images", "labels"))
    yield LabelledImage(name, *about, partial(_load_files, image, labels))


def _find(folder: Path, name: str) -> Path:
    found = sorted(path for path in folder.glob("*") if path.stem == name)
    if folder.name == "labels":
        found = [path for path in found if path.suffix.lower() in LABEL_SUFFIXES]
    if not found:
        msg = f"got no file for {name!r} in {folder}, expected one; add it, or take the item out of the set"
        raise ImageError(msg)
    return found[0]


def _occupied(stack: Path, planes: int | None) -> list[int]:
    """Return the planes of a stack that have objects, or `planes` of them."""
    with np.load(stack) as arrays:
        occupied = np.flatnonzero(arrays["label"].any(axis=(1, 2)))
    if planes is not None and len(occupied) > planes:
        occupied = occupied[np.linspace(0, len(occupied) - 1, planes).round().astype(int)]
    return [int(z) for z in occupied]


def _load_plane(stack: Path, z: int) -> Loaded:
    with np.load(stack) as arrays:
        return arrays["image"][z], arrays["label"][z].astype(np.int32)


def _load_files(image: Path, labels: Path) -> Loaded:
    pixels, truth = (np.load(path) if path.suffix == ".npy" else imread(path) for path in (image, labels))
    if pixels.shape[:2] != truth.shape:
        msg = f"got {image} of shape {pixels.shape} and {labels} of shape {truth.shape}, expected one height and width"
        raise ImageError(msg)
    return pixels, truth.astype(np.int32)
