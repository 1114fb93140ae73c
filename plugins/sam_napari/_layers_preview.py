"""Objects that were found and are not painted yet."""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from sam_core import Masks
from sam_napari._boxes import united
from sam_napari._change import turned
from sam_napari._layers_axes import Axes, bare, roles_of
from sam_napari._layers_lazy import Edited
from sam_napari._layers_sheet import Sheet
from sam_napari._layers_target import LARGE, Fit, Over
from sam_napari._layers_view import plane_on_screen
from sam_napari._source import Box, Plane

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

Tile: TypeAlias = tuple[Plane, int, int]

NAME = "found objects"
NUMBERS = 65_535  # of a 16-bit layer, which napari shows without computing colours
BUDGET = 0.006  # seconds that the windows may wait
TILE = 256  # pixels a side of what is painted, and then drawn anew, at once


@dataclass(frozen=True, eq=False, slots=True)
class Shown:
    """An object of the preview.

    Parameters
    ----------
    plane
        Its plane.
    box
        Half-open y0, x0, y1, x1 on the plane.
    crop
        (h, w) bool: its pixels in the box.
    number
        Its label number in the layer.
    """

    plane: Plane
    box: Box
    crop: NDArray[np.bool_]
    number: int


class Preview:
    """Shows objects of many planes as they are found, and hides those that do not pass a filter.

    Painting takes no longer at a time than the windows may wait; `settle` does the rest, again and again until all is
    painted. Only what changes on the plane on screen is drawn anew.

    Parameters
    ----------
    viewer, image
        Where the image is, and the image.
    roles
        What each axis of the image is; by default `roles_of`.
    """

    def __init__(self, viewer: Viewer, image: Layer, roles: Sequence[str] | None = None) -> None:
        self._viewer, self._image = bare(viewer), bare(image)
        self._axes = Axes(tuple(roles) if roles is not None else roles_of(image))
        self._over = Over.of(self._image, self._axes)
        self._fit = Fit(self._over.sizes, self._over.kept, (0,) * len(self._over.shape))
        self._data: Any = _blank(self._over.shape)
        self._sheet = Sheet(self._viewer, self._make)
        self._items: list[Shown] = []
        self._wanted: set[int] = set()
        self._painted: set[int] = set()
        self._pending: dict[Tile, dict[int, None]] = {}

    def __len__(self) -> int:
        """Return how many objects there are, hidden ones included."""
        return len(self._items)

    def owns(self, layer: Layer | None) -> bool:
        """Tell whether a layer is the one that is painted on."""
        return self._sheet.owns(layer)

    def prepare(self) -> None:
        """Add the layer now, which takes napari longer than showing objects."""
        self._sheet.layer  # noqa: B018

    def add(self, plane: Plane, masks: Masks) -> range:
        """Note further objects, which `settle` shows; return their numbers, from 0 in the order in which they came."""
        first = len(self._items)
        for crop, box in zip(masks.crops, masks.boxes.tolist(), strict=True):
            self._items.append(Shown(plane, tuple(box), crop, len(self._items) % NUMBERS + 1))
        added = range(first, len(self._items))
        self._wanted.update(added)
        self._await(added)
        return added

    def replace(self, item: int, masks: Masks) -> None:
        """Show another mask of 1 in the place of an object's former one."""
        former = self._items[item]
        if item in self._painted:
            self._erase(former)
            self._painted.discard(item)
            self._draw(former.plane, former.box)
        box = tuple(masks.boxes[0].tolist())
        self._items[item] = Shown(former.plane, box, masks.crops[0], former.number)
        self._await([item])
        self.settle()

    def set_visible(self, items: Collection[int]) -> None:
        """Show these objects, and hide all others."""
        wanted = set(items)
        changed = sorted(wanted ^ self._wanted)
        self._wanted = wanted
        self._await(changed)
        self.settle()

    def settle(self, budget: float = BUDGET) -> bool:
        """Paint for so many seconds; tell whether all is painted. Call it again from a timer until it is."""
        end = time.perf_counter() + budget
        while self._pending:
            tile = next(iter(self._pending))
            changed = [i for i in self._pending.pop(tile) if (i in self._wanted) != (i in self._painted)]
            for item in changed:
                self._paint(item, self._items[item])
            if changed:
                self._draw(tile[0], functools.reduce(united, (self._items[item].box for item in changed)))
                if time.perf_counter() > end:
                    break
        return not self._pending

    def clear(self) -> None:
        """Forget all objects."""
        planes = {one.plane for one in self._items}
        self._items, self._wanted, self._painted, self._pending = [], set(), set(), {}
        self._data = _blank(self._over.shape)
        if planes and self._sheet.there:
            self._sheet.layer.data = self._data

    def close(self) -> None:
        """Remove the layer."""
        self._sheet.close()
        self._items, self._wanted, self._painted, self._pending = [], set(), set(), {}

    # -- inside ------------------------------------------------------------------------------------------------------

    def _await(self, items: Iterable[int]) -> None:
        for item in items:
            one = self._items[item]
            self._pending.setdefault((one.plane, one.box[0] // TILE, one.box[1] // TILE), {})[item] = None

    def _make(self) -> Labels:
        return Labels(self._data, name=NAME, opacity=0.5, **self._over.arguments)

    def _paint(self, item: int, one: Shown) -> None:
        if item in self._painted:
            self._erase(one)
            self._painted.discard(item)
            return
        place = self._fit.index(one.plane, one.box)
        part = np.asarray(self._data[place])
        np.copyto(part, one.number, where=turned(one.plane, one.crop) & (part == 0))
        self._data[place] = part
        self._painted.add(item)

    def _erase(self, one: Shown) -> None:
        place = self._fit.index(one.plane, one.box)
        part = np.asarray(self._data[place])
        part[part == one.number] = 0
        self._data[place] = part

    def _draw(self, plane: Plane, box: Box) -> None:
        """Draw a box anew where it is on screen."""
        layer = self._sheet.layer
        if layer.visible and plane == plane_on_screen(self._viewer, self._image, self._axes):
            part = np.asarray(self._data[self._fit.index(plane, box)])
            self._sheet.redraw(turned(plane, part), (box[0], box[1]))


def _blank(shape: tuple[int, ...]) -> Any:
    """Return zeros that take no memory where nothing is painted."""
    if int(np.prod(shape)) * 2 <= LARGE:
        return np.zeros(shape, np.uint16)
    return Edited(np.broadcast_to(np.zeros((), np.uint16), shape))
