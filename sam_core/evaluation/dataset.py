"""Labelled images on disk, read one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_core.errors import ImageError
from sam_core.image import HIGH, LOW, to_rgb8
from sam_core.types import Labels

Plane = NDArray[Any]
Files = Mapping[str, Mapping[str, Path]]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy"})


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
    shareable
        Whether its pictures may be shown to others.
    """

    name: str
    set: str
    group: str
    modality: str
    read: Callable[[], tuple[Plane, Labels]] = field(repr=False)
    shareable: bool = field(default=True, repr=False)

    @classmethod
    def of(
        cls, image: Plane, labels: NDArray[np.integer], *, name: str = "", set: str = "", modality: str = ""
    ) -> Item:
        """Make one of arrays: an image (H, W) or (H, W, C), and labels (H, W).

        Examples
        --------
        >>> from sam_core import samples
        >>> sample = samples.cells(seed=1)
        >>> Item.of(sample.image, sample.labels, set="made up")
        Item(name='', set='made up', group='', modality='')
        """
        return cls(name, set, modality, modality, lambda: (image, np.asarray(labels, np.int32)))


@dataclass(frozen=True, eq=False, slots=True)
class Stack:
    """A labelled stack, read when it is asked for.

    Parameters
    ----------
    name, set, modality
        As those of an `Item`.
    read
        Returns the planes, each (H, W, 3) uint8 in one contrast, and labels (Z, H, W) int32.
    """

    name: str
    set: str
    modality: str
    read: Callable[[], tuple[Sequence[Plane], Labels]] = field(repr=False)


def read_items(folder: str | Path, split: str | None = "test") -> Iterator[Item]:
    """Yield the labelled planes of a folder, or of the folders in it.

    The folder holds `images/` and `labels/` with files of equal stems, and stacks as `<name>.npz` (arrays `image` and
    `label`, plane first), which are taken plane by plane, leaving out planes without objects. `items.json`, a list of
    objects with `name` and, where known, `split`, `modality`, `acq` and `subject`, says what belongs to which split;
    without it everything belongs to every split. Pictures may be shown to others unless `shareable` is false in their
    object in `items.json`, or in that of their set (`dataset`) in a `manifest.json` beside the folder. A folder that
    holds none of these but such folders is their sum.

    Parameters
    ----------
    folder
        Where the files are.
    split
        Which of them; None for all.

    Raises
    ------
    ImageError
        The folder has nothing in this split, or its `items.json` cannot be understood; when an item is read: its image
        or labels are not there, or do not fit each other.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> import numpy as np
    >>> folder = Path(mkdtemp())
    >>> _ = [(folder / kind).mkdir() for kind in ("images", "labels")]
    >>> np.save(folder / "images" / "a.npy", np.zeros((4, 4)))
    >>> np.save(folder / "labels" / "a.npy", np.eye(4, dtype=int))
    >>> [item.name for item in read_items(folder)]
    ['a']
    """
    home = Path(folder)
    records = [(each, record) for each in _sets(home) for record in _records(each, split)]
    if not records:
        msg = (
            f"got no labelled images in {home} for split {split!r}, expected images/ and labels/ with files of equal "
            "names, or items.json; check the folder and the split"
        )
        raise ImageError(msg)
    files = {each: {kind: _files(each / kind) for kind in ("images", "labels")} for each, _ in records}
    shareable = {each: _may_be_shown(each) for each in files}
    for each, record in records:
        yield from _items_of(each, {"shareable": shareable[each], **record}, files[each])


def read_stacks(folder: str | Path, split: str | None = "test") -> Iterator[Stack]:
    """Yield the stacks of a folder, or of the folders in it, whole; see `read_items`. There may be none.

    Raises
    ------
    ImageError
        An `items.json` cannot be understood; when a stack is read: so is the stack.
    """
    for home in _sets(Path(folder)):
        for record in _records(home, split):
            path = home / f"{record['name']}.npz"
            if path.is_file():
                yield Stack(
                    record["name"], home.resolve().name, str(record.get("modality", "")), partial(_read_whole, path)
                )


def _sets(folder: Path) -> list[Path]:
    """Return the folder, if it is a set, and else those of its folders that are."""
    if _is_set(folder) or not folder.is_dir():
        return [folder]
    return sorted(each for each in folder.iterdir() if each.is_dir() and _is_set(each))


