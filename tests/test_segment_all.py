"""Everything: clicks of a grid or proposals, filters, doubles, tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from sam_core import Embedding, EmbeddingError, Logits, Masks, Prompt, SegmentAllOptions, Tiling, segment_all
from tests.fake import FakeSegmenter
from tests.pictures import draw, picture, same_objects, separate_rectangles

SHAPE = (64, 64)
TILING = Tiling((32, 32), (8, 8))
SPARSE = SegmentAllOptions(points_per_side=10)


class Recording(FakeSegmenter):
    """Keeps the prompts and options of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Sequence[Prompt], dict[str, Any]]] = []

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt], **options: Any) -> Masks:  # type: ignore[override]
        self.calls.append((prompts, options))
        return super().decode(embedding, prompts, **options)


class Proposing(FakeSegmenter):
    """Proposes the box and the middle of each region."""

    def propose(self, embedding: Embedding) -> list[Prompt]:
        found = [[(s.start, s.stop) for s in place] for place in ndimage.find_objects(self._regions(embedding))]
        return [
            Prompt.of([((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2)], box=(y0, x0, y1, x1)) for (y0, y1), (x0, x1) in found
        ]


class Scripted(FakeSegmenter):
    """Proposes the boxes of given masks and answers with the masks."""

    def __init__(self, masks: Masks) -> None:
        super().__init__()
        self.masks = masks
        self.prompts = [Prompt.of(box=box) for box in masks.boxes]

    def propose(self, embedding: Embedding) -> list[Prompt]:
        return self.prompts

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt], **options: Any) -> Masks:  # type: ignore[override]
        found = self.masks[[self.prompts.index(prompt) for prompt in prompts]]
        return found[(found.scores >= options["min_score"]) & (found.stability >= options["min_stability"])]


class Shades(FakeSegmenter):
    """Tells touching objects apart by their gray."""

    def _regions(self, embedding: Embedding) -> NDArray[np.int32]:
        plane = np.zeros(embedding.image_shape, np.int32)
        for (y0, x0, y1, x1), tile in zip(embedding.windows, embedding.features[0][:, 0], strict=True):
            plane[y0:y1, x0:x1] = tile
        return plane


def labels_of(parts: Sequence[Masks]) -> np.ndarray:
    return Masks.merge(parts).to_labels()


def stacked(*labels: np.ndarray, scores: Sequence[float] = (), stability: Sequence[float] = ()) -> Masks:
    """Masks that may overlap, one of each label image."""
    masks = Masks.merge([Masks.from_labels(each) for each in labels])
    given_scores = np.array(scores or [1.0] * len(masks), np.float32)
    return replace(masks, scores=given_scores, stability=np.array(stability or [1.0] * len(masks), np.float32))


def run(model: FakeSegmenter, options: SegmentAllOptions | None = None, tiling: Tiling | None = None) -> list[Masks]:
    return list(segment_all(model, model.encode(np.zeros(SHAPE, np.uint8), tiling=tiling), options))


