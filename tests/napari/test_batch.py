"""The review of what was found: a value, quick with thousands of objects, painted in one write."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam_core import Masks
from sam_napari._batch import Batch, Limits, Taken, unpainted
from sam_napari._change import CanvasFull
from sam_napari._everything import Found
from sam_napari._source import Plane
from tests.napari.array_canvas import ArrayCanvas

SHAPE = (30, 40)
FLAT = Plane((0, 1), (0, 0))
BOXES = [(2, 2, 8, 8), (2, 10, 12, 20), (2, 22, 4, 24), (20, 2, 28, 12)]
SCORES, STABILITY = (0.9, 0.5, 0.8, 0.7), (0.9, 0.9, 0.4, 0.8)


def masks_of(*boxes: tuple[int, int, int, int], numbers: tuple[int, ...] = (), shape: tuple[int, int] = SHAPE) -> Masks:
    return Masks(
        shape=shape,
        crops=tuple(np.ones((y1 - y0, x1 - x0), bool) for y0, x0, y1, x1 in boxes),
        offsets=np.array([box[:2] for box in boxes], np.int32).reshape(-1, 2),
        scores=np.ones(len(boxes), np.float32),
        stability=np.ones(len(boxes), np.float32),
        prompt=np.array(numbers or range(len(boxes)), np.int32),
        logits=(None,) * len(boxes),
    )


def found(masks: Masks, plane: Plane = FLAT, **facts: float) -> Found:
    return Found(plane, masks, 1, 1, **facts)


@pytest.fixture
def batch() -> Batch:
    masks = masks_of(*BOXES)
    masks = replace(masks, scores=np.array(SCORES, np.float32), stability=np.array(STABILITY, np.float32))
    return Batch().add(found(masks))


# -- which are shown -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "visible"),
    [
        (Limits(), (0, 1, 2, 3)),
        (Limits(min_score=0.6), (0, 2, 3)),
        (Limits(min_stability=0.5), (0, 1, 3)),
        (Limits(min_area=5), (0, 1, 3)),
        (Limits(max_area=80), (0, 2, 3)),
        (Limits(0.6, 0.5, 5, 80), (0, 3)),
        (Limits(min_area=36, max_area=36), (0,)),
        (Limits(min_score=1.0), ()),
    ],
)
def test_filters(batch: Batch, limits: Limits, visible: tuple[int, ...]) -> None:
    filtered = batch.with_limits(limits)
    assert filtered.visible == visible
    assert filtered.objects == filtered.count("open") == len(visible)
    assert batch.visible == (0, 1, 2, 3)


def test_the_most_doubtful_comes_first_in_the_queue(batch: Batch) -> None:
    assert batch.queue == (2, 1, 3, 0)
    assert batch.keep(1).drop(3).queue == (2, 0)
    assert batch.with_limits(Limits(min_stability=0.5)).queue == (1, 3, 0)


def test_what_was_kept_passes_every_filter_and_what_was_dropped_none(batch: Batch) -> None:
    decided = batch.keep(2).drop(0).with_limits(Limits(min_area=5))
    assert decided.visible == (1, 2, 3)
    assert [decided.state(i) for i in range(4)] == ["dropped", "open", "kept", "open"]
    assert (decided.count("open"), decided.count("kept"), decided.count("dropped")) == (2, 1, 1)
    assert decided.reopen(2).reopen(0).visible == (0, 1, 3)


def test_a_decision_leaves_the_value_before_as_it_was(batch: Batch) -> None:
    batch.drop(0).keep(1).replace(2, masks_of((2, 22, 6, 28)))
    assert batch.queue == (2, 1, 3, 0)
    assert batch.items[2].area == 4


def test_a_fix_is_kept_and_measured_anew(batch: Batch) -> None:
    fixed = batch.replace(2, masks_of((2, 22, 6, 28))).with_limits(Limits(min_area=1000))
    assert fixed.visible == (2,)
    assert (fixed.items[2].area, fixed.items[2].number, fixed.state(2)) == (24, 2, "kept")
    assert fixed.at(FLAT, (5, 27)) == 2
    assert batch.at(FLAT, (5, 27)) is None


@pytest.mark.parametrize(("point", "item"), [((2, 2), 0), ((7.4, 7.4), 0), ((7.6, 7.4), None), ((0, 0), None)])
def test_under_the_cursor(batch: Batch, point: tuple[float, float], item: int | None) -> None:
    assert batch.at(FLAT, point) == item
    assert batch.drop(0).at(FLAT, point) is None
    assert batch.at(Plane((0, 2), (0, 0, 0)), point) is None


def test_of_several_under_the_cursor_the_better_one() -> None:
    masks = replace(masks_of((0, 0, 9, 9), (4, 4, 6, 6)), scores=np.array([0.7, 0.8], np.float32))
    assert Batch().add(found(masks)).at(FLAT, (5, 5)) == 1


def test_it_begins_with_the_limits_that_the_model_recommends_and_then_leaves_those_of_the_user() -> None:
    first = Batch().add(found(masks_of(BOXES[0]), min_score=0.6, min_stability=0.5))
    assert first.limits == Limits(0.6, 0.5)
    chosen = first.with_limits(Limits(0.2)).add(found(masks_of(BOXES[1], numbers=(1,)), min_score=0.6))
    assert chosen.limits == Limits(0.2)


def test_nothing_was_found() -> None:
    empty = Batch().add(found(Masks.empty(SHAPE)))
    assert (empty.visible, empty.queue, len(empty), empty.objects) == ((), (), 0, 0)
    assert empty.at(FLAT, (3, 3)) is None
    assert empty.changes(ArrayCanvas.blank(SHAPE)) == []


# -- objects on several planes ---------------------------------------------------------------------------------------


@pytest.fixture
def stack() -> tuple[Batch, list[Plane]]:
    planes = [Plane((1, 2), (z, 0, 0)) for z in range(3)]
    batch = Batch()
    for z, plane in enumerate(planes):
        masks = masks_of((2, 2, 6 + 2 * z, 8), (20, 2, 22, 4), numbers=(0, 1 + (z > 1)))
        masks = replace(masks, scores=np.array([0.9 - 0.2 * z, 0.5], np.float32))
        batch = batch.add(found(masks, plane))
    return batch, planes


def test_an_object_is_decided_about_on_all_its_planes(stack: tuple[Batch, list[Plane]]) -> None:
    batch, _ = stack
    assert batch.planes_of(2) == (0, 2, 4)
    assert batch.objects == 3
    assert batch.queue == (1, 5, 4)  # each on the plane where it is largest
    assert batch.drop(2).visible == (1, 3, 5)
    assert batch.keep(2).queue == (1, 5)
    assert batch.with_limits(Limits(min_area=48)).visible == (0, 2, 4)  # by its largest area


def chain(*scores: float) -> Batch:
    """Return an object with a score on each plane."""
    batch = Batch()
    for z in range(len(scores)):
        z = (z + 2) % len(scores)  # planes come from the one on screen on
        masks = replace(masks_of((2, 2, 8, 8 + z)), scores=np.array([scores[z]], np.float32))
        batch = batch.add(found(masks, Plane((1, 2), (z, 0, 0))))
    return batch


def places_of(batch: Batch) -> list[int]:
    return sorted(batch.items[i].plane.index[0] for i in batch.visible)


def test_filters_shorten_an_object_at_its_ends_and_make_no_gaps() -> None:
    batch = chain(0.4, 0.6, 0.9, 0.3, 0.8, 0.2)
    assert places_of(batch.with_limits(Limits(0.5))) == [1, 2, 3, 4]
    assert places_of(batch.with_limits(Limits(0.85))) == [2]
    assert places_of(batch.with_limits(Limits(0.95))) == []
    assert places_of(batch.with_limits(Limits(0.85, min_area=50))) == []  # it is largest beyond its end


def test_what_was_kept_stays_as_it_was_shown() -> None:
    batch = chain(0.4, 0.6, 0.9, 0.3, 0.8, 0.2).with_limits(Limits(0.5))
    kept = batch.keep(0)
    assert places_of(kept.with_limits(Limits())) == places_of(kept.with_limits(Limits(1.0))) == [1, 2, 3, 4]
    assert places_of(kept.reopen(0).with_limits(Limits())) == [0, 1, 2, 3, 4, 5]
    fixed = kept.replace(3, masks_of((0, 0, 3, 3)))
    assert batch.items[3].plane.index[0] == 5
    assert places_of(fixed) == [1, 2, 3, 4, 5]


def test_an_object_has_one_number_on_all_its_planes(stack: tuple[Batch, list[Plane]]) -> None:
    batch, _ = stack
    canvas = ArrayCanvas.blank((3, *SHAPE))
    canvas.array[0, 29, 39] = 11
    canvas.replace(canvas.array)
    canvas.write(batch.changes(canvas))
    assert canvas.array[:, 3, 3].tolist() == [12, 12, 12]
    assert canvas.array[:, 20, 2].tolist() == [13, 13, 14]
    assert canvas.steps == 1
    canvas.undo()
    assert np.unique(canvas.array).tolist() == [0, 11]


def test_in_views_from_the_side() -> None:
    plane = Plane((2, 0), (0, 4, 0))  # rows are x, columns z
    canvas = ArrayCanvas.blank((40, 6, 30))
    canvas.write(Batch().add(found(masks_of((2, 3, 4, 9)), plane)).changes(canvas))
    assert np.argwhere(canvas.array).min(axis=0).tolist() == [3, 4, 2]
    assert np.count_nonzero(canvas.array) == 12


# -- painting --------------------------------------------------------------------------------------------------------


def painted(batch: Batch, canvas: ArrayCanvas, *, over: bool = False) -> NDArray[np.integer]:
    canvas.write(batch.changes(canvas, over=over))
    return canvas.array


def test_where_masks_overlap_the_better_one_is_painted() -> None:
    masks = replace(masks_of((2, 2, 10, 10), (2, 6, 10, 14)), scores=np.array([0.7, 0.8], np.float32))
    batch = Batch().add(found(masks))
    assert painted(batch, ArrayCanvas.blank(SHAPE))[5, [3, 7, 12]].tolist() == [2, 1, 1]
    assert painted(batch.keep(0), ArrayCanvas.blank(SHAPE))[5, [3, 7, 12]].tolist() == [1, 1, 2]


def test_what_others_cover_by_half_is_not_painted_unless_the_user_kept_it() -> None:
    masks = replace(masks_of((2, 2, 10, 10), (2, 5, 10, 11)), scores=np.array([0.8, 0.7], np.float32))
    batch = Batch().add(found(masks))
    assert np.unique(painted(batch, ArrayCanvas.blank(SHAPE))).tolist() == [0, 1]
    assert painted(batch.keep(0).keep(1), ArrayCanvas.blank(SHAPE))[5, [6, 10]].tolist() == [1, 2]


def test_what_is_there_stays_unless_it_is_to_be_painted_over(batch: Batch) -> None:
    canvas = ArrayCanvas.blank(SHAPE)
    canvas.array[0:6, 0:6] = 9
    canvas.replace(canvas.array)
    labels = painted(batch, canvas)
    assert labels[5, [5, 7]].tolist() == [9, 10]
    assert np.count_nonzero(labels == 9) == 36
    canvas.undo()
    assert painted(batch, canvas, over=True)[5, [5, 7]].tolist() == [14, 14]  # numbers are not used again
    canvas.undo()
    canvas.preserve = True
    assert painted(batch, canvas, over=True)[5, 5] == 9


def test_what_is_painted_already_needs_no_review(batch: Batch) -> None:
    canvas = ArrayCanvas.blank(SHAPE)
    canvas.array[2:8, 2:8] = 4
    canvas.array[2:5, 10:20] = 5
    assert unpainted(canvas, found(masks_of(*BOXES))).masks.prompt.tolist() == [1, 2, 3]
    assert len(unpainted(canvas, found(Masks.empty(SHAPE))).masks) == 0


def test_a_target_without_enough_numbers_says_so_and_nothing_is_written(batch: Batch) -> None:
    canvas = ArrayCanvas(np.zeros(SHAPE, np.uint8))
    canvas.array[29, 39] = 252
    canvas = ArrayCanvas(canvas.array)
    with pytest.raises(CanvasFull, match="got 4 objects for a target of uint8, whose free numbers are 253 to 255"):
        batch.changes(canvas)
    assert len(batch.drop(1).changes(canvas)) == 3


@settings(deadline=None)
@given(data=st.data())
def test_every_pixel_is_painted_by_the_best_that_has_it(data: st.DataObject) -> None:
    """As painting from the worst to the best, but that nothing is painted of what is mostly covered."""
    corners = st.tuples(st.integers(0, 20), st.integers(0, 30), st.integers(1, 10), st.integers(1, 10))
    boxes = [(y, x, y + h, x + w) for y, x, h, w in data.draw(st.lists(corners, max_size=8))]
    scores = np.array([data.draw(st.integers(1, 99)) / 100 for _ in boxes], np.float32)
    batch = Batch().add(found(replace(masks_of(*boxes), scores=scores)))
    canvas = ArrayCanvas.blank(SHAPE)
    labels = painted(batch, canvas)
    expected, numbers = np.zeros(SHAPE, int), []
    for i in np.argsort(-scores, kind="stable"):
        y0, x0, y1, x1 = boxes[i]
        free = expected[y0:y1, x0:x1] == 0
        if np.count_nonzero(free) >= 0.5 * free.size:
            expected[y0:y1, x0:x1][free] = i + 1
            numbers.append(i + 1)
    names = {number: rank for rank, number in enumerate(numbers, start=1)}
    np.testing.assert_array_equal(labels, np.vectorize(lambda value: names.get(value, 0), otypes=[int])(expected))


@settings(deadline=None)
@given(y=st.integers(0, 900), x=st.integers(0, 900), size=st.integers(1, 700))
def test_the_canvas_is_read_in_tiles_and_each_once(y: int, x: int, size: int) -> None:
    class Counting(ArrayCanvas):
        reads = 0

        def read(self, plane: Plane, box: tuple[int, int, int, int]) -> NDArray[np.integer]:
            self.reads += 1
            return super().read(plane, box)

    canvas = Counting(np.arange(1000 * 1000, dtype=np.int32).reshape(1000, 1000) % 3)
    box = (y, x, min(y + size, 1000), min(x + size, 1000))
    taken = Taken(canvas, FLAT)
    for _ in range(2):
        np.testing.assert_array_equal(taken.free(box), canvas.array[box[0] : box[2], box[1] : box[3]] == 0)
    assert canvas.reads <= 4
    taken.take(box, np.ones((box[2] - box[0], box[3] - box[1]), bool))
    assert not taken.free(box).any()


# -- many ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many() -> Batch:
    """5,000 objects, in the parts in which they come."""
    rng = np.random.default_rng(0)
    batch = Batch()
    for part in range(50):
        boxes = [(y, x, y + 12, x + 12) for y in range(20 * part, 20 * part + 14, 13) for x in range(0, 650, 13)]
        masks = masks_of(*boxes, numbers=tuple(range(100 * part, 100 * part + 100)), shape=(1010, 660))
        facts = [rng.random(100).astype(np.float32) for _ in range(2)]
        batch = batch.add(found(replace(masks, scores=facts[0], stability=facts[1])))
    assert len(batch) == 5000
    return batch


def quickest(call: object, times: int = 5) -> float:
    assert callable(call)
    took = []
    for _ in range(times):
        started = time.thread_time()  # other programs do not count
        call()
        took.append(time.thread_time() - started)
    return min(took)


def longest_piece(batch: Batch, canvas: ArrayCanvas) -> float:
    """Return how long one has to wait for the next change, at most."""
    times = [time.thread_time()]
    times += [time.thread_time() for _ in batch.changing(canvas)]
    return max(np.diff(times))


def test_filters_follow_a_slider_with_5000_objects(many: Batch) -> None:
    assert quickest(lambda: many.with_limits(Limits(0.4, 0.3, 20)).visible) < 0.01


def test_decisions_are_taken_at_once_with_5000_objects(many: Batch) -> None:
    assert quickest(lambda: many.keep(7).queue) < 0.01
    assert quickest(lambda: many.at(FLAT, (500.0, 300.0))) < 0.01
    assert quickest(lambda: many.replace(9, masks_of((0, 0, 9, 9), shape=(1010, 660))).visible) < 0.02


def test_5000_objects_are_one_step_of_undo(many: Batch) -> None:
    canvas = ArrayCanvas(np.zeros((1010, 660), np.uint16))
    started = time.thread_time()
    changes = many.changes(canvas)
    assert time.thread_time() - started < 2
    assert min(longest_piece(many, canvas) for _ in range(3)) < 0.02  # once in a while, Python tidies up
    canvas.write(changes)
    assert len(np.unique(canvas.array)) == 5001
    assert canvas.steps == 1
