"""Masks as regions of Label Studio."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sam_core import Masks
from sam_label_studio import bitmask, rle
from sam_label_studio.config import Control
from sam_label_studio.frame import to_percent
from sam_label_studio.polygon import polygons

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where regions belong.

    Parameters
    ----------
    task
        Number of the task.
    item
        Which image of a list, or page; None for the only one.
    """

    task: Any
    item: int | None = None


def regions(
    masks: Masks,
    control: Control,
    place: Place,
    *,
    labels: Sequence[str | None],
    keys: Sequence[str | None],
    tolerance: float = 1.0,
) -> list[Json]:
    """Write masks as regions; one mask of several islands is several polygons.

    Parameters
    ----------
    masks
        On the whole page.
    control
        The tag that they are to come from.
    place
        The task and page.
    labels
        One for each mask; None for none.
    keys
        One for each mask: equal keys give equal ids. None: the shape of the mask decides.
    tolerance
        Pixels that a polygon may lie beside the outline of its mask.

    Examples
    --------
    >>> masks = Masks.from_labels(np.array([[1, 1, 0, 0], [1, 1, 0, 0]]))
    >>> boxes = Control("box", "rectangle", "image", ("Cell",))
    >>> (region,) = regions(masks, boxes, Place(7), labels=["Cell"], keys=[None])
    >>> region["value"]
    {'x': 0.0, 'y': 0.0, 'width': 50.0, 'height': 100.0, 'rotation': 0, 'rectanglelabels': ['Cell']}
    """
    found: list[Json] = []
    for i in range(len(masks)):
        one = masks[i]
        for part, value in enumerate(_values(one, control, tolerance)):
            if labels[i] is not None and control.labelled:
                value[control.type] = [labels[i]]
            key = _digest(one) if keys[i] is None else keys[i]
            found.append(_region(one, control, place, value, [key, part]))
    return found


def _region(mask: Masks, control: Control, place: Place, value: Json, key: list[Any]) -> Json:
    height, width = mask.shape
    known = json.dumps([place.task, place.item, control.name, *key])
    region: Json = {
        "id": blake2b(known.encode(), digest_size=5).hexdigest(),
        "from_name": control.name,
        "to_name": control.to_name,
        "type": control.type,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": value,
        "score": round(float(mask.scores[0]), 4),
        "readonly": False,
        "origin": "prediction",
    }
    return region if place.item is None else {**region, "item_index": place.item}


def _values(mask: Masks, control: Control, tolerance: float) -> Iterator[Json]:
    """Yield what a region of this kind needs, in percent where it is not pixels."""
    if control.kind == "brush":
        y, x = mask.offsets[0].tolist()
        yield {"format": "rle", "rle": rle.encode_crop(mask.crops[0], (y, x), mask.shape)}
    elif control.kind == "bitmask":
        yield {"imageDataURL": bitmask.encode(mask.dense()[0])}
    elif control.kind == "polygon":
        for ring in polygons(mask.crops[0], tolerance=tolerance):
            yield {"points": to_percent(ring + mask.offsets[0], mask.shape).round(5).tolist(), "closed": True}
    elif control.kind == "rectangle":
        (x0, y0), (x1, y1) = _corners(mask)
        yield {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0}
    else:
        yield _ellipse(mask)


def _corners(mask: Masks) -> list[list[float]]:
    y0, x0, y1, x1 = (float(side) for side in mask.boxes[0])
    corners: list[list[float]] = to_percent([(y0 - 0.5, x0 - 0.5), (y1 - 0.5, x1 - 0.5)], mask.shape).tolist()
    return corners


def _ellipse(mask: Masks) -> Json:
    """Take the ellipse of the same middle and the same second moments as the mask."""
    points = np.argwhere(mask.crops[0]).astype(float) + mask.offsets[0]
    middle = points.mean(axis=0)
    spread = np.cov(points.T, bias=True) + np.eye(2) / 12 if len(points) > 1 else np.eye(2) / 12
    values, axes = np.linalg.eigh(spread)
    long, short = 2 * np.sqrt(values[::-1])
    dy, dx = axes[:, 1]
    (x, y), height, width = to_percent(middle, mask.shape)[0].tolist(), *mask.shape
    return {
        "x": x,
        "y": y,
        "radiusX": float(long) / width * 100,
        "radiusY": float(short) / height * 100,
        "rotation": float(np.degrees(np.arctan2(dy, dx)) % 180),
    }


def _digest(mask: Masks) -> str:
    """Name a mask by its pixels."""
    crop: NDArray[np.uint8] = np.packbits(mask.crops[0])
    about = f"{mask.offsets[0].tolist()} {mask.crops[0].shape}".encode()
    return blake2b(about + crop.tobytes(), digest_size=8).hexdigest()