class TestOptions:
    def test_the_defaults_are_those_of_sam(self) -> None:
        options = SegmentAllOptions()
        assert (options.points_per_side, options.points_per_batch) == (32, 64)
        assert (options.min_score, options.min_stability, options.max_box_iou) == (0.88, 0.95, 0.7)
        assert (options.max_covered, options.min_area) == (1.0, 0)

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"min_score": -0.1}, r"got min_score=-0.1; expected fractions in 0\.\.1"),
            ({"min_score": 1.1}, "min_score=1.1"),
            ({"min_stability": float("nan")}, "min_stability=nan"),
            ({"max_box_iou": 2}, "max_box_iou=2"),
            ({"max_covered": -1}, "max_covered=-1"),
            ({"points_per_side": 0}, "points_per_side=0; .*counts of at least 1"),
            ({"points_per_batch": 0}, "points_per_batch=0"),
            ({"min_area": -1}, "min_area=-1; .*an area of at least 0"),
            ({"min_score": 7, "min_area": -1}, "min_score=7, min_area=-1"),
        ],
    )
    def test_what_cannot_work_is_refused(self, wrong: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            SegmentAllOptions(**wrong)

    @pytest.mark.parametrize(
        ("recommended", "given_options", "asked"),
        [(None, None, 0.88), (0.3, None, 0.3), (0.3, 0.6, 0.6), (None, 0.6, 0.6)],
    )
    def test_what_is_given_goes_before_what_the_model_recommends(
        self, recommended: float | None, given_options: float | None, asked: float
    ) -> None:
        model = Recording()
        if recommended is not None:
            model.segment_all_options = SegmentAllOptions(min_score=recommended)  # type: ignore[attr-defined]
        run(model, None if given_options is None else SegmentAllOptions(min_score=given_options))
        assert {options["min_score"] for _, options in model.calls} == {asked}
        assert {options["min_stability"] for _, options in model.calls} == {0.95}


class TestGrid:
    def test_a_plane_gets_32_by_32_clicks_of_three_candidates_in_batches_of_64(self) -> None:
        model = Recording()
        assert [len(part) for part in run(model)] == [0]
        assert [len(prompts) for prompts, _ in model.calls] == [64] * 16
        assert {options["candidates"] for _, options in model.calls} == {3}
        clicks = {tuple(p.points[0].tolist()) for prompts, _ in model.calls for p in prompts}
        assert len(clicks) == 1024
        assert np.ptp([y for y, _ in clicks]) == np.ptp([x for _, x in clicks]) == 62

    def test_a_grid_is_as_dense_in_tiles_at_the_border(self) -> None:
        model = Recording()
        model_embedding = model.encode(np.zeros((64, 72), np.uint8), tiling=Tiling((64, 64), (4, 4)))
        list(segment_all(model, model_embedding, SegmentAllOptions(points_per_side=16)))
        assert model.decoded == 16 * 16 + 16 * 2

    def test_small_planes_are_clicked_once_a_pixel(self) -> None:
        model = FakeSegmenter()
        embedding = model.encode(np.zeros((3, 5), np.uint8))
        assert [len(part) for part in segment_all(model, embedding)] == [0]
        assert model.decoded == 15

    @pytest.mark.parametrize("value", [0, 255])
    def test_a_plane_of_one_pixel(self, value: int) -> None:
        model = FakeSegmenter()
        (part,) = segment_all(model, model.encode(np.full((1, 1), value, np.uint8)))
        assert part.areas.tolist() == ([1] if value else [])

    def test_clicks_inside_what_is_found_are_skipped(self) -> None:
        model = FakeSegmenter()
        (part,) = segment_all(model, model.encode(np.full(SHAPE, 255, np.uint8)))
        assert part.areas.tolist() == [64 * 64]
        assert model.decoded == 64  # the first batch only

    def test_clicks_inside_what_another_tile_found_are_skipped(self) -> None:
        model = FakeSegmenter()
        parts = list(segment_all(model, model.encode(np.full(SHAPE, 255, np.uint8), tiling=TILING)))
        assert [len(part) for part in parts] == [1, 0, 0, 0]
        assert model.decoded == 64

    def test_batches_stay_full_while_clicks_are_skipped(self) -> None:
        model = Recording()
        labels = draw((0, 0, 64, 40), shape=SHAPE)
        list(segment_all(model, model.encode(picture(labels))))
        sizes = [len(prompts) for prompts, _ in model.calls]
        assert set(sizes[:-1]) == {64}
        assert 0 < sizes[-1] <= 64
        assert 12 * 32 <= sum(sizes) < 12 * 32 + 64

    def test_what_does_not_pass_skips_no_clicks(self) -> None:
        model = FakeSegmenter()
        options = SegmentAllOptions(min_score=0.96)
        (part,) = segment_all(model, model.encode(np.full(SHAPE, 255, np.uint8)), options)
        assert len(part) == 0
        assert model.decoded == 1024

    def test_a_model_that_proposes_none_gets_a_grid(self) -> None:
        class Shy(FakeSegmenter):
            def propose(self, embedding: Embedding) -> None:
                return None

        model = Shy()
        run(model)
        assert model.decoded == 1024


class TestProposals:
    def test_only_what_is_proposed_is_asked_for_one_mask_each(self) -> None:
        class Both(Proposing, Recording):
            pass

        model = Both()
        labels = draw((2, 2, 12, 12), (30, 30, 50, 60), shape=SHAPE)
        (part,) = segment_all(model, model.encode(picture(labels)), SPARSE)
        assert same_objects(part.to_labels(), labels)
        assert [(len(prompts), options["candidates"]) for prompts, options in model.calls] == [(2, 1)]

    def test_no_proposals_no_questions(self) -> None:
        model = Proposing()
        assert [len(part) for part in run(model, tiling=TILING)] == [0, 0, 0, 0]
        assert model.decoded == 0

    def test_each_is_asked_with_the_tile_that_holds_it_and_large_ones_last(self) -> None:
        boxes = [(2, 2, 60, 60), (40, 40, 50, 50), (1, 1, 9, 9), (20, 34, 30, 44), (24, 24, 38, 38)]
        masks = stacked(*(draw(box, shape=SHAPE) for box in boxes))
        parts = run(Scripted(masks), tiling=TILING)
        assert [part.boxes.tolist() for part in parts] == [
            [[1, 1, 9, 9], [24, 24, 38, 38]],
            [[20, 34, 30, 44]],
            [],
            [[40, 40, 50, 50]],
            [[2, 2, 60, 60]],
        ]

    def test_at_most_a_batch_is_asked_at_a_time(self) -> None:
        class Both(Proposing, Recording):
            pass

        model = Both()
        boxes = [(y, x, y + 4, x + 4) for y in range(0, 60, 6) for x in range(0, 60, 6)]
        embedding = model.encode(picture(draw(*boxes, shape=SHAPE)))
        (part,) = segment_all(model, embedding, SegmentAllOptions(points_per_batch=30))
        assert len(part) == 100
        assert [len(prompts) for prompts, _ in model.calls] == [30, 30, 30, 10]


class TestFilters:
    APART = (draw((2, 2, 12, 12), shape=SHAPE), draw((30, 30, 50, 60), shape=SHAPE))

    @pytest.mark.parametrize("what", ["score", "stability"])
    def test_what_the_model_is_not_sure_of_goes(self, what: str) -> None:
        values = {"scores" if what == "score" else what: (0.6, 0.8)}
        model = Scripted(stacked(*self.APART, **values))
        for least, boxes in [(0.5, 2), (0.7, 1), (0.9, 0)]:
            options = replace(SegmentAllOptions(min_score=0, min_stability=0), **{f"min_{what}": least})
            assert len(run(model, options)[0]) == boxes

    def test_of_two_alike_the_better_stays(self) -> None:
        alike = (draw((10, 10, 30, 30), shape=SHAPE), draw((10, 10, 30, 26), shape=SHAPE))  # box IoU 0.8
        for scores in [(0.9, 0.95), (0.95, 0.9)]:
            (part,) = run(Scripted(stacked(*alike, scores=scores)))
            assert part.scores.tolist() == pytest.approx([0.95])
        (part,) = run(Scripted(stacked(*alike)), SegmentAllOptions(max_box_iou=0.85))
        assert len(part) == 2

    def test_of_two_alike_in_different_tiles_the_earlier_stays(self) -> None:
        tiling = Tiling((32, 64), (20, 0))
        alike = (draw((26, 10, 36, 40), shape=SHAPE), draw((28, 10, 38, 40), shape=SHAPE))  # IoU 0.67
        first, second = run(Scripted(stacked(*alike, scores=(0.9, 0.95))), tiling=tiling)
        assert (len(first), len(second)) == (1, 0)

    def test_boxes_alike_in_different_tiles_are_one_object_although_the_masks_differ(self) -> None:
        tiling = Tiling((32, 64), (20, 0))
        thin = np.zeros(SHAPE, np.int32)
        thin[np.arange(20, 42), np.arange(20, 42)] = 1
        masks = stacked(thin, draw((20, 20, 43, 42), shape=SHAPE))
        first, second = run(Scripted(masks), SegmentAllOptions(max_box_iou=0.9), tiling)
        assert (len(first), len(second)) == (1, 0)

    def test_neighbours_across_a_seam_stay_two(self) -> None:
        touching = (draw((20, 10, 32, 40), shape=SHAPE), draw((32, 10, 44, 40), shape=SHAPE))
        assert [len(part) for part in run(Scripted(stacked(*touching)), tiling=Tiling((32, 64), (16, 0)))] == [1, 1]

    def test_parts_of_an_object_stay_unless_coverage_is_limited(self) -> None:
        nested = stacked(draw((10, 10, 40, 40), shape=SHAPE), draw((12, 12, 20, 20), shape=SHAPE), scores=(0.95, 0.9))
        assert len(run(Scripted(nested))[0]) == 2
        (part,) = run(Scripted(nested), SegmentAllOptions(max_covered=0.5))
        assert part.areas.tolist() == [900]

    def test_coverage_is_limited_across_tiles(self) -> None:
        tiling = Tiling((32, 64), (16, 0))
        nested = stacked(draw((10, 10, 44, 40), shape=SHAPE), draw((36, 12, 44, 20), shape=SHAPE))
        options = SegmentAllOptions(max_covered=0.5)
        assert [len(part) for part in run(Scripted(nested), options, tiling)] == [1, 0]


def test_what_is_far_from_the_click_of_a_proposal_is_no_part_of_its_object() -> None:
    plane = np.zeros(SHAPE, bool)
    plane[4:14, 4:14] = plane[20:24, 4:14] = True
    model = Scripted(Masks.from_logits(SHAPE, [Logits.of_mask(plane)] * 2, [0.95, 0.9], [0, 1]))
    model.prompts = [Prompt.of([(8, 8)]), Prompt.of([(22, 6)])]
    (part,) = run(model)
    assert part.boxes.tolist() == [[4, 4, 14, 14], [20, 4, 24, 14]]


class TestMinArea:
    @staticmethod
    def cleaned(mask: np.ndarray, min_area: int) -> Masks:
        plane = np.zeros(SHAPE, np.int32)
        plane[4 : 4 + mask.shape[0], 6 : 6 + mask.shape[1]] = mask
        (part,) = run(Scripted(Masks.from_labels(plane)), SegmentAllOptions(min_area=min_area))
        return part

    def test_smaller_masks_go(self) -> None:
        square = np.ones((4, 5), bool)
        assert [len(self.cleaned(square, area)) for area in (0, 1, 20, 21)] == [1, 1, 1, 0]

    def test_islands_go_and_the_box_follows(self) -> None:
        mask = np.zeros((20, 20), bool)
        mask[5:15, 5:15] = mask[0, 0] = mask[19, 17:] = True
        part = self.cleaned(mask, 4)
        assert part.boxes.tolist() == [[9, 11, 19, 21]]
        assert part.areas.tolist() == [100]
        assert part.crops[0].all()

    def test_corners_join_an_island(self) -> None:
        assert self.cleaned(np.eye(6, dtype=bool), 6).areas.tolist() == [6]

    def test_holes_are_filled_but_not_what_is_open(self) -> None:
        ring = np.ones((12, 12), bool)
        ring[3:5, 3:5] = False  # a hole
        ring[0:2, 0:2] = False  # a corner missing
        ring[6, 10:] = False  # a notch
        part = self.cleaned(ring, 10)
        assert part.areas.tolist() == [144 - 4 - 2]
        assert not part.crops[0][0, 0]
        assert self.cleaned(ring, 3).areas.tolist() == [144 - 4 - 4 - 2]

    @given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.floats(0.2, 0.9))
    @settings(max_examples=60, deadline=None)
    def test_nothing_small_is_left(self, seed: int, min_area: int, density: float) -> None:
        mask = np.random.default_rng(seed).random((14, 17)) < density
        for crop in self.cleaned(mask, min_area).crops:
            assert crop[0].any()
            assert crop[-1].any()
            assert crop[:, 0].any()
            assert crop[:, -1].any()
            islands, _ = ndimage.label(crop, np.ones((3, 3)))
            assert np.bincount(islands.ravel())[1:].min() >= min_area
            ground, count = ndimage.label(np.pad(~crop, 1, constant_values=True))
            sizes = np.bincount(ground.ravel(), minlength=count + 1)
            assert all(sizes[i] >= min_area for i in range(2, count + 1))


