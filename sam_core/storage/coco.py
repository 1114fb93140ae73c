"""Masks as COCO-RLE JSON, in the schema of the data set SA-1B."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from sam_core.atomic import placed
from sam_core.masks import Masks
from sam_core.storage.rle import encode

if TYPE_CHECKING:
    import os


def save_coco(path: str | os.PathLike[str], planes: Sequence[Masks], *, file_name: str = "", made_by: str = "") -> None:
    """Write masks as JSON in the schema of SA-1B, which COCO tools read as well; what was there is replaced.

    `annotations` holds for each mask `segmentation` (compressed RLE), `bbox` (x, y, width, height in pixels), `area`
    (pixels), `predicted_iou`, `stability_score`, `crop_box` (the whole plane) and `point_coords` (x, y of the pixel
    deepest inside the mask: the prompt itself is not kept). Where there is one plane `image` describes it as in SA-1B.
    `images` has an entry for each plane, with `plane`, its number from 0, and `image_id` in an annotation says which
    it is on; with `categories`, of which there is one, COCO tools are content.

    Parameters
    ----------
    path
        File to write; the folder around it exists.
    planes
        The masks of each plane.
    file_name
        Name of the image that they are of.
    made_by
        What made them; kept in `info`.

    Raises
    ------
    OSError
        It cannot be written; what was at `path` is still there.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "cells.json"
    >>> save_coco(file, [Masks.from_labels(np.array([[0, 1, 1], [0, 1, 1]]))])
    >>> json.loads(file.read_text())["annotations"][0]["bbox"]
    [1, 0, 2, 2]
    """
    images = [_image(i, masks, file_name) for i, masks in enumerate(planes)]
    annotations = [one for i, masks in enumerate(planes) for one in _annotations(i, masks)]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    about: dict[str, Any] = {"info": {"made_by": made_by}} if made_by else {}
    about |= {"image": images[0]} if len(images) == 1 else {}
    about |= {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    with placed(path) as beside:
        beside.write_text(json.dumps(about), encoding="utf-8")


def _image(plane: int, masks: Masks, file_name: str) -> dict[str, Any]:
    height, width = masks.shape
    number = plane + 1
    return {
        "image_id": number,
        "id": number,
        "width": width,
        "height": height,
        "file_name": file_name,
        "plane": plane,
    }


def _annotations(plane: int, masks: Masks) -> Iterator[dict[str, Any]]:
    height, width = masks.shape
    for i, (crop, area) in enumerate(zip(masks.crops, masks.areas.tolist(), strict=True)):
        y, x = (int(v) for v in masks.offsets[i])
        yield {
            "id": 0,
            "image_id": plane + 1,
            "category_id": 1,
            "iscrowd": 0,
            "segmentation": encode(crop, (y, x), masks.shape),
            "bbox": [x, y, crop.shape[1], crop.shape[0]],
            "area": area,
            "predicted_iou": round(float(masks.scores[i]), 6),
            "stability_score": round(float(masks.stability[i]), 6),
            "crop_box": [0, 0, width, height],
            "point_coords": [[x + dx, y + dy] for dy, dx in _deepest(crop)],
        }


def _deepest(crop: np.ndarray[Any, np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """Return y, x of the pixel farthest from the edge; nothing for an empty mask."""
    if not crop.any():
        return []
    depth = ndimage.distance_transform_edt(np.pad(crop, 1))
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return [(int(y) - 1, int(x) - 1)]
