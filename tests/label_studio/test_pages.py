"""What an annotation shows, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from sam_core import Masks
from sam_label_studio import rle
from sam_label_studio.config import Controls
from sam_label_studio.errors import CodecError
from sam_label_studio.pages import pages_of
from sam_label_studio.regions import Place, regions
from tests.label_studio.server import squares

CONFIG = """<View><Image name="image" {value}/>
<BrushLabels name="brush" toName="image"><Label value="Cell"/></BrushLabels>
<PolygonLabels name="polygon" toName="image"><Label value="Cell"/></PolygonLabels>
<BitmaskLabels name="bitmask" toName="image"><Label value="Cell"/></BitmaskLabels>
<EllipseLabels name="ellipse" toName="image"><Label value="Cell"/></EllipseLabels>
<RectangleLabels name="rectangle" toName="image"><Label value="Cell"/></RectangleLabels></View>"""
ONE, LIST = 'value="$image"', 'valueList="$images"'


class Images:
    """Opens what is in a table, and counts how often."""

    def __init__(self, **known: Sequence[np.ndarray]) -> None:
        self.known = known
        self.opened: list[str] = []

    @contextmanager
    def __call__(self, address: str) -> Iterator[Sequence[np.ndarray]]:
        self.opened.append(address)
        yield self.known[address]


def _masks(count: int = 3) -> Masks:
    return Masks.from_labels(squares(count).astype(np.int32))


def _drawn(kind: str, item: int | None = None, count: int = 3) -> list[dict[str, Any]]:
    control = next(c for c in Controls.of(CONFIG.format(value=ONE)).controls if c.kind == kind)
    masks = _masks(count)
    labels, keys = ["Cell"] * len(masks), [None] * len(masks)
    return regions(masks, control, Place(1, item), labels=labels, keys=keys)


def _pages(result: list[Any], opened: Images, value: str = ONE, **data: Any) -> list[Any]:
    task = {"id": 1, "data": data or {"image": "a"}}
    return list(pages_of(task, {"result": result}, Controls.of(CONFIG.format(value=value)), opened))


@pytest.mark.parametrize("kind", ["brush", "polygon", "bitmask"])
def test_regions_of_every_kind_become_the_masks_that_they_show(kind: str) -> None:
    (page,) = _pages(_drawn(kind), Images(a=[squares()]))
    assert page.number is None
    assert page.names == ("Cell",) * 3
    assert np.array_equal(page.masks.dense(), _masks().dense())


def test_an_ellipse_is_an_object_and_a_rectangle_is_none() -> None:
    (page,) = _pages([*_drawn("ellipse"), *_drawn("rectangle")], Images(a=[squares()]))
    assert (len(page.masks), page.left_out) == (3, 3)


def test_each_page_of_a_stack_has_its_own_objects() -> None:
    images = Images(a=[squares(1), squares(2), squares(3)])
    pages = _pages([*_drawn("brush", 2), *_drawn("brush", 0, 1)], images)
    assert [(page.number, len(page.masks)) for page in pages] == [(0, 1), (2, 3)]
    assert np.array_equal(pages[1].image, squares(3))
    assert images.opened == ["a"]


def test_each_image_of_a_list_has_its_own_objects() -> None:
    images = Images(a=[squares(1)], b=[squares(2)])
    pages = _pages([*_drawn("brush", 1, 2), *_drawn("brush", 0, 1)], images, LIST, images=["a", "b"])
    assert [(page.number, len(page.masks)) for page in pages] == [(0, 1), (1, 2)]
    assert images.opened == ["a", "b"]


def test_what_is_no_region_is_passed_over() -> None:
    other = [{"type": "choices", "to_name": "image", "value": {"choices": ["good"]}}, {"type": "relation"}, "?"]
    assert _pages(other, Images()) == []


def test_what_was_erased_again_is_no_object() -> None:
    (region,) = _drawn("brush", count=1)
    region["value"]["rle"] = rle.encode(np.zeros((48, 64), bool))
    (page,) = _pages([region], Images(a=[squares()]))
    assert (len(page.masks), page.names) == (0, ())


def test_a_region_without_a_label_is_called_object() -> None:
    (region,) = _drawn("brush", count=1)
    del region["value"]["brushlabels"]
    assert _pages([region], Images(a=[squares()]))[0].names == ("object",)


@pytest.mark.parametrize(
    ("value", "data", "message"),
    [(ONE, {"image": "a"}, "page 5 of a task that has 1"), (LIST, {"images": ["a"]}, "image 5 of a task that has 1")],
)
def test_a_page_that_is_not_there_is_told(value: str, data: dict[str, Any], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        _pages(_drawn("brush", 5), Images(a=[squares()]), value, **data)


def test_a_mask_of_another_size_is_told() -> None:
    with pytest.raises(CodecError):
        _pages(_drawn("brush"), Images(a=[np.zeros((10, 10), np.uint8)]))


def test_pages_of_a_repeater_are_told_apart_by_their_number() -> None:
    xml = """<View><Repeater on="$pages"><Image name="page_{{idx}}" value="$pages[{{idx}}]"/>
    <BrushLabels name="brush_{{idx}}" toName="page_{{idx}}"><Label value="Cell"/></BrushLabels></Repeater></View>"""
    drawn = [
        {**region, "to_name": f"page_{i}"} for i, count in ((1, 1), (0, 2)) for region in _drawn("brush", None, count)
    ]
    task = {"id": 1, "data": {"pages": ["a", "b"]}}
    pages = list(pages_of(task, {"result": drawn}, Controls.of(xml), Images(a=[squares(2)], b=[squares(1)])))
    assert [(page.number, len(page.masks)) for page in pages] == [(0, 2), (1, 1)]
