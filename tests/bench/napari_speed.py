"""Speed of the napari plugin below its window: from opening an image to the first ghost, hovering, and what waits.

The engine runs in its thread as in napari; a loop stands for the window.
"""

from __future__ import annotations

import gc
import queue
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import ndimage

from sam_core import EmbeddingCache, Prompt, Sam, samples
from sam_napari._engine import Answer, Engine
from sam_napari._source import Plane, Source
from sam_napari._turns import Job
from sam_napari._view import patch_at, patches_in_view, step_for
from tests.bench.measure import Row, product

FLAT = Plane((0, 1), (0, 0))
SCREEN = 900  # pixels a side of the canvas
OPENED = 5  # images, of which the median is taken
HOVER = 6.0  # seconds
TICK = 0.001  # seconds that the loop sleeps
CONTROL = 5.0  # seconds that it runs beside nothing, which tells what others do on the machine


class _Window:
    """Takes answers as a window does: from a queue, in its own thread."""

    def __init__(self) -> None:
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def post(self, call: Callable[[], None]) -> None:
        self._posted.put(call)

    def wait(self) -> None:
        """Do the next thing that is posted."""
        self._posted.get(timeout=120)()


class _View:
    """An image that is open: what the plugin asks of the engine for it."""

    def __init__(self, engine: Engine, image: np.ndarray, *, zoom: float) -> None:
        self.engine = engine
        self.window = _Window()
        self.source = Source.of([image])
        self.shape = self.source.shape(FLAT)
        self.step = step_for(1 / zoom, self.shape)
        side = SCREEN / zoom
        y, x = (n / 2 for n in self.shape)
        self.region = (y - side / 2, x - side / 2, y + side / 2, x + side / 2)
        self.answers: list[Answer] = []

    def prepare(self, cursor: tuple[float, float]) -> None:
        patches = patches_in_view(FLAT, self.shape, self.step, self.region, cursor)
        self.engine.prepare(self.window, self.source, patches)

    def look(self, point: tuple[float, float]) -> None:
        patch = patch_at(FLAT, self.shape, self.step, point)
        self.engine.look(self.window, self.source, patch, Prompt.of([point]), 3, self._take)

    def _take(self, answer: Answer | Exception) -> None:
        if isinstance(answer, Exception):
            raise answer
        self.answers.append(answer)


@contextmanager
def _engine() -> Iterator[Engine]:
    """Give an engine with its model loaded and warm, and a cache of its own."""
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Sam.from_pretrained, EmbeddingCache(folder), name="cell")
        _first_ghost(engine, samples.cells((256, 256), count=12, seed=9).image, (128.0, 128.0), zoom=1.0)
        try:
            yield engine
        finally:
            engine.close()


def rows() -> Iterator[Row]:
    """Open small and large images, hover, and see how long a loop beside all that has to wait."""
    p = product()
    with _engine() as engine:
        yield _open_small(engine, p)
        yield from _open_large(engine, p)
        yield _hover(engine)
    yield from _gaps()


