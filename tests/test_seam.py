"""Untiled is one tile: the true `Sam` answers the same across a seam, on a tile's corner and beyond a tile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_core import Masks, Prompt, SegmentAllOptions, Tiling, segment, segment_all
from sam_core.overlap import mask_iou
from sam_core.sam import Sam
from tests import pictures
from tests.fake_family import FakeFamily, fake_sam
from tests.pictures import picture, same_objects, separate_rectangles

SHAPE = (120, 160)
TILING = Tiling(tile=(40, 40), halo=(12, 12))
EVERY = SegmentAllOptions(points_per_side=10)


def draw(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    return pictures.draw(*boxes, shape=SHAPE)


def everything(sam: Sam, labels: np.ndarray, tiling: Tiling | None) -> Masks:
    return Masks.merge(list(segment_all(sam, sam.encode(picture(labels), tiling=tiling), EVERY)))


def test_a_click_on_either_side_of_a_seam_gets_the_same_mask() -> None:
    labels = draw((30, 30, 50, 52))
    sam = fake_sam(FakeFamily())
    embedding = sam.encode(picture(labels), tiling=TILING)
    for click in [(31, 31), (31, 45), (48, 31), (48, 50), (39, 39), (40, 40)]:
        masks = segment(sam, embedding, Prompt.of([click]))
        np.testing.assert_array_equal(masks.dense()[0], labels > 0)


def test_an_object_that_runs_out_of_the_tile_of_the_click_is_asked_where_it_fits() -> None:
    """Windows of rows 28 to 91 and 56 to 119: rows 66 to 103 fit into the second, clicked in the core of the first."""
    tiling = Tiling(tile=(40, 160), halo=(12, 0))
    labels = draw((66, 10, 104, 30))
    family = FakeFamily()
    sam = fake_sam(family)
    embedding = sam.encode(picture(labels), tiling=tiling)
    for click in [(70, 20), (78, 20), (82, 20), (100, 20)]:
        masks = segment(sam, embedding, Prompt.of([click]))
        # Exact to the pixel, so not from the overview.
        np.testing.assert_array_equal(masks.dense()[0], labels > 0)


@pytest.mark.parametrize("prompt", [Prompt.of([(60, 80)]), Prompt.of([(25, 25)]), Prompt.of(box=(20, 20, 100, 140))])
def test_an_object_larger_than_a_tile_is_whole(prompt: Prompt) -> None:
    labels = draw((20, 20, 100, 140))
    sam = fake_sam(FakeFamily())
    masks = segment(sam, sam.encode(picture(labels), tiling=TILING), prompt)
    assert mask_iou(masks, Masks.from_labels(labels))[0, 0] > 0.9


def test_a_small_object_never_asks_the_overview() -> None:
    family = FakeFamily()
    sam = fake_sam(family)
    embedding = sam.encode(picture(draw((30, 30, 50, 52))), tiling=TILING)
    segment(sam, embedding, Prompt.of([(45, 45)]))
    assert family.asked == [((64, 64), 1)]


def test_prompts_of_one_tile_are_asked_together() -> None:
    family = FakeFamily()
    sam = fake_sam(family)
    embedding = sam.encode(picture(draw()), tiling=TILING)
    sam.decode(embedding, [Prompt.of([(y, x)]) for y in (5, 20, 50) for x in (5, 20, 150)])
    assert sorted(count for _, count in family.asked) == [1, 2, 2, 4]


def test_answers_come_in_the_order_of_the_prompts_whatever_tile_they_are_from() -> None:
    boxes = [(100, 130, 110, 140), (5, 5, 12, 12), (20, 20, 96, 120), (100, 5, 110, 12), (5, 130, 12, 140)]
    labels = draw(*boxes)
    sam = fake_sam(FakeFamily())
    prompts = [Prompt.of([((y0 + y1) / 2, (x0 + x1) / 2)]) for y0, x0, y1, x1 in boxes]
    masks = sam.decode(sam.encode(picture(labels), tiling=TILING), prompts)
    assert masks.prompt.tolist() == [0, 1, 2, 3, 4]
    assert np.diag(mask_iou(masks, Masks.from_labels(labels))).min() > 0.85


def test_what_lies_beyond_a_padded_tile_is_not_invented() -> None:
    """The fake takes all padding for object: right of a tile's window the plane goes on, and is not object there."""
    sam = fake_sam(FakeFamily(padding=(9, True)))
    labels = draw((10, 10, 20, 20))
    masks = segment(sam, sam.encode(picture(labels), tiling=TILING), Prompt.of([(15, 15)]))
    np.testing.assert_array_equal(masks.dense()[0], labels > 0)


def test_an_object_cut_at_a_padded_border_is_known_to_be_cut() -> None:
    """Its last pixels lie within the logits, but beyond the window: only the window's own border tells."""
    labels = draw((20, 20, 30, 140))
    sam = fake_sam(FakeFamily(padding=(9, False)))
    masks = segment(sam, sam.encode(picture(labels), tiling=TILING), Prompt.of([(25, 30)]))
    assert mask_iou(masks, Masks.from_labels(labels))[0, 0] > 0.8


def test_a_wanted_candidate_that_is_cut_is_mended_even_if_another_is_better() -> None:
    """Near the click is best, and whole; the object passes too, but is cut at the tile's border."""
    labels = draw((20, 20, 30, 140))
    sam = fake_sam(FakeFamily(scores=(0.99, 0.95, 0.1)))
    embedding = sam.encode(picture(labels), tiling=TILING)
    masks = sam.decode(embedding, [Prompt.of([(25, 30)])], candidates=3, min_score=0.9)
    assert masks.scores.tolist() == pytest.approx([0.99, 0.95])
    assert masks.areas[0] == 25
    assert mask_iou(masks[[1]], Masks.from_labels(labels))[0, 0] > 0.8


def test_an_answer_does_not_hold_those_drawn_with_it() -> None:
    sam = fake_sam(FakeFamily())
    masks = sam.decode(sam.encode(picture(draw((5, 5, 20, 20)))), [Prompt.of([(10, 10)])] * 3, candidates=3)
    assert all(logits is not None and logits.values.base is None for logits in masks.logits)


@pytest.mark.parametrize("proposes", [False, True])
class TestEverything:
    def test_an_object_on_a_corner_of_tiles_is_found_once(self, proposes: bool) -> None:
        labels = draw((35, 35, 46, 46), (70, 110, 90, 130))
        found = everything(fake_sam(FakeFamily(proposes=proposes)), labels, TILING)
        assert same_objects(found.to_labels(), labels)
        assert len(found) == 2

    def test_an_object_larger_than_a_tile_is_found_once_and_whole(self, proposes: bool) -> None:
        labels = draw((20, 20, 100, 140), (5, 5, 12, 12))
        found = everything(fake_sam(FakeFamily(proposes=proposes)), labels, TILING)
        iou = mask_iou(found, Masks.from_labels(labels))
        assert len(found) == 2
        assert (iou.max(axis=0) > 0.9).all()

    @given(data=st.data())
    @settings(max_examples=40, deadline=None)
    def test_any_tiling_finds_what_one_tile_finds(self, proposes: bool, data: st.DataObject) -> None:
        labels = data.draw(separate_rectangles())
        sides = st.integers(16, 70)
        tiling = Tiling((data.draw(sides), data.draw(sides)), (data.draw(st.integers(11, 20)),) * 2)
        sam = fake_sam(FakeFamily(proposes=proposes))
        for each in (None, tiling):
            found = everything(sam, labels, each)
            assert same_objects(found.to_labels(), labels)
            assert len(found) == labels.max()
