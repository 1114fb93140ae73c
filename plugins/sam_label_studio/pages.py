"""What an annotation shows, page by page: the image and the objects drawn on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sam_core import Masks
from sam_label_studio.config import OUTPUTS, Controls, ImageTag, Kind
from sam_label_studio.errors import CodecError
from sam_label_studio.export import Page
from sam_label_studio.prompts import drawn, kind_of, label_of

Planes: TypeAlias = Sequence[NDArray[Any]]
Open: TypeAlias = Callable[[Any], AbstractContextManager[Planes]]
"""Opens the image at an address: its pages, upright."""
Regions: TypeAlias = Sequence[Mapping[str, Any]]

OBJECTS: tuple[Kind, ...] = ("brush", "polygon", "bitmask", "ellipse")
"""Kinds whose regions cover an object; a rectangle does not tell which of its pixels are the object."""
NO_LABEL = "object"


def pages_of(
    task: Mapping[str, Any], annotation: Mapping[str, Any], controls: Controls, opened: Open
) -> Iterator[Page]:
    """Yield each image, or page of one, that has a region on it.

    Parameters
    ----------
    task
        With its data.
    annotation
        One of its annotations.
    controls
        Of the project.
    opened
        Opens an image.

    Raises
    ------
    CodecError
        A region cannot be drawn, or lies on a page that the task has not.
    """
    for tag in controls.of_task(task.get("data")).images:
        regions = [region for region in annotation.get("result") or () if _is_on(region, tag)]
        addresses = tag.references(task.get("data"))
        if tag.is_list(task.get("data")):
            yield from _of_list(regions, addresses, opened)
        elif regions and addresses:
            with opened(addresses[0]) as planes:
                for number, of_page in _by_item(regions).items():
                    yield _page(of_page, _at(planes, number, "page"), number if len(planes) > 1 else tag.number)


def categories_of(controls: Controls) -> list[str]:
    """Return the labels that an object can have, in the order of the labelling config.

    Examples
    --------
    >>> categories_of(Controls.of('''<View><Image name="i" value="$i"/><BrushLabels name="b" toName="i">
    ...     <Label value="Nucleus"/><Label value="Dirt"/></BrushLabels></View>'''))
    ['Nucleus', 'Dirt']
    """
    labels = [label for control in controls.controls if control.kind in OUTPUTS for label in control.labels]
    return list(dict.fromkeys(labels))


def _of_list(regions: Regions, addresses: Sequence[Any], opened: Open) -> Iterator[Page]:
    for number, of_image in _by_item(regions).items():
        with opened(_at(addresses, number, "image")) as planes:
            yield _page(of_image, planes[0], number)


def _page(regions: Regions, image: NDArray[Any], number: int | None) -> Page:
    shape = (image.shape[0], image.shape[1])
    objects = [region for region in regions if kind_of(region) in OBJECTS]
    parts, names = [Masks.empty(shape)], []
    for region in objects:
        mask = Masks.from_labels(drawn(region, shape).astype(np.int32))
        parts.append(mask)
        names += [label_of(region) or NO_LABEL] * len(mask)  # what was erased again is no object
    return Page(number, image, Masks.merge(parts), tuple(names), len(regions) - len(objects))


def _is_on(region: Any, tag: ImageTag) -> bool:
    """Tell whether a region draws something on the image of a tag."""
    if not isinstance(region, Mapping) or not isinstance(region.get("value"), Mapping):
        return False
    return kind_of(region) is not None and region.get("to_name") == tag.name


def _by_item(regions: Regions) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {}
    for region in regions:
        item = region.get("item_index", region["value"].get("item_index"))
        found.setdefault(item if isinstance(item, int) and item >= 0 else 0, []).append(region)
    return dict(sorted(found.items()))


def _at(things: Sequence[Any], number: int, kind: str) -> Any:
    if number >= len(things):
        msg = (
            f"got a region on {kind} {number} of a task that has {len(things)}, counted from 0; correct the annotation"
        )
        raise CodecError(msg)
    return things[number]
