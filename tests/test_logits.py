"""Masks before they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn import functional as F

from sam_core import Logits, logits

FEW = settings(max_examples=60, deadline=None)
SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))
MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14)))


def _random(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


def _whole(mask: tuple[np.ndarray, tuple[int, int]], shape: tuple[int, int]) -> np.ndarray:
    """Place a crop on an empty plane."""
    crop, (y, x) = mask
    plane = np.zeros(shape, bool)
    plane[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    return plane


class TestSampling:
    @given(SIZES, SIZES, st.sampled_from([np.float32, np.float16]))
    @FEW
    def test_is_that_of_torch(self, size: tuple[int, int], plane: tuple[int, int], dtype: type) -> None:
        values = _random(size).astype(dtype)
        ours = Logits(values, (0, 0, *plane), plane).sample((0, 0, *plane))
        theirs = F.interpolate(torch.from_numpy(values.astype(np.float32))[None, None], plane, mode="bilinear")
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs[0, 0], atol=1e-5)

    @given(
        SIZES,
        st.tuples(st.floats(-20, 20), st.floats(-20, 20), st.floats(1, 40), st.floats(1, 40)),
        st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3)),
    )
    @FEW
    def test_of_a_ramp_gives_the_ramp(
        self, size: tuple[int, int], place: tuple[float, ...], ramp: tuple[float, float, float]
    ) -> None:
        (y0, x0, height, width), (a, b, c) = place, ramp
        cell = height / size[0], width / size[1]
        # A cell's centre lies half a cell from its edge; a pixel's centre is half a pixel from the edge of a box.
        ys = y0 + (np.arange(size[0]) + 0.5) * cell[0] - 0.5
        xs = x0 + (np.arange(size[1]) + 0.5) * cell[1] - 0.5
        values = (a * ys[:, None] + b * xs + c).astype(np.float32)
        box = (-25, -25, 65, 65)
        sampled = Logits(values, (y0, x0, y0 + height, x0 + width), (40, 40)).sample(box)
        py, px = (p.ravel() for p in np.ogrid[-25:65, -25:65])
        between = np.ix_((py >= ys[0]) & (py <= ys[-1]), (px >= xs[0]) & (px <= xs[-1]))
        np.testing.assert_allclose(sampled[between], (a * py[:, None] + b * px + c)[between], atol=2e-3)
        seen = np.outer((py + 0.5 > y0) & (py + 0.5 < y0 + height), (px + 0.5 > x0) & (px + 0.5 < x0 + width))
        assert (sampled[~seen & _away(py, px, (y0, x0, y0 + height, x0 + width))] == logits.OUTSIDE).all()
        assert (sampled[seen] >= values.min() - 1e-3).all()

    def test_at_the_pixels_of_values_gives_the_values(self) -> None:
        values = _random((5, 7))
        one = Logits(values, (10, 20, 15, 27), (40, 40))
        np.testing.assert_array_equal(one.sample((10, 20, 15, 27)), values)
        np.testing.assert_array_equal(one.sample((12, 19, 13, 22)), [[logits.OUTSIDE, *values[2, :2]]])

    def test_of_no_pixels_is_empty(self) -> None:
        assert Logits(_random((2, 2)), (0, 0, 4, 4), (4, 4)).sample((3, 1, 3, 4)).shape == (0, 3)

    @given(SIZES, SIZES, st.tuples(st.floats(-4, 4), st.floats(-4, 4), st.floats(0.5, 9), st.floats(0.5, 9)))
    @FEW
    def test_on_a_grid_is_between_the_values_around(
        self, size: tuple[int, int], grid: tuple[int, int], place: tuple[float, ...]
    ) -> None:
        y, x, height, width = place
        values = _random(size)
        found = Logits(values, (0, 0, 4, 4), (4, 4)).resample((y, x, y + height, x + width), grid)
        assert found.shape == grid
        seen = found[found != logits.OUTSIDE]
        assert (seen >= values.min() - 1e-5).all()
        assert (seen <= values.max() + 1e-5).all()


def _away(py: np.ndarray, px: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Tell pixels whose centre is not on the very edge of a box, where rounding decides."""
    y0, x0, y1, x1 = box
    ys = np.minimum(abs(py + 0.5 - y0), abs(py + 0.5 - y1)) > 1e-9
    xs = np.minimum(abs(px + 0.5 - x0), abs(px + 0.5 - x1)) > 1e-9
    return np.outer(ys, xs)