class TestParts:
    def test_there_is_one_a_tile(self) -> None:
        model = FakeSegmenter()
        labels = draw((2, 2, 12, 12), (2, 40, 12, 60), (40, 40, 60, 60), shape=SHAPE)
        parts = list(segment_all(model, model.encode(picture(labels), tiling=TILING), SPARSE))
        assert [len(part) for part in parts] == [1, 1, 0, 1]
        assert all(part.shape == SHAPE for part in parts)

    def test_each_mask_is_an_object_of_its_own_without_logits(self) -> None:
        nested = SegmentAllOptions(points_per_side=10, min_score=0.4, max_box_iou=1.0)
        model = FakeSegmenter()
        labels = draw((2, 2, 12, 12), (30, 30, 50, 60), shape=SHAPE)
        parts = list(segment_all(model, model.encode(picture(labels), tiling=TILING), nested))
        merged = Masks.merge(parts)
        assert len(merged) > 2  # the candidates of one click among them
        assert merged.prompt.tolist() == list(range(len(merged)))
        assert merged.logits == (None,) * len(merged)

    def test_nothing_is_done_before_or_after_it_is_asked_for(self) -> None:
        model = FakeSegmenter()
        embedding = model.encode(np.zeros(SHAPE, np.uint8), tiling=TILING)
        parts = segment_all(model, embedding, SPARSE)
        assert model.decoded == 0
        next(parts)
        assert model.decoded == 100
        parts.close()
        assert model.decoded == 100
        assert model.encoded == 1

    def test_the_same_twice(self) -> None:
        model = FakeSegmenter()
        image = picture(draw((2, 2, 12, 12), (30, 30, 50, 60), (20, 40, 26, 50), shape=SHAPE))
        embedding = model.encode(image, tiling=TILING)
        first, second = (Masks.merge(list(segment_all(model, embedding, SPARSE))) for _ in range(2))
        np.testing.assert_array_equal(first.boxes, second.boxes)
        np.testing.assert_array_equal(first.scores, second.scores)
        np.testing.assert_array_equal(first.to_labels(), second.to_labels())

    def test_another_models_embedding_is_refused(self) -> None:
        embedding = FakeSegmenter("one").encode(np.zeros(SHAPE, np.uint8))
        with pytest.raises(EmbeddingError, match="'one', expected one of 'two'"):
            next(segment_all(FakeSegmenter("two"), embedding))


