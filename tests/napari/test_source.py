"""Planes of image layers, read box by box."""

from __future__ import annotations

import threading
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_core import ImageError
from sam_napari._source import Plane, Source

FLAT = Plane((0, 1), (0, 0))


class Watched:
    """An array that remembers which of its pixels were asked for, and how many at a time."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.touched = np.zeros(array.shape, bool)
        self.most = 0

    def __getitem__(self, index: Any) -> np.ndarray:
        self.touched[index] = True
        part: np.ndarray = self.array[index]
        self.most = max(self.most, part.size)
        return part


def _picture(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _pyramid(full: np.ndarray, factors: tuple[int, ...]) -> list[np.ndarray]:
    """Make levels of a plane, their sides rounded down."""
    levels = [full]
    for n in factors:
        height, width = (side // n for side in full.shape)
        levels.append(full[: height * n, : width * n].reshape(height, n, width, n).mean(axis=(1, 3)).round())
    return [level.astype(full.dtype) for level in levels]


# -- pixels --------------------------------------------------------------------------------------------------------


@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    step=st.sampled_from([1, 2, 4]),
    corner=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
@settings(deadline=None, max_examples=60)
def test_a_pixel_is_the_mean_of_what_it_covers_and_nothing_else_is_touched(
    shape: tuple[int, int], step: int, corner: tuple[float, float], size: tuple[int, int]
) -> None:
    y0, x0 = (int(c * n) // step * step for c, n in zip(corner, shape, strict=True))
    y1, x1 = min(y0 + size[0], shape[0]), min(x0 + size[1], shape[1])
    watched = Watched(_picture(shape))
    read = Source.of([watched]).read(FLAT, (y0, x0, y1, x1), step)
    wanted = [
        [watched.array[y : min(y + step, y1), x : min(x + step, x1)].mean() for x in range(x0, x1, step)]
        for y in range(y0, y1, step)
    ]
    assert read.dtype == np.uint8
    assert np.abs(read - np.array(wanted)).max() <= 0.5 + 1e-3
    outside = watched.touched.copy()
    outside[y0:y1, x0:x1] = False
    assert not outside.any()


@pytest.mark.parametrize(("step", "level"), [(1, 0), (2, 1), (4, 1), (8, 2), (32, 2)])
def test_pixels_come_from_the_coarsest_level_that_is_fine_enough(step: int, level: int) -> None:
    levels = [Watched(each) for each in _pyramid(_picture((515, 331)), (2, 8))]
    source = Source.of(levels)
    whole = source.read(FLAT, (0, 0, 515, 331), step)
    assert [each.touched.any() for each in levels] == [i == level for i in range(3)]
    assert whole.shape == (-(-515 // step), -(-331 // step))
    assert levels[level].touched[-1, -1]


@pytest.mark.parametrize("factors", [(2, 4), (3, 9)])
def test_levels_agree_with_the_full_plane(factors: tuple[int, ...]) -> None:
    y, x = np.mgrid[:300, :270]
    smooth = (120 + 60 * np.sin(y / 30) + 60 * np.cos(x / 25)).astype(np.float32)
    levels = _pyramid(smooth, factors)
    alone, pyramid = (Source.of(each, limits=(0, 255)) for each in ([smooth], levels))
    for step in (2, 4, 8, 16):
        box = (48, 64, 288, 256)
        a, b = (each.read(FLAT, box, step).astype(int) for each in (alone, pyramid))
        assert np.abs(a - b).max() <= 14  # half a pixel of the coarsest level


@pytest.mark.parametrize("make", [np.asarray, da.from_array, zarr.array], ids=["numpy", "dask", "zarr"])
@pytest.mark.parametrize("axes", [(1, 2), (0, 2), (2, 0), (2, 1)])
def test_any_two_axes_of_any_array(make: Any, axes: tuple[int, int]) -> None:
    stack = _picture((5, 40, 30))
    source = Source.of([make(stack)])
    hidden = 3 - sum(axes)
    plane = Plane(axes, (0, 0, 0)).at(hidden, 3)
    expected = stack.take(3, axis=hidden)
    expected = expected if axes[0] < axes[1] else expected.T
    assert source.shape(plane) == expected.shape
    height, width = expected.shape
    np.testing.assert_array_equal(source.read(plane, (1, 2, height, width)), expected[1:, 2:])
    assert source.read(plane, (0, 0, height, width), 4).shape == (-(-height // 4), -(-width // 4))


def test_lazy_arrays_are_read_in_the_thread_that_reads() -> None:
    seen: list[threading.Thread] = []

    def load(block: np.ndarray) -> np.ndarray:
        seen.append(threading.current_thread())
        return block

    lazy = da.from_array(_picture((64, 64)), chunks=16).map_blocks(load, dtype=np.uint8)
    seen.clear()
    Source.of([lazy]).read(FLAT, (0, 0, 64, 64))
    assert len(seen) == 16
    assert set(seen) == {threading.current_thread()}


def test_colours_stay_and_alpha_goes() -> None:
    picture = _picture((20, 30, 4))
    source = Source.of([picture], rgb=True)
    np.testing.assert_array_equal(source.read(FLAT, (0, 0, 20, 30)), picture[..., :3])
    assert source.read(FLAT, (0, 0, 20, 30), 2).shape == (10, 15, 3)
    assert source.read(Plane((1, 0), (0, 0)), (0, 0, 30, 20)).shape == (30, 20, 3)


def test_what_is_read_is_no_part_of_the_layer() -> None:
    picture = _picture((20, 30))
    read = Source.of([picture]).read(FLAT, (0, 0, 20, 30))
    read[:] = 0
    assert picture.any()


def test_large_planes_are_read_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_napari._source.BAND", 4096)
    watched = Watched(_picture((256, 256)))
    assert Source.of([watched]).read(FLAT, (0, 0, 256, 256), 2).shape == (128, 128)
    assert watched.most <= 4096


# -- contrast ------------------------------------------------------------------------------------------------------


def test_all_parts_of_a_plane_look_alike() -> None:
    plane = np.zeros((2, 100, 100), np.float32)
    plane[0, :, :50], plane[0, :, 50:], plane[1] = 10, 1000, 5
    source = Source.of([plane])
    left, right = (source.read(Plane((1, 2), (0, 0, 0)), (0, x, 100, x + 50)) for x in (0, 50))
    assert (left.max(), right.min()) == (0, 255)
    assert source.read(Plane((1, 2), (1, 0, 0)), (0, 0, 9, 9)).max() == 0


@pytest.mark.parametrize(
    ("dtype", "limits", "value", "shown"),
    [
        (np.uint8, None, 30, 30),
        (np.uint8, (0, 60), 30, 128),
        (bool, None, 1, 255),
        (np.uint16, (0, 1000), 500, 128),
        (np.float64, (1e9, 1e9 + 100), 1e9 + 50, 128),
    ],
)
@pytest.mark.parametrize("step", [1, 2])
def test_limits(dtype: type, limits: tuple[float, float] | None, value: float, shown: int, step: int) -> None:
    source = Source.of([np.full((8, 8), value, dtype)], limits=limits)
    assert abs(int(source.read(FLAT, (0, 0, 8, 8), step)[0, 0]) - shown) <= 1


def test_what_is_not_finite_is_dark_and_spoils_nothing_around_it() -> None:
    plane = np.linspace(1, 2, 64 * 64, dtype=np.float32).reshape(64, 64)
    plane[10, 10], plane[20, 20], plane[32:36, 32:36] = np.nan, np.inf, np.nan
    source = Source.of([plane])
    fine, coarse = (source.read(FLAT, (0, 0, 64, 64), step) for step in (1, 4))
    assert fine[10, 10] == fine[20, 20] == 0 < fine[10, 11]
    assert coarse[8, 8] == 0 < coarse[2, 2]
    assert not Source.of([np.full((4, 4), np.nan)]).read(FLAT, (0, 0, 4, 4)).any()


def test_limits_of_large_lazy_planes_need_little_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_napari._source.SAMPLE", 1000)
    monkeypatch.setattr("sam_napari._source.PLACE", 10)
    watched = Watched(np.arange(1 << 16, dtype=np.uint16).reshape(256, 256))
    dark = Source.of([watched]).read(FLAT, (0, 0, 1, 1))
    assert dark[0, 0] == 0
    assert np.count_nonzero(watched.touched) < 2000


@pytest.mark.parametrize(("chunk", "most"), [(512, 1), (256, 4), (16, 36)])
def test_limits_of_lazy_planes_are_measured_by_chunks(chunk: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_napari._source.SAMPLE", 1000)
    monkeypatch.setattr("sam_napari._source.PLACE", 10)
    loaded = []

    def load(block: np.ndarray) -> np.ndarray:
        loaded.append(block.shape)
        return block

    plane = da.from_array(np.arange(1 << 18, dtype=np.uint16).reshape(512, 512), chunks=chunk)
    lazy = plane.map_blocks(load, dtype=np.uint16)
    loaded.clear()
    Source.of([lazy])._limits(FLAT)
    assert 1 <= len(loaded) <= most


# -- planes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "sizes", "axes", "index", "neighbours", "along"),
    [
        ("yx", (9, 9), (0, 1), (0, 0), [], None),
        ("zyx", (5, 9, 9), (1, 2), (2, 0, 0), [(1, 0, 0), (3, 0, 0)], 0),
        ("zyx", (5, 9, 9), (1, 2), (4, 0, 0), [(3, 0, 0)], 0),
        ("zyx", (5, 9, 9), (0, 2), (0, 4, 0), [(0, 3, 0), (0, 5, 0)], 1),
        ("tyx", (5, 9, 9), (1, 2), (2, 0, 0), [(3, 0, 0)], 0),
        ("tzyx", (5, 6, 9, 9), (2, 3), (2, 3, 0, 0), [(2, 2, 0, 0), (2, 4, 0, 0), (3, 3, 0, 0)], 1),
        ("tzyx", (5, 1, 9, 9), (2, 3), (4, 0, 0, 0), [], 0),
        ("?yx", (5, 9, 9), (1, 2), (0, 0, 0), [(1, 0, 0)], 0),
        ("yxz", (9, 9, 4), (0, 1), (0, 0, 3), [(0, 0, 2)], 2),
    ],
)
def test_planes_beside_a_plane(
    roles: str,
    sizes: tuple[int, ...],
    axes: tuple[int, int],
    index: tuple[int, ...],
    neighbours: list[tuple[int, ...]],
    along: int | None,
) -> None:
    source, plane = Source.of([np.zeros(sizes)], roles=tuple(roles)), Plane(axes, index)
    assert [each.index for each in source.neighbours(plane)] == neighbours
    assert source.along(plane) == along
    planes = source.planes(plane)
    assert len(planes) == (1 if along is None else sizes[along])
    assert planes[source.position(plane)] == plane


def test_coarse_levels_may_have_fewer_planes() -> None:
    full = np.repeat(np.arange(8, dtype=np.uint8)[:, None, None], 32, axis=1).repeat(32, axis=2)
    source = Source.of([full, full[::2, ::2, ::2]])
    for z in range(8):
        assert (source.read(Plane((1, 2), (z, 0, 0)), (0, 0, 32, 32), 2) == z // 2 * 2).all()


# -- what is refused -----------------------------------------------------------------------------------------------


def test_versions_differ() -> None:
    picture = _picture((4, 4))
    assert Source.of([picture]).version != Source.of([picture]).version


@pytest.mark.parametrize(
    ("levels", "rgb", "roles"),
    [
        ([], False, ("y", "x")),
        ([np.zeros(5)], False, ("x",)),
        ([np.zeros((5, 5))], False, ("z", "y", "x")),
        ([np.zeros((5, 5)), np.zeros((1, 2, 2))], False, ("y", "x")),
        ([np.zeros((5, 5, 2))], True, ("y", "x")),
    ],
)
def test_no_image(levels: list[np.ndarray], rgb: bool, roles: tuple[str, ...]) -> None:
    with pytest.raises(ImageError, match="expected"):
        Source.of(levels, rgb=rgb, roles=roles)


@pytest.mark.parametrize("box", [(0, 0, 0, 4), (0, 0, 5, 4), (-1, 0, 2, 2), (2, 2, 2, 3)])
def test_no_box(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ImageError, match="expected one inside"):
        Source.of([_picture((4, 4))]).read(FLAT, box)


def test_pixels_that_are_no_numbers() -> None:
    with pytest.raises(ImageError, match="real numbers"):
        Source.of([np.zeros((4, 4), complex)]).read(FLAT, (0, 0, 4, 4))