def _is_set(folder: Path) -> bool:
    return (folder / "items.json").is_file() or (folder / "images").is_dir() or any(folder.glob("*.npz"))


def _may_be_shown(folder: Path) -> bool:
    """Ask the manifest beside a set whether its pictures may be shown; where it says nothing they may."""
    manifest, name = folder.resolve().parent / "manifest.json", folder.resolve().name
    try:
        listed = json.loads(manifest.read_text("utf-8")) if manifest.is_file() else []
    except ValueError as error:
        msg = f"got {manifest} that cannot be understood ({error}), expected a JSON list of objects with a `dataset`"
        raise ImageError(msg) from error
    told = [each for each in listed if isinstance(each, dict) and each.get("dataset") == name]
    return all(each.get("shareable", True) for each in told)


def _files(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by their stems."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.stem: path for path in paths if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")}


def _records(folder: Path, split: str | None) -> list[dict[str, Any]]:
    listed = folder / "items.json"
    if not listed.is_file():
        names = [*_files(folder / "images"), *sorted(path.stem for path in folder.glob("*.npz"))]
        return [{"name": name} for name in names]
    try:
        records = [{**record, "name": str(record["name"])} for record in json.loads(listed.read_text("utf-8"))]
    except (ValueError, TypeError, KeyError) as error:
        msg = f"got {listed} that cannot be understood ({error!r}), expected a JSON list of objects with a `name`"
        raise ImageError(msg) from error
    return [record for record in records if split is None or record.get("split", split) == split]


def _items_of(folder: Path, record: Mapping[str, Any], files: Files) -> Iterator[Item]:
    name, home = record["name"], folder.resolve().name
    group = "/".join(str(record[key]) for key in ("modality", "acq", "subject") if key in record)
    modality, shareable = str(record.get("modality", "")), bool(record["shareable"])
    stack = folder / f"{name}.npz"
    if not stack.is_file():
        yield Item(name, home, group, modality, lambda: _read_pair(folder, name, files), shareable)
        return
    volume, labels = _read_stack(stack)
    limits = _limits(volume)
    for index in np.flatnonzero(labels.any(axis=(1, 2))):
        yield Item(f"{name}[{index}]", home, group, modality, _reader(volume[index], labels[index], limits), shareable)


def _read_whole(path: Path) -> tuple[Sequence[Plane], Labels]:
    volume, labels = _read_stack(path)
    limits = _limits(volume)
    return [to_rgb8(plane, limits=limits) for plane in volume], labels.astype(np.int32)


def _limits(volume: Plane) -> tuple[float, float]:
    # One contrast for the whole stack: an empty plane must not be stretched into noise.
    low, high = np.percentile(volume, (LOW, HIGH))
    return float(low), float(high)


def _read_stack(path: Path) -> tuple[Plane, Plane]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            volume, labels = arrays["image"], arrays["label"]
    except (ValueError, KeyError, OSError, EOFError) as error:
        msg = f"got {path} that cannot be read ({error!r}), expected arrays `image` and `label`"
        raise ImageError(msg) from error
    if labels.ndim != 3 or volume.shape[:3] != labels.shape:
        msg = f"got image {volume.shape} and labels {labels.shape} in {path}, expected both (planes, height, width)"
        raise ImageError(msg)
    return volume, labels


def _reader(plane: Plane, labels: Plane, limits: tuple[float, float]) -> Callable[[], tuple[Plane, Labels]]:
    return lambda: (to_rgb8(plane, limits=limits), labels.astype(np.int32))


def _read_pair(folder: Path, name: str, files: Files) -> tuple[Plane, Labels]:
    for kind, found in files.items():
        if name not in found:
            msg = f"got no image file named {name} in {folder / kind}, expected one; add it or leave the item out"
            raise ImageError(msg)
    image, labels = (_pixels(files[kind][name]) for kind in ("images", "labels"))
    if labels.ndim != 2 or labels.shape != image.shape[:2]:
        msg = f"got labels of shape {labels.shape} for {name} in {folder}, expected the {image.shape[:2]} of its image"
        raise ImageError(msg)
    return image, np.asarray(labels, np.int32)


def _pixels(path: Path) -> Plane:
    from sam_core.storage import read_planes  # slow to import

    planes = read_planes(path)
    if len(planes) != 1:
        msg = f"got {path} with {len(planes)} planes, expected one; save stacks as .npz with arrays `image` and `label`"
        raise ImageError(msg)
    return planes[0]
