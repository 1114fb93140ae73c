"""What is written for one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam_core.atomic import placed
from sam_core.cli.job import Format
from sam_core.cli.work import Found
from sam_core.image import to_rgb8
from sam_core.overlay import comfortable_scale, montage, overlay
from sam_core.storage import Planes, save_coco, save_geojson, save_labels, save_measures

SHOWN = 9  # planes of a stack in its picture


def write(
    found: Found,
    planes: Planes,
    stem: Path,
    formats: Sequence[Format],
    *,
    made_by: str = "",
    picture: bool = False,
) -> dict[str, Path]:
    """Write the objects in each format, and a picture of them, and say where each went."""
    labels, name = found.labels, planes.path.name
    about: Any = {"scale": planes.scale, "unit": planes.unit, "axes": planes.axes}
    writers: dict[Format, tuple[str, Callable[[Path], object]]] = {
        Format.TIFF: ("_labels.tif", lambda path: save_labels(path, labels, made_by=made_by, **about)),
        Format.OME_ZARR: ("_labels.ome.zarr", lambda path: save_labels(path, labels, made_by=made_by, **about)),
        Format.COCO: ("_coco.json", lambda path: save_coco(path, found.masks, file_name=name, made_by=made_by)),
        Format.GEOJSON: (".geojson", lambda path: save_geojson(path, labels, axes=planes.axes)),
        Format.CSV: ("_measures.csv", lambda path: save_measures(path, labels, planes, **about)),
    }
    written: dict[str, Path] = {}
    for chosen in dict.fromkeys(formats):
        ending, save = writers[chosen]
        written[chosen.value] = stem.with_name(stem.name + ending)
        save(written[chosen.value])
    if picture:
        written["overlay"] = stem.with_name(stem.name + "_overlay.png")
        save_picture(written["overlay"], draw(planes, found.labels))
    return written


def draw(planes: Sequence[NDArray[Any]], labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Draw the objects over the image; of a stack over some planes from first to last, side by side."""
    if labels.ndim == 2:
        return overlay(to_rgb8(planes[0]), labels)
    shown = np.unique(np.linspace(0, len(labels) - 1, SHOWN).round().astype(int))
    scale = max(1, comfortable_scale(labels.shape[1:]) // 2)
    pictures = [overlay(to_rgb8(planes[int(z)]), labels[z], scale=scale) for z in shown]
    return montage(pictures, [f"plane {z}" for z in shown])


def save_picture(path: Path, rgb8: NDArray[np.uint8]) -> None:
    """Write a PNG, whole or not at all."""
    with placed(path) as beside:
        Image.fromarray(rgb8).save(beside, format="PNG")