class TestMask:
    @given(
        SIZES,
        st.tuples(st.integers(1, 30), st.integers(1, 30)),
        st.tuples(st.floats(-12, 25), st.floats(-12, 25), st.floats(0.5, 60), st.floats(0.5, 60)),
        st.integers(0, 99),
        st.floats(-1.5, 1.5),
    )
    @FEW
    def test_is_where_the_sampled_plane_is_positive_and_tight(
        self, size: tuple[int, int], plane: tuple[int, int], place: tuple[float, ...], seed: int, bias: float
    ) -> None:
        y0, x0, height, width = place
        one = Logits(_random(size, seed) + np.float32(bias), (y0, x0, y0 + height, x0 + width), plane)
        crop, offset = one.mask()
        np.testing.assert_array_equal(_whole((crop, offset), plane), one.sample((0, 0, *plane)) > 0)
        assert crop.dtype == bool
        if crop.size:
            assert all(side.any() for side in (crop[0], crop[-1], crop[:, 0], crop[:, -1]))
        else:
            assert (crop.shape, offset) == ((0, 0), (0, 0))

    def test_of_a_large_plane_is_drawn_in_bands(self, monkeypatch: pytest.MonkeyPatch) -> None:
        one = Logits(_random((9, 9)), (0, 0, 50, 60), (50, 60))
        at_once = one.mask()
        monkeypatch.setattr(logits, "BAND", 130)
        banded = one.mask()
        assert banded[1] == at_once[1]
        np.testing.assert_array_equal(banded[0], at_once[0])

    def test_is_half_a_pixel_right(self) -> None:
        # Two cells of two pixels; the zero of -1..3 lies a quarter of the way between their centres.
        crop, offset = Logits(np.array([[-1.0, 3.0]], np.float32), (0, 0, 2, 40), (2, 40)).mask()
        assert (offset, crop.shape) == ((0, 15), (2, 25))

    @given(MASKS)
    @FEW
    def test_of_a_mask_is_the_mask(self, mask: np.ndarray) -> None:
        one = Logits.of_mask(mask)
        np.testing.assert_array_equal(_whole(one.mask(), mask.shape), mask)
        assert one.shape == mask.shape
        assert one.stability() == (1.0 if mask.any() else 0.0)

    def test_of_a_crop_may_stick_out_of_the_plane(self) -> None:
        crop, offset = Logits.of_crop(np.ones((4, 4), bool), (-2, 8), (9, 10)).mask()
        assert (crop.shape, offset) == ((2, 2), (0, 8))

    def test_of_what_is_positive_beside_the_plane_alone_is_empty(self) -> None:
        assert Logits(np.ones((2, 2), np.float32), (-9, 0, -1, 9), (9, 9)).mask()[0].shape == (0, 0)

    def test_of_what_lies_between_pixel_centres_is_empty(self) -> None:
        assert Logits(np.ones((2, 2), np.float32), (3.6, 3.6, 4.4, 4.4), (9, 9)).mask()[0].shape == (0, 0)

    def test_is_a_copy(self) -> None:
        mask = np.ones((3, 3), bool)
        one = Logits.of_mask(mask)
        mask[:] = False
        assert one.mask()[0].all()


@given(hnp.arrays(np.float32, (6, 5), elements=st.floats(-1, 1, width=32)), st.integers(0, 2))
@FEW
def test_the_positive_region_loses_nothing_and_is_tight(values: np.ndarray, margin: int) -> None:
    # Cells of 2 x 3 pixels.
    region = Logits(values, (10, 20, 22, 35), (99, 99)).positive_region(margin)
    rows, columns = np.nonzero(values > 0)
    if not len(rows):
        assert region is None
        return
    assert region is not None
    y0, x0 = 10 + 2 * (rows.min() - margin), 20 + 3 * (columns.min() - margin)
    y1, x1 = 10 + 2 * (rows.max() + 1 + margin), 20 + 3 * (columns.max() + 1 + margin)
    np.testing.assert_allclose(region, (y0, x0, y1, x1))


@pytest.mark.parametrize(
    ("values", "offset", "stability"),
    [
        ([[2, 2, 0, -2]], 1, 2 / 3),
        ([[2, 2, 0, -2]], 3, 0),
        ([[2, 2, 0, -2]], 0, 1),
        ([[1, -1]], 1, 0),
        ([[-9, -9]], 1, 0),
    ],
)
def test_stability_is_the_iou_of_a_stricter_and_a_laxer_mask(
    values: list[list[float]], offset: float, stability: float
) -> None:
    one = Logits(np.array(values, np.float32), (0, 0, 1, len(values[0])), (1, 4))
    assert one.stability(offset) == pytest.approx(stability)


@pytest.mark.parametrize(
    ("values", "box"),
    [
        (np.zeros((0, 3)), (0, 0, 1, 1)),
        (np.zeros(3), (0, 0, 1, 1)),
        (np.zeros((3, 3)), (0, 0, 0, 1)),
        (np.zeros((3, 3)), (0, 2, 1, 1)),
        (np.zeros((3, 3)), (0, float("nan"), 1, 1)),
    ],
)
def test_what_cannot_be_interpolated_is_refused(values: np.ndarray, box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match=r"got logits of shape .* expected a grid"):
        Logits(values, box, (9, 9))


def test_a_stack_is_no_mask() -> None:
    with pytest.raises(ValueError, match=r"got a mask of shape \(2, 3, 4\), expected \(H, W\)"):
        Logits.of_mask(np.zeros((2, 3, 4), bool))
