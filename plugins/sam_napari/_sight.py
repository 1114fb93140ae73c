"""What is known of the pixels that were pointed at, without asking the model again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from sam_core import Masks
from sam_napari._boxes import pixel
from sam_napari._draft import Point, best_of, holds
from sam_napari._source import Plane

REMEMBERED = 16  # pixels; going back and forth with the mouse asks nothing


@dataclass(frozen=True, slots=True)
class Spot:
    """A pixel that is pointed at, and how finely its plane is looked at."""

    plane: Plane
    y: int
    x: int
    step: int

    @classmethod
    def of(cls, plane: Plane, point: Point, step: int) -> Spot:
        """Round a point to its pixel."""
        return cls(plane, *pixel(point), step)


@dataclass(frozen=True, eq=False, slots=True)
class Sight:
    """Candidates at a point, and which of them is shown."""

    spot: Spot
    point: Point
    candidates: Masks
    chosen: int
    turned: bool = False
    """Whether the user chose it."""

    @property
    def mask(self) -> Masks:
        """The one that is shown."""
        return self.candidates[self.chosen]

    def moved(self, spot: Spot, point: Point) -> Sight | None:
        """Return the same for a pointer that has moved; None where it is not on the mask any more."""
        there = spot.plane == self.spot.plane and holds(self.mask, point)
        return replace(self, spot=spot, point=point) if there else None


class Seen:
    """The candidates of the pixels that were pointed at last."""

    def __init__(self) -> None:
        self._candidates: OrderedDict[Spot, Masks] = OrderedDict()

    def __contains__(self, spot: Spot) -> bool:
        """Whether a pixel is known, be it that there is nothing."""
        return spot in self._candidates

    def add(self, spot: Spot, candidates: Masks) -> None:
        """Remember the candidates of a pixel; none are known as well."""
        self._candidates[spot] = candidates
        self._candidates.move_to_end(spot)
        while len(self._candidates) > REMEMBERED:
            self._candidates.popitem(last=False)

    def sight(self, spot: Spot, point: Point) -> Sight | None:
        """Return what is seen at a pixel, the best candidate first; None where nothing is, or nothing is known."""
        candidates = self._candidates.get(spot)
        return Sight(spot, point, candidates, best_of(candidates)) if candidates else None

    def clear(self) -> None:
        """Forget all: image or model are others now."""
        self._candidates.clear()
