from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.typing import NDArray

from sam_core import Masks
from sam_napari._change import CanvasBusy, CanvasError, CanvasFull, CanvasGone, Change, Touched, apply, painted
from sam_napari._layers import LabelsCanvas, new_target
from sam_napari._layers_canvas import AT_ONCE
from sam_napari._layers_lazy import Edited
from sam_napari._layers_pieces import FEW
from sam_napari._layers_touch import LOOKED_AT
from sam_napari._source import Plane
from tests.napari.array_canvas import ArrayCanvas

Array = NDArray[Any]
SHAPE = (4, 60, 70)
FRONT, SIDE, BACK = Plane((1, 2), (2, 0, 0)), Plane((0, 2), (0, 30, 0)), Plane((2, 1), (2, 0, 0))


def frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array


def stored(array: Array, **mode: str) -> Any:
    store = zarr.storage.MemoryStore()
    made = zarr.create_array(store, shape=array.shape, dtype=array.dtype, chunks=(1, 32, 32))
    made[...] = array
    return zarr.open_array(store, mode="r") if mode else made


KINDS: dict[str, Callable[[Array], Any]] = {
    "numpy": np.array,
    "zarr": stored,
    "dask": lambda array: da.from_array(array, chunks=(1, 32, 32)),
    "numpy, read-only": frozen,
    "zarr, read-only": lambda array: stored(array, mode="r"),
}


def made(data: Any, image_shape: tuple[int, ...] | None = None, **arguments: Any) -> tuple[ViewerModel, LabelsCanvas]:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(image_shape or data.shape, np.uint8), **arguments)
    layer = viewer.add_labels(data)
    return viewer, LabelsCanvas(viewer, layer, image)


def heard(canvas: LabelsCanvas) -> list[Touched]:
    calls: list[Touched] = []
    canvas.on_touched(calls.append)
    return calls


def known(canvas: LabelsCanvas) -> int:
    """Return the next number when the labels have been looked through."""
    while True:
        with suppress(CanvasBusy):
            return canvas.next_label()


def block(plane: Plane, y: int, x: int, label: int, size: int = 5, dtype: Any = np.uint16) -> Change:
    return Change(plane, (y, x, y + size, x + size), np.full((size, size), label, dtype))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_a_write_is_one_step_of_undo_whatever_holds_the_labels(kind: str, dtype: Any) -> None:
    before = np.random.default_rng(1).integers(0, 9, SHAPE).astype(dtype)
    _, canvas = made(KINDS[kind](before.copy()))
    layer = canvas.layer
    expected = before.copy()
    expected[2, 10:15, 20:25], expected[:4, 30, 40:45], expected[2, 33:38, 8:13] = 77, 78, 79
    several = [block(FRONT, 10, 20, 77, dtype=dtype), block(BACK, 8, 33, 79, dtype=dtype)]
    canvas.write([*several, Change(SIDE, (0, 40, 4, 45), np.full((4, 5), 78, dtype))])
    np.testing.assert_array_equal(np.asarray(layer.data), expected)
    assert np.asarray(layer.data).dtype == dtype
    layer.undo()
    np.testing.assert_array_equal(np.asarray(layer.data), before)
    layer.undo()  # there is no other step
    layer.redo()
    np.testing.assert_array_equal(np.asarray(layer.data), expected)
    layer.undo()
    np.testing.assert_array_equal(np.asarray(layer.data), before)


def test_what_is_written_is_what_is_read_from_any_side() -> None:
    _, canvas = made(np.zeros(SHAPE, np.uint16))
    for plane in (FRONT, SIDE, BACK, Plane((2, 0), (0, 7, 0))):
        height, width = canvas.shape(plane)
        values = np.arange(height * (width - 3), dtype=np.uint16).reshape(height, -1)
        canvas.write([Change(plane, (0, 3, height, width), values)])
        np.testing.assert_array_equal(canvas.read(plane, (0, 3, height, width)), values)


