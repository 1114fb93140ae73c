"""Outlines of objects as GeoJSON, as QuPath and other viewers import them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam_core.atomic import placed
from sam_core.masks import Masks
from sam_core.storage.labels import smallest
from sam_core.storage.outline import polygons

if TYPE_CHECKING:
    import os


def save_geojson(
    path: str | os.PathLike[str],
    labels: NDArray[np.integer],
    *,
    axes: str | None = None,
    classification: str | None = None,
) -> None:
    """Write the outline of each object as a GeoJSON FeatureCollection; what was there is replaced.

    Outlines run along the edges of pixels, so what lies inside them are exactly the pixels of the object. Coordinates
    are x, y in pixels, 0, 0 the outer corner of the first one, y downwards, as QuPath has it. Outer rings go from x
    towards y, holes the other way (counter-clockwise and clockwise in RFC 7946, whose y points up). An object in
    several parts is a MultiPolygon. In a stack each plane of an object is a feature, with the property `plane`,
    counted from 0, and the geometry says it as QuPath does.

    Parameters
    ----------
    path
        File to write; the folder around it exists.
    labels
        (H, W) or (Z, H, W) integers, 0 = background.
    axes
        "TYX" for a time-lapse; left out, three axes are a stack along z.
    classification
        Name of the class that QuPath shows; left out, there is none.

    Raises
    ------
    ValueError
        Labels that make no sense.
    OSError
        It cannot be written; what was at `path` is still there.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "cells.geojson"
    >>> save_geojson(file, np.array([[0, 7]]))
    >>> feature = json.loads(file.read_text())["features"][0]
    >>> feature["properties"]["label"], feature["geometry"]["coordinates"]
    (7, [[[1, 0], [2, 0], [2, 1], [1, 1], [1, 0]]])
    """
    checked = smallest(labels)
    extra = {} if classification is None else {"classification": {"name": classification}}
    along = "t" if axes and axes[0] == "T" else "z"
    with placed(path) as beside, beside.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(_features(checked, along)):
            feature["properties"] |= extra
            file.write((",\n" if number else "\n") + json.dumps(feature))
        file.write("\n]}\n")


def _features(labels: NDArray[np.integer], along: str) -> Iterator[dict[str, Any]]:
    if labels.ndim == 2:
        yield from _plane_features(labels)
        return
    for number, plane in enumerate(labels):
        for feature in _plane_features(plane):
            feature["properties"]["plane"] = number
            feature["geometry"]["plane"] = {"c": -1, "z": 0, "t": 0} | {along: number}
            yield feature


def _plane_features(labels: NDArray[np.integer]) -> Iterator[dict[str, Any]]:
    numbers = np.unique(labels[labels > 0]).tolist()
    masks = Masks.from_labels(labels)
    for number, crop, (y, x) in zip(numbers, masks.crops, masks.offsets.tolist(), strict=True):
        parts = [[[[vx + x, vy + y] for vx, vy in [*ring, ring[0]]] for ring in polygon] for polygon in polygons(crop)]
        geometry = (
            {"type": "Polygon", "coordinates": parts[0]}
            if len(parts) == 1
            else {"type": "MultiPolygon", "coordinates": parts}
        )
        properties = {"objectType": "annotation", "name": str(number), "label": number}
        yield {"type": "Feature", "geometry": geometry, "properties": properties}