class TestTiles:
    @pytest.mark.parametrize("model", [FakeSegmenter, Proposing])
    @given(labels=separate_rectangles(), data=st.data())
    @settings(max_examples=40, deadline=None)
    def test_any_tiling_finds_the_truth(
        self, model: type[FakeSegmenter], labels: np.ndarray, data: st.DataObject
    ) -> None:
        sides, halos = st.integers(8, 70), st.integers(0, 20)
        tiling = Tiling((data.draw(sides), data.draw(sides)), (data.draw(halos), data.draw(halos)))
        fake = model()
        for each in (None, tiling):
            parts = list(segment_all(fake, fake.encode(picture(labels), tiling=each), SPARSE))
            assert sum(len(part) for part in parts) == labels.max()
            assert same_objects(labels_of(parts), labels)

    @pytest.mark.parametrize("tiling", [None, TILING])
    def test_objects_that_touch_stay_apart(self, tiling: Tiling | None) -> None:
        labels = draw((4, 4, 20, 32), (20, 4, 40, 32), (4, 32, 40, 50), shape=SHAPE)
        model = Shades()
        parts = list(segment_all(model, model.encode((80 * labels).astype(np.uint8), tiling=tiling), SPARSE))
        assert same_objects(labels_of(parts), labels)

    @pytest.mark.parametrize("model", [FakeSegmenter(), Proposing()], ids=["grid", "proposals"])
    def test_an_object_on_a_corner_of_tiles_is_found_once(self, model: FakeSegmenter) -> None:
        labels = draw((26, 26, 38, 38), shape=SHAPE)
        parts = list(segment_all(model, model.encode(picture(labels), tiling=TILING), SPARSE))
        assert sum(len(part) for part in parts) == 1
        assert same_objects(labels_of(parts), labels)

    @pytest.mark.parametrize("model", [FakeSegmenter(), Proposing()], ids=["grid", "proposals"])
    def test_an_object_larger_than_a_tile_is_found_once(self, model: FakeSegmenter) -> None:
        labels = draw((2, 2, 62, 60), shape=SHAPE)
        parts = list(segment_all(model, model.encode(picture(labels), tiling=TILING), SPARSE))
        assert sum(len(part) for part in parts) == 1
        assert same_objects(labels_of(parts), labels)
