"""What is painted where: over others or not, given back or not, in planes of any orientation; undo of an array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam_napari._boxes import TILE, whole
from sam_napari._change import (
    CanvasError,
    CanvasFull,
    Change,
    buried,
    cropped,
    erased,
    painted,
    pieces,
    standing,
    under,
)
from sam_napari._source import Box, Plane
from tests.napari.array_canvas import ArrayCanvas
from tests.napari.doubles import FLAT, boxed, masks_of

SHAPE = (8, 12)


def _canvas(*objects: Box) -> ArrayCanvas:
    array = np.zeros(SHAPE, np.int32)
    for i, (y0, x0, y1, x1) in enumerate(objects, start=1):
        array[y0:y1, x0:x1] = i
    return ArrayCanvas(array)


def _mask(*boxes: Box) -> NDArray[np.bool_]:
    return boxed(*boxes, shape=SHAPE)


HALVES = ((0, 0, 4, 6), (0, 6, 4, 12))


@pytest.mark.parametrize(
    ("preserve", "mask", "old", "expected"),
    [
        (False, [(2, 4, 6, 8)], None, {3: 16, 1: 20, 2: 20}),
        (True, [(2, 4, 6, 8)], None, {3: 8, 1: 24, 2: 24}),
        (True, [(0, 0, 4, 6)], None, {1: 24, 2: 24}),
        (False, [], None, {1: 24, 2: 24}),
    ],
    ids=["over others", "preserving them", "nothing free", "empty mask"],
)
def test_a_new_object(preserve: bool, mask: list[Box], old: None, expected: dict[int, int]) -> None:
    canvas = _canvas(*HALVES)
    canvas.preserve = preserve
    change = painted(canvas, FLAT, 3, masks_of([_mask(*mask)]), old=old)
    canvas.write([change] if change else [])
    labels, counts = np.unique(canvas.array[canvas.array > 0], return_counts=True)
    assert dict(zip(labels.tolist(), counts.tolist(), strict=True)) == expected
    assert (change is None) == (expected == {1: 24, 2: 24})


def test_what_an_object_gives_back_is_what_was_there_before() -> None:
    canvas = _canvas(*HALVES)
    before = canvas.array.copy()
    large, small = masks_of([_mask((2, 4, 6, 8))]), masks_of([_mask((4, 4, 6, 8))])
    change = painted(canvas, FLAT, 3, large)
    assert change is not None
    ground = buried(canvas, change, 3, None)
    canvas.write([change])
    again = painted(canvas, FLAT, 3, small, old=large, ground=ground)
    assert again is not None
    canvas.write([again])
    assert ((canvas.array == before) | _mask((4, 4, 6, 8))).all()
    assert (canvas.array[4:6, 4:8] == 3).all()
    forgotten = painted(canvas, FLAT, 3, masks_of([_mask((5, 4, 6, 8))]), old=small)
    assert forgotten is not None
    assert (forgotten.values[forgotten.where] == 0).all()


def test_ground_grows_with_what_is_taken() -> None:
    canvas = _canvas(*HALVES)
    before, ground, old = canvas.array.copy(), None, None
    for box in ((0, 4, 2, 7), (1, 2, 5, 9), (6, 0, 7, 1)):
        mask = masks_of([_mask(box)])
        change = painted(canvas, FLAT, 3, mask, old=old, ground=ground)
        assert change is not None
        ground, old = buried(canvas, change, 3, ground), mask
        canvas.write([change])
    assert ((canvas.array == before) | (canvas.array == 3)).all()


def test_erased() -> None:
    canvas = _canvas(*HALVES)
    change = erased(canvas, FLAT, 1, whole(SHAPE))
    assert change is not None
    canvas.write([change])
    assert set(np.unique(canvas.array)) == {0, 2}
    assert erased(canvas, FLAT, 1, whole(SHAPE)) is None


def test_changes_side_by_side_are_written_in_one_go() -> None:
    canvas = _canvas()
    masks = [masks_of([_mask((0, 0, 8, 6))]), masks_of([np.tri(8, 12, dtype=bool) & _mask((0, 6, 8, 12))])]
    changes = [painted(canvas, FLAT, i, mask) for i, mask in enumerate(masks, start=1)]
    canvas.write([change for change in changes if change is not None])
    assert canvas.steps == 1
    assert (canvas.array[:, :6] == 1).all()
    assert set(np.unique(canvas.array[:, 6:])) == {0, 2}


@pytest.mark.parametrize("box", [(3, 3, 4, 4), (0, 0, 1, 1), (0, 0, 8, 12)])
def test_an_object_is_found_whole_from_any_part_of_it(box: Box) -> None:
    snake = np.zeros(SHAPE, np.int32)
    snake[0, :], snake[:, 11], snake[7, :], snake[3:7, 0], snake[3, :4] = 5, 5, 5, 5, 5
    found = standing(ArrayCanvas(snake), FLAT, 5, box)
    assert (found.dense()[0] == (snake == 5)).all()
    assert len(standing(ArrayCanvas(snake), FLAT, 6, box)) == 0


def test_what_cannot_be_painted_is_refused() -> None:
    small = ArrayCanvas(np.full((4, 4), 254, np.uint8))
    assert small.next_label() == 255
    with pytest.raises(CanvasFull, match="numbers objects up to 255"):
        painted(small, FLAT, 256, masks_of([np.ones((4, 4), bool)]))
    with pytest.raises(CanvasError, match=r"got a mask of a plane of \(8, 12\)"):
        painted(small, FLAT, 1, masks_of([_mask((0, 0, 1, 1))]))
    small.write([Change(FLAT, (0, 0, 1, 1), np.array([[255]], np.uint8))])
    with pytest.raises(CanvasFull):
        small.next_label()


def test_the_object_under_a_point() -> None:
    canvas = _canvas(*HALVES)
    points = [(0.0, 5.49), (0.0, 5.5), (-0.5, 0.0), (-0.6, 0.0), (7.4, 11.4), (7.5, 0.0)]
    assert [under(canvas, FLAT, point) for point in points] == [1, 2, 1, 0, 0, 0]


def test_pieces_are_all_of_it_once() -> None:
    canvas = ArrayCanvas.blank((2, 3, TILE + 5, 7), np.uint8)
    for plane, box in pieces(canvas):
        change = Change(plane, box, canvas.read(plane, box) + np.uint8(1))
        assert max(change.values.shape) <= TILE
        canvas.write([change])
    assert (canvas.array == 1).all()


@st.composite
def planes(draw: st.DrawFn, shape: tuple[int, ...]) -> Plane:
    axes = draw(st.permutations(range(len(shape))))[:2]
    index = tuple(0 if axis in axes else draw(st.integers(0, n - 1)) for axis, n in enumerate(shape))
    return Plane((axes[0], axes[1]), index)


@st.composite
def changes(draw: st.DrawFn, shape: tuple[int, ...]) -> Change:
    plane = draw(planes(shape))
    box = [0, 0, 0, 0]
    for i, axis in enumerate(plane.axes):
        box[i] = draw(st.integers(0, shape[axis] - 1))
        box[i + 2] = draw(st.integers(box[i] + 1, shape[axis]))
    size = (box[2] - box[0], box[3] - box[1])
    numbers = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    values = numbers.integers(0, 4, size, np.int32)
    where = numbers.random(size) < 0.5 if draw(st.booleans()) else None
    return Change(plane, (box[0], box[1], box[2], box[3]), values, where)


@settings(max_examples=60)
@given(st.data())
def test_undo_and_redo_go_through_the_same_arrays(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * data.draw(st.integers(2, 4))))
    canvas, states, heard = ArrayCanvas.blank(shape), [np.zeros(shape, np.int32)], list[object]()
    end = canvas.on_touched(heard.append)
    for step in data.draw(st.lists(st.lists(changes(shape), min_size=1, max_size=3), max_size=5)):
        canvas.write(step)
        last = step[-1]
        assert (canvas.read(last.plane, last.box)[last.written] == last.values[last.written]).all()
        states.append(canvas.array.copy())
    assert heard == []
    for state in reversed(states[:-1]):
        canvas.undo()
        assert (canvas.array == state).all()
    for state in states[1:]:
        canvas.redo()
        assert (canvas.array == state).all()
    assert len(heard) == 2 * (len(states) - 1)
    end()
    canvas.undo()
    assert len(heard) == 2 * (len(states) - 1)


@given(st.data())
def test_a_mask_is_cropped_to_its_pixels(data: st.DataObject) -> None:
    inside = np.random.default_rng(data.draw(st.integers(0, 1 << 16))).random((3, 4)) < 0.3
    found = cropped(inside, (2, 1, 5, 5), SHAPE)
    full = np.zeros(SHAPE, bool)
    full[2:5, 1:5] = inside
    assert (found.dense().any(axis=0) == full).all()
    assert all(crop.any(axis=0)[[0, -1]].all() and crop.any(axis=1)[[0, -1]].all() for crop in found.crops)
