"""What a page is shown: planes as pictures, objects and prompts as JSON."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from sam_core import Masks, to_rgb8
from sam_space.frame import page_of_box, page_of_point, sent
from sam_space.picture import Picture
from sam_space.size import area
from sam_space.work import Drawn, Object


def looked_at(picture: Picture, plane: int) -> Image.Image:
    """Return a plane as it is looked at."""
    return Image.fromarray(to_rgb8(picture.planes[plane]))


def png(image: Image.Image) -> bytes:
    """Write a picture as PNG."""
    # Gray goes as gray: a third to pack, to send and to unpack.
    red, green, blue = image.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        image = red
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def score_of(masks: Masks) -> float:
    """Return how sure the first of some masks is."""
    return round(float(masks.scores[0]), 3)


def object_on(each: Object, plane: int, picture: Picture | None) -> dict[str, Any]:
    """Return what is told of an object beside its drawing."""
    about = {"number": each.number, "name": each.name, "colour": each.colour, "planes": sorted(each.drawn)}
    drawn = each.drawn.get(plane)
    if drawn is None:
        return about
    size = int(drawn.mask.areas[0]) if picture is None else area(drawn.mask, picture.shrunk, picture.own_shape)
    return about | {"key": drawn.key, "area": size, "score": score_of(drawn.mask)}


def prompt_of(drawn: Drawn | None) -> dict[str, Any]:
    """Return what is shown of how the active object came about: its clicks, its box, what else it could be."""
    if drawn is None:
        return {"clicks": [], "box": None, "candidates": [], "chosen": 0}
    box = drawn.box
    return {
        "clicks": [[*page_of_point(c.y, c.x), int(c.positive)] for c in drawn.clicks],
        "box": None if box is None else page_of_box((box.y0, box.x0, box.y1, box.x1)),
        "candidates": [
            sent(drawn.candidates, i) | {"score": score_of(drawn.candidates[[i]])} for i in range(len(drawn.candidates))
        ],
        "chosen": drawn.chosen,
    }
