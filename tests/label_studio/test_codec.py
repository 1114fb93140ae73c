"""Label Studio's ways to write what is drawn, there and back."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from sam_core import Masks
from sam_label_studio import bitmask, rle
from sam_label_studio.config import Control, Controls, ImageTag
from sam_label_studio.errors import CodecError
from sam_label_studio.frame import to_percent, to_pixels
from sam_label_studio.polygon import polygon_mask, polygons
from sam_label_studio.prompts import groups
from sam_label_studio.regions import Place, regions
from tests.label_studio.server import config, keypoint

RECORDED = json.loads((Path(__file__).parent / "recorded" / "brush.json").read_text())
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
MASKS = SIZES.flatmap(lambda shape: arrays(bool, shape))
SHAPES = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


def _mask(rows: list[str]) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def _blob(seed: int, size: int = 90, smooth: float = 5.0, part: float = 0.5) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), smooth)
    return noise > np.quantile(noise, part)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


# -- frame -----------------------------------------------------------------------------------------------------------


@given(SHAPES, st.lists(st.tuples(st.floats(-50, 150), st.floats(-50, 150)), min_size=1))
def test_percent_become_pixels_and_percent_again(shape: tuple[int, int], percent: list[tuple[float, float]]) -> None:
    assert np.allclose(to_percent(to_pixels(percent, shape), shape), percent, atol=1e-9)


def test_the_corners_of_an_image_are_half_a_pixel_outside() -> None:
    assert to_pixels([(0, 0), (100, 100), (50, 25)], (40, 80)).tolist() == [[-0.5, -0.5], [39.5, 79.5], [9.5, 39.5]]


def test_a_recorded_click_is_where_it_was_made() -> None:
    value = {"x": 14.037335285505117, "y": 16.617862371888716}
    ((y, x),) = to_pixels([(value["x"], value["y"])], (480, 640))
    assert (y, x) == pytest.approx((79.2657, 89.3389), abs=1e-3)


@pytest.mark.parametrize("wrong", [[], [(1,)], [(1, 2, 3)], [(1, "a")], [(1, None)], None, "ab", [(np.nan, 1)], {}])
def test_what_is_no_point_is_refused(wrong: Any) -> None:
    with pytest.raises(CodecError, match="points x, y in percent"):
        to_pixels(wrong, (10, 10))


# -- brush -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", RECORDED["masks"], ids=lambda case: f"{len(case['mask'])}x{len(case['mask'][0])}")
def test_brushes_are_those_of_the_sdk(case: dict) -> None:
    mask = _mask(case["mask"])
    assert rle.encode(mask) == case["rle"]
    assert np.array_equal(rle.decode(case["rle"], mask.shape), mask)


@pytest.mark.parametrize("case", RECORDED["long_runs"], ids=lambda case: str(case["length"]))
def test_long_runs_are_cut_as_the_sdk_does(case: dict) -> None:
    mask = np.zeros((1, case["length"]), bool)
    mask[0, slice(*case["on"])] = True
    assert rle.encode(mask) == case["rle"]
    assert np.array_equal(rle.decode(case["rle"], mask.shape), mask)


def test_what_an_editor_wrote_word_for_word_is_read() -> None:
    mask = _mask(RECORDED["literal"]["mask"])
    assert np.array_equal(rle.decode(RECORDED["literal"]["rle"], mask.shape), mask)


@given(MASKS)
def test_a_brush_is_read_as_it_was_written(mask: np.ndarray) -> None:
    code = rle.encode(mask)
    assert np.array_equal(rle.decode(code, mask.shape), mask)
    assert all(type(each) is int and 0 <= each < 256 for each in code)


@given(MASKS, SIZES, SIZES)
def test_a_crop_is_written_as_the_whole_mask_is(
    crop: np.ndarray, before: tuple[int, int], after: tuple[int, int]
) -> None:
    offset = (before[0] - 1, before[1] - 1)
    mask = np.pad(crop, tuple((low, high - 1) for low, high in zip(offset, after, strict=True)))
    assert rle.encode_crop(crop, offset, mask.shape) == rle.encode(mask)


@given(MASKS)
def test_runs_are_as_long_as_they_can_be(mask: np.ndarray) -> None:
    runs = [(value, len(list(same))) for value, same in groupby(mask.ravel().tolist())]
    lengths, values = rle._runs(mask, (0, 0), mask.shape)
    assert list(zip((values > 0).tolist(), (lengths // 4).tolist(), strict=True)) == runs


@settings(max_examples=300)
@given(st.lists(st.integers(0, 255), max_size=60), SIZES)
def test_no_list_of_bytes_does_harm(code: list[int], shape: tuple[int, int]) -> None:
    head = [*(4 * shape[0] * shape[1]).to_bytes(4), 57, 27]
    for each in (code, head + code):
        with suppress(CodecError):
            assert rle.decode(each, shape).shape == shape


@pytest.mark.parametrize(
    "wrong", [None, "abc", [], [1, 2], ["a"], [300], [-1], [0.5], {}, 7, [255] * 20, [0, 0, 0, 64, 57, 27]]
)
def test_what_is_no_brush_is_refused(wrong: Any) -> None:
    with pytest.raises(CodecError):
        rle.decode(wrong, (4, 4))


@pytest.mark.slow
def test_a_large_brush_is_quick() -> None:
    y, x = np.mgrid[:4000, :6000]
    disk = (y - 2000) ** 2 + (x - 3000) ** 2 < 1500**2
    started = time.process_time()
    code = rle.encode(disk)
    assert np.array_equal(rle.decode(code, disk.shape), disk)
    assert time.process_time() - started < 3


# -- bitmask ---------------------------------------------------------------------------------------------------------


@given(MASKS)
def test_a_bitmask_is_read_as_it_was_written(mask: np.ndarray) -> None:
    assert np.array_equal(bitmask.decode(bitmask.encode(mask), mask.shape), mask)


@pytest.mark.parametrize("wrong", [None, "", "data:image/png;base64,", "data:image/png;base64,AAAA", "http://x", 7])
def test_what_is_no_bitmask_is_refused(wrong: Any) -> None:
    with pytest.raises(CodecError):
        bitmask.decode(wrong, (4, 4))
    with pytest.raises(CodecError, match="3 x 3 pixels"):
        bitmask.decode(bitmask.encode(np.ones((3, 3), bool)), (4, 4))


# -- polygons --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [0.0, 0.5, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("seed", range(6))
def test_polygons_fill_what_their_mask_fills(seed: int, tolerance: float) -> None:
    """Islands and holes of all shapes, and whatever the tolerance."""
    mask = _blob(seed, part=0.2 + 0.1 * seed)
    assert _iou(polygon_mask(polygons(mask, tolerance=tolerance), mask.shape), mask) >= 0.98


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_polygons_of_anything_fill_it(mask: np.ndarray) -> None:
    rings = polygons(mask)
    assert _iou(polygon_mask(rings, mask.shape), mask) >= 0.98 or not mask.any()
    assert all(len(ring) >= 3 for ring in rings)


def test_holes_are_cut_out() -> None:
    mask = np.zeros((60, 60), bool)
    mask[5:55, 5:55] = True
    mask[12:20, 12:20] = mask[30:45, 10:30] = mask[30:40, 40:50] = False
    (ring,) = polygons(mask)
    assert np.array_equal(polygon_mask([ring], mask.shape), mask)


def test_a_tolerance_saves_corners() -> None:
    y, x = np.mgrid[:200, :200]
    disk = (y - 100) ** 2 + (x - 100) ** 2 < 90**2
    (fine,), (rough,) = polygons(disk, tolerance=0.2), polygons(disk, tolerance=2)
    assert len(rough) < len(fine) / 2
    assert len(rough) < 40


def test_islands_are_polygons_of_their_own_and_crumbs_are_none() -> None:
    mask = np.zeros((100, 100), bool)
    mask[5:45, 5:45] = mask[60:90, 60:90] = True
    mask[98, 98] = True
    assert len(polygons(mask)) == 2
    assert polygons(np.zeros((5, 5), bool)) == []


@given(MASKS)
def test_polygons_survive_percent(mask: np.ndarray) -> None:
    masks = Masks.from_labels(mask.astype(np.int32))
    if len(masks):
        found = regions(masks, Control("p", "polygon", "image"), Place(1), labels=[None], keys=[None])
        rings = [to_pixels(each["value"]["points"], mask.shape) for each in found]
        assert _iou(polygon_mask(rings, mask.shape), mask) >= 0.98
        assert len({each["id"] for each in found}) == len(found)


# -- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["brush", "polygon", "bitmask", "rectangle", "ellipse"])
def test_results_are_plain_json(kind: Any) -> None:
    masks = Masks.from_labels(_blob(3).astype(np.int32))
    found = regions(masks, Control("out", kind, "image", ("Cell",)), Place(1, 2), labels=["Cell"], keys=["k"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for region in found:
        assert region["value"][f"{kind}labels"] == ["Cell"]
        assert region["item_index"] == 2
        assert region["score"] == 1.0


def test_one_pixel_can_be_written_in_every_way() -> None:
    mask = np.zeros((5, 5), np.int32)
    mask[2, 3] = 1
    for kind in ("brush", "polygon", "bitmask", "rectangle", "ellipse"):
        (region,) = regions(
            Masks.from_labels(mask),
            Control("o", kind, "i"),  # type: ignore[arg-type]
            Place(1),
            labels=[None],
            keys=[None],
        )
        json.dumps(region, allow_nan=False)


# -- config ----------------------------------------------------------------------------------------------------------


def test_controls_are_read() -> None:
    found = Controls.of(config())
    assert [(each.name, each.kind, each.smart) for each in found.controls] == [
        ("kp", "keypoint", True),
        ("rect", "rectangle", True),
        ("ellipse", "ellipse", True),
        ("out", "brush", False),
    ]
    assert found.controls[0].labels == ("Cell", "Dog")
    assert found.images == (ImageTag("image", "$image"),)
    assert found.problems == ()


def test_aliases_plain_tags_and_labels_of_tasks() -> None:
    found = Controls.of("""<View><Image name="a" valueList="$pages"/><Image name="b" value="$x.y"/>
        <BrushLabels name="brush" toName="a,b"><Label value="A long name" alias="a"/></BrushLabels>
        <Polygon name="polygon" toName="b"/><Labels name="l" toName="b"><Label value="L"/></Labels>
        <RectangleLabels name="free" toName="b" value="$names"/></View>""")
    assert [(each.name, each.to_name, each.type) for each in found.controls] == [
        ("brush", "a", "brushlabels"),
        ("brush", "b", "brushlabels"),
        ("polygon", "b", "polygon"),
        ("free", "b", "rectanglelabels"),
    ]
    assert found.controls[0].labels == ("a",)
    assert found.images[0].references({"pages": ["p", "q"]}) == ["p", "q"]
    assert found.images[1].references({"x": {"y": "z"}}) == ["z"]
    assert found.images[1].references({"x": 3}) == []
    free = found.output("b", "anything")
    assert free is not None
    assert free.name == "free"


@pytest.mark.parametrize(
    "xml", ["", None, 7, "<", "<View><Image/></View>", "<a>" * 50_000, "x" * 2_000_000, "<View>&x;</View>", "\0"]
)
def test_a_config_that_is_none_has_problems(xml: Any) -> None:
    assert Controls.of(xml).problems


def test_points_of_different_labels_and_pages_are_different_questions() -> None:
    other = keypoint(1, 1)
    other["value"] = {**other["value"], "keypointlabels": ["Cell"], "labels": ["Cell"]}
    given = [keypoint(1, 1), other, keypoint(2, 2), keypoint(3, 3, item_index=1)]
    found = [(group.label, group.item, len(group.regions)) for group in groups(given)]
    assert found == [("Dog", None, 2), ("Cell", None, 1), ("Dog", 1, 1)]
    with pytest.raises(CodecError, match="JSON object"):
        groups([None])