def _cells(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture of 512 x 512 with cells, and the middles of these."""
    made = samples.cells((512, 512), count=55, diameter=32, seed=seed)
    numbers = np.unique(made.labels)[1:]
    return made.image, np.array(ndimage.center_of_mass(made.labels > 0, made.labels, numbers))


def _large(seed: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Return a picture of 8192 x 8192, noise and all, and the middle of a cell in its middle."""
    image, middles = _cells(seed)
    whole = np.tile(image, (16, 16))
    whole[::7] += np.arange(8192, dtype=whole.dtype) % 5
    nearest = middles[np.hypot(*(middles - 256).T).argmin()]
    return whole, (float(nearest[0]) + 4096, float(nearest[1]) + 4096)


def _first_ghost(engine: Engine, image: np.ndarray, point: tuple[float, float], *, zoom: float) -> float:
    """Open an image under the cursor; return the seconds until there is something to show."""
    before = engine.stats.encodes
    started = time.perf_counter()
    view = _View(engine, image, zoom=zoom)
    view.prepare(point)
    view.look(point)
    view.window.wait()
    took = time.perf_counter() - started
    if engine.stats.encodes == before:
        msg = "the image was known already: nothing was measured"
        raise RuntimeError(msg)
    engine.forget(view.window)
    return took


def _open_small(engine: Engine, p: float) -> Row:
    times = []
    for seed in range(OPENED):
        image, middles = _cells(seed)
        times.append(_first_ghost(engine, image, tuple(middles[7]), zoom=SCREEN / 512))
    note = f"median {_ms(np.median(times))}, longest {_ms(max(times))}; P = {_ms(p)}, the model is loaded"
    return Row("open 512 x 512, first ghost", float(np.median(times)) / p, "P", 3, False, note)


def _open_large(engine: Engine, p: float) -> Iterator[Row]:
    for what, zoom in (("all of it on screen", SCREEN / 8192), ("zoomed in", 1.0)):
        times = []
        for seed in range(3):
            image, point = _large(seed)
            times.append(_first_ghost(engine, image, point, zoom=zoom))
        note = f"median {_ms(np.median(times))}, longest {_ms(max(times))}; {image.dtype} in memory, no pyramid"
        yield Row(f"open 8192 x 8192, {what}, first ghost", float(np.median(times)) / p, "P", 12, False, note)


def _hover(engine: Engine) -> Row:
    """Move over cells and what is between them; each ghost that is shown is followed by the next look."""
    choose = random.Random(0)
    image, middles = _cells(20)
    view = _View(engine, image, zoom=SCREEN / 512)
    view.look(tuple(middles[0]))
    view.window.wait()
    view.answers.clear()
    started = time.perf_counter()
    while (took := time.perf_counter() - started) < HOVER:
        y, x = middles[choose.randrange(len(middles))] if choose.random() < 0.8 else (choose.uniform(5, 500), 200.0)
        view.look((float(y) + choose.uniform(-4, 4), float(x) + choose.uniform(-4, 4)))
        view.window.wait()
    times = [answer.decode_ms for answer in view.answers]
    found = sum(len(answer.masks) > 0 for answer in view.answers) / len(times)
    note = f"decode: median {np.median(times):.0f} ms, p95 {np.percentile(times, 95):.0f} ms; {found:.0%} with masks"
    return Row("hover over 512 x 512, three candidates each", len(times) / took, "masks/s", 15, True, note)


def _gaps() -> Iterator[Row]:
    """Let a loop sleep while the engine reads, encodes and writes; how long it waits is how long a window would."""
    with _engine() as engine:
        image = np.tile(_cells(30)[0], (6, 6))
        view = _View(engine, image, zoom=0.8)
        patches = patches_in_view(FLAT, view.shape, 1, (0.0, 0.0, 3072.0, 3072.0))
        gc.collect()  # among all that this program has imported, which takes long and has nothing to do with the engine
        alone = _waits(threading.Timer(CONTROL, _nothing))
        job = engine.run(view.window, _encode(engine, view, patches), _nothing, _nothing)
        beside = 1000 * np.array(_waits(threading.Thread(target=_end, args=(job,))))
        note = f"median {np.median(beside):.1f} ms, p99 {np.percentile(beside, 99):.1f} ms; "
        note += f"longest beside nothing: {1000 * max(alone):.0f} ms"
        what = f"longest wait of a loop beside the encoding of {len(patches)} patches of up to 1024 x 1024"
        yield Row(what, float(beside.max()), "ms", 50, False, note)


def _encode(engine: Engine, view: _View, patches: Any) -> Iterator[None]:
    for patch in patches:
        engine.embedding(view.source, patch)
        yield None


def _waits(meanwhile: threading.Thread) -> list[float]:
    """Return the seconds that a loop takes for each sleep of a millisecond, as long as a thread lives."""
    meanwhile.start()
    waits, last = [], time.perf_counter()
    while meanwhile.is_alive():
        time.sleep(TICK)
        now = time.perf_counter()
        waits.append(now - last)
        last = now
    return waits


def _end(job: Job) -> None:
    while not job.ended:
        time.sleep(0.05)


def _nothing(*_: Any) -> None:
    pass


def _ms(seconds: Any) -> str:
    return f"{1000 * float(seconds):.0f} ms"
