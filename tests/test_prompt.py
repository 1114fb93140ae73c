"""What one user wants of one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from sam_core import Logits, Masks, Prompt, PromptError, SamError

NAN, INF = float("nan"), float("inf")
SHAPE = (20, 30)


def _disc(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray(np.hypot(y - 10, x - 12) < 5)


class TestMaking:
    def test_points_are_float_and_positive_unless_said(self) -> None:
        prompt = Prompt.of([(1, 2), (3, 4)])
        assert prompt.points.tolist() == [[1, 2], [3, 4]]
        assert prompt.positive.tolist() == [True, True]
        assert (prompt.points.dtype, prompt.positive.dtype) == (np.float32, bool)
        assert prompt.box is prompt.previous is None

    def test_a_box_alone(self) -> None:
        prompt = Prompt.of(box=(1, 2, 3, 4))
        assert prompt.box is not None
        assert (prompt.box.tolist(), prompt.box.dtype) == ([1, 2, 3, 4], np.float32)
        assert (prompt.points.shape, prompt.positive.shape) == ((0, 2), (0,))

    @pytest.mark.parametrize("empty", [(), [], np.zeros((0, 2)), np.zeros(0, np.int64)])
    def test_no_points_in_any_form(self, empty: Any) -> None:
        assert Prompt.of(empty, [], box=(0, 0, 1, 1)).points.shape == (0, 2)

    @pytest.mark.parametrize("signs", [[True, False], [1, 0], np.array([1.0, 0.0]), (np.True_, np.False_)])
    def test_signs_in_any_form(self, signs: Any) -> None:
        assert Prompt.of([(1, 2), (3, 4)], signs).positive.tolist() == [True, False]

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (Prompt.of, "got an empty prompt, expected points, a box or a previous mask; give at least one"),
            (lambda: Prompt.of([], [], box=None), "got an empty prompt"),
            (lambda: Prompt.of((10, 20)), r"got points of shape \(2,\), expected \(N, 2\): a list of \(y, x\)"),
            (lambda: Prompt.of([(1, 2, 3)]), r"got points of shape \(1, 3\), expected \(N, 2\)"),
            (lambda: Prompt.of(None), r"got points of shape \(\), expected \(N, 2\)"),
            (lambda: Prompt.of([(1, 2), (3,)]), r"got points \[\(1, 2\), \(3,\)\], expected numbers: a list of"),
            (lambda: Prompt.of("here"), "got points 'here', expected numbers"),
            (lambda: Prompt.of([(10**400, 0)]), r"got points .* expected numbers"),
            (lambda: Prompt.of([(1, 2), (NAN, 3)]), "got a point at y=nan, x=3, expected finite numbers"),
            (lambda: Prompt.of([(1, -INF)]), "got a point at y=1, x=-inf, expected finite numbers"),
            (lambda: Prompt.of([(1e300, 0)]), "got a point at y=inf, x=0, expected finite numbers"),
            (lambda: Prompt.of([(1, 2)], [True, False]), r"got 1 points and signs of shape \(2,\), expected one sign"),
            (lambda: Prompt.of([(1, 2), (3, 4)], True), r"got 2 points and signs of shape \(1,\)"),
            (lambda: Prompt.of((), [True], box=(0, 0, 1, 1)), r"got 0 points and signs of shape \(1,\)"),
            (lambda: Prompt.of([(1, 2), (3, 4)], [[1], [0]]), r"signs of shape \(2, 1\)"),
            (lambda: Prompt.of([(1, 2)], [-1]), r"got signs \[-1.0\], expected True or 1 .*, False or 0"),
            (lambda: Prompt.of([(1, 2)], [NAN]), r"got signs \[nan\], expected True or 1"),
            (lambda: Prompt.of([(1, 2)], ["no"]), r"got signs \['no'\], expected numbers: one of True or False"),
            (lambda: Prompt.of(box=(1, 2, 3)), r"got a box of shape \(3,\), expected four numbers y0, x0, y1, x1"),
            (lambda: Prompt.of(box=[(1, 2, 3, 4)]), r"got a box of shape \(1, 4\), expected four numbers"),
            (lambda: Prompt.of(box="all"), "got a box 'all', expected numbers: y0, x0, y1, x1"),
            (lambda: Prompt.of(box=(0, 0, NAN, 1)), r"got a box \(0.0, 0.0, nan, 1.0\), expected finite numbers"),
            (lambda: Prompt.of(box=(0, -INF, 1, 1)), r"got a box \(0.0, -inf, 1.0, 1.0\), expected finite numbers"),
            (lambda: Prompt.of(box=(5, 5, 5, 9)), r"got a box \(5.0, 5.0, 5.0, 9.0\) of no area, expected y0 < y1"),
            (lambda: Prompt.of(box=(1, 5, 9, 5)), "of no area, expected y0 < y1 and x0 < x1"),
            (lambda: Prompt.of(box=(5, 5, 1, 9)), "of no area, expected y0 < y1 and x0 < x1"),
            (lambda: Prompt.of(box=(1, 9, 5, 5)), "of no area, expected y0 < y1 and x0 < x1"),
            (lambda: Prompt.of(previous=np.zeros(5)), r"got a previous mask of shape \(5,\), expected \(H, W\)"),
            (lambda: Prompt.of(previous=np.zeros((1, 5, 5), bool)), r"got a previous mask of shape \(1, 5, 5\)"),
            (lambda: Prompt.of(previous=np.zeros((0, 5), bool)), r"got a previous mask of shape \(0, 5\)"),
            (lambda: Prompt.of(previous=np.zeros((2, 2), np.uint8)), "dtype uint8, expected bool, .*; give mask > 0"),
            (lambda: Prompt.of(previous=np.zeros((2, 2), complex)), "dtype complex128, expected bool"),
            (lambda: Prompt.of(previous=np.array([[NAN, 1]])), "got a previous mask with values that are not finite"),
            (lambda: Prompt.of(previous=np.array([[1e300, 1]])), "got a previous mask with values that are not finite"),
            (lambda: Prompt.of(previous=Masks.empty(SHAPE)), "got a previous mask of type Masks, .* Prompt.refine"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, make: Callable[[], Prompt], message: str) -> None:
        with pytest.raises(PromptError, match=message) as caught:
            make()
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, SamError)

    def test_what_it_was_made_of_may_change(self) -> None:
        points, positive = np.ones((1, 2), np.float32), np.ones(1, bool)
        box, previous = np.array([0, 0, 5, 5], np.float32), np.ones((6, 6), np.float32)
        prompt = Prompt.of(points, positive, box=box, previous=previous)
        for array in (points, positive, box, previous):
            array[:] = 0
        assert prompt.points.all()
        assert prompt.positive.all()
        assert prompt.box is not None
        assert prompt.box.tolist() == [0, 0, 5, 5]
        assert prompt.previous is not None
        assert prompt.previous.values.all()

    def test_it_does_not_change_itself(self) -> None:
        with pytest.raises(FrozenInstanceError):
            Prompt.of([(1, 2)]).box = None


class TestPrevious:
    def test_a_mask_comes_back(self) -> None:
        previous = Prompt.of(previous=_disc()).previous
        assert previous is not None
        crop, (y, x) = previous.mask()
        assert previous.shape == SHAPE
        assert (y, x) == (6, 8)
        np.testing.assert_array_equal(crop, _disc()[6:15, 8:17])

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_logits_of_the_plane_lie_on_its_pixels(self, dtype: type) -> None:
        values = np.random.default_rng(0).normal(size=SHAPE).astype(dtype)
        previous = Prompt.of(previous=values).previous
        assert previous is not None
        assert previous.values.dtype == np.float32
        np.testing.assert_array_equal(previous.sample((0, 0, *SHAPE)), values.astype(np.float32))

    def test_logits_are_taken_as_they_are(self) -> None:
        one = Logits(np.ones((2, 2), np.float32), (0, 0, 8, 8), SHAPE)
        assert Prompt.of(previous=one).previous is one


class TestRefining:
    def test_feeds_back_the_logits(self) -> None:
        one = Logits.of_mask(_disc())
        prompt = Prompt.of([(1, 2)], [False], box=(0, 0, 9, 9))
        refined = prompt.refine(Masks.from_logits(SHAPE, [one], [0.5], [0]))
        assert refined.previous is one
        assert refined.points is prompt.points
        assert refined.box is prompt.box
        assert prompt.previous is None

    def test_makes_logits_of_a_mask_without(self) -> None:
        refined = Prompt.of([(1, 2)]).refine(Masks.from_labels(_disc().astype(int)))
        assert refined.previous is not None
        np.testing.assert_array_equal(refined.previous.sample((0, 0, *SHAPE)) > 0, _disc())

    def test_takes_an_empty_mask(self) -> None:
        nothing = Logits.of_mask(np.zeros(SHAPE, bool))
        refined = Prompt.of([(1, 2)]).refine(Masks.from_logits(SHAPE, [nothing], [0.5], [0]))
        assert refined.extent == (1, 2, 2, 3)

    @pytest.mark.parametrize("count", [0, 2])
    def test_takes_no_other_number_of_masks(self, count: int) -> None:
        masks = Masks.from_labels(np.array([[0, 1, 2]]))[:count]
        with pytest.raises(PromptError, match=rf"got {count} masks to refine, expected exactly one; choose it with"):
            Prompt.of([(1, 2)]).refine(masks)


class TestClicking:
    def test_adds_a_click_and_keeps_the_rest(self) -> None:
        first = Prompt.of([(1, 2)], box=(0, 0, 9, 9), previous=_disc())
        second = first.click((3, 4), positive=False)
        assert second.points.tolist() == [[1, 2], [3, 4]]
        assert second.positive.tolist() == [True, False]
        assert second.box is not None
        assert first.box is not None
        assert second.box.tolist() == first.box.tolist()
        assert second.previous is first.previous
        assert len(first.points) == 1
        assert second.click((5, 6)).positive.tolist() == [True, False, True]

    def test_whoever_corrects_a_proposal_means_it(self) -> None:
        proposed = replace(Prompt.of([(1, 2)]), proposed=True)
        masks = Masks.from_labels(np.array([[0, 1]]))
        assert [p.proposed for p in (Prompt.of([(1, 2)]), proposed.click((3, 4)), proposed.refine(masks))] == [
            False
        ] * 3

    def test_starts_with_a_box(self) -> None:
        assert Prompt.of(box=(0, 0, 9, 9)).click((3, 4)).points.tolist() == [[3, 4]]

    def test_takes_no_point_that_is_none(self) -> None:
        with pytest.raises(PromptError, match="expected finite numbers"):
            Prompt.of([(1, 2)]).click((NAN, 1))

    @pytest.mark.parametrize(
        ("prompt", "alone"),
        [
            (Prompt.of([(1, 2)]), True),
            (Prompt.of([(1, 2)], [False]), False),
            (Prompt.of([(1, 2), (3, 4)]), False),
            (Prompt.of([(1, 2)], box=(0, 0, 9, 9)), False),
            (Prompt.of([(1, 2)], previous=_disc()), False),
            (Prompt.of(box=(0, 0, 9, 9)), False),
        ],
    )
    def test_once_and_nothing_else_is_ambiguous(self, prompt: Prompt, alone: bool) -> None:
        assert prompt.is_lone_click is alone


@pytest.mark.parametrize(
    ("prompt", "extent"),
    [
        (Prompt.of([(4, 5)]), (4, 5, 5, 6)),
        (Prompt.of([(4, 5), (1, 9)]), (1, 5, 5, 10)),
        (Prompt.of([(4, 5), (1, 9)], [True, False]), (4, 5, 5, 6)),
        (Prompt.of([(4, 5), (1, 9)], [False, False]), (1, 5, 5, 10)),
        (Prompt.of(box=(1, 2, 3, 4)), (1, 2, 3, 4)),
        (Prompt.of([(9, 3)], box=(1, 2, 3, 4)), (1, 2, 10, 4)),
        (Prompt.of([(9, 3)], [False], box=(1, 2, 3, 4)), (1, 2, 3, 4)),
        (Prompt.of(previous=_disc()), (6, 8, 15, 17)),
        (Prompt.of([(0, 10)], previous=_disc()), (0, 8, 15, 17)),
        (Prompt.of([(0, 10)], [False], previous=_disc()), (6, 8, 15, 17)),
        (Prompt.of([(0, 10)], [False], previous=np.zeros(SHAPE, bool)), (0, 10, 1, 11)),
        (Prompt.of(previous=-np.ones(SHAPE)), (0, 0, *SHAPE)),
    ],
)
def test_the_extent_is_what_a_prompt_is_about(prompt: Prompt, extent: tuple[float, ...]) -> None:
    assert prompt.extent == extent


class TestChecking:
    @pytest.mark.parametrize(
        "prompt",
        [
            Prompt.of([(0, 0), (19, 29), (-0.5, -0.5), (19.49, 29.49)]),
            Prompt.of(box=(0, 0, *SHAPE)),
            Prompt.of(box=(-50, -50, 0.5, 100)),
            Prompt.of(box=(19.5, 29.5, 99, 99)),
            Prompt.of(previous=_disc()),
        ],
    )
    def test_what_fits_is_let_through(self, prompt: Prompt) -> None:
        prompt.check(SHAPE)

    @pytest.mark.parametrize(
        ("prompt", "message"),
        [
            (
                Prompt.of([(1, 1), (20, 5)]),
                "got a point at y=20, x=5, expected 0 <= y < 20 and 0 <= x < 30: y comes first",
            ),
            (Prompt.of([(29, 19)]), "got a point at y=29, x=19, expected 0 <= y < 20"),
            (Prompt.of([(19.5, 5)]), "got a point at y=19.5, x=5"),
            (Prompt.of([(5, 29.5)]), "got a point at y=5, x=29.5"),
            (Prompt.of([(-0.51, 5)]), "got a point at y=-0.51, x=5"),
            (Prompt.of([(5, -0.51)], box=(0, 0, 9, 9)), "got a point at y=5, x=-0.51"),
            (Prompt.of(box=(20, 0, 25, 5)), r"got a box \(20.0, 0.0, 25.0, 5.0\) outside the plane of 20 x 30 pixels"),
            (Prompt.of(box=(-5, 0, 0, 5)), r"got a box \(-5.0, .* outside the plane"),
            (Prompt.of(box=(0, -5, 5, 0)), r"got a box .* outside the plane"),
            (Prompt.of(box=(0, 30, 5, 33)), r"got a box .* give y0, x0, y1, x1"),
            (
                Prompt.of(previous=_disc((30, 20))),
                r"got a previous mask of a plane of shape \(30, 20\), expected \(20, 30\)",
            ),
        ],
    )
    def test_what_does_not_is_refused(self, prompt: Prompt, message: str) -> None:
        with pytest.raises(PromptError, match=message):
            prompt.check(SHAPE)
