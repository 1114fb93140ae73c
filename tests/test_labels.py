"""Label images, renumbered and joined."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.segmentation import relabel_sequential

from sam_core import labels as module
from sam_core import samples, stitch
from sam_core.labels import renumber

FEW = settings(max_examples=60, deadline=None)
PLANES = hnp.arrays(np.int32, (5, 6), elements=st.integers(0, 4))


def _same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Tell whether two label images show the same objects under any numbers, the background being 0 in both."""
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs}) and all(
        (x == 0) == (y == 0) for x, y in pairs
    )


class TestRenumber:
    @given(
        hnp.arrays(
            st.sampled_from([np.uint8, np.int16, np.int64, np.uint64]),
            hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5),
            elements=st.integers(0, 100),
        ),
        st.sampled_from([0, module.TABLE]),
    )
    @FEW
    def test_keeps_objects_and_their_order(self, labels: np.ndarray, table: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "TABLE", table)
            found = renumber(labels)
        assert found.dtype == np.int32
        expected = relabel_sequential(labels)[0] if labels.size else labels
        np.testing.assert_array_equal(found, expected)

    def test_of_large_numbers_needs_no_large_table(self) -> None:
        labels = np.array([[0, 2**63], [7, 2**64 - 1]], np.uint64)
        assert renumber(labels).tolist() == [[0, 2], [1, 3]]

    def test_of_nothing_but_objects_starts_at_one(self) -> None:
        assert renumber(np.array([[9, 4]])).tolist() == [[2, 1]]
        assert renumber(np.array([[2**40, 4]])).tolist() == [[2, 1]]

    def test_of_a_mask_is_one_object(self) -> None:
        assert renumber(np.array([[True, False]])).tolist() == [[1, 0]]

    def test_is_a_copy(self) -> None:
        labels = np.array([[0, 1]], np.int32)
        renumber(labels)[:] = 9
        assert labels.tolist() == [[0, 1]]

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (np.array([[-1, 0, 1]]), r"got labels of dtype int64 down to -1, expected integers of at least 0"),
            (np.array([[0.0, 1.0]]), r"got labels of dtype float64, expected integers"),
            (np.array([["a"]]), r"got labels of dtype <U1, expected integers"),
        ],
    )
    def test_of_what_is_no_label_image_is_refused(self, labels: np.ndarray, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            renumber(labels)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def _best_pairs(before: np.ndarray, here: np.ndarray, min_iou: float) -> float:
    """Return the largest sum of IoUs of pairs of at least `min_iou`, by trying all pairings."""
    olds, news = ([i for i in np.unique(plane) if i] for plane in (before, here))
    news += [None] * len(olds)
    sums = [0.0]
    for chosen in set(itertools.permutations(news, len(olds))):
        ious = [_iou(before == old, here == new) for old, new in zip(olds, chosen, strict=True) if new is not None]
        sums.append(sum(iou for iou in ious if iou >= min_iou and iou > 0))
    return max(sums)


class TestStitch:
    @given(st.lists(PLANES, min_size=1, max_size=4), st.floats(0, 1))
    @FEW
    def test_keeps_the_objects_of_each_plane(self, planes: list[np.ndarray], min_iou: float) -> None:
        joined = stitch(planes, min_iou=min_iou)
        assert joined.dtype == np.int32
        assert joined.shape == (len(planes), 5, 6)
        assert all(_same_partition(a, b) for a, b in zip(planes, joined, strict=True))
        # Numbers are used up without gaps, and one that was lost does not come back.
        seen = [set(np.unique(plane)) - {0} for plane in joined]
        assert set.union(*seen) == set(range(1, joined.max() + 1))
        for number in range(1, joined.max() + 1):
            on = [z for z, here in enumerate(seen) if number in here]
            assert on == list(range(on[0], on[-1] + 1))

    @given(PLANES, PLANES, st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 1.0]))
    @settings(max_examples=25, deadline=None)
    def test_takes_the_best_pairs(self, before: np.ndarray, here: np.ndarray, min_iou: float) -> None:
        a, b = stitch([before, here], min_iou=min_iou)
        pairs = [_iou(a == i, b == i) for i in np.intersect1d(a[a > 0], b[b > 0])]
        assert all(iou >= min_iou and iou > 0 for iou in pairs)
        assert sum(pairs) == pytest.approx(_best_pairs(before, here, min_iou))

    @given(PLANES, st.permutations(range(1, 5)))
    @FEW
    def test_does_not_depend_on_the_numbers(self, plane: np.ndarray, names: list[int]) -> None:
        renamed = np.array([0, *names])[plane]
        joined = stitch([plane, renamed, 1000 * renamed])
        np.testing.assert_array_equal(joined[0], renumber(plane))
        np.testing.assert_array_equal(joined[1], joined[0])
        np.testing.assert_array_equal(joined[2], joined[0])

    @pytest.mark.parametrize(("min_iou", "count"), [(0.5, 1), (0.51, 2)])
    def test_the_least_iou_is_enough(self, min_iou: float, count: int) -> None:
        joined = stitch([np.array([[1, 1]]), np.array([[0, 1]])], min_iou=min_iou)
        assert joined.max() == count

    def test_pairs_that_are_too_small_do_not_push_out_one_that_is_not(self) -> None:
        before = np.array([[1] * 11 + [2] * 2])
        here = np.array([[2] * 4 + [1] * 9])
        ious = _iou(before == 1, here == 1), _iou(before == 1, here == 2), _iou(before == 2, here == 1)
        assert ious[0] > 0.5
        assert sum(ious[1:]) > ious[0]
        a, b = stitch([before, here])
        assert b.tolist() == [[3] * 4 + [a[0, 0]] * 9]

    def test_an_object_that_is_gone_for_a_plane_is_a_new_one(self) -> None:
        plane = np.array([[0, 3, 3]])
        joined = stitch([plane, 0 * plane, plane])
        assert joined[:, 0].tolist() == [[0, 1, 1], [0, 0, 0], [0, 2, 2]]

    def test_follows_cells_through_time(self) -> None:
        truth = samples.time_lapse(seed=1).labels
        rng = np.random.default_rng(0)
        shuffled = [np.append(0, 1 + rng.permutation(200))[plane] for plane in truth]
        joined = stitch(shuffled)
        whole = [number for number in np.unique(truth) if number and (truth == number).any(axis=(1, 2)).all()]
        assert len(whole) > 8
        for number in whole:
            assert len(np.unique(joined[truth == number])) == 1

    def test_takes_an_iterator_and_other_types(self) -> None:
        planes = (np.array([[0, 1 + z]], np.uint16) for z in range(3))
        assert stitch(planes).tolist() == [[[0, 1]]] * 3

    def test_many_objects_on_many_planes_are_no_trouble(self) -> None:
        y, x = np.mgrid[:450, :450] // 10
        plane = (45 * y + x + 1).astype(np.int32)
        joined = stitch(np.roll(plane, z, axis=1) for z in range(20))
        assert joined[-1].max() < 2025 + 20 * 45
        assert joined[1, 0, 1] == joined[0, 0, 0]
        assert joined[19, 5, 19] == joined[18, 5, 18]

    @pytest.mark.parametrize(
        ("planes", "message"),
        [
            ([], "got no planes to stitch"),
            ([np.zeros((2, 2), int), np.zeros((2, 3), int)], r"got a plane of shape \(2, 3\), expected \(2, 2\)"),
            (np.zeros((2, 2), int), r"got a plane of shape \(2,\), expected \(H, W\)"),
            ([np.zeros((1, 2, 2), int)], r"got a plane of shape \(1, 2, 2\), expected \(H, W\)"),
            ([np.array([[-1, 1]])], "down to -1, expected integers of at least 0"),
        ],
    )
    def test_what_cannot_be_stitched_is_refused(self, planes: list[np.ndarray], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            stitch(planes)

    @pytest.mark.parametrize("min_iou", [-0.1, 1.1, float("nan")])
    def test_an_iou_is_a_fraction(self, min_iou: float) -> None:
        with pytest.raises(ValueError, match=r"got min_iou=.*, expected a fraction"):
            stitch([np.zeros((2, 2), int)], min_iou=min_iou)
