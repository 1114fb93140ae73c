"""One thread that asks the model for everybody."""

from __future__ import annotations

import errno
import gc
import itertools
import queue
import random
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest

from sam_core import (
    CheckpointError,
    Embedding,
    EmbeddingCache,
    Masks,
    Prompt,
    PromptError,
    SegmentAllOptions,
    segment_all,
)
from sam_napari._engine import Answer, Engine
from sam_napari._engines import engine_for, link_torch, release, without_pauses
from sam_napari._source import Plane, Source
from sam_napari._view import Patch, patch_at, patch_for, patches_of
from tests.fake import FakeSegmenter

LONG = 20.0  # seconds after which a test has failed
SHAPE = (64, 80)
STACK = np.zeros((6, *SHAPE), np.uint8)
STACK[:, 10:30, 20:50] = 200
for _z in range(6):
    STACK[_z, 60, _z] = 50  # each plane is another
SOURCE = Source.of([STACK], roles=("z", "y", "x"))
CLICK = Prompt.of([(20, 30)])


def _patch(z: int = 0) -> Patch:
    return patch_at(Plane((1, 2), (z, 0, 0)), SHAPE, 1, (20, 30))


class Model(FakeSegmenter):
    """Says what it does, in order, and can be held up."""

    device, dtype = "paper", "pencil"

    def __init__(self) -> None:
        super().__init__()
        self.did: list[tuple[str, int]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.held = threading.Semaphore(0)
        self.threads: set[threading.Thread] = set()
        self.wrong: Exception | None = None

    def encode(self, image: Any, *, tiling: Any = None) -> Embedding:
        self._do("encode", int(np.flatnonzero(np.append(image[60:61], 1))[0]))
        return super().encode(image, tiling=tiling)

    def decode(self, embedding: Embedding, prompts: Any, **options: Any) -> Masks:
        self._do("decode", len(prompts))
        return super().decode(embedding, prompts, **options)

    def hold(self) -> None:
        """Have the next call wait until `go_on`; `held` tells that it does."""
        self.go_on.clear()

    def _do(self, what: str, which: int) -> None:
        self.did.append((what, which))
        self.threads.add(threading.current_thread())
        if not self.go_on.is_set():
            self.held.release()
            assert self.go_on.wait(LONG)
        if self.wrong is not None:
            raise self.wrong

    def wait_until_held(self) -> None:
        assert self.held.acquire(timeout=LONG)


@dataclass(eq=False)
class Someone:
    """Asks, and takes what comes; `later` keeps calls until `deliver`, as the queue of a window does."""

    later: bool = False
    heard: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    told: list[str] = field(default_factory=list)
    waiting: queue.SimpleQueue[Callable[[], None]] = field(default_factory=queue.SimpleQueue)

    def post(self, call: Callable[[], None]) -> None:
        if self.later:
            self.waiting.put(call)
        else:
            call()

    def tell(self, message: str) -> None:
        self.told.append(message)

    def hear(self, what: Any = None) -> Any:
        """Take what `name` or `done` put there."""
        return self.heard.get(timeout=LONG)

    def name(self, name: str) -> Callable[[Any], None]:
        return lambda _: self.heard.put(name)

    def deliver(self, count: int) -> None:
        for _ in range(count):
            self.waiting.get(timeout=LONG)()

    @property
    def is_silent(self) -> bool:
        return self.heard.empty()


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture(autouse=True)
def _never_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_napari._turns.QUIET", 0.0)
    monkeypatch.setattr("sam_napari._store.DELAY", 0.0)


@pytest.fixture
def engine(model: Model) -> Iterator[Engine]:
    before = set(threading.enumerate())
    made = Engine(lambda: model, None, name="a fake")
    yield made
    model.go_on.set()
    made.close()
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()


def _ask(engine: Engine, who: Someone, *, z: int = 0, prompt: Prompt = CLICK) -> Any:
    engine.ask(who, SOURCE, _patch(z), prompt, 3, who.heard.put)
    return who.hear()


def _settle(engine: Engine) -> None:
    """Wait until all that was asked before is done: a job comes after that, and another engine client does not mind."""
    someone = Someone()
    engine.run(someone, iter(()), lambda _: None, someone.heard.put)
    assert someone.hear() is None


# -- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("candidates", [1, 3])
def test_an_answer_is_about_the_plane(engine: Engine, step: int, candidates: Any) -> None:
    picture = np.zeros((1500, 1400), np.uint8)
    picture[1200:1240, 900:960] = 200
    source, plane, who = Source.of([picture]), Plane((0, 1), (0, 0)), Someone()
    patch = patch_at(plane, picture.shape, step, (1210, 910))
    prompt = Prompt.of([(1210, 910)])
    engine.ask(who, source, patch, prompt, candidates, who.heard.put)
    answer: Answer = who.hear()
    assert len(answer.masks) == candidates
    assert answer.masks.shape == picture.shape
    for mask in answer.masks.dense():
        assert np.count_nonzero(mask ^ (picture > 0)) <= 250 * (step - 1)
    assert (answer.patch, answer.prompt, answer.encoded) == (patch, prompt, True)


def test_where_the_model_sees_nothing_there_is_an_answer_without_masks(engine: Engine) -> None:
    assert len(_ask(engine, Someone(), prompt=Prompt.of([(1, 1)])).masks) == 0


def test_a_patch_is_encoded_once_and_all_is_done_in_one_thread(engine: Engine, model: Model) -> None:
    who = Someone()
    assert [_ask(engine, who, z=z).encoded for z in (0, 1, 0, 1)] == [True, True, False, False]
    assert model.encoded == 2
    assert len(model.threads) == 1
    assert threading.current_thread() not in model.threads


def test_another_source_is_encoded_anew(engine: Engine, model: Model) -> None:
    who = Someone()
    for source in (SOURCE, Source.of([STACK], roles=("z", "y", "x"))):
        engine.ask(who, source, _patch(), CLICK, 3, who.heard.put)
        assert who.hear().encoded


def test_the_model_is_loaded_in_the_thread_when_it_is_needed(model: Model) -> None:
    loaded: list[threading.Thread] = []
    engine = Engine(lambda: loaded.append(threading.current_thread()) or model, None)
    assert loaded == []
    assert not engine.stats.loaded
    _ask(engine, Someone())
    _ask(engine, Someone())
    engine.close()
    assert loaded == list(model.threads)


# -- whose turn it is ----------------------------------------------------------------------------------------------


def _hold(engine: Engine, model: Model) -> Someone:
    """Keep the thread busy with a click."""
    who = Someone()
    model.hold()
    engine.ask(who, SOURCE, _patch(), CLICK, 3, who.heard.put)
    model.wait_until_held()
    return who


def test_of_looks_that_wait_only_the_latest_is_answered(engine: Engine, model: Model) -> None:
    _hold(engine, model)
    a, b = Someone(), Someone()
    for number in range(50):
        for who in (a, b):
            engine.look(who, SOURCE, _patch(), CLICK, 3, who.name(str(number)))
    model.go_on.set()
    assert (a.hear(), b.hear()) == ("49", "49")
    _settle(engine)
    assert a.is_silent
    assert model.decoded == 3


def test_clicks_before_hovering_before_long_work_before_idle_work(engine: Engine, model: Model) -> None:
    _hold(engine, model)
    who = Someone()
    engine.prepare(who, SOURCE, [_patch(5), _patch(4)])
    engine.run(who, iter(["step", "step"]), who.heard.put, who.name("end"))
    engine.look(who, SOURCE, _patch(3), CLICK, 3, who.name("look"))
    engine.ask(who, SOURCE, _patch(2), CLICK, 3, who.name("click"))
    engine.ask(who, SOURCE, _patch(1), CLICK, 3, who.name("another"))
    model.go_on.set()
    assert [who.hear() for _ in range(6)] == ["click", "another", "look", "step", "step", "end"]
    _until(lambda: model.encoded == 6)
    assert [which for what, which in model.did if what == "encode"] == [0, 2, 1, 3, 5, 4]


def _until(condition: Callable[[], bool]) -> None:
    """Wait for what the engine does in idle time, which nobody is told."""
    deadline = threading.Event()
    for _ in range(int(LONG * 500)):
        if condition():
            return
        deadline.wait(0.002)
    raise AssertionError


def test_who_hovers_without_end_keeps_neither_jobs_nor_others_waiting(engine: Engine) -> None:
    restless, patient, worker = Someone(), Someone(), Someone()

    def again(_: Any) -> None:
        engine.look(restless, SOURCE, _patch(), CLICK, 3, again)

    again(None)
    engine.run(worker, iter(range(50)), worker.heard.put, worker.name("end"))
    engine.look(patient, SOURCE, _patch(1), CLICK, 3, patient.heard.put)
    assert isinstance(patient.hear(), Answer)
    assert [worker.hear() for _ in range(51)] == [*range(50), "end"]
    engine.forget(restless)


def test_jobs_without_end_keep_nobody_waiting(engine: Engine) -> None:
    worker, who = Someone(), Someone()

    def endless() -> Iterator[None]:
        while True:
            yield None

    jobs = [engine.run(worker, endless(), worker.heard.put, worker.name("end")) for _ in range(2)]
    assert isinstance(_ask(engine, who), Answer)
    engine.look(who, SOURCE, _patch(), CLICK, 3, who.heard.put)
    assert isinstance(who.hear(), Answer)
    for job in jobs:
        job.cancel()
    assert (worker.hear(), worker.hear()) == ("end", "end")


def test_idle_work_waits_until_it_is_quiet(model: Model, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_napari._turns.QUIET", 1e6)
    who = Someone()
    _ask(engine, who)
    engine.prepare(who, SOURCE, [_patch(1)])
    _settle(engine)
    assert model.encoded == 1
    assert engine.stats.queue == 1


def test_an_answer_that_took_an_encoder_is_dropped_when_the_cursor_has_moved_on(engine: Engine, model: Model) -> None:
    who = Someone()
    model.hold()
    engine.look(who, SOURCE, _patch(1), CLICK, 3, who.name("late"))
    model.wait_until_held()
    engine.look(who, SOURCE, _patch(2), CLICK, 3, who.name("now"))
    model.go_on.set()
    assert who.hear() == "now"


def test_an_answer_that_came_quickly_is_delivered_although_the_cursor_moves(engine: Engine, model: Model) -> None:
    who = Someone()
    _ask(engine, who)
    model.hold()
    engine.look(who, SOURCE, _patch(), CLICK, 3, who.name("a moment ago"))
    model.wait_until_held()
    engine.look(who, SOURCE, _patch(), CLICK, 3, who.name("now"))
    model.go_on.set()
    assert [who.hear(), who.hear()] == ["a moment ago", "now"]


@pytest.mark.parametrize("away", [Engine.look_away, Engine.forget])
def test_who_looks_away_sees_nothing_any_more(engine: Engine, model: Model, away: Any) -> None:
    who = Someone(later=True)
    engine.look(who, SOURCE, _patch(), CLICK, 3, who.name("posted"))
    _settle(engine)
    model.hold()
    engine.look(who, SOURCE, _patch(), CLICK, 3, who.name("on its way"))
    model.wait_until_held()
    engine.look(who, SOURCE, _patch(), CLICK, 3, who.name("waiting"))
    away(engine, who)
    model.go_on.set()
    _settle(engine)
    while not who.waiting.empty():
        who.deliver(1)
    assert who.is_silent
    who.later = False
    engine.look(who, SOURCE, _patch(), CLICK, 3, who.name("back"))
    assert who.hear() == "back"


def test_who_is_forgotten_hears_nothing(engine: Engine, model: Model) -> None:
    gone, other = Someone(), Someone()
    model.hold()
    engine.ask(gone, SOURCE, _patch(), CLICK, 3, gone.heard.put)
    model.wait_until_held()
    engine.ask(gone, SOURCE, _patch(1), CLICK, 3, gone.heard.put)
    engine.prepare(gone, SOURCE, [_patch(2)])
    job = engine.run(gone, iter([1]), gone.heard.put, gone.heard.put)
    engine.ask(other, SOURCE, _patch(3), CLICK, 3, other.heard.put)
    engine.forget(gone)
    model.go_on.set()
    assert isinstance(other.hear(), Answer)
    _settle(engine)
    assert job.ended
    assert gone.is_silent
    assert [which for what, which in model.did if what == "encode"] == [0, 3]


# -- long work -----------------------------------------------------------------------------------------------------


def _endless(closed: threading.Event) -> Iterator[int]:
    try:
        yield from itertools.count()
    finally:
        closed.set()


def test_a_job_hands_over_parts_and_says_when_it_ends(engine: Engine) -> None:
    who = Someone()
    where: list[threading.Thread] = []

    def work() -> Iterator[int | None]:
        where.append(threading.current_thread())
        yield 1
        yield None
        yield len(engine.model.decode(engine.embedding(SOURCE, _patch()), [CLICK], candidates=3))
        where.append(threading.current_thread())

    job = engine.run(who, work(), who.heard.put, who.heard.put)
    assert [who.hear() for _ in range(3)] == [1, 3, None]
    _settle(engine)
    assert who.is_silent
    assert job.ended
    assert len(set(where)) == 1
    assert where[0] is not threading.current_thread()


@pytest.mark.parametrize("parts", [0, 3])
def test_a_cancelled_job_is_closed_in_its_thread_and_says_no_more(engine: Engine, model: Model, parts: int) -> None:
    who, closed, where = Someone(later=True), threading.Event(), []

    def work() -> Iterator[int]:
        try:
            yield from range(parts)
            engine.embedding(SOURCE, _patch())
            yield 99
        finally:
            where.append(threading.current_thread())
            closed.set()

    model.hold()
    job = engine.run(who, work(), who.name("part"), who.heard.put)
    model.wait_until_held()
    job.cancel()
    model.go_on.set()
    assert closed.wait(LONG)
    assert where[0] in model.threads
    _settle(engine)
    while not who.waiting.empty():
        who.deliver(1)
    assert who.hear() is None
    assert who.is_silent


def test_a_job_cancelled_before_it_begins_never_does(engine: Engine, model: Model) -> None:
    _hold(engine, model)
    who, begun = Someone(), []

    def work() -> Iterator[int]:
        begun.append(True)
        yield 1

    engine.run(who, work(), who.heard.put, who.heard.put).cancel()
    model.go_on.set()
    assert who.hear() is None
    assert begun == []


def test_a_step_of_many_prompts_is_left_in_the_middle(engine: Engine, model: Model) -> None:
    who = Someone()

    def work() -> Iterator[int]:
        yield len(engine.model.decode(engine.embedding(SOURCE, _patch()), [CLICK] * 1000))

    model.hold()
    job = engine.run(who, work(), who.heard.put, who.heard.put)
    model.wait_until_held()
    job.cancel()
    model.go_on.set()
    assert who.hear() is None
    assert model.decoded < 1000


def test_clicks_are_answered_in_the_middle_of_a_step(engine: Engine, model: Model) -> None:
    worker, who = Someone(), Someone()
    order = []

    def work() -> Iterator[str]:
        embedding = engine.embedding(SOURCE, _patch())
        model.hold()
        engine.model.decode(embedding, [CLICK] * 100)
        yield "step"

    engine.run(worker, work(), order.append, worker.heard.put)
    model.wait_until_held()
    engine.ask(who, SOURCE, _patch(), CLICK, 3, lambda _: order.append("click"))
    model.go_on.set()
    assert worker.hear() is None
    assert order == ["click", "step"]


def test_many_prompts_are_answered_as_at_once(engine: Engine) -> None:
    picture = np.zeros((96, 96), np.uint8)
    for y in range(4, 90, 12):
        for x in range(4, 90, 12):
            picture[y : y + 6, x : x + 6] = 200
    alone, options = FakeSegmenter(), SegmentAllOptions(points_per_side=24, points_per_batch=64, min_area=1)
    embedding = alone.encode(picture)
    prompts = [Prompt.of([(y, x)]) for y in range(0, 90, 5) for x in range(0, 90, 7)]
    wanted = [alone.decode(embedding, prompts, candidates=3), *segment_all(alone, embedding, options)]
    who = Someone()

    def work() -> Iterator[Masks]:
        yield engine.model.decode(embedding, prompts, candidates=3)
        yield from segment_all(engine.model, embedding, options)

    engine.run(who, work(), who.heard.put, who.heard.put)
    for one in wanted:
        found = who.hear()
        assert found.prompt.tolist() == one.prompt.tolist()
        assert found.boxes.tolist() == one.boxes.tolist()
    assert len(wanted[1]) == 64
    assert len(engine.model.decode(embedding, [])) == 0


@pytest.mark.parametrize("where", ["first", "second", "close", "generator"])
def test_a_job_that_fails_says_so_and_harms_nobody(engine: Engine, where: str) -> None:
    who = Someone()

    def work() -> Iterator[int]:
        try:
            if where == "first":
                raise ValueError(where)
            yield 1
            if where == "second":
                raise ValueError(where)
            while where == "close":
                yield 2
        finally:
            if where == "close":
                raise ValueError(where)

    steps: Any = work() if where != "generator" else SimpleNamespace(__next__=None)
    job = engine.run(who, steps, lambda _: job.cancel() if where == "close" else None, who.heard.put)
    assert isinstance(who.hear(), TypeError if where == "generator" else ValueError)
    assert isinstance(_ask(engine, Someone()), Answer)


def test_embeddings_are_for_jobs(engine: Engine) -> None:
    _ask(engine, Someone())
    with pytest.raises(RuntimeError, match=r"Engine\.run"):
        engine.embedding(SOURCE, _patch())


# -- what goes wrong -----------------------------------------------------------------------------------------------


def _wrong_model(engine: Engine, model: Model, who: Someone) -> None:
    model.wrong = RuntimeError("out of memory")
    engine.ask(who, SOURCE, _patch(), CLICK, 3, who.heard.put)
    _settle(engine)
    model.wrong = None


def _wrong_chunk(engine: Engine, _: Model, who: Someone) -> None:
    def load(block: np.ndarray) -> np.ndarray:
        if block.size:
            msg = "the server is gone"
            raise OSError(msg)
        return block

    lazy = da.zeros((6, *SHAPE), dtype=np.uint8).map_blocks(load, dtype=np.uint8)
    engine.ask(who, Source.of([lazy]), _patch(), CLICK, 3, who.heard.put)


def _wrong_place(engine: Engine, _: Model, who: Someone) -> None:
    engine.ask(who, SOURCE, _patch(), Prompt.of([(500, 3)]), 3, who.heard.put)


def _wrong_patch(engine: Engine, _: Model, who: Someone) -> None:
    engine.look(who, SOURCE, patch_for(Plane((1, 2), (0, 0, 0)), (999, 9), 1, (0, 0, 9, 9)), CLICK, 3, who.heard.put)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [(_wrong_model, RuntimeError), (_wrong_chunk, OSError), (_wrong_place, PromptError), (_wrong_patch, ValueError)],
)
def test_errors_go_to_who_asked_and_nowhere_else(engine: Engine, model: Model, wrong: Any, error: type) -> None:
    who = Someone()
    wrong(engine, model, who)
    found = who.hear()
    assert isinstance(found, error)
    assert found.__traceback__ is None
    assert isinstance(_ask(engine, who), Answer)


def test_what_a_client_does_wrong_with_an_answer_is_its_own_matter(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> None:
        raise ZeroDivisionError

    engine.ask(Someone(), SOURCE, _patch(), CLICK, 3, fail)
    engine.run(Someone(), iter([1]), fail, fail)
    assert isinstance(_ask(engine, Someone()), Answer)
    assert caplog.text.count("ZeroDivisionError") >= 1


def test_what_cannot_be_prepared_is_left_out(engine: Engine, model: Model) -> None:
    who = Someone()
    bad = Patch(Plane((1, 2), (1, 0, 0)), 1, 0, (0, 0, 999, 999), (999, 999), (999, 999))
    engine.prepare(who, SOURCE, [_patch(0), bad, _patch(2)])
    _until(lambda: model.encoded == 2)
    assert who.is_silent
    assert who.told == []


def test_a_model_that_cannot_be_loaded_is_tried_again_by_clicks_and_not_by_hovering(model: Model) -> None:
    tried: list[bool] = []

    def load() -> Model:
        tried.append(True)
        if len(tried) < 3:
            msg = "got no network, expected one"
            raise CheckpointError(msg)
        return model

    engine, who = Engine(load, None), Someone()
    for _ in range(3):
        engine.look(who, SOURCE, _patch(), CLICK, 3, who.heard.put)
        assert isinstance(who.hear(), CheckpointError)
    assert len(tried) == 1
    assert "no network" in engine.stats.trouble
    assert isinstance(_ask(engine, who), CheckpointError)
    assert isinstance(_ask(engine, who), Answer)
    assert len(tried) == 3
    assert engine.stats.trouble == ""
    engine.close()


# -- memory and disk -----------------------------------------------------------------------------------------------


def test_memory_is_bounded_and_idle_work_stops_where_it_is_full(model: Model) -> None:
    size = model.encode(STACK[0]).halved().nbytes
    model.did.clear()
    engine, who = Engine(lambda: model, None, keep_bytes=3 * size + 10), Someone()
    engine.prepare(who, SOURCE, [_patch(z) for z in range(6)])
    _until(lambda: engine.stats.queue == 0)
    _settle(engine)
    assert [which for _, which in model.did] == [0, 1, 2]
    engine.prepare(who, SOURCE, [_patch(z) for z in (5, 2)])
    _until(lambda: engine.stats.queue == 0)
    _settle(engine)
    assert [which for _, which in model.did] == [0, 1, 2, 5]
    assert engine.stats.kept_bytes == 3 * size
    for z in (5, 2):
        assert not _ask(engine, who, z=z).encoded
    for z in range(6):
        _ask(engine, who, z=z)
        assert engine.stats.kept_bytes <= 3 * size
    engine.close()


def test_what_was_encoded_once_is_found_on_disk(tmp_path: Path, model: Model) -> None:
    who = Someone()
    for run in range(2):
        engine = Engine(lambda: model, EmbeddingCache(tmp_path))
        masks = _ask(engine, who, z=1).masks
        _ask(engine, who, z=1)
        stats = engine.stats
        assert (stats.encodes, stats.disk_hits, stats.memory_hits) == (1 - run, run, 1)
        assert masks.dense()[0].sum() == 600
        engine.close()
    assert model.encoded == 1


def test_the_first_answer_does_not_wait_for_the_disk(tmp_path: Path, model: Model) -> None:
    class Slow(EmbeddingCache):
        may_write = threading.Event()

        def put(self, *given: Any, **options: Any) -> None:
            assert self.may_write.wait(LONG)
            super().put(*given, **options)

    cache = Slow(tmp_path)
    engine, who = Engine(lambda: model, cache), Someone()
    for z in range(6):
        assert isinstance(_ask(engine, who, z=z), Answer)
    assert len(cache) == 0
    engine.close(wait=False)
    cache.may_write.set()
    engine.close()
    assert len(cache) == 6


def test_a_full_disk_is_told_once_to_all_and_work_goes_on(tmp_path: Path, model: Model) -> None:
    class Full(EmbeddingCache):
        def put(self, *_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    engine, a, b = Engine(lambda: model, Full(tmp_path)), Someone(), Someone()
    engine.look_away(b)
    for z in range(4):
        assert isinstance(_ask(engine, a, z=z), Answer)
    _until(lambda: bool(a.told and b.told))
    assert isinstance(_ask(engine, a, z=4), Answer)
    assert "No space left" in engine.stats.trouble
    engine.close()
    assert (len(a.told), len(b.told)) == (1, 1)


def test_stats_say_what_was_done(engine: Engine, model: Model) -> None:
    stats = engine.stats
    assert (stats.model, stats.fingerprint, stats.device, stats.loaded) == ("a fake", "", "", False)
    assert (stats.encode_ms, stats.decode_ms, stats.doing) == (None, None, "")
    who = Someone()
    for z in (0, 1, 0):
        _ask(engine, who, z=z)
    model.hold()
    engine.ask(who, SOURCE, _patch(4), CLICK, 3, who.heard.put)
    model.wait_until_held()
    engine.look(who, SOURCE, _patch(), CLICK, 3, who.heard.put)
    stats = engine.stats
    assert (stats.fingerprint, stats.device, stats.dtype, stats.loaded) == ("fake", "paper", "pencil", True)
    assert (stats.encodes, stats.memory_hits, stats.disk_hits, stats.queue) == (2, 1, 0, 1)
    assert stats.encode_ms is not None
    assert stats.decode_ms is not None
    assert min(*stats.encode_ms, *stats.decode_ms) > 0
    assert (stats.doing, stats.trouble) == ("encoding", "")
    model.go_on.set()
    who.hear()
    who.hear()
    _until(lambda: engine.stats.doing == "")


# -- the end -------------------------------------------------------------------------------------------------------


def test_an_engine_that_nobody_asks_has_no_thread(model: Model) -> None:
    before = threading.active_count()
    engine = Engine(lambda: model, None)
    engine.forget(Someone())
    assert threading.active_count() == before
    engine.close()
    engine.close()


def test_closing_in_the_middle_of_everything(model: Model) -> None:
    engine, who, closed = Engine(lambda: model, None), Someone(), threading.Event()
    begun = threading.Event()
    job = engine.run(who, _endless(closed), lambda _: begun.set(), who.heard.put)
    assert begun.wait(LONG)
    _ask(engine, who)
    model.hold()
    engine.ask(who, SOURCE, _patch(1), CLICK, 3, who.heard.put)
    model.wait_until_held()
    engine.ask(who, SOURCE, _patch(2), CLICK, 3, who.heard.put)
    engine.look(who, SOURCE, _patch(3), CLICK, 3, who.heard.put)
    engine.prepare(who, SOURCE, [_patch(4)])
    engine.close(wait=False)
    (thread,) = model.threads
    assert thread.is_alive()
    model.go_on.set()
    engine.close()
    assert not thread.is_alive()
    assert closed.is_set()
    assert job.stopped
    assert who.is_silent
    assert model.encoded == 2


def test_a_closed_engine_does_nothing(engine: Engine, model: Model) -> None:
    who = Someone()
    engine.close()
    engine.look(who, SOURCE, _patch(), CLICK, 3, who.heard.put)
    engine.ask(who, SOURCE, _patch(), CLICK, 3, who.heard.put)
    engine.prepare(who, SOURCE, [_patch()])
    assert engine.run(who, iter([1]), who.heard.put, who.heard.put).stopped
    assert who.is_silent
    assert model.did == []


def test_closing_from_an_answer(model: Model) -> None:
    engine, who = Engine(lambda: model, None), Someone()
    engine.ask(who, SOURCE, _patch(), CLICK, 3, lambda _: (engine.close(), who.heard.put("closed")))
    assert who.hear() == "closed"
    (thread,) = model.threads
    thread.join(LONG)
    assert not thread.is_alive()


def test_widgets_share_an_engine_and_the_last_one_out_ends_it(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    monkeypatch.setattr("sam_napari._engines._made", lambda name, *_: Engine(lambda: model, None, name=name))
    one, two, other = engine_for("cell"), engine_for("cell"), engine_for("another")
    assert one is two
    assert other is not one
    _ask(one, Someone())
    (thread,) = model.threads
    release(other)
    release(one)
    assert isinstance(_ask(two, Someone()), Answer)
    release(two)
    thread.join(LONG)
    assert not thread.is_alive()
    again = engine_for("cell")
    assert again is not one
    release(again)


def test_the_real_model_is_loaded_where_it_is_used(tmp_path: Path) -> None:
    engine, who = engine_for("cell", cache=tmp_path), Someone()
    answer = _ask(engine, who)
    stats = engine.stats
    release(engine)
    engine.close()
    assert answer.masks.best().dense()[0, 20, 30]
    assert (stats.device, stats.model, stats.encodes) == ("cpu", "cell", 1)
    assert len(EmbeddingCache(tmp_path)) == 1


@pytest.mark.parametrize("works", [True, False])
def test_garbage_is_looked_for_as_before_when_the_model_is_loaded(works: bool) -> None:
    def fail() -> None:
        with without_pauses():
            seen.append(gc.isenabled())
            raise ZeroDivisionError

    before, seen = gc.isenabled(), []
    (gc.enable if works else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError):
            fail()
        seen.append(gc.isenabled())
    finally:
        (gc.enable if before else gc.disable)()
    assert seen == [False, works]
    assert gc.get_freeze_count() == 0


def test_what_is_frozen_stays_frozen() -> None:
    gc.freeze()
    try:
        with without_pauses():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_where_torch_cannot_be_linked_beforehand_its_import_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for spec in (None, SimpleNamespace(submodule_search_locations=["/nowhere"])):
        monkeypatch.setattr("importlib.util.find_spec", lambda _, found=spec: found)
        link_torch()


# -- all at once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_asked_from_wherever_each_click_is_answered_once(seed: int, model: Model) -> None:
    engine = Engine(lambda: model, None, keep_bytes=20_000)
    people = [Someone() for _ in range(3)]
    clicks = [0] * len(people)
    leaving = Someone()

    def act(number: int) -> None:
        choose, who, jobs = random.Random(10 * seed + number), people[number], []
        for _ in range(120):
            z, what = choose.randrange(6), choose.randrange(7)
            if what == 0:
                clicks[number] += 1
                engine.ask(who, SOURCE, _patch(z), CLICK, choose.choice([1, 3]), who.heard.put)
            elif what in (1, 2):
                engine.look(choose.choice([who, leaving]), SOURCE, _patch(z), CLICK, 3, lambda _: None)
            elif what == 3:
                engine.prepare(who, SOURCE, [_patch(choose.randrange(6)) for _ in range(3)])
            elif what == 4:
                steps = (engine.embedding(SOURCE, _patch(choose.randrange(6))).nbytes for _ in range(20))
                jobs.append(engine.run(who, steps, lambda _: None, lambda _: None))
            elif what == 5:
                engine.forget(leaving)
            elif jobs:
                choose.choice(jobs).cancel()
        for job in jobs:
            job.cancel()

    threads = [threading.Thread(target=act, args=(number,)) for number in range(len(people))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for who, count in zip(people, clicks, strict=True):
        assert all(isinstance(who.hear(), Answer) for _ in range(count))
    _settle(engine)
    assert all(who.is_silent for who in people)
    assert engine.stats.kept_bytes <= 20_000
    engine.close()
    assert len(model.threads) == 1
    assert not model.threads.pop().is_alive()


# -- threads of torch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threads", "used"), [(1, []), (2, [1, 2]), (8, [4, 8])])
def test_clicks_take_half_of_the_cores_and_give_them_back(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, threads: int, used: list[int]
) -> None:
    calls: list[int] = []
    torch = SimpleNamespace(get_num_threads=lambda: threads, set_num_threads=calls.append)
    monkeypatch.setitem(sys.modules, "torch", torch)  # type: ignore[arg-type]
    assert isinstance(_ask(engine, Someone()), Answer)
    assert isinstance(_ask(engine, Someone(), prompt=Prompt.of([(900, 3)])), PromptError)
    assert calls == used * 2


def test_without_torch_there_is_nothing_to_set(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert isinstance(_ask(engine, Someone()), Answer)


def test_all_patches_of_a_large_plane_answer_alike(engine: Engine) -> None:
    """An object where four patches overlap is the same object in all that hold it."""
    picture = np.zeros((1500, 1500), np.uint8)
    picture[740:760, 740:765] = 200
    source, plane, who = Source.of([picture]), Plane((0, 1), (0, 0)), Someone()
    holding = [patch for patch in patches_of(plane, picture.shape) if patch.holds((740, 740, 760, 765))]
    assert len(holding) == 4
    for patch in holding:
        engine.ask(who, source, patch, Prompt.of([(750, 750)]), 1, who.heard.put)
        assert (who.hear().masks.dense()[0] == (picture > 0)).all()