boxes = st.tuples(st.integers(0, 30), st.integers(0, 40), st.integers(1, 20), st.integers(1, 20))
planes = st.sampled_from([FRONT, BACK, Plane((1, 2), (0, 0, 0))])
writes = st.lists(st.tuples(planes, boxes, st.integers(0, 5), st.integers(0, 2**32 - 1)), min_size=1, max_size=FEW + 4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(writes, st.sampled_from(["undo", "redo"])), max_size=8))
def test_it_is_an_array_with_undo(steps: list[Any]) -> None:
    _, canvas = made(np.zeros(SHAPE, np.uint16))
    model = ArrayCanvas.blank(SHAPE, np.uint16)
    for step in steps:
        if isinstance(step, str):
            getattr(canvas.layer, step)()
            getattr(model, step)()
        else:
            changes = [changed(*write) for write in step]
            if differs(model, changes):  # a step after which nothing is different need not be one
                canvas.write(changes)
                model.write(changes)
        np.testing.assert_array_equal(canvas.layer.data, model.array)
        assert canvas.next_label() >= model.array.max() + 1
    canvas.close()


def changed(plane: Plane, box: tuple[int, ...], label: int, seed: int) -> Change:
    y, x, height, width = box
    where = np.random.default_rng(seed).random((height, width)) < 0.5
    return Change(plane, (y, x, y + height, x + width), np.full((height, width), label, np.uint16), where)


def differs(model: ArrayCanvas, changes: Sequence[Change]) -> bool:
    after = ArrayCanvas(model.array.copy())
    after.write(changes)
    return bool((after.array != model.array).any())


def test_many_objects_are_one_step_and_can_be_written_bit_by_bit() -> None:
    _viewer, canvas = made(np.zeros((1500, 1500), np.uint16))
    plane = Plane((0, 1), (0, 0))
    places = [(y, x) for y in range(0, 1480, 31) for x in range(0, 1480, 29)]
    changes = [block(plane, y, x, i + 1, 20) for i, (y, x) in enumerate(places)]
    expected = np.zeros((1500, 1500), np.uint16)
    for i, (y, x) in enumerate(places):
        expected[y : y + 20, x : x + 20] = i + 1
    parts = list(canvas.writing(changes))
    assert max(parts) <= AT_ONCE
    assert sum(parts) == np.count_nonzero(expected)
    np.testing.assert_array_equal(canvas.layer.data, expected)
    canvas.layer.undo()
    assert not canvas.layer.data.any()
    half = canvas.writing(changes)
    next(half), next(half)
    half.close()  # a run that is stopped is a step of its own
    assert canvas.layer.data.any()
    canvas.layer.undo()
    assert not canvas.layer.data.any()


def test_only_pixels_that_change_are_kept() -> None:
    _, canvas = made(np.zeros((4096, 4096), np.uint16))
    change = block(Plane((0, 1), (0, 0)), 2000, 1000, 7, 50)
    canvas.write([change])
    canvas.layer.undo()
    tracemalloc.start()
    canvas.write([change])
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 2,500 pixels, each with two places and an old number, and a sample of the plane, which itself takes 32 MiB.
    assert kept < 20_000 + 2 * LOOKED_AT
    assert peak < 1_000_000
    canvas.write([change])
    canvas.layer.undo()  # nothing changed the second time, so there is no step for it
    assert not canvas.layer.data.any()


def test_hidden_labels_are_painted_as_others() -> None:
    viewer, canvas = made(np.zeros(SHAPE, np.int32))
    canvas.layer.visible = False
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_point(1, 12)
    canvas.write([block(FRONT, 10, 20, 70_000, dtype=np.int32)])
    assert canvas.layer.data.max() == 70_000
    canvas.layer.visible = True
    canvas.layer.undo()
    assert not canvas.layer.data.any()


# -- others -----------------------------------------------------------------------------------------------------------


def brush(layer: Labels) -> None:
    layer.brush_size = 7
    layer.paint((2, 20, 30), 3)


def fill(layer: Labels) -> None:
    layer.fill((2, 20, 30), 4)


def polygon(layer: Labels) -> None:
    layer.paint_polygon([(2, 5, 5), (2, 5, 15), (2, 12, 9)], 6)


def other_plugin(layer: Labels) -> None:
    layer.data_setitem((np.array([2, 2]), np.array([1, 3]), np.array([5, 9])), [8, 9])


def in_place(layer: Labels) -> None:
    layer.data[2, 5:50, 5:50] = 11
    layer.refresh()


