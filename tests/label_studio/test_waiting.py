"""Who waits for whom: turns at the model, jobs done ahead, and jobs put off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_core import Embedding, Tiling
from sam_label_studio.ahead import in_order
from sam_label_studio.later import Later
from sam_label_studio.serial import IN_A_ROW, SerialSegmenter, Turns
from tests.fake import FakeSegmenter

LONG = 30.0  # seconds: a test that waits so long has failed


# -- turns -----------------------------------------------------------------------------------------------------------


def _served(asked: list[bool]) -> list[bool]:
    """Let some ask for a turn, urgent or not, while it is taken; return in which order they have it."""
    turns, order, taken, is_free = Turns(), [], threading.Event(), threading.Event()

    def take() -> None:
        taken.set()
        is_free.wait(LONG)

    with ThreadPoolExecutor(1 + len(asked)) as people:
        people.submit(turns.do, take, urgent=True)
        taken.wait(LONG)
        for i, urgent in enumerate(asked):
            people.submit(turns.do, partial(order.append, urgent), urgent=urgent)
            while turns.waiting <= i:
                pass
        is_free.set()
    return order


def test_who_is_urgent_comes_first() -> None:
    assert _served([False, True, False, True]) == [True, True, False, False]


def test_who_is_patient_does_not_wait_for_ever() -> None:
    order = _served([False, *[True] * (2 * IN_A_ROW)])
    assert 0 < order.index(False) <= IN_A_ROW


def test_an_error_is_told_to_who_asked_and_costs_nobody_else_a_turn() -> None:
    turns = Turns()
    with pytest.raises(KeyError):
        turns.do(partial({}.__getitem__, "missing"), urgent=True)
    assert turns.do(lambda: 7, urgent=False) == 7
    assert turns.waiting == 0


class _ByTile(FakeSegmenter):
    """Encodes in three steps, and does something in each."""

    def __init__(self, step: Callable[[], object]) -> None:
        super().__init__()
        self._step = step

    def encode_by_tile(self, image: np.ndarray, *, tiling: Tiling | None = None) -> Iterator[Embedding | None]:
        for _ in range(3):
            self._step()
            yield None
        yield self.encode(image, tiling=tiling)


@pytest.mark.parametrize(("patient", "order"), [(True, ["tile", "click"] * 3), (False, ["click"])])
def test_who_is_patient_lets_clicks_go_first_between_tiles(patient: bool, order: list[str]) -> None:
    done: list[str] = []
    with ThreadPoolExecutor(8) as people:

        def step() -> None:
            done.append("tile")
            people.submit(clicks.turns.do, lambda: done.append("click"), urgent=True)
            while not clicks.turns.waiting:
                pass

        clicks = SerialSegmenter(_ByTile(step))
        model = clicks.patient() if patient else clicks
        made = model.encode(np.zeros((4, 4), np.uint8))
        clicks.turns.do(lambda: None if patient else done.append("click"), urgent=True)
    assert made.image_shape == (4, 4)
    assert done == order


def test_all_is_done_in_one_thread() -> None:
    turns = Turns()
    with ThreadPoolExecutor(8) as people:
        asked = [people.submit(turns.do, threading.get_ident, urgent=i % 2 == 0) for i in range(40)]
    assert len({each.result() for each in asked}) == 1


# -- jobs done ahead -------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers()), st.integers(1, 4))
def test_results_come_in_the_order_of_the_jobs(values: list[int], threads: int) -> None:
    assert list(in_order((_returning(value) for value in values), threads)) == values


def _returning(value: int) -> Callable[[], int]:
    return lambda: value


def test_no_more_jobs_are_begun_than_can_be_done_and_one_to_be_ready() -> None:
    taken: list[int] = []

    def jobs() -> Iterator[Callable[[], int]]:
        for i in range(10):
            taken.append(i)
            yield _returning(i)

    results = in_order(jobs(), threads=2)
    assert next(results) == 0
    assert taken == [0, 1, 2]
    results.close()  # type: ignore[attr-defined]
    assert taken == [0, 1, 2]


def test_the_second_job_runs_while_the_first_does() -> None:
    second = threading.Event()

    def first() -> bool:
        return second.wait(LONG)

    def other() -> bool:
        second.set()
        return True

    assert list(in_order([first, other], threads=2)) == [True, True]


def test_an_error_comes_in_its_turn() -> None:
    def broken() -> int:
        raise KeyError

    results = in_order([_returning(1), broken, _returning(3)])
    assert next(results) == 1
    with pytest.raises(KeyError):
        next(results)


# -- jobs put off ----------------------------------------------------------------------------------------------------


def test_nothing_is_done_while_somebody_waits_for_an_answer() -> None:
    later, done = Later(limit=100, rest=0.01), threading.Event()
    with later.answering():
        later.add(done.set, nbytes=10)
        assert not done.wait(0.1)
    assert done.wait(LONG)


def test_what_is_too_much_is_done_all_the_same() -> None:
    later, done = Later(limit=100, rest=LONG), []
    with later.answering():
        for i in range(5):
            later.add(lambda i=i: done.append(i), nbytes=60)  # type: ignore[misc]
        assert len(done) >= 3
        assert later.nbytes <= 120
    later.flush()
    assert done == [0, 1, 2, 3, 4]
    assert later.nbytes == 0


def test_one_that_is_larger_than_the_limit_is_taken_alone() -> None:
    later, done = Later(limit=10, rest=0.0), []
    later.add(lambda: done.append(1), nbytes=1000)
    later.flush()
    assert done == [1]


def test_a_job_that_fails_is_logged_and_the_next_one_done(caplog: pytest.LogCaptureFixture) -> None:
    later, done = Later(limit=10, rest=0.0), []

    def full() -> None:
        msg = "No space left on device"
        raise OSError(msg)

    later.add(full, nbytes=1)
    later.add(lambda: done.append(1), nbytes=1)
    later.flush()
    assert done == [1]
    assert "No space left on device" in caplog.text


def test_what_comes_after_a_rest_is_done_too() -> None:
    later, done = Later(limit=10, rest=0.0), []
    for i in range(3):
        later.add(lambda i=i: done.append(i), nbytes=1)  # type: ignore[misc]
        later.flush()
    assert done == [0, 1, 2]
