"""Between a plane and a picture of a part of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sam_core import Logits, Prompt
from sam_core.frame import Frame

FEW = settings(max_examples=60, deadline=None)
PLACES = st.floats(-5000, 5000)
FRAMES = st.builds(
    Frame,
    st.tuples(PLACES, PLACES),
    st.tuples(st.floats(0.25, 32), st.floats(0.25, 32)),
    st.just((64, 48)),
)


@given(FRAMES, st.tuples(PLACES, PLACES))
@FEW
def test_points_come_back(frame: Frame, point: tuple[float, float]) -> None:
    points = np.array([point, (0, 0)])
    np.testing.assert_allclose(frame.points_out(frame.points_into(points)), points, atol=0.02)
    np.testing.assert_allclose(frame.points_into(frame.points_out(points)), points, atol=0.02)
    assert frame.points_into(points).dtype == frame.points_out(points).dtype == np.float32


@given(FRAMES, st.tuples(PLACES, PLACES, PLACES, PLACES))
@FEW
def test_boxes_come_back(frame: Frame, box: tuple[float, float, float, float]) -> None:
    assert frame.box_out(frame.box_into(box)) == pytest.approx(box, abs=1e-6)
    assert frame.box_into(frame.box_out(box)) == pytest.approx(box, abs=1e-6)


@given(FRAMES, st.tuples(st.integers(-50, 50), st.integers(-50, 50)))
@FEW
def test_the_middle_of_a_pixels_box_is_its_centre(frame: Frame, pixel: tuple[int, int]) -> None:
    y, x = pixel
    y0, x0, y1, x1 = frame.box_into((y, x, y + 1, x + 1))
    ((py, px),) = frame.points_into(np.array([pixel], float))
    assert (py, px) == pytest.approx(((y0 + y1) / 2 - 0.5, (x0 + x1) / 2 - 0.5), rel=1e-5, abs=1e-3)


@pytest.mark.parametrize("scale", [2, 4])
def test_a_spot_is_found_where_shrinking_puts_it(scale: int) -> None:
    plane = np.zeros((64, 96), np.float32)
    plane[24 : 24 + scale, 40 : 40 + scale] = 1
    shrunk = np.asarray(Image.fromarray(plane[16:, 32:]).reduce(scale))
    frame = Frame((16, 32), (scale, scale), (shrunk.shape[0], shrunk.shape[1]))
    (spot,) = np.argwhere(shrunk == shrunk.max())
    middle = (scale - 1) / 2
    assert frame.points_into(np.array([(24 + middle, 40 + middle)])).tolist() == [spot.tolist()]
    assert frame.box_into((24, 40, 24 + scale, 40 + scale)) == (*spot, *(spot + 1))


def test_the_first_pixel_of_a_frame_that_is_not_shrunk_is_its_origin() -> None:
    frame = Frame((100, 7), (1, 1), (50, 50))
    assert frame.points_out(np.zeros((1, 2))).tolist() == [[100, 7]]
    assert frame.box_out((0, 0, 1, 1)) == (100, 7, 101, 8)


class TestPrompts:
    def test_all_parts_are_placed(self) -> None:
        previous = Logits(np.ones((2, 2), np.float32), (100, 0, 140, 20), (400, 300))
        prompt = Prompt.of([(120, 9), (101, 1)], [True, False], box=(100, 0, 120, 10), previous=previous)
        placed = Frame((100, 0), (2, 2), (50, 60)).prompt_into(prompt)
        assert placed.points.tolist() == [[9.75, 4.25], [0.25, 0.25]]
        assert placed.positive.tolist() == [True, False]
        assert placed.box is not None
        assert (placed.box.tolist(), placed.box.dtype) == ([0, 0, 10, 5], np.float32)
        assert placed.previous is not None
        assert placed.previous.box == (0, 0, 20, 10)
        assert placed.previous.shape == (50, 60)
        assert placed.previous.values is previous.values

    def test_a_proposal_stays_one(self) -> None:
        frame, prompt = Frame((0, 0), (2, 2), (50, 60)), Prompt.of([(1, 1)])
        assert frame.prompt_into(replace(prompt, proposed=True)).proposed
        assert not frame.prompt_into(prompt).proposed

    def test_what_is_missing_stays_missing(self) -> None:
        placed = Frame((0, 0), (2, 2), (50, 60)).prompt_into(Prompt.of([(1, 1)]))
        assert placed.box is placed.previous is None
        assert Frame((0, 0), (2, 2), (9, 9)).prompt_into(Prompt.of(box=(0, 0, 4, 4))).points.shape == (0, 2)

    @given(FRAMES)
    @FEW
    def test_logits_come_back(self, frame: Frame) -> None:
        one = Logits(np.ones((3, 2), np.float32), (10, 20, 40, 35.5), (400, 300))
        placed = frame.prompt_into(Prompt.of(previous=one)).previous
        assert placed is not None
        back = frame.logits_out(placed.values, placed.box, (400, 300))
        assert back.box == pytest.approx(one.box, abs=1e-6)
        assert back.shape == one.shape
        assert back.values is one.values

    def test_a_previous_mask_keeps_its_place_on_the_picture(self) -> None:
        mask = np.zeros((40, 60), bool)
        mask[20:28, 30:40] = True
        placed = Frame((10, 20), (2, 2), (15, 20)).prompt_into(Prompt.of(previous=mask)).previous
        assert placed is not None
        crop, offset = placed.mask()
        assert (offset, crop.shape) == ((5, 5), (4, 5))
        assert crop.all()