ACTS = {
    "brush": (brush, (17, 27, 24, 34)),
    "fill": (fill, (0, 0, 60, 70)),
    "polygon": (polygon, (5, 5, 13, 16)),
    "another plugin": (other_plugin, (1, 5, 4, 10)),
}


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("kind", ["numpy", "zarr"])
def test_what_others_paint_is_heard_and_their_undo_and_redo(name: str, kind: str) -> None:
    viewer, canvas = made(KINDS[kind](np.zeros(SHAPE, np.uint16)))
    viewer.dims.set_point(0, 2)
    calls = heard(canvas)
    act, box = ACTS[name]
    with canvas.layer.block_history():
        act(canvas.layer)
    assert calls == [[(FRONT, box)]]
    label = known(canvas)
    assert label == np.asarray(canvas.layer.data).max() + 1
    viewer.dims.set_point(0, 1)  # draws anew, which is all that napari says of undo
    canvas.layer.undo()
    canvas.layer.redo()
    assert calls == [[(FRONT, box)]] * 3
    canvas.layer.redo()
    assert len(calls) == 3
    assert canvas.next_label() == label


def test_undo_of_our_own_is_heard_and_writing_is_not() -> None:
    viewer, canvas = made(np.zeros(SHAPE, np.uint16))
    calls = heard(canvas)
    canvas.write([block(FRONT, 10, 20, 7)])
    canvas.write([block(FRONT, 12, 22, 8), block(SIDE, 0, 50, 9, 4)])
    viewer.dims.order = (2, 0, 1)
    viewer.dims.set_point(2, 60)
    assert calls == []
    canvas.layer.undo()
    # The part of a plane seen from the side is 4 x 4: napari's history knows a box, and this is its largest side.
    assert calls == [[(FRONT, (12, 22, 17, 27)), (SIDE, (0, 50, 4, 54))]]
    canvas.layer.undo()
    assert calls[1:] == [[(FRONT, (10, 20, 15, 25))]]
    canvas.layer.redo()
    canvas.layer.redo()
    assert list(calls[2:]) == [calls[1], calls[0]]


class Shadow:
    """An array that is kept equal to the labels by what a canvas tells alone, as a journal is."""

    def __init__(self, canvas: LabelsCanvas) -> None:
        self.canvas, self.array = canvas, np.array(canvas.layer.data)
        canvas.on_touched(self.hear)

    def hear(self, touched: Touched) -> None:
        if touched is None:
            self.array = np.array(self.canvas.layer.data)
        for plane, box in touched or ():
            apply(self.array, Change(plane, box, self.canvas.read(plane, box)))

    def write(self, changes: Sequence[Change]) -> None:
        self.canvas.write(changes)
        for change in changes:
            apply(self.array, change)


def stroke(layer: Labels, y: int, x: int, label: int) -> None:
    with layer.block_history():
        for i in range(4):
            layer.paint((y % 4, y + 2 * i, x - i), label)


def ball(layer: Labels, y: int, x: int, label: int) -> None:
    layer.n_edit_dimensions = 3
    layer.paint((y % 4, y, x), label)
    layer.n_edit_dimensions = 2


def flood(layer: Labels, y: int, x: int, label: int) -> None:
    layer.fill((y % 4, y, x), label)


def corners(layer: Labels, y: int, x: int, label: int) -> None:
    layer.paint_polygon([(y % 4, y, x), (y % 4, y + 9, x), (y % 4, y, x + 9)], label)


def several_planes(layer: Labels, y: int, x: int, label: int) -> None:
    layer.data_setitem((np.array([0, 3, 1]), np.array([y, y + 1, y]), np.array([x, x, x + 2])), label)


def replaced(layer: Labels, y: int, x: int, label: int) -> None:
    layer.data = np.where(np.asarray(layer.data) == label, label + y % 3, layer.data)


TOOLS = [stroke, ball, flood, corners, several_planes, replaced]
tools = st.tuples(st.sampled_from(TOOLS), st.integers(5, 45), st.integers(8, 55), st.integers(0, 4))
moves = st.tuples(st.just("go"), st.integers(0, 3), st.permutations(range(3)))
acts = st.lists(st.one_of(tools, writes, moves, st.sampled_from(["undo", "redo", "undo"])), max_size=14)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["numpy", "numpy", "zarr", "dask"]), acts)
def test_whoever_listens_knows_every_pixel(kind: str, steps: list[Any]) -> None:
    viewer, canvas = made(KINDS[kind](np.zeros(SHAPE, np.uint16)))
    canvas.write([block(FRONT, 3, 3, 2)])  # makes of a dask array one that napari's own tools can write as well
    shadow = Shadow(canvas)
    for step in steps:
        if isinstance(step, str):
            getattr(canvas.layer, step)()
        elif isinstance(step, list):
            shadow.write([changed(*write) for write in step])
        elif step[0] == "go":
            viewer.dims.order = (0, *(1 + i for i in step[2] if i < 2))
            viewer.dims.set_point(0, step[1])
        elif step[0] is not replaced or kind == "numpy":
            step[0](canvas.layer, *step[1:])
        np.testing.assert_array_equal(shadow.array, np.asarray(canvas.layer.data))
    canvas.close()


