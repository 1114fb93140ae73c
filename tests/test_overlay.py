import numpy as np
import pytest

from sam_core.overlay import colours, comfortable_scale, montage, overlay


def _ring() -> np.ndarray:
    labels = np.zeros((40, 40), np.int32)
    labels[4:36, 4:36] = 1
    labels[12:28, 12:28] = 0
    return labels


def test_nothing_is_drawn_where_there_is_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    assert np.array_equal(overlay(image, np.zeros((20, 30), int), scale=1), image)


def test_inside_is_filled_lightly_and_a_hole_is_not() -> None:
    image = np.full((40, 40, 3), 100, np.uint8)
    drawn = overlay(image, _ring(), scale=4)
    assert (drawn[80, 80] == 100).all()
    assert (drawn[32, 80] != 100).any()
    assert np.abs(drawn[32, 80].astype(int) - 100).max() < 60


def test_the_contour_runs_between_inside_and_outside() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[10:30, 10:30] = 1
    drawn = overlay(np.zeros((40, 40, 3), np.uint8), labels, scale=4, fill=0)
    rows = np.flatnonzero(drawn[:, 80].max(axis=-1) > 100)
    assert np.abs(rows[rows < 80] - 39.5).max() <= 3
    assert np.abs(rows[rows > 80] - 119.5).max() <= 3


@pytest.mark.parametrize("size", [1, 2])
def test_the_smallest_objects_are_drawn(size: int) -> None:
    labels = np.zeros((9, 9), np.int32)
    labels[4 : 4 + size, 4] = 7
    assert overlay(np.zeros((9, 9, 3), np.uint8), labels).any()


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="of the image"):
        overlay(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 8), int))


def test_colours_differ_from_those_of_their_neighbours() -> None:
    chosen = colours(60).astype(int)
    nearest = min(np.abs(chosen[i] - chosen[i + k]).max() for k in (1, 2, 3, 4) for i in range(60 - k))
    assert nearest > 25


@pytest.mark.parametrize(("shape", "scale"), [((10, 10), 4), ((512, 512), 2), ((4000, 300), 1)])
def test_a_small_image_is_enlarged(shape: tuple[int, int], scale: int) -> None:
    assert comfortable_scale(shape) == scale


def test_a_montage_needs_pictures_of_one_shape() -> None:
    with pytest.raises(ValueError, match="one shape"):
        montage([])
    with pytest.raises(ValueError, match="one shape"):
        montage([np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)])


def test_a_montage_holds_each_picture() -> None:
    pictures = [np.full((10, 20, 3), 40 * i, np.uint8) for i in range(1, 5)]
    sheet = montage(pictures, columns=2, gap=3)
    assert [sheet[y, x, 0] for y in (8, 21) for x in (10, 35)] == [40, 80, 120, 160]
