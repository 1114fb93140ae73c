"""Masks, and how much they overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import regionprops

from sam_core import Logits, Masks
from sam_core.labels import renumber
from sam_core.overlap import box_iou, mask_iou, nms

FEW = settings(max_examples=60, deadline=None)
SHAPE = (7, 9)
LABELS = hnp.arrays(np.int32, SHAPE, elements=st.integers(0, 5))
PLANES = hnp.arrays(bool, st.tuples(st.integers(0, 4), st.just(7), st.just(9)))


def _masks(planes: np.ndarray, scores: Sequence[float] | None = None, prompt: Sequence[int] | None = None) -> Masks:
    """Make masks of (n, H, W) bool, which may overlap and be empty."""
    count = len(planes)
    return Masks.from_logits(
        planes.shape[1:],
        [Logits.of_mask(plane) for plane in planes],
        np.ones(count) if scores is None else scores,
        np.arange(count) if prompt is None else prompt,
    )


def _squares(*scores: float, prompt: Sequence[int] | None = None) -> Masks:
    planes = np.zeros((len(scores), *SHAPE), bool)
    for i, plane in enumerate(planes):
        plane[i : i + 2, i : i + 3] = True
    return _masks(planes, scores, prompt)


class TestOfLabels:
    @given(LABELS)
    @FEW
    def test_and_back_is_renumbering(self, labels: np.ndarray) -> None:
        masks = Masks.from_labels(labels)
        np.testing.assert_array_equal(masks.to_labels(), renumber(labels))
        assert masks.to_labels().dtype == np.int32

    @given(LABELS)
    @FEW
    def test_measures_are_those_of_scikit_image(self, labels: np.ndarray) -> None:
        masks, regions = Masks.from_labels(labels), regionprops(labels)
        assert masks.boxes.tolist() == [list(region.bbox) for region in regions]
        assert masks.areas.tolist() == [region.area for region in regions]
        assert all(np.array_equal(a, b.image) for a, b in zip(masks.crops, regions, strict=True))
        assert (masks.boxes.dtype, masks.areas.dtype, masks.offsets.dtype) == (np.int32, np.int64, np.int32)
        assert masks.prompt.tolist() == list(range(len(regions)))
        assert masks.scores.tolist() == masks.stability.tolist() == [1.0] * len(regions)
        assert masks.logits == (None,) * len(regions)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.uint64])
    def test_of_any_integers(self, dtype: type) -> None:
        assert Masks.from_labels(np.array([[0, 7], [2, 7]], dtype)).areas.tolist() == [1, 2]

    def test_without_background_are_all_masks(self) -> None:
        assert Masks.from_labels(np.array([[3, 3], [1, 1]])).boxes.tolist() == [[1, 0, 2, 2], [0, 0, 1, 2]]

    @pytest.mark.parametrize("shape", [(4, 5), (0, 5), (0, 0)])
    def test_that_are_empty_are_none(self, shape: tuple[int, int]) -> None:
        masks = Masks.from_labels(np.zeros(shape, int))
        assert len(masks) == 0
        assert masks.shape == masks.to_labels().shape == shape

    def test_is_a_copy(self) -> None:
        labels = np.ones((2, 2), np.int32)
        masks = Masks.from_labels(labels)
        labels[:] = 0
        assert masks.areas.tolist() == [4]

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (np.zeros((1, 2, 2), int), r"got labels of shape \(1, 2, 2\), expected \(H, W\); choose one plane"),
            (np.zeros((2, 2)), "got labels of dtype float64, expected integers of at least 0"),
            (np.array([[-3]]), "down to -3"),
        ],
    )
    def test_of_something_else_is_refused(self, labels: np.ndarray, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Masks.from_labels(labels)


class TestDrawn:
    @given(PLANES)
    @FEW
    def test_planes_are_what_was_drawn(self, planes: np.ndarray) -> None:
        masks = _masks(planes)
        np.testing.assert_array_equal(masks.dense(), planes)
        np.testing.assert_array_equal(masks.areas, planes.sum(axis=(1, 2)))
        for crop, (y0, x0, y1, x1), plane in zip(masks.crops, masks.boxes, planes, strict=True):
            np.testing.assert_array_equal(crop, plane[y0:y1, x0:x1])
            assert crop.shape == (0, 0) if not plane.any() else crop[0].any() and crop[:, 0].any() and crop[-1].any()

    @given(PLANES, st.permutations(range(4)))
    @FEW
    def test_where_masks_overlap_the_higher_score_wins(self, planes: np.ndarray, scores: list[int]) -> None:
        scores = scores[: len(planes)]
        labels = _masks(planes, scores).to_labels()
        ranked = np.where(planes, np.array(scores, float)[:, None, None], -1)
        expected = np.where(planes.any(axis=0), ranked.argmax(axis=0) + 1, 0) if len(planes) else 0 * labels
        np.testing.assert_array_equal(labels, expected)

    def test_empty(self) -> None:
        masks = Masks.empty(SHAPE)
        assert len(masks) == len(masks.best()) == 0
        assert masks.boxes.shape == (0, 4)
        assert masks.areas.shape == (0,)
        assert masks.dense().shape == (0, *SHAPE)
        assert not masks.to_labels().any()
        assert [column.dtype for column in (masks.offsets, masks.scores, masks.stability, masks.prompt)] == [
            np.int32,
            np.float32,
            np.float32,
            np.int32,
        ]

    def test_stability_is_that_of_the_logits(self) -> None:
        values = np.array([[3, 0.5, -0.5, -3]], np.float32)
        masks = Masks.from_logits((1, 4), [Logits(values, (0, 0, 1, 4), (1, 4))], [0.5], [7])
        assert masks.stability[0] == pytest.approx(1 / 3)
        assert (masks.scores.tolist(), masks.prompt.tolist()) == ([0.5], [7])

    def test_columns_of_different_length_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"got masks with .*'crops': 1.*'scores': 2.* expected as many of each"):
            Masks.from_logits(SHAPE, [Logits.of_mask(np.ones(SHAPE, bool))], [0.5, 0.7], [0])


class TestChoosing:
    @pytest.mark.parametrize(
        ("index", "chosen"),
        [
            (1, [1]),
            (-1, [3]),
            (np.int64(2), [2]),
            (slice(1, None, 2), [1, 3]),
            (slice(0, 0), []),
            ([3, 0, 0], [3, 0, 0]),
            ([], []),
            (np.array([2, 1]), [2, 1]),
            (np.array([True, False, False, True]), [0, 3]),
            (np.zeros(4, bool), []),
        ],
    )
    def test_is_that_of_numpy(self, index: int | slice | list[int] | np.ndarray, chosen: list[int]) -> None:
        masks = _squares(0.1, 0.2, 0.3, 0.4)
        found = masks[index]
        np.testing.assert_array_equal(found.dense(), masks.dense()[chosen])
        assert found.shape == SHAPE
        assert found.logits == tuple(masks.logits[i] for i in chosen)
        for column in ("offsets", "scores", "stability", "prompt"):
            np.testing.assert_array_equal(getattr(found, column), getattr(masks, column)[chosen])

    @pytest.mark.parametrize("index", [4, -5, [0, 4], np.ones(3, bool)])
    def test_what_is_not_there_is_refused(self, index: int | list[int] | np.ndarray) -> None:
        with pytest.raises(IndexError):
            _squares(0.1, 0.2, 0.3, 0.4)[index]

    def test_one_after_the_other(self) -> None:
        assert [float(one.scores[0]) for one in _squares(0.5, 0.25)] == [0.5, 0.25]

    def test_the_best_of_each_prompt(self) -> None:
        masks = _squares(0.5, 0.9, 0.9, 0.1, 0.2, prompt=[7, 3, 3, 7, 9])
        best = masks.best()
        assert best.prompt.tolist() == [3, 7, 9]
        assert best.scores.tolist() == pytest.approx([0.9, 0.5, 0.2])
        assert best.offsets[0].tolist() == [1, 1]


class TestMerging:
    @given(PLANES, PLANES)
    @FEW
    def test_joins_everything(self, first: np.ndarray, second: np.ndarray) -> None:
        parts = [_masks(first), Masks.empty(SHAPE), _masks(second)]
        merged = Masks.merge(parts)
        np.testing.assert_array_equal(merged.dense(), np.concatenate([first, second]))
        assert merged.prompt.tolist() == list(range(len(first) + len(second)))
        assert merged.logits == parts[0].logits + parts[2].logits
        assert (merged.prompt.dtype, merged.offsets.dtype) == (np.int32, np.int32)

    def test_keeps_the_answers_to_one_prompt_together_and_those_of_different_parts_apart(self) -> None:
        part = _squares(0.1, 0.2, 0.3, prompt=[0, 2, 2])
        assert Masks.merge(iter([part, part])).prompt.tolist() == [0, 2, 2, 3, 5, 5]

    @pytest.mark.parametrize("parts", [[], [Masks.empty((2, 2)), Masks.empty((2, 3))]])
    def test_of_nothing_or_of_different_planes_is_refused(self, parts: list[Masks]) -> None:
        with pytest.raises(ValueError, match=r"got parts of shapes .*, expected at least one part, all of one plane"):
            Masks.merge(parts)


class TestMoving:
    @given(PLANES, st.integers(0, 5), st.integers(0, 5))
    @FEW
    def test_moves_masks_and_their_logits(self, planes: np.ndarray, y: int, x: int) -> None:
        moved = _masks(planes).moved((y, x), (12, 14))
        expected = np.pad(planes, [(0, 0), (y, 5 - y), (x, 5 - x)])
        np.testing.assert_array_equal(moved.dense(), expected)
        again = Masks.from_logits(moved.shape, [one for one in moved.logits if one], moved.scores, moved.prompt)
        np.testing.assert_array_equal(again.dense(), expected)

    def test_works_without_logits(self) -> None:
        moved = Masks.from_labels(np.ones((2, 2), int)).moved((1, 0), (3, 2))
        assert (moved.boxes.tolist(), moved.logits) == ([[1, 0, 3, 2]], (None,))

    @pytest.mark.parametrize(("offset", "shape"), [((-1, 0), (9, 9)), ((0, 0), (7, 8)), ((3, 0), (9, 9))])
    def test_onto_a_plane_that_is_too_small_is_refused(self, offset: tuple[int, int], shape: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match=r"got a plane of \(7, 9\) at .*, expected it to fit"):
            Masks.empty(SHAPE).moved(offset, shape)


class TestOverlap:
    @given(PLANES, PLANES)
    @FEW
    def test_of_masks_is_that_of_planes(self, first: np.ndarray, second: np.ndarray) -> None:
        shared = (first[:, None] & second).sum(axis=(2, 3))
        either = (first[:, None] | second).sum(axis=(2, 3))
        expected = np.divide(shared, either, out=np.zeros(shared.shape), where=either > 0)
        found = mask_iou(_masks(first), _masks(second))
        assert (found.shape, found.dtype) == (expected.shape, np.float32)
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_of_masks_does_not_depend_on_how_tight_they_are_cut(self) -> None:
        tight = Masks.from_labels(np.eye(4, dtype=int))
        loose = replace(tight, crops=(np.eye(4, dtype=bool),), offsets=np.zeros((1, 2), np.int32))
        blank = replace(loose, crops=(np.zeros((4, 4), bool),))
        assert mask_iou(tight, loose).tolist() == [[1.0]]
        assert mask_iou(blank, blank).tolist() == [[0.0]]

    def test_of_masks_on_different_planes_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"got masks on planes of \(2, 2\) and \(2, 3\), expected one plane"):
            mask_iou(Masks.empty((2, 2)), Masks.empty((2, 3)))

    def test_of_thousands_of_masks_is_no_trouble(self) -> None:
        y, x = np.mgrid[:400, :400] // 8
        masks = Masks.from_labels((50 * y + x + 1).astype(np.int32))
        np.testing.assert_array_equal(mask_iou(masks, masks), np.eye(2500))

    @pytest.mark.parametrize(
        ("other", "iou"),
        [
            ((0, 0, 4, 6), 1.0),
            ((0, 0, 4, 3), 0.5),
            ((2, 3, 6, 9), 6 / 42),
            ((4, 0, 8, 6), 0.0),
            ((9, 9, 10, 10), 0.0),
            ((1, 1, 1, 5), 0.0),
            ((3, 3, 1, 1), 0.0),
            ((-1.0, 0, 1.5, 6), 9 / 30),
        ],
    )
    def test_of_boxes(self, other: tuple[float, ...], iou: float) -> None:
        box = np.array([[0, 0, 4, 6.0]])
        assert box_iou(box, np.array([other]))[0, 0] == pytest.approx(iou)
        assert box_iou(np.array([other]), box)[0, 0] == pytest.approx(iou)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
    def test_of_boxes_of_any_type(self, dtype: type) -> None:
        boxes = np.array([[0, 0, 100, 100], [150, 150, 200, 200], [0, 0, 100, 50]], dtype)
        assert box_iou(boxes, boxes).tolist() == [[1, 0, 0.5], [0, 1, 0], [0.5, 0, 1]]

    def test_of_no_boxes_is_empty(self) -> None:
        assert box_iou(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)


def _greedy(boxes: np.ndarray, scores: np.ndarray, max_iou: float) -> list[int]:
    """Suppress by comparing each box with all that are kept."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(box_iou(boxes[[i]], boxes[[j]])[0, 0] <= max_iou for j in kept):
            kept.append(i)
    return kept


class TestSuppression:
    @given(
        hnp.arrays(float, st.tuples(st.integers(0, 25), st.just(4)), elements=st.integers(0, 12)),
        st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        st.integers(0, 99),
    )
    @FEW
    def test_is_greedy(self, boxes: np.ndarray, max_iou: float, seed: int) -> None:
        boxes[:, 2:] += boxes[:, :2]
        scores = np.random.default_rng(seed).integers(0, 6, len(boxes)) / 5
        assert nms(boxes, scores, max_iou).tolist() == _greedy(boxes, scores, max_iou)

    def test_of_many_boxes_with_one_that_covers_all(self) -> None:
        corners = np.random.default_rng(0).uniform(0, 3000, (1500, 2))
        boxes = np.concatenate([[[0, 0, 2030, 2030]], np.concatenate([corners, corners + 30], axis=1)])
        scores = np.random.default_rng(1).random(len(boxes))
        kept = nms(boxes, scores, 0.5)
        assert 0 in kept
        iou = box_iou(boxes[kept], boxes[kept])
        assert (iou - np.eye(len(kept))).max() <= 0.5
        assert (np.diff(scores[kept]) <= 0).all()