def test_several_undos_while_hidden_are_heard_together() -> None:
    _, canvas = made(np.zeros(SHAPE, np.uint16))
    canvas.write([block(FRONT, 10, 20, 7)])
    canvas.write([block(FRONT, 10, 20, 8)])
    calls = heard(canvas)
    canvas.layer.visible = False
    canvas.layer.undo()
    canvas.layer.undo()
    canvas.layer.visible = True
    assert calls == [[(FRONT, (10, 20, 15, 25))] * 2]


def test_a_stroke_that_goes_on_while_we_write_is_told_apart() -> None:
    viewer, canvas = made(np.zeros(SHAPE, np.uint16))
    viewer.dims.set_point(0, 2)
    calls = heard(canvas)
    with canvas.layer.block_history():
        brush(canvas.layer)
        canvas.write([block(FRONT, 40, 40, 7)])
    assert calls == [[(FRONT, ACTS["brush"][1])]]


def test_an_array_that_was_written_behind_napari_is_noticed_when_drawn() -> None:
    viewer, canvas = made(np.zeros(SHAPE, np.uint16))
    viewer.dims.set_point(0, 2)
    calls = heard(canvas)
    canvas.layer.refresh()
    canvas.layer.contour = 2
    viewer.dims.set_point(0, 1)
    viewer.dims.set_point(0, 2)
    assert calls == []
    in_place(canvas.layer)
    assert calls == [[(FRONT, (0, 0, 60, 70))]]
    assert canvas.next_label() == 12


def test_another_array_is_heard_as_anything() -> None:
    _, canvas = made(np.zeros(SHAPE, np.uint16))
    canvas.write([block(FRONT, 10, 20, 7)])
    calls = heard(canvas)
    canvas.layer.data = np.full(SHAPE, 40, np.int32)
    assert calls == [None]
    assert (canvas.next_label(), canvas.dtype) == (41, np.int32)
    canvas.layer.undo()  # writes the former pixels into the new array
    assert calls[1:] == [[(FRONT, (10, 20, 15, 25))]]
    canvas.layer.data = np.zeros((4, 60, 71), np.uint16)
    assert calls[2:] == [None]
    with pytest.raises(CanvasError, match=r"shape \(4, 60, 71\), expected \(4, 60, 70\)"):
        canvas.read(FRONT, (0, 0, 1, 1))


def test_whoever_stopped_listening_hears_nothing() -> None:
    viewer, canvas = made(np.zeros(SHAPE, np.uint16))
    viewer.dims.set_point(0, 2)
    calls: list[Touched] = []
    end = canvas.on_touched(calls.append)
    end()
    end()
    brush(canvas.layer)
    assert calls == []
    events = canvas.layer.events
    counts = [len(events.paint.callbacks), len(events.set_data.callbacks), len(events.data.callbacks)]
    canvas.close()
    after = [len(events.paint.callbacks), len(events.set_data.callbacks), len(events.data.callbacks)]
    assert np.subtract(counts, after).tolist() == [1, 1, 1]


# -- numbers ----------------------------------------------------------------------------------------------------------


class Slow:
    """An array of which parts come when they are let."""

    def __init__(self, array: Array) -> None:
        import threading

        self.array, self.let = array, threading.Event()
        self.shape, self.dtype, self.ndim, self.size = array.shape, array.dtype, array.ndim, array.size
        self.chunks = (1, *array.shape[1:])

    def __getitem__(self, index: Any) -> Array:
        import threading

        if threading.current_thread() is not threading.main_thread():
            self.let.wait()
        return self.array[index]

    def __setitem__(self, index: Any, values: Any) -> None:
        self.array[index] = values

    def __array__(self, *args: Any, **kwargs: Any) -> Array:
        return np.array(self.array)


def test_the_largest_number_is_looked_for_in_the_background() -> None:
    slow = Slow(np.zeros(SHAPE, np.uint16))
    slow.array[3, 5, 5] = 500
    _, canvas = made(slow)
    with pytest.raises(CanvasBusy, match="try again in a moment"):
        canvas.next_label()
    slow.let.set()
    assert known(canvas) == 501
    canvas.write([block(FRONT, 0, 0, 600)])
    assert canvas.next_label() == 601
    canvas.layer.undo()
    assert canvas.next_label() == 601  # once painted, a number is not given again
    canvas.close()


