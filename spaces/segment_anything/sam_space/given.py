"""Reading what a page sent about a picture: nothing of it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from sam_space.frame import point_of_page
from sam_space.picture import Picture
from sam_space.refusal import Refusal

Sent: TypeAlias = Mapping[str, Any]


def plane_of(picture: Picture, plane: Any) -> int:
    """Read the number of a plane; 0 where none is given."""
    if plane is None:
        return 0
    if isinstance(plane, bool) or not isinstance(plane, int) or not 0 <= plane < len(picture.planes):
        msg = f"got a plane that is none, expected 0 to {len(picture.planes) - 1}"
        raise Refusal(msg)
    return plane


def place_on(picture: Picture, given: Sent) -> tuple[float, float]:
    """Read a place on a picture: its y, x."""
    y, x = point_of_page(given.get("x"), given.get("y"))
    height, width = picture.shape
    if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
        msg = f"got a place outside the picture of {width} x {height} pixels"
        raise Refusal(msg)
    return y, x


def whole_number(given: Sent, name: str) -> int:
    """Read a whole number."""
    value = given.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"got {name} that is no whole number"
        raise Refusal(msg)
    return value
