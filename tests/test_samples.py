"""Synthetic cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import regionprops

from sam_core import samples
from sam_core.samples import Sample


def rods(shape: tuple[int, int] = (256, 256), *, diameter: float = 8.0, **options: Any) -> Sample:
    return samples.rods(shape, width=diameter, **options)


MAKERS: list[tuple[Callable[..., Sample], str, tuple[int, ...]]] = [
    (samples.cells, "YX", (80, 90)),
    (rods, "YX", (80, 90)),
    (samples.z_stack, "ZYX", (6, 80, 90)),
    (samples.time_lapse, "TYX", (4, 80, 90)),
]


@pytest.mark.parametrize(("make", "axes", "shape"), MAKERS)
class TestEachKind:
    def test_is_an_image_and_its_truth(self, make: Callable[..., Sample], axes: str, shape: tuple[int, ...]) -> None:
        sample = make(shape, count=5, seed=3)
        assert sample.axes == axes
        assert sample.image.shape == sample.labels.shape == shape
        assert (sample.image.dtype, sample.labels.dtype) == (np.uint16, np.int32)
        assert np.unique(sample.labels).tolist() == [0, 1, 2, 3, 4, 5]
        inside, outside = sample.image[sample.labels > 0], sample.image[sample.labels == 0]
        assert np.median(inside) > 2 * np.median(outside)

    def test_is_made_by_its_seed(self, make: Callable[..., Sample], axes: str, shape: tuple[int, ...]) -> None:
        assert axes
        one, same, other = (make(shape, count=5, seed=seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one.image, same.image)
        np.testing.assert_array_equal(one.labels, same.labels)
        assert not np.array_equal(one.labels, other.labels)

    def test_has_no_more_cells_than_fit(self, make: Callable[..., Sample], axes: str, shape: tuple[int, ...]) -> None:
        assert axes
        assert make(shape, count=0).labels.max() == 0
        assert 1 <= make((*shape[:-2], 20, 20), count=30, diameter=40).labels.max() < 20
        assert make(tuple(1 for _ in shape)).image.size == 1

    def test_that_cannot_be_is_refused(self, make: Callable[..., Sample], axes: str, shape: tuple[int, ...]) -> None:
        message = r"got .* cells of .* pixels in .*, expected a count of at least 0, sides and a diameter"
        wrong: list[dict[str, Any]] = [{"count": -1}, {"diameter": 0.5}, {"diameter": float("nan")}]
        wrong += [{"shape": (*shape[:i], 0, *shape[i + 1 :])} for i in range(len(axes))]
        for options in wrong:
            with pytest.raises(ValueError, match=message):
                make(**{"shape": shape, **options})


def test_cells_are_whole_and_of_about_the_diameter_asked_for() -> None:
    sample = samples.cells((400, 400), count=40, diameter=30, seed=1)
    regions = regionprops(sample.labels)
    assert len(regions) == 40
    assert all(ndimage.label(region.image)[1] == 1 for region in regions)
    inner = [r.equivalent_diameter_area for r in regions if min(r.bbox[:2]) > 0 and max(r.bbox[2:]) < 400]
    assert 24 < np.mean(inner) < 33


def test_some_cells_touch() -> None:
    labels = samples.cells((256, 256), count=80, seed=0).labels
    grown = ndimage.grey_dilation(labels, size=(3, 3))
    assert ((grown != labels) & (labels > 0)).any()


def test_dark_cells_are_darker_than_the_ground() -> None:
    sample = samples.cells(dark=True, seed=1)
    assert np.median(sample.image[sample.labels > 0]) < np.median(sample.image[sample.labels == 0])
    np.testing.assert_array_equal(sample.labels, samples.cells(seed=1).labels)


@pytest.mark.parametrize(("width", "length"), [(6.0, 30.0), (10.0, 20.0), (9.0, 5.0)])
def test_rods_are_as_wide_and_long_as_asked_for(width: float, length: float) -> None:
    sample = samples.rods((300, 300), count=30, width=width, length=length, bend=0.0, seed=1)
    inner = [r for r in regionprops(sample.labels) if min(r.bbox[:2]) > 0 and max(r.bbox[2:]) < 300]
    assert len(inner) > 10
    long = max(length, width)  # no shorter than its round ends
    assert np.mean([r.feret_diameter_max for r in inner]) == pytest.approx(long, rel=0.2)
    assert np.mean([r.area for r in inner]) == pytest.approx(width * long - (1 - np.pi / 4) * width**2, rel=0.2)


def test_rods_lie_side_by_side_and_never_on_each_other() -> None:
    labels = samples.rods(count=80, seed=0).labels
    assert ((ndimage.grey_dilation(labels, size=(3, 3)) != labels) & (labels > 0)).any()
    whole = [ndimage.label(region.image)[1] == 1 for region in regionprops(labels)]
    assert np.mean(whole) > 0.95  # what is taken already may cut a thin one in two


def test_a_rod_without_a_length_is_refused() -> None:
    with pytest.raises(ValueError, match="got 60 cells of nan pixels"):
        samples.rods(length=float("nan"))


def test_rods_bend() -> None:
    straight, bent = (samples.rods(count=20, length=60, bend=bend, seed=2).labels for bend in (0.0, 0.05))
    solid = [np.mean([r.solidity for r in regionprops(labels)]) for labels in (straight, bent)]
    assert solid[1] < solid[0] - 0.05


def test_rods_in_phase_contrast_are_dark_with_a_bright_halo() -> None:
    sample = samples.rods(phase=True, seed=1)
    inside = sample.labels > 0
    away = ndimage.distance_transform_edt(~inside)
    dark, halo, ground = (np.median(sample.image[m]) for m in (inside, (away > 0) & (away < 3), away > 15))
    assert dark < ground < halo


def test_cells_of_a_stack_are_thickest_in_the_middle() -> None:
    labels = samples.z_stack((40, 100, 100), count=1, diameter=60, seed=2).labels
    areas = (labels == 1).sum(axis=(1, 2))
    on = np.flatnonzero(areas)
    assert 10 < len(on) < 30
    assert on[0] < areas.argmax() < on[-1]


def test_cells_of_a_time_lapse_drift_slowly() -> None:
    labels = samples.time_lapse((6, 200, 200), count=6, seed=0).labels
    for number in range(1, 7):
        centres = np.array([ndimage.center_of_mass(frame == number) for frame in labels if (frame == number).any()])
        steps = np.hypot(*np.diff(centres, axis=0).T)
        assert 0 < steps.max() < 5


def test_a_cell_that_drifts_out_of_sight_is_gone() -> None:
    labels = samples.time_lapse((60, 60, 60), count=6, seed=1).labels
    assert len(np.unique(labels[-1])) < len(np.unique(labels[0]))
