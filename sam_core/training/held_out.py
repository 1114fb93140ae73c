"""What of a few labelled images is kept from training, so that its effect can be measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sam_core.errors import ImageError
from sam_core.evaluation.dataset import Item, Plane, read_items
from sam_core.types import Labels

PART = 0.2  # of the images, or of the planes of a stack, that are held out
MOST = 8  # images that are held out; measuring takes time
TRAINED = 0.6  # of the objects of a single plane that are trained on


@dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """Labelled planes to train on, those held out, and in words what was held out."""

    train: tuple[Item, ...]
    held_out: tuple[Item, ...]
    told: str


def read_parts(folder: Path) -> Parts:
    """Read a folder of labelled images and hold a part of it out, the same part each time.

    Where `items.json` says which images are for validation (`"split": "val"`), those are held out, and those for
    testing are not touched. Else every fifth image is; of the planes of a single stack the last fifth, because
    neighbouring planes are alike; and of a single plane one side.

    Raises
    ------
    ImageError
        There are no labelled images, or too few objects to train on some and to measure on others.
    """
    train = list(read_items(folder, "train"))
    chosen = _marked(folder, "val")
    if chosen and not {item.name for item in chosen} & {item.name for item in train}:
        held = chosen[:: -(-len(chosen) // MOST)]
        return Parts(tuple(train), tuple(held), f"the images marked as validation: {_names(held)}")
    return split(train)


def _marked(folder: Path, split: str) -> list[Item]:
    try:
        return list(read_items(folder, split))
    except ImageError:
        return []


def split(items: Sequence[Item]) -> Parts:
    """Hold a part of labelled planes out; see `read_parts`."""
    sources = list(dict.fromkeys(_source(item) for item in items))
    if len(items) == 1:
        return _halves(items[0])
    if len(sources) == 1:
        first = len(items) - max(1, round(PART * len(items)))
        return Parts(
            tuple(items[:first]), tuple(items[first:]), f"the last planes of the stack: {_names(items[first:])}"
        )
    count = min(MOST, max(1, round(PART * len(sources))))
    middles = (np.arange(count) + 0.5) * len(sources) / count
    chosen = {sources[int(i)] for i in middles}
    held = tuple(item for item in items if _source(item) in chosen)
    return Parts(tuple(item for item in items if _source(item) not in chosen), held, f"whole images: {_names(held)}")


def _source(item: Item) -> str:
    """Name the file that an item is of: planes of a stack are called `name[12]`."""
    return item.name.rsplit("[", 1)[0] if item.name.endswith("]") else item.name


def _names(items: Sequence[Item]) -> str:
    return ", ".join(item.name for item in items)


def _halves(item: Item) -> Parts:
    """Cut a plane across its longer side, so that a given part of its objects lies in the part to train on."""
    _, labels = item.read()
    axis = int(np.argmax(labels.shape))
    across = labels if axis == 0 else labels.T
    middles = [float(np.nonzero(across == label)[0].mean()) for label in np.unique(labels) if label]
    at = round(float(np.quantile(middles, TRAINED))) if middles else 0
    if len(middles) < 2 or not across[:at].any() or not across[at:].any():
        msg = (
            f"got one image, {item.name}, with {len(middles)} labelled objects, expected some to train on and others "
            "to measure on; label more objects, or more images"
        )
        raise ImageError(msg)
    sides = ("upper", "lower") if axis == 0 else ("left", "right")
    parts = [
        replace(item, name=f"{item.name} ({side})", read=_cropped(item.read, axis, part))
        for side, part in zip(sides, (slice(None, at), slice(at, None)), strict=True)
    ]
    told = f"the {sides[1]} part of the only image, from {'row' if axis == 0 else 'column'} {at} on"
    return Parts((parts[0],), (parts[1],), told)


def _cropped(read: Callable[[], tuple[Plane, Labels]], axis: int, part: slice) -> Callable[[], tuple[Plane, Labels]]:
    where = (part, slice(None)) if axis == 0 else (slice(None), part)

    def cropped() -> tuple[Plane, Labels]:
        image, labels = read()
        return image[where], labels[where]

    return cropped
