"""The one border between x, y of a page and y, x of the core, and how masks are sent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_core import Masks
from sam_space.refusal import Refusal

FAR = 1e6  # no picture is as large


def point_of_page(x: Any, y: Any) -> tuple[float, float]:
    """Turn a place on a picture, measured from its outer corner, into y, x with integers at centres of pixels.

    Examples
    --------
    >>> point_of_page(10.5, 20.5)
    (20.0, 10.0)
    """
    return number(y, "y") - 0.5, number(x, "x") - 0.5


def page_of_point(y: float, x: float) -> tuple[float, float]:
    """Turn y, x of the core into a place on the page: the other way round of `point_of_page`."""
    return x + 0.5, y + 0.5


def box_of_page(box: Any) -> tuple[float, float, float, float]:
    """Turn x0, y0, x1, y1 between edges of pixels into a half-open box y0, x0, y1, x1, in whatever order they are.

    Examples
    --------
    >>> box_of_page([30, 10, 20, 40])
    (10.0, 20.0, 40.0, 30.0)
    """
    if not isinstance(box, list | tuple) or len(box) != 4:
        msg = "got a box that is not four numbers, expected x0, y0, x1, y1 in pixels"
        raise Refusal(msg)
    x0, y0, x1, y1 = (number(value, "the box") for value in box)
    return min(y0, y1), min(x0, x1), max(y0, y1), max(x0, x1)


def page_of_box(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Turn a half-open box y0, x0, y1, x1 into x0, y0, x1, y1."""
    y0, x0, y1, x1 = (float(value) for value in box)
    return x0, y0, x1, y1


def number(value: Any, what: str) -> float:
    """Return a finite number that may be one of pixels.

    Raises
    ------
    Refusal
        It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > FAR:
        msg = f"got {what} that is no number of pixels, expected a finite number"
        raise Refusal(msg)
    return float(value)


def sent(masks: Masks, index: int = 0) -> dict[str, Any]:
    """Return a mask as a page draws it: x0, y0, width, height of its crop, and runs of 0 and 1 along its rows.

    Examples
    --------
    >>> sent(Masks.from_labels(np.array([[0, 0, 0], [0, 1, 1]])))
    {'x': 1, 'y': 1, 'w': 2, 'h': 1, 'runs': [0, 2]}
    """
    crop = masks.crops[index]
    y, x = (int(value) for value in masks.offsets[index])
    return {"x": x, "y": y, "w": crop.shape[1], "h": crop.shape[0], "runs": _runs(crop)}


def _runs(crop: NDArray[np.bool_]) -> list[int]:
    flat = crop.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    runs: list[int] = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return runs