def test_numbers_end_where_the_type_ends() -> None:
    _, canvas = made(np.zeros(SHAPE, np.uint8))
    canvas.write([block(FRONT, 0, 0, 255, dtype=np.uint8)])
    with pytest.raises(CanvasFull, match="numbers objects up to 255"):
        canvas.next_label()
    with pytest.raises(CanvasFull):
        canvas.selected = 256
    canvas.selected = 9
    canvas.preserve = True
    assert (canvas.layer.selected_label, canvas.layer.preserve_labels) == (9, True)
    canvas.layer.selected_label = 8
    assert (canvas.selected, canvas.preserve) == (8, True)


def test_preserved_labels_are_painted_around() -> None:
    _, canvas = made(np.zeros(SHAPE, np.uint16))
    canvas.write([block(FRONT, 10, 10, 1, 10)])
    canvas.layer.preserve_labels = True
    mask = Masks.from_labels(np.pad(np.ones((10, 10), np.uint8), ((15, 35), (15, 45))))
    change = painted(canvas, FRONT, 2, mask)
    assert change is not None
    canvas.write([change])
    assert np.bincount(canvas.layer.data.ravel())[1:].tolist() == [100, 75]


# -- what cannot be painted --------------------------------------------------------------------------------------------


def test_a_target_that_was_removed_is_gone_and_one_that_was_renamed_is_not() -> None:
    viewer, canvas = made(np.zeros(SHAPE, np.uint16))
    canvas.layer.name = "mine"
    canvas.write([block(FRONT, 0, 0, 1)])
    viewer.layers.remove(canvas.layer)
    asked: Sequence[Callable[[], object]] = (
        lambda: canvas.read(FRONT, (0, 0, 1, 1)),
        lambda: canvas.write([block(FRONT, 0, 0, 2)]),
        lambda: canvas.shape(FRONT),
        canvas.next_label,
    )
    for ask in asked:
        with pytest.raises(CanvasGone, match="'mine', which was removed"):
            ask()
    assert canvas.layer.data.max() == 1
    canvas.close()


@pytest.mark.parametrize("shape", [(4, 60, 71), (60, 70), (3, 60, 70), (2, 4, 60, 70)])
def test_labels_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CanvasError, match=r"expected \(4, 60, 70\).*choose the image that it belongs to"):
        made(np.zeros(shape, np.uint8), SHAPE)


def test_labels_that_napari_does_not_edit_are_refused() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((64, 64), np.uint8))
    pyramid = viewer.add_labels([np.zeros((64, 64), np.uint8), np.zeros((32, 32), np.uint8)])
    with pytest.raises(CanvasError, match="several levels"):
        LabelsCanvas(viewer, pyramid, image)
    locked = viewer.add_labels(np.zeros((64, 64), np.uint8))
    locked.editable = False
    with pytest.raises(CanvasError, match="not editable"):
        LabelsCanvas(viewer, locked, image)
    with pytest.raises(CanvasGone):
        LabelsCanvas(viewer, Labels(np.zeros((64, 64), np.uint8)), image)


@pytest.mark.parametrize(
    ("roles", "image", "labels", "written"),
    [
        ("cyx", (3, 60, 70), (60, 70), (2, 3)),
        ("cyx", (3, 60, 70), (3, 60, 70), (2, 2, 3)),
        ("cyx", (3, 60, 70), (1, 60, 70), (0, 2, 3)),
        ("zcyx", (4, 3, 60, 70), (4, 1, 60, 70), (1, 0, 2, 3)),
        ("yx", (60, 70), (1, 1, 60, 70), (0, 0, 2, 3)),
    ],
)
def test_labels_with_and_without_an_axis_of_channels(
    roles: str, image: tuple[int, ...], labels: tuple[int, ...], written: tuple[int, ...]
) -> None:
    viewer = ViewerModel()
    picture = viewer.add_image(np.zeros(image, np.uint8), axis_labels=tuple(roles))
    layer = viewer.add_labels(np.zeros(labels, np.uint8))
    canvas = LabelsCanvas(viewer, layer, picture, channel=2)
    count = len(roles) - ("c" in roles)
    assert canvas.array_shape == tuple(n for n, role in zip(image, roles, strict=True) if role != "c")
    plane = Plane((count - 2, count - 1), ((1,) if count == 3 else ()) + (0, 0))
    change = Change(plane, (2, 3, 3, 4), np.array([[5]], np.uint8))
    canvas.write([change])
    expected = (2, *written[1:]) if labels == (3, 60, 70) else written
    assert np.argwhere(layer.data).tolist() == [list(expected)]
    calls = heard(canvas)
    layer.undo()
    assert calls == [[(plane, (2, 3, 3, 4))]]


