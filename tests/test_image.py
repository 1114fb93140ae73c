"""Any image to what an encoder eats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.exposure import rescale_intensity

from sam_core import ImageError, image, to_rgb8
from sam_core.contrast import stretch

INTEGERS = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]
FLOATS = [np.float16, np.float32, np.float64, np.longdouble]
NAN, INF = float("nan"), float("inf")


def _ramp(dtype: type, shape: tuple[int, ...] = (8, 16)) -> np.ndarray:
    return np.linspace(0, 120, int(np.prod(shape))).reshape(shape).astype(dtype)


def _gray(rgb8: np.ndarray) -> np.ndarray:
    """Return the one channel that all three are."""
    assert rgb8.dtype == np.uint8
    assert rgb8.ndim == 3
    assert (rgb8 == rgb8[..., :1]).all()
    return rgb8[..., 0]


class TestWhatItTakes:
    @pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, ">u2", ">f4"])
    def test_any_real_type_is_stretched_between_percentiles(self, dtype: type) -> None:
        plane = _ramp(dtype)
        low, high = (0, 255) if dtype == np.uint8 else np.percentile(plane.astype(float), (0.5, 99.8))
        expected = rescale_intensity(plane.astype(float), (low, high), (0, 255)).round()
        assert abs(_gray(to_rgb8(plane)) - expected).max() <= 1
        assert dtype == np.uint8 or (to_rgb8(plane).min(), to_rgb8(plane).max()) == (0, 255)

    @pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 3), (5, 6, 4), (1, 1), (1, 9), (3, 1, 3)])
    def test_8_bits_pass_unchanged(self, shape: tuple[int, ...]) -> None:
        plane = np.random.default_rng(0).integers(50, 60, shape, dtype=np.uint8)
        rgb = np.broadcast_to(plane.reshape(*shape[:2], -1)[..., :3], (*shape[:2], 3))
        np.testing.assert_array_equal(to_rgb8(plane), rgb)

    def test_a_mask_is_black_and_white(self) -> None:
        assert _gray(to_rgb8(np.array([[True, False]]))).tolist() == [[255, 0]]
        assert _gray(to_rgb8(np.array([[True]]))).tolist() == [[255]]

    def test_two_channels_are_red_and_green(self) -> None:
        plane = np.array([[[1, 2], [3, 4]]], np.uint8)
        assert to_rgb8(plane).tolist() == [[[1, 2, 0], [3, 4, 0]]]

    def test_alpha_is_left_out_before_anything_is_measured(self) -> None:
        rgb = _ramp(np.uint16, (6, 7, 3))
        rgba = np.concatenate([rgb, np.full((6, 7, 1), 65535, np.uint16)], axis=2)
        np.testing.assert_array_equal(to_rgb8(rgba), to_rgb8(rgb))

    def test_channels_are_stretched_as_one(self) -> None:
        rgb = np.stack([_ramp(np.float32), _ramp(np.float32) / 2, np.zeros((8, 16), np.float32)], axis=2)
        red, green, blue = to_rgb8(rgb).max(axis=(0, 1))
        assert red == 255
        assert 126 <= green <= 129
        assert blue == 0

    @pytest.mark.parametrize("count", [1, 3, 4, 7, 32])
    def test_one_channel_alone_is_gray(self, count: int) -> None:
        many = np.random.default_rng(0).random((9, 9, count))
        chosen = np.int64(count - 1)
        np.testing.assert_array_equal(to_rgb8(many, channel=chosen), to_rgb8(many[..., count - 1]))

    def test_one_channel_of_a_plane_is_the_plane(self) -> None:
        np.testing.assert_array_equal(to_rgb8(_ramp(np.uint16), channel=0), to_rgb8(_ramp(np.uint16)))

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, bool])
    def test_limits_become_black_and_white(self, dtype: type) -> None:
        plane = np.array([[0, 1, 60, 110, 120]]).astype(dtype)
        expected = rescale_intensity(plane.astype(float), (10, 110), (0, 255)).round()
        np.testing.assert_array_equal(_gray(to_rgb8(plane, limits=(10, 110))), expected)

    def test_a_few_bright_spots_are_seen(self) -> None:
        plane = np.full((100, 100), 7, np.uint16)
        plane[50, 50] = 9
        assert _gray(to_rgb8(plane))[50, 50] == 255
        assert np.count_nonzero(to_rgb8(plane)) == 3

    def test_any_layout_in_memory(self) -> None:
        plane = _ramp(np.uint16, (40, 30))
        expected = to_rgb8(plane[::2, 1::3].copy())
        np.testing.assert_array_equal(to_rgb8(plane[::2, 1::3]), expected)
        np.testing.assert_array_equal(to_rgb8(np.asfortranarray(plane[::2, 1::3])), expected)
        plane.flags.writeable = False
        to_rgb8(plane)

    def test_a_list_of_lists(self) -> None:
        assert to_rgb8([[0, 1], [2, 3]]).shape == (2, 2, 3)

    @pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 4)])
    def test_the_result_is_no_view(self, shape: tuple[int, ...]) -> None:
        plane = np.ones(shape, np.uint8)
        found = to_rgb8(plane)
        assert not np.shares_memory(found, plane)
        assert found.flags.c_contiguous
        assert found.flags.writeable


class TestNumericalEdges:
    @pytest.mark.parametrize("dtype", [*INTEGERS[1:], *FLOATS])
    @pytest.mark.parametrize("shape", [(5, 5), (1, 1), (1, 1, 3)])
    def test_a_constant_is_black(self, dtype: type, shape: tuple[int, ...]) -> None:
        assert not to_rgb8(np.full(shape, 77, dtype)).any()

    @pytest.mark.parametrize("bad", [NAN, INF, -INF])
    def test_what_is_not_finite_is_dark_and_does_not_count(self, bad: float) -> None:
        plane = _ramp(np.float32)
        expected = _gray(to_rgb8(plane[:, 4:])).copy()
        plane[:, :4] = bad
        found = _gray(to_rgb8(plane))
        assert not found[:, :4].any()
        np.testing.assert_array_equal(found[:, 4:], expected)

    def test_what_is_not_finite_in_a_constant_is_dark(self) -> None:
        assert not to_rgb8(np.array([[1, INF, -INF, NAN]])).any()
        assert not to_rgb8(np.array([[1, INF, -INF, NAN]]), limits=(0, 0)).any()

    def test_a_large_offset_costs_no_grey_values(self) -> None:
        ramp = np.arange(256).reshape(16, 16)
        for dtype, offset in ((np.uint32, 2**32 - 300), (np.int64, -(2**45)), (np.float64, 1e9)):
            assert len(np.unique(to_rgb8(ramp.astype(dtype) + dtype(offset)))) > 250

    def test_the_ends_of_a_type_fit(self) -> None:
        for dtype in INTEGERS[1:]:
            ends = np.array([[np.iinfo(dtype).min, np.iinfo(dtype).max]], dtype)
            assert _gray(to_rgb8(ends)).tolist() == [[0, 255]]
        for dtype in FLOATS[:2]:
            ends = np.array([[np.finfo(dtype).min, 0, np.finfo(dtype).max]], dtype)
            black, gray, white = _gray(to_rgb8(ends))[0]
            assert (black, white) == (0, 255)
            assert 126 <= gray <= 129

    def test_what_is_too_large_to_subtract_is_bright(self) -> None:
        plane = np.array([[-1.7e308, -1e308, 0.7e308, 1.7e308]])
        assert _gray(to_rgb8(plane, limits=(-1e308, 0.7e308))).tolist() == [[0, 0, 255, 255]]
        assert not to_rgb8(plane, limits=(-1.7e308, 1.7e308)).any()

    @given(
        hnp.arrays(
            st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.uint64, np.int8]),
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        )
    )
    @settings(max_examples=80, deadline=None)
    def test_whatever_the_values_order_is_kept(self, plane: np.ndarray) -> None:
        if not np.isfinite(plane).any():
            with pytest.raises(ImageError, match="without a single finite value"):
                to_rgb8(plane)
            return
        found, finite = _gray(to_rgb8(plane)), np.isfinite(plane)
        assert not found[~finite].any()
        assert (np.diff(found[finite][np.argsort(plane[finite])].astype(int)) >= 0).all()


class TestLargePlanes:
    @pytest.fixture(autouse=True)
    def _small_limits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take for large what is not."""
        monkeypatch.setattr(image, "SAMPLE", 100)
        monkeypatch.setattr(image, "BAND", 70)

    def test_bands_join_without_a_seam(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plane = np.random.default_rng(0).random((31, 17, 3))
        banded = to_rgb8(plane, limits=(0.2, 0.9))
        monkeypatch.setattr(image, "BAND", 10**9)
        np.testing.assert_array_equal(banded, to_rgb8(plane, limits=(0.2, 0.9)))
        monkeypatch.setattr(image, "BAND", 1)
        np.testing.assert_array_equal(banded, to_rgb8(plane, limits=(0.2, 0.9)))

    def test_percentiles_of_a_sample_are_near_enough(self) -> None:
        plane = np.random.default_rng(0).normal(1000, 100, (300, 200))
        low, high = np.percentile(plane, (0.5, 99.8))
        expected = rescale_intensity(plane, (low, high), (0, 255))
        assert abs(_gray(to_rgb8(plane)) - expected).mean() < 20

    @pytest.mark.parametrize("channel", [0, 1, 2])
    def test_all_channels_are_sampled(self, channel: int) -> None:
        rgb = np.zeros((60, 60, 3), np.uint16)
        rgb[..., channel] = 1000 + np.arange(60)
        assert to_rgb8(rgb)[..., channel].min() > 200

    def test_all_columns_are_sampled(self) -> None:
        plane = np.zeros((100, 100), np.uint16)
        plane[:, 50:] = 1000
        assert np.unique(to_rgb8(plane)).tolist() == [0, 255]

    def test_a_spot_that_is_not_in_the_sample_is_seen(self) -> None:
        plane = np.full((60, 60), NAN)
        plane[31, 31], plane[31, 33] = 5, 6
        assert np.argwhere(_gray(to_rgb8(plane))).tolist() == [[31, 33]]


class TestWhatItRefuses:
    @pytest.mark.parametrize(
        ("plane", "message"),
        [
            (np.zeros((0, 5)), r"got an image of shape \(0, 5\), expected a plane \(H, W\) or \(H, W, C\) with pixels"),
            (np.zeros((5, 0, 3), np.uint8), r"got an image of shape \(5, 0, 3\)"),
            (np.zeros((5, 5, 0)), r"got an image of shape \(5, 5, 0\)"),
            (np.zeros(()), r"got an image of shape \(\)"),
            (np.zeros(9), r"got an image of shape \(9,\)"),
            (np.zeros((2, 5, 5, 3)), r"got an image of shape \(2, 5, 5, 3\), .*; choose one plane"),
            (np.zeros((5, 5, 9)), r"with 9 channels, expected 1 to 4; choose one with channel="),
            (np.zeros((9, 64, 64)), r"got an image of shape \(9, 64, 64\) .*; choose one plane of a stack with image"),
            (np.zeros((3, 64, 64)), r"with 64 channels, .*, or bring channels last with np.moveaxis\(image, 0, -1\)"),
            (np.full((5, 5), NAN), "got an image without a single finite value, expected some pixels"),
            (np.array([[INF, -INF]], np.float16), "got an image without a single finite value"),
            (np.zeros((5, 5), complex), r"got an image of dtype complex128, expected real numbers; take np.abs"),
            (np.zeros((5, 5), object), "got an image of dtype object, expected numbers; read it with an image library"),
            (np.array([["a"]]), "got an image of dtype <U1, expected numbers"),
            (np.zeros((5, 5), "m8[s]"), r"got an image of dtype timedelta64\[s\], expected numbers"),
            (np.zeros((5, 5), "M8[s]"), r"got an image of dtype datetime64\[s\], expected numbers"),
            (
                np.zeros((5, 5), [("r", "u1"), ("g", "u1")]),
                r"got an image of dtype \[\('r', 'u1'\), .*expected numbers",
            ),
            (None, "got an image of dtype object, expected numbers"),
            ("cells.png", "got an image of dtype <U9, expected numbers; read it with an image library first"),
        ],
    )
    def test_what_is_no_plane(self, plane: np.ndarray, message: str) -> None:
        with pytest.raises(ImageError, match=message):
            to_rgb8(plane)

    @pytest.mark.parametrize("channel", [-1, 3, 1.5])
    def test_a_channel_that_is_not_there(self, channel: int) -> None:
        with pytest.raises(ImageError, match=rf"got channel {channel} of an image with 3 channels, expected 0..2"):
            to_rgb8(np.zeros((5, 5, 3)), channel=channel)

    def test_a_channel_of_what_has_its_channels_first(self) -> None:
        with pytest.raises(ImageError, match=r"got an image of shape \(3, 64, 64\) with 64 channels"):
            to_rgb8(np.zeros((3, 64, 64)), channel=0)

    @pytest.mark.parametrize("limits", [(5, 1), (NAN, 1), (0, INF)])
    def test_limits_that_are_none(self, limits: tuple[float, float]) -> None:
        with pytest.raises(ImageError, match=r"got limits \(.*\), expected two finite values, the lower one first"):
            to_rgb8(np.zeros((5, 5)), limits=limits)


class TestContrast:
    def test_is_that_of_percentiles_and_keeps_hue(self) -> None:
        rgb8 = np.random.default_rng(0).integers(40, 90, (50, 60, 3), dtype=np.uint8)
        low, high = np.percentile(rgb8, (0.5, 99.8), method="inverted_cdf")
        expected = rescale_intensity(rgb8.astype(float), (low, high), (0, 255)).round()
        np.testing.assert_array_equal(stretch(rgb8), expected)

    def test_other_percentiles(self) -> None:
        rgb8 = np.arange(101, dtype=np.uint8).reshape(1, 101, 1).repeat(3, axis=2)
        found = stretch(rgb8, 10, 90)[0, :, 0]
        assert (np.flatnonzero(found == 0).max(), np.flatnonzero(found == 255).min()) == (10, 90)

    def test_a_constant_is_black(self) -> None:
        assert not stretch(np.full((4, 4, 3), 200, np.uint8)).any()

    def test_a_view_is_taken_as_it_looks_and_the_answer_is_a_plane_of_its_own(self) -> None:
        rgb8 = np.random.default_rng(0).integers(0, 99, (50, 60, 3), dtype=np.uint8)
        flipped = stretch(rgb8[::-1, ::-2])
        np.testing.assert_array_equal(flipped, stretch(rgb8[:, 1::2].copy())[::-1, ::-1])
        flipped[:] = 0  # writeable
        assert rgb8.any()


@pytest.mark.parametrize("limits", [None, (100.0, 3000.5), (0.0, 0.0)])
def test_16_bit_planes_look_as_the_same_numbers_do_in_any_other_type(limits: tuple[float, float] | None) -> None:
    values = np.random.default_rng(0).gamma(2, 600, (40, 50)).clip(0, 65535).astype(np.uint16)
    np.testing.assert_array_equal(to_rgb8(values, limits=limits), to_rgb8(values.astype(np.float64), limits=limits))
