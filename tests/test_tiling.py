"""How planes are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sam_core import Tiling, tiling

# Small enough to count pixels one by one.
TILES = st.tuples(st.integers(1, 60), st.integers(1, 60))
HALOS = st.tuples(st.integers(0, 40), st.integers(0, 40))
SHAPES = st.tuples(st.integers(1, 45), st.integers(1, 90))
TILINGS = st.one_of(st.none(), st.builds(Tiling, TILES, HALOS))
FEW = settings(max_examples=60, deadline=None)


@given(TILINGS, SHAPES)
@FEW
def test_cores_cover_each_pixel_once(cut: Tiling | None, shape: tuple[int, int]) -> None:
    count = np.zeros(shape, int)
    for y0, x0, y1, x1 in tiling.cores(cut, shape):
        assert 0 <= y0 < y1 <= shape[0]
        assert 0 <= x0 < x1 <= shape[1]
        count[y0:y1, x0:x1] += 1
    assert (count == 1).all()


@given(TILINGS, SHAPES)
@FEW
def test_windows_are_of_one_size_inside_the_plane_and_hold_their_core_with_its_halo(
    cut: Tiling | None, shape: tuple[int, int]
) -> None:
    cores, windows = tiling.cores(cut, shape), tiling.windows(cut, shape)
    assert len(cores) == len(windows)
    tile, halo = (shape, (0, 0)) if cut is None else (cut.tile, cut.halo)
    size = np.minimum(np.array(tile) + 2 * np.array(halo), shape)
    for core, window in zip(np.array(cores), np.array(windows), strict=True):
        np.testing.assert_array_equal(window[2:] - window[:2], size)
        assert (window[:2] >= 0).all()
        assert (window[2:] <= shape).all()
        assert (window[:2] <= np.maximum(core[:2] - halo, 0)).all()
        assert (window[2:] >= np.minimum(core[2:] + halo, shape)).all()


@given(TILINGS, SHAPES, st.data())
@FEW
def test_a_point_is_owned_by_the_core_that_holds_its_pixel(
    cut: Tiling | None, shape: tuple[int, int], data: st.DataObject
) -> None:
    pixel = [data.draw(st.integers(0, n - 1)) for n in shape]
    y, x = (p + data.draw(st.floats(-0.5, 0.499)) for p in pixel)
    y0, x0, y1, x1 = tiling.cores(cut, shape)[tiling.owner(cut, (y, x), shape)]
    assert y0 <= pixel[0] < y1
    assert x0 <= pixel[1] < x1


@pytest.mark.parametrize(
    ("point", "index"), [((-9, -9), 0), ((-9, 500), 2), ((500, 30), 3), ((149.5, 250), 5), ((99.49, 99.5), 1)]
)
def test_a_point_off_the_plane_belongs_to_the_nearest_tile(point: tuple[float, float], index: int) -> None:
    assert Tiling((100, 100)).owner(point, (150, 250)) == index


@given(st.builds(Tiling, TILES, HALOS), SHAPES, st.data())
@example(Tiling((100, 100), (10, 10)), (250, 100), None)
@FEW
def test_a_box_has_a_home_where_some_window_holds_it(
    cut: Tiling, shape: tuple[int, int], data: st.DataObject | None
) -> None:
    # The window that owns the middle of this one, 90..210, does not hold it; that of the first tile, 0..120, does.
    box = (85.0, 0.0, 118.0, 20.0) if data is None else _box(data, shape)
    y0, x0, y1, x1 = (max(box[0], 0), max(box[1], 0), min(box[2], shape[0]), min(box[3], shape[1]))
    holding = [i for i, (a, b, c, d) in enumerate(cut.windows(shape)) if a <= y0 and b <= x0 and y1 <= c and x1 <= d]
    home = cut.home(box, shape)
    assert home in (holding or [None])
    owner = cut.owner(((y0 + y1) / 2 - 0.5, (x0 + x1) / 2 - 0.5), shape)
    assert home == owner or owner not in holding


def _box(data: st.DataObject, shape: tuple[int, int]) -> tuple[float, float, float, float]:
    sides = [(data.draw(st.floats(-5, n - 0.25)), data.draw(st.floats(0.25, n + 5))) for n in shape]
    (y0, height), (x0, width) = sides
    return y0, x0, max(y0 + height, 0.25), max(x0 + width, 0.25)


def test_a_box_near_the_border_is_at_home_in_a_window_that_reaches_further() -> None:
    assert Tiling((100, 100), (10, 10)).home((85, 0, 118, 20), (250, 100)) == 0
    assert Tiling((100, 100), (10, 10)).home((132, 0, 214, 20), (250, 100)) == 2


def test_windows_of_a_plane_with_a_narrow_last_core_are_moved_inside() -> None:
    assert Tiling((4, 4), (1, 1)).windows((9, 3)) == ((0, 0, 6, 3), (3, 0, 9, 3), (3, 0, 9, 3))


@pytest.mark.parametrize("shape", [(1, 1), (1, 100_000), (100_000, 1), (7, 5)])
def test_a_tile_as_large_as_the_plane_is_the_plane(shape: tuple[int, int]) -> None:
    whole = ((0, 0, *shape),)
    for cut in (None, Tiling((100_000, 100_000), (5, 5)), Tiling(shape)):
        assert tiling.cores(cut, shape) == tiling.windows(cut, shape) == whole
        assert tiling.home(cut, (0, 0, *shape), shape) == tiling.owner(cut, (0, 0), shape) == 0


def test_a_huge_plane_is_cut_and_asked_without_counting_its_pixels() -> None:
    shape = (2_000_000, 1_000_000)
    cut = Tiling((10_000, 10_000), (500, 500))
    windows = cut.windows(shape)
    assert len(windows) == 200 * 100
    assert windows[-1] == (1_989_000, 989_000, 2_000_000, 1_000_000)
    assert cut.owner((1_999_999.0, 999_999.0), shape) == 19_999
    assert cut.home((1_999_000, 999_000, 2_000_000, 1_000_000), shape) == 19_999


@pytest.mark.parametrize(
    ("tile", "halo"),
    [((0, 5), (0, 0)), ((5, 5), (0, -1)), ((5, 5, 5), (0, 0)), (512, (0, 0)), ((5, 5), 3), ((5.5, 5), (0, 0))],
)
def test_what_is_no_tiling_is_refused(tile: tuple[int, int], halo: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"got tile .* expected tuples of two whole numbers"):
        Tiling(tile, halo)


def test_equal_tilings_are_equal() -> None:
    assert Tiling((np.int64(8), 8), (1, 1)) == Tiling((8, 8), (1, 1))
    assert len({Tiling(), Tiling(), Tiling((8, 8))}) == 2
