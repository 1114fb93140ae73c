"""Regions that people drew, as prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sam_core import Masks, Prompt, PromptError
from sam_label_studio import bitmask, rle
from sam_label_studio.config import KINDS, Kind
from sam_label_studio.errors import CodecError
from sam_label_studio.frame import to_pixels
from sam_label_studio.polygon import polygon_mask

Shape: TypeAlias = tuple[int, int]
Region: TypeAlias = Mapping[str, Any]
SIDES = 64  # corners of the polygon that an ellipse is drawn as
SAME_SHAPE = 1  # pixels by which the size that a region was drawn on may differ: Label Studio rounds


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """What is asked about one object.

    Parameters
    ----------
    prompt
        In pixels of the page.
    to_name
        Name of the image tag.
    item
        Which image of a list, or page, it is about; None where Label Studio did not say.
    label
        What it should be called, None where nothing was chosen.
    ids
        The regions it was made of.
    """

    prompt: Prompt
    to_name: str
    item: int | None
    label: str | None
    ids: tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """Regions of one kind and label on one page.

    Parameters
    ----------
    kind, to_name, item, label
        What they have in common.
    regions
        As Label Studio sends them.
    """

    kind: Kind
    to_name: str
    item: int | None
    label: str | None
    regions: tuple[Region, ...]


def groups(regions: Iterable[Any]) -> list[Group]:
    """Sort regions by page, label and kind, in the order of their first; what draws nothing is left out.

    Raises
    ------
    CodecError
        A region is no JSON object, or is drawn on a turned image.

    Examples
    --------
    >>> point = {"type": "keypointlabels", "to_name": "image", "value": {"x": 1, "y": 1, "keypointlabels": ["Cell"]}}
    >>> [(group.kind, group.label, len(group.regions)) for group in groups([point, point])]
    [('keypoint', 'Cell', 2)]
    """
    found: dict[tuple[Kind, str, int | None, str | None], list[Region]] = {}
    for region in regions:
        if not isinstance(region, Mapping):
            msg = f"got a region of type {type(region).__name__}, expected a JSON object"
            raise CodecError(msg)
        kind = kind_of(region)
        if kind is not None and isinstance(region.get("value"), Mapping):
            key = (kind, str(region.get("to_name", "")), _item(region), label_of(region))
            found.setdefault(key, []).append(region)
    return [Group(*key, tuple(members)) for key, members in found.items()]


def asked(group: Group, shape: Shape, *, refine: bool = False) -> tuple[list[Asked], list[str]]:
    """Turn a group into prompts: all its points into one, each other region into one of its own.

    Parameters
    ----------
    group
        Of `groups`.
    shape
        Height and width of the page.
    refine
        Regions are masks to be made better, and not strokes drawn over an object.

    Returns
    -------
    asked, problems
        What can be asked, and sentences about what cannot.
    """
    members = [group.regions] if group.kind == "keypoint" else [(region,) for region in group.regions]
    found: list[Asked] = []
    problems: list[str] = []
    for regions in members:
        try:
            _check(regions, shape)
            prompt = _prompt(group.kind, regions, shape, refine)
            prompt.check(shape)
        except (CodecError, PromptError) as error:
            problems.append(f"{group.kind} {regions[0].get('id', '')}: {error}")
        else:
            ids = tuple(str(region.get("id", "")) for region in regions)
            found.append(Asked(prompt, group.to_name, group.item, group.label, ids))
    return found, problems


def drawn(region: Region, shape: Shape) -> NDArray[np.bool_]:
    """Draw a region as a mask (H, W) bool.

    Raises
    ------
    CodecError
        It cannot be drawn, or is a point.
    """
    kind = kind_of(region)
    if kind not in _DRAW:
        msg = f"got a region of type {region.get('type')!r}, expected one that covers an area"
        raise CodecError(msg)
    return _DRAW[kind](region["value"], shape)


def kind_of(region: Region) -> Kind | None:
    """Tell what a region draws; None for a choice, a text or a relation."""
    name = str(region.get("type", "")).removesuffix("labels")
    return next((kind for kind in KINDS if kind == name), None)


def label_of(region: Region) -> str | None:
    """Return the label of a region: that of its own tag, or of the `Labels` beside it."""
    value = region.get("value")
    if not isinstance(value, Mapping):
        return None
    for key in (region.get("type"), "labels"):
        labels = value.get(key) if isinstance(key, str) else None
        if isinstance(labels, list) and labels and isinstance(labels[0], str):
            return labels[0]
    return None


def _item(region: Region) -> int | None:
    item = region.get("item_index")
    if item is None:
        item = region["value"].get("item_index")
    return item if isinstance(item, int) and item >= 0 else None


def _check(regions: Sequence[Region], shape: Shape) -> None:
    for region in regions:
        if region.get("image_rotation") not in (None, 0):
            msg = f"got an image turned by {region['image_rotation']} degrees in the editor; turn it back to segment"
            raise CodecError(msg)
        size = [region.get("original_height"), region.get("original_width")]
        known = [(a, b) for a, b in zip(size, shape, strict=True) if isinstance(a, int | float)]
        if any(abs(a - b) > SAME_SHAPE for a, b in known):
            msg = f"got a region drawn on {size[0]} x {size[1]} pixels, but the image has {shape[0]} x {shape[1]}"
            raise CodecError(msg)


def _prompt(kind: Kind, regions: Sequence[Region], shape: Shape, refine: bool) -> Prompt:
    if kind == "keypoint":
        return _points(regions, shape)
    if kind in ("rectangle", "ellipse") and not refine:
        return _box(regions[0], shape)
    mask = drawn(regions[0], shape)
    if not mask.any():
        msg = "got a region that covers nothing, expected one with an area"
        raise PromptError(msg)
    # A stroke only tells where an object is: it is clicked where the stroke is thickest.
    return _of_mask(mask) if refine or kind == "polygon" else Prompt.of([_inmost(mask)], previous=mask)


def _points(regions: Sequence[Region], shape: Shape) -> Prompt:
    percent = np.array([_numbers(region["value"], "x", "y") for region in regions])
    signs = [_is_positive(region) for region in regions]
    if not any(signs):
        msg = "got only negative points, expected at least one on the object; click on it without Alt"
        raise PromptError(msg)
    points = to_pixels(percent, shape)
    # The edge of the image is half a pixel outside of the centres of its pixels.
    on_image = ((percent >= 0) & (percent <= 100)).all(axis=1)
    points[on_image] = np.clip(points[on_image], 0, np.array(shape) - 1)
    return Prompt.of(points, signs)


def _is_positive(region: Region) -> bool:
    sign = region.get("is_positive", region["value"].get("positive", True))
    return sign not in (False, 0, "false", "0", "no")


def _box(region: Region, shape: Shape) -> Prompt:
    """Box what a rectangle or an ellipse covers, turned as it may be."""
    corners = _OUTLINES[str(region["type"]).removesuffix("labels")](region["value"], shape)
    low, high = corners.min(axis=0) + 0.5, corners.max(axis=0) + 0.5
    return Prompt.of(box=(*low, *high))


def _of_mask(mask: NDArray[np.bool_]) -> Prompt:
    (box,) = Masks.from_labels(mask.astype(np.int32)).boxes
    return Prompt.of(box=box, previous=mask)


def _inmost(mask: NDArray[np.bool_]) -> tuple[int, int]:
    from scipy import ndimage

    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    crop = np.pad(mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1], 1)
    y, x = np.unravel_index(int(ndimage.distance_transform_edt(crop).argmax()), crop.shape)
    return int(y) + int(rows[0]) - 1, int(x) + int(cols[0]) - 1


def _numbers(value: Mapping[str, Any], *names: str) -> list[float]:
    found = [value.get(name) for name in names]
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in found):
        msg = f"got {dict(zip(names, found, strict=True))}, expected finite numbers in percent of the image"
        raise CodecError(msg)
    return [float(each) for each in found if each is not None]


def _rectangle(value: Mapping[str, Any], shape: Shape) -> NDArray[np.float64]:
    """Return the corners (4, 2) y, x: it is turned about its upper left one, clockwise."""
    x, y, width, height = _numbers(value, "x", "y", "width", "height")
    corners = to_pixels([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], shape)
    return _turned(corners, corners[0], value)


def _ellipse(value: Mapping[str, Any], shape: Shape) -> NDArray[np.float64]:
    x, y, rx, ry = _numbers(value, "x", "y", "radiusX", "radiusY")
    angle = np.arange(SIDES) * (2 * np.pi / SIDES)
    outline = to_pixels(np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1), shape)
    return _turned(outline, to_pixels([(x, y)], shape)[0], value)


def _polygon(value: Mapping[str, Any], shape: Shape) -> NDArray[np.float64]:
    return to_pixels(value.get("points", ()), shape)


def _turned(points: NDArray[np.float64], about: NDArray[np.float64], value: Mapping[str, Any]) -> NDArray[np.float64]:
    (degrees,) = _numbers({"rotation": 0, **value}, "rotation")
    sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return np.asarray((points - about) @ np.array([[cos, -sin], [sin, cos]]) + about)


_OUTLINES: dict[str, Callable[[Mapping[str, Any], Shape], NDArray[np.float64]]] = {
    "rectangle": _rectangle,
    "ellipse": _ellipse,
    "polygon": _polygon,
}
_DRAW: dict[Kind | None, Callable[[Mapping[str, Any], Shape], NDArray[np.bool_]]] = {
    "brush": lambda value, shape: rle.decode(value.get("rle"), shape),
    "bitmask": lambda value, shape: bitmask.decode(value.get("imageDataURL"), shape),
    "polygon": lambda value, shape: polygon_mask([_polygon(value, shape)], shape),
    "rectangle": lambda value, shape: polygon_mask([_rectangle(value, shape)], shape),
    "ellipse": lambda value, shape: polygon_mask([_ellipse(value, shape)], shape),
}
