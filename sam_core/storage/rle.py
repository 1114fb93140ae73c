"""COCO's run-length code of a mask, made from its crop alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco

from sam_core.types import Mask, Shape


def encode(crop: Mask, offset: tuple[int, int], shape: Shape) -> dict[str, Any]:
    """Return the compressed code of a mask on a plane, as COCO and SA-1B have it.

    Parameters
    ----------
    crop
        (h, w) bool.
    offset
        y, x of the crop on the plane.
    shape
        Height and width of the plane.

    Examples
    --------
    >>> encode(np.ones((2, 1), bool), (1, 1), (4, 3))
    {'size': [4, 3], 'counts': '525'}
    """
    height, width = shape
    x, y = np.nonzero(crop.T)  # column by column, as the code runs
    places = (x + offset[1]) * height + y + offset[0]
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    starts = places[np.concatenate([[0], breaks])] if len(places) else places
    stops = places[np.concatenate([breaks - 1, [-1]])] + 1 if len(places) else places
    edges = np.concatenate([[0], np.stack([starts, stops], axis=1).ravel(), [height * width]])
    code: dict[str, Any] = coco.frPyObjects({"size": [height, width], "counts": np.diff(edges).tolist()}, height, width)
    return {"size": [height, width], "counts": code["counts"].decode("ascii")}
