"""Simulated sections of tissue, and the dyes they may be shown in."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from skimage.measure import regionprops

from sam_core.training.augment import restain
from sam_core.training.tissue import Kind, tissue

KINDS = get_args(Kind)
SEEDS = range(4)


@pytest.mark.parametrize("kind", KINDS)
class TestEachKind:
    def test_is_a_picture_and_its_truth(self, kind: Kind) -> None:
        for seed in SEEDS:
            plane = tissue((90, 110), kind, seed=seed)
            assert (plane.image.shape, plane.image.dtype) == ((90, 110, 3), np.uint8)
            assert (plane.labels.shape, plane.labels.dtype) == ((90, 110), np.int32)
            assert len(np.unique(plane.labels)) == plane.labels.max() + 1 > 2

    def test_is_made_by_its_seed(self, kind: Kind) -> None:
        one, same, other = (tissue((64, 64), kind, seed=seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one.image, same.image)
        np.testing.assert_array_equal(one.labels, same.labels)
        assert not np.array_equal(one.labels, other.labels)

    def test_nuclei_can_be_told_from_the_ground(self, kind: Kind) -> None:
        bright = []
        for seed in SEEDS:
            plane = tissue((100, 100), kind, seed=seed)
            light = plane.image.mean(axis=-1)
            bright.append(np.median(light[plane.labels > 0]) - np.median(light[plane.labels == 0]))
        assert all(b > 5 for b in bright) if kind == "fluorescence" else all(b < -5 for b in bright)


def test_nuclei_are_of_many_sizes_and_shapes() -> None:
    shapes = [p for seed in range(8) for p in regionprops(tissue((120, 120), "eosin", seed=seed).labels)]
    whole = [p for p in shapes if min(p.bbox) > 0 and max(p.bbox) < 120]
    areas, lengths = np.array([(p.area, p.axis_major_length / max(p.axis_minor_length, 1)) for p in whole]).T
    assert np.percentile(areas, 90) > 4 * np.percentile(areas, 10)
    assert np.percentile(lengths, 10) < 1.35
    assert np.percentile(lengths, 90) > 1.6


def test_fluorescence_is_gray_and_a_brown_stain_is_on_some_nuclei_only() -> None:
    gray = tissue((64, 64), "fluorescence", seed=0).image
    assert (gray == gray[..., :1]).all()
    plane = tissue((120, 120), "brown", seed=1)
    warmth = plane.image[..., 0].astype(float) - plane.image[..., 2]
    of_nuclei = [np.median(warmth[plane.labels == i]) for i in range(1, plane.labels.max() + 1)]
    assert min(of_nuclei) < -20 < 20 < max(of_nuclei)


class TestOtherDyes:
    def test_white_stays_white_and_what_absorbs_more_stays_darker(self) -> None:
        ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
        for seed in range(20):
            shown = restain(ramp, np.random.default_rng(seed))
            assert (shown.shape, shown.dtype) == (ramp.shape, np.uint8)
            assert shown[0, 255].tolist() == [255, 255, 255]
            assert (np.diff(shown[0].astype(int), axis=0) >= 0).all()

    def test_colours_change(self) -> None:
        purple = np.full((4, 4, 3), (120, 80, 170), np.uint8)
        shown = np.array([restain(purple, np.random.default_rng(seed))[0, 0] for seed in range(40)], float)
        assert (shown.std(axis=0) > 8).all()
        assert abs(shown.mean(axis=0) - purple[0, 0]).max() < 15