class Full(Edited):
    """An array on a disk that becomes full."""

    room = 2

    def __setitem__(self, index: Any, values: Any) -> None:
        if self.room == 0:
            raise OSError(28, "No space left on device")
        self.room -= 1
        super().__setitem__(index, values)


def test_a_full_disk_is_told_and_what_was_painted_can_be_undone() -> None:
    _, canvas = made(Full(np.zeros(SHAPE, np.uint16)))
    with pytest.raises(CanvasError, match=r"No space left on device.*undo what was painted"):
        canvas.write([block(FRONT, 10 * i, 0, 7) for i in range(4)])
    assert np.count_nonzero(np.asarray(canvas.layer.data)) == 50
    canvas.layer.data.room = 9
    canvas.layer.undo()
    assert not np.asarray(canvas.layer.data).any()
    canvas.write([block(FRONT, 0, 0, 8)])
    canvas.layer.undo()
    assert not np.asarray(canvas.layer.data).any()


# -- new targets -------------------------------------------------------------------------------------------------------


def test_a_new_target_lies_where_the_image_lies() -> None:
    viewer = ViewerModel()
    affine = np.array([[1, 0, 0, 3], [0, 0.8, -0.6, 1], [0, 0.6, 0.8, 2], [0, 0, 0, 1.0]])
    image = viewer.add_image(
        [np.zeros((4, 60, 70), np.uint8), np.zeros((4, 30, 35), np.uint8)],
        scale=(2, 0.5, 0.5),
        translate=(1, 2, 3),
        shear=(0, 0, 0.3),
        affine=affine,
        units=("um", "um", "um"),
        axis_labels=("z", "y", "x"),
        name="cells",
    )
    layer = new_target(viewer, image)
    assert layer.name == "cells objects"
    assert viewer.layers.selection.active is layer
    assert (layer.data.shape, layer.data.dtype, layer.multiscale) == ((4, 60, 70), np.uint16, False)
    assert (layer.axis_labels, layer.units) == (image.axis_labels, image.units)
    for name in ("scale", "translate", "rotate", "shear"):
        np.testing.assert_allclose(getattr(layer, name), getattr(image, name), atol=1e-12)
    np.testing.assert_allclose(layer.data_to_world((1, 20, 30)), image.data_to_world((1, 20, 30)))
    LabelsCanvas(viewer, layer, image).write([block(FRONT, 0, 0, 1)])


def test_a_large_target_is_kept_compressed() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(
        da.zeros((300, 1024, 1024), chunks=(1, 512, 512), dtype=np.uint8), contrast_limits=(0, 255)
    )
    layer = new_target(viewer, image)
    assert isinstance(layer.data, zarr.Array)
    assert layer.data.nbytes > 2**28
    canvas = LabelsCanvas(viewer, layer, image)
    plane = Plane((1, 2), (250, 0, 0))
    canvas.write([block(plane, 500, 500, 9, dtype=layer.data.dtype)])
    assert layer.data[250].sum() == 225
    layer.undo()
    assert not layer.data[250].any()
    canvas.close()


def test_an_image_of_colours_has_a_target_without() -> None:
    viewer = ViewerModel()
    layer = new_target(viewer, viewer.add_image(np.zeros((5, 60, 70, 3), np.uint8), rgb=True))
    assert layer.data.shape == (5, 60, 70)


def test_images_are_not_touched() -> None:
    viewer = ViewerModel()
    data = np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)
    image: Image = viewer.add_image(data.copy(), name="mine", scale=(2, 1, 1))
    state = {
        name: value for name, value in image.as_layer_data_tuple()[1].items() if name in ("name", "scale", "units")
    }
    canvas = LabelsCanvas(viewer, new_target(viewer, image), image)
    canvas.write([block(FRONT, 0, 0, 1)])
    canvas.close()
    np.testing.assert_array_equal(image.data, data)
    for name, value in state.items():
        assert np.all(getattr(image, name) == value)
