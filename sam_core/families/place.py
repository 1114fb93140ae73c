"""Where in an embedding a prompt is answered: which tile or overview, at which magnification."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_core.embedding import Embedding
from sam_core.families.family import Family, View
from sam_core.frame import Frame
from sam_core.logits import Logits
from sam_core.prompt import Prompt
from sam_core.tiling import home, owner
from sam_core.types import Region, Shape


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """One view of one tile, or of the overview.

    Parameters
    ----------
    embedding
        Holds the features: the plane's, or its overview's.
    tile
        Index of the tile in it; -1 for the overview.
    view
        The magnification.
    frame
        From the plane into the view.
    reach
        Largest extent in pixels of the plane of an object that it holds.
    """

    embedding: Embedding
    tile: int
    view: View
    frame: Frame
    reach: float

    def levels(self) -> list[Tensor]:
        """Return the features of the view, each (C, h, w)."""
        return [torch.from_numpy(level[max(self.tile, 0)]) for level in self.embedding.features[self.view.levels]]

    def logits_out(self, values: NDArray[np.float32], box: Region, plane: Shape) -> Logits:
        """Convert logits (h, w) over a box of the view into logits about a plane of this shape.

        Views are padded at the bottom and on the right. What is answered there is left out inside the plane, where the
        plane goes on but was not seen.
        """
        logits = self.frame.logits_out(values, box, plane)
        kept, ends = list(values.shape), self.frame.box_out((0, 0, *self.frame.shape))[2:]
        for axis, end in enumerate(ends):
            cell = (logits.box[axis + 2] - logits.box[axis]) / values.shape[axis]
            if end < plane[axis] - 0.5:
                kept[axis] = min(kept[axis], max(1, round((end - logits.box[axis]) / cell)))
        if kept == list(values.shape):
            return logits
        y0, x0, y1, x1 = logits.box
        y1, x1 = y0 + (y1 - y0) * kept[0] / values.shape[0], x0 + (x1 - x0) * kept[1] / values.shape[1]
        return Logits(values[: kept[0], : kept[1]], (y0, x0, y1, x1), plane)

    @property
    def key(self) -> tuple[int, int]:
        """Equal for equal places of one embedding."""
        return self.tile, self.view.levels.start


def places_of_tile(embedding: Embedding, tile: int, family: Family) -> Iterator[Place]:
    """Yield the views of a tile that are finer than the overview, finest first."""
    y0, x0, y1, x1 = embedding.windows[tile]
    limit = _overview_scale(embedding)[0] if embedding.overview is not None else float("inf")
    for view in family.views((y1 - y0, x1 - x0), embedding.image_shape):
        if view.shrink < limit or view.shrink <= 1:
            yield _place(embedding, tile, view, (y0, x0), (1.0, 1.0), (y1 - y0, x1 - x0))


def places_of_overview(embedding: Embedding, family: Family) -> Iterator[Place]:
    """Yield the views of the overview, finest first; none where the plane is one tile."""
    if embedding.overview is not None:
        shape = embedding.overview.image_shape
        for view in family.views(shape, embedding.image_shape):
            yield _place(embedding.overview, -1, view, (0, 0), _overview_scale(embedding), shape)


def places_for(embedding: Embedding, prompt: Prompt, family: Family) -> list[Place]:
    """Return the places that can answer a prompt, finest first; at least one."""
    extent = prompt.extent
    size = max(extent[2] - extent[0], extent[3] - extent[1])
    if prompt.is_lone_click:
        y, x = prompt.points[0]
        tile: int | None = owner(embedding.tiling, (float(y), float(x)), embedding.image_shape)
    else:
        tile = home(embedding.tiling, extent, embedding.image_shape)
    places = [] if tile is None else list(places_of_tile(embedding, tile, family))
    places += places_of_overview(embedding, family)
    return [place for place in places if place.reach >= size] or places[-1:]


def places_of_home(embedding: Embedding, region: Region, family: Family) -> list[Place]:
    """Return the places in the tile that holds a region of the plane, finest first; none where no tile does."""
    tile = home(embedding.tiling, region, embedding.image_shape)
    size = max(region[2] - region[0], region[3] - region[1])
    places = [] if tile is None else places_of_tile(embedding, tile, family)
    return [place for place in places if place.reach >= size]


def _overview_scale(embedding: Embedding) -> tuple[float, float]:
    height, width = embedding.overview.image_shape if embedding.overview is not None else embedding.image_shape
    return embedding.image_shape[0] / height, embedding.image_shape[1] / width


def _place(
    embedding: Embedding,
    tile: int,
    view: View,
    origin: tuple[int, int],
    scale: tuple[float, float],
    shape: tuple[int, int],
) -> Place:
    frame = Frame(
        origin=(float(origin[0]), float(origin[1])),
        scale=(scale[0] * view.shrink, scale[1] * view.shrink),
        shape=(math.ceil(shape[0] / view.shrink), math.ceil(shape[1] / view.shrink)),
    )
    return Place(embedding, tile, view, frame, view.reach * min(scale))
