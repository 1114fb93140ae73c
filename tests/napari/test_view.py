"""Patches: which parts of a plane are encoded, and the way into them and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_core import ImageError, Logits, Masks, Prompt
from sam_napari._source import Plane, Region
from sam_napari._view import (
    LARGEST,
    TILE,
    Patch,
    patch_at,
    patch_for,
    patches_in_view,
    patches_of,
    region_of,
    step_for,
)

FLAT = Plane((0, 1), (0, 0))
SHAPES = st.tuples(st.integers(1, 9000), st.integers(1, 9000))
STEPS = st.sampled_from([1, 2, 4, 8])
PLACES = st.tuples(st.floats(0, 1), st.floats(0, 1))


def _at(place: tuple[float, float], shape: tuple[int, int]) -> tuple[float, float]:
    """Return a point of a plane, pixel centres being whole numbers."""
    y, x = (min(p * n - 0.5, n - 0.5 - 1e-3) for p, n in zip(place, shape, strict=True))
    return y, x


# -- patches -------------------------------------------------------------------------------------------------------


@given(SHAPES, STEPS, PLACES)
def test_every_point_is_owned_by_one_patch_whose_window_holds_it(
    shape: tuple[int, int], step: int, place: tuple[float, float]
) -> None:
    point = _at(place, shape)
    patch = patch_at(FLAT, shape, step, point)
    y0, x0, y1, x1 = patch.box
    assert y0 <= point[0] + 0.5 < y1
    assert x0 <= point[1] + 0.5 < x1
    assert patch.owns(point)
    assert patch in patches_of(FLAT, shape, step)
    assert sum(each.owns(point) for each in patches_of(FLAT, shape, step)) == 1


@given(SHAPES, STEPS)
def test_patches_lie_on_the_plane_and_cover_it(shape: tuple[int, int], step: int) -> None:
    patches = patches_of(FLAT, shape, step)
    assert [patch.tile for patch in patches] == list(range(len(patches)))
    assert len({patch.shape for patch in patches}) == 1
    for patch in patches:
        y0, x0, y1, x1 = patch.box
        assert 0 <= y0 < y1 <= shape[0]
        assert 0 <= x0 < x1 <= shape[1]
        assert y0 % step == x0 % step == 0
        assert patch.shape == (math.ceil((y1 - y0) / step), math.ceil((x1 - x0) / step))
        assert max(patch.shape) <= LARGEST
    assert len({patch.box for patch in patches}) == len(patches)


@pytest.mark.parametrize(
    ("shape", "step", "count"),
    [((1, 1), 1, 1), ((1024, 1024), 1, 1), ((1025, 1024), 1, 2), ((8192, 8192), 8, 1), ((8192, 8192), 1, 121)],
)
def test_how_many(shape: tuple[int, int], step: int, count: int) -> None:
    assert len(patches_of(FLAT, shape, step)) == count


def test_large_planes_are_cut_as_tilings_cut() -> None:
    shape = (3 * 768, 2 * 768)
    assert tuple(patch.box for patch in patches_of(FLAT, shape)) == TILE.windows(shape)


@given(SHAPES, STEPS, PLACES, PLACES)
def test_a_patch_for_a_region_holds_it(
    shape: tuple[int, int], step: int, one: tuple[float, float], other: tuple[float, float]
) -> None:
    (ay, ax), (by, bx) = _at(one, shape), _at(other, shape)
    region = (min(ay, by) - 0.1, min(ax, bx) - 0.1, max(ay, by) + 0.6, max(ax, bx) + 0.6)
    patch = patch_for(FLAT, shape, step, region)
    assert patch.holds(region)
    assert patch.step >= step
    assert patch.step == step or not any(each.holds(region) for each in patches_of(FLAT, shape, patch.step // 2))


@given(SHAPES, STEPS, PLACES, PLACES, st.none() | PLACES)
@settings(deadline=None)
def test_what_is_in_view_comes_first_and_the_nearest_before_all(
    shape: tuple[int, int],
    step: int,
    one: tuple[float, float],
    other: tuple[float, float],
    cursor: tuple[float, float] | None,
) -> None:
    (ay, ax), (by, bx) = _at(one, shape), _at(other, shape)
    view: Region = (min(ay, by), min(ax, bx), max(ay, by) + 1, max(ax, bx) + 1)
    at = None if cursor is None else (ay + cursor[0] * (by - ay), ax + cursor[1] * (bx - ax))
    patches = patches_in_view(FLAT, shape, step, view, at)
    assert len(set(patches)) == len(patches)
    assert patches[0].owns(at or ((view[0] + view[2] - 1) / 2, (view[1] + view[3] - 1) / 2))
    assert {patch_at(FLAT, shape, step, (y, x)) for y in (ay, by) for x in (ax, bx)} <= set(patches)


def test_a_view_is_followed_by_the_ring_around_it() -> None:
    shape = (768 * 5, 768 * 5)
    patches = patches_in_view(FLAT, shape, 1, (800, 800, 1700, 900), (1650, 850))
    assert [patch.tile for patch in patches[:2]] == [11, 6]
    assert sorted(patch.tile for patch in patches[2:]) == [0, 1, 2, 5, 7, 10, 12, 15, 16, 17]


@pytest.mark.parametrize("view", [(-50, 0, -1, 10), (0, 300, 10, 400), (20, 20, 20, 40)])
def test_a_view_that_misses_the_plane_needs_nothing(view: Region) -> None:
    assert patches_in_view(FLAT, (200, 300), 1, view, None) == ()


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_a_plane_without_pixels(shape: tuple[int, int]) -> None:
    assert patches_of(FLAT, shape) == patches_in_view(FLAT, shape, 1, (0, 0, 9, 9), None) == ()
    with pytest.raises(ImageError, match="another layer"):
        patch_at(FLAT, shape, 1, (0, 0))


@pytest.mark.parametrize("step", [0, 3, -2])
def test_steps_are_powers_of_two(step: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        patch_at(FLAT, (9, 9), step, (0, 0))


@pytest.mark.parametrize(
    ("ratio", "shape", "step"),
    [
        (0.01, None, 1),
        (1.0, None, 1),
        (1.99, None, 1),
        (2.0, None, 2),
        (11.0, None, 8),
        (11.0, (8192, 8192), 8),
        (11.0, (1024, 900), 1),
        (11.0, (1025, 900), 2),
        (11.0, (0, 0), 1),
    ],
)
def test_steps_follow_the_screen(ratio: float, shape: tuple[int, int] | None, step: int) -> None:
    assert step_for(ratio, shape) == step


def test_there_is_no_step_for_no_screen() -> None:
    with pytest.raises(ValueError, match="finite"):
        step_for(float("nan"))


# -- there and back ------------------------------------------------------------------------------------------------


@given(SHAPES, STEPS, PLACES, st.integers(0, 1))
def test_prompts_fit_the_patch_and_come_back(
    shape: tuple[int, int], step: int, place: tuple[float, float], sign: int
) -> None:
    y, x = _at(place, shape)
    box = np.array([y, x, y + 3.5, x + 2.5])
    prompt = Prompt.of([(y, x)], [sign], box=box)
    patch = patch_for(FLAT, shape, step, region_of(prompt))
    inside = patch.prompt_into(prompt)
    inside.check(patch.shape)
    assert inside.box is not None
    np.testing.assert_allclose(patch.frame.points_out(inside.points), prompt.points, atol=1e-3 * step)
    np.testing.assert_allclose(patch.frame.box_out(tuple(inside.box)), box, atol=1e-3 * step)
    np.testing.assert_array_equal(inside.positive, prompt.positive)


def test_a_region_has_all_the_clicks_in_it() -> None:
    prompt = Prompt.of([(5, 6), (50, 2)], [True, False])
    assert region_of(prompt) == (4.5, 1.5, 50.5, 7)
    assert region_of(Prompt.of(box=(1, 2, 3, 4))) == (1, 2, 3, 4)


def _disc(shape: tuple[int, int], middle: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    mask: np.ndarray = np.hypot(y - middle[0], x - middle[1]) <= radius
    return mask


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))


@pytest.mark.parametrize("step", [1, 2, 4, 8])
@given(place=PLACES)
@settings(deadline=None, max_examples=12)
def test_a_disc_lands_on_the_disc(step: int, place: tuple[float, float]) -> None:
    """Draw logits as a model would, at half the resolution of the patch: they must come back to where it was seen."""
    shape, radius = (1900, 2300), 9.0 * step
    middle = (radius + place[0] * (shape[0] - 2 * radius), radius + place[1] * (shape[1] - 2 * radius))
    patch = patch_at(FLAT, shape, step, middle)
    (cy, cx), (height, width) = patch.frame.points_into(np.array([middle]))[0], patch.shape
    y, x = np.mgrid[0.5:height:2, 0.5:width:2]
    values = (radius / step - np.hypot(y - cy, x - cx)).astype(np.float32)
    logits = Logits(values, (0, 0, 2.0 * values.shape[0], 2.0 * values.shape[1]), patch.shape)
    seen = Masks.from_logits(patch.shape, [logits], [0.8], [3])
    (landed,) = (out := patch.masks_out(seen)).dense()
    assert _iou(landed, _disc(shape, middle, radius)) > 0.9
    assert out.shape == shape
    assert (out.scores.tolist(), out.prompt.tolist()) == (pytest.approx([0.8]), [3])
    again = patch.prompt_into(Prompt.of([middle], previous=out.logits[0]))
    again.check(patch.shape)
    assert again.previous is not None
    crop, offset = again.previous.mask()
    back = np.zeros(patch.shape, bool)
    back[offset[0] :, offset[1] :][: crop.shape[0], : crop.shape[1]] = crop
    assert _iou(back, seen.dense()[0]) > 0.95


def test_masks_without_logits_are_drawn_from_their_pixels() -> None:
    patch = Patch(FLAT, 4, 0, (0, 0, 400, 400), (100, 100), (400, 400))
    labels = np.zeros((100, 100), np.int32)
    labels[20:40, 30:50] = 1
    out = patch.masks_out(Masks.from_labels(labels))
    whole = np.zeros((400, 400), bool)
    whole[80:160, 120:200] = True
    assert _iou(out.dense()[0], whole) > 0.95


@pytest.mark.parametrize("step", [1, 2])
def test_no_masks(step: int) -> None:
    patch = patch_at(FLAT, (3000, 3000), step, (2000, 2000))
    assert len(patch.masks_out(Masks.empty(patch.shape))) == 0
    assert patch.masks_out(Masks.empty(patch.shape)).shape == (3000, 3000)
