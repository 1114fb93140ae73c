"""Speed of the Label Studio backend: the server as it is shipped, in a process of its own, asked over HTTP."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from scipy import ndimage

from sam_core import Sam, read_planes, samples, segment_all
from sam_label_studio.embeddings import Embeddings
from sam_label_studio.prelabel import Rules, prelabel
from sam_label_studio.settings import Settings
from sam_label_studio.workbench import Workbench
from tests.bench.measure import Row, apart, product
from tests.label_studio.e2e.server import ROOT, free_port, running
from tests.label_studio.server import body, keypoint, task
from tests.label_studio.studio import Studio

COMMAND = [sys.executable, "-c", "from sam_label_studio.command import app; app()"]
PEOPLE, MINUTE = 8, 60.0
CLICKS = 12  # different ones of each person
BATCH = 50  # tasks
LOOK = 5.0  # seconds in which another image is encoded, or the embeddings of those before are written to disk
IMAGES, ROUNDS = 8, 3  # of each way to annotate everything; the ways take turns
DISTINCT, EARLY = 1000, 200  # images before memory is compared
KEPT = 64 << 20  # bytes of embeddings of the server whose memory is measured: full long before the early look


@dataclass(frozen=True)
class _Picture:
    """An image as a file under the root of local files, and where its cells are."""

    name: str
    number: int
    shape: tuple[int, int]
    middles: np.ndarray
    ground: np.ndarray

    @property
    def task(self) -> dict[str, Any]:
        return task(f"/data/local-files/?d={self.name}", self.number)

    def click(self, number: int) -> dict[str, Any]:
        """Ask for a cell; every tenth click is beside all cells, which the model is asked at two sizes."""
        y, x = self.ground[number] if number % 10 == 9 else self.middles[number % len(self.middles)]
        context = {"result": [keypoint(float(y), float(x), shape=self.shape, id=f"click {number}")]}
        return body([self.task], context=context)


class _Folder:
    """Makes pictures, no two alike."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made = 0

    def picture(self, side: int, count: int) -> _Picture:
        self._made += 1
        sample = samples.cells((side, side), count=count, diameter=32 if side > 100 else 20, seed=self._made)
        low, high = np.percentile(sample.image, (0.1, 99.9))
        plane = ((sample.image - low) / (high - low)).clip(0, 1) * 255
        name = f"{self._made}.png"
        Image.fromarray(plane.astype(np.uint8)).save(self._root / name)
        numbers = np.unique(sample.labels)[1:]
        middles = np.round(ndimage.center_of_mass(sample.labels > 0, sample.labels, numbers))
        ground = np.random.default_rng(self._made).permutation(np.argwhere(sample.labels == 0))[: 10 * CLICKS]
        return _Picture(name, self._made, (side, side), middles, ground)

    def pictures(self, how_many: int, side: int, count: int) -> list[_Picture]:
        return [self.picture(side, count) for _ in range(how_many)]


class _Server:
    """The backend as it runs."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._local = threading.local()

    def ask(self, given: dict[str, Any]) -> bytes:
        """Ask for predictions; each thread keeps its connection, as Label Studio does."""
        if not hasattr(self._local, "client"):
            self._local.client = httpx.Client(base_url=self.url, timeout=120)
        answer: httpx.Response = self._local.client.post("/predict", json=given)
        answer.raise_for_status()
        return answer.content

    def timed(self, given: dict[str, Any]) -> float:
        started = time.perf_counter()
        answer = self.ask(given)
        took = time.perf_counter() - started
        if b"failed" in answer or b'"rle"' not in answer:
            msg = f"got {answer[:200]!r}, expected a mask"
            raise RuntimeError(msg)
        return took

    def warm(self, pictures: Sequence[_Picture]) -> None:
        """Have all of some images encoded: a first click is answered from a part of them."""
        for each in pictures:
            self.timed(each.click(0))
        before = -1.0
        while (encoded := self._measured("embeddings_encoded")) != before:
            before = encoded
            time.sleep(LOOK)

    def _measured(self, name: str) -> float:
        lines = (line.split() for line in httpx.get(f"{self.url}/metrics").text.splitlines())
        return next(float(line[1]) for line in lines if line[0].endswith(name))

    @property
    def resident(self) -> float:
        """MiB of memory of its process, the only one that was given its port."""
        port = self.url.rpartition(":")[2]
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"--port\0{port}\0".encode() in (folder / "cmdline").read_bytes():
                    status = (folder / "status").read_text()
                    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
            except OSError:  # it has just ended
                continue
        msg = "the server is gone"
        raise RuntimeError(msg)


@contextmanager
def _serving(root: Path, **settings: object) -> Iterator[_Server]:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [*COMMAND, "serve", "--root", str(root), "--port", str(port)]
        env = {f"SAM_LABEL_STUDIO_{name.upper()}": str(value) for name, value in settings.items()}
        env |= {"SAM_LABEL_STUDIO_CACHE": f"{folder}/cache"}
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
        with running(command, f"http://127.0.0.1:{port}", Path(folder) / "log", env, 60):
            server = _Server(f"http://127.0.0.1:{port}")
            while "model_loaded 1" not in httpx.get(f"{server.url}/metrics").text:
                time.sleep(0.1)
            yield server


def rows() -> Iterator[Row]:
    """Clicks on warm and cold images, many people, many images, a batch, and everything on many images."""
    p = product()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = _Folder(root)
        with _serving(root) as server:
            yield from _clicks(server, folder, p)
            yield from _people(server, folder, p)
            yield _health(server, folder)
            yield from _everything(server, folder, root)
        with _serving(root, memory=KEPT) as server:
            yield _memory(server, folder)


def _clicks(server: _Server, folder: _Folder, p: float) -> Iterator[Row]:
    server.timed(folder.picture(512, 55).click(0))
    cold = [server.timed(each.click(0)) for each in folder.pictures(10, 1024, 220)]
    picture = folder.picture(1024, 220)
    server.warm([picture])
    warm = [server.timed(picture.click(i)) for i in range(100)]
    note = f"median {_ms(np.median(warm))}, p95 {_ms(_p95(warm))}, P = {_ms(p)}, HTTP included"
    yield Row("click on a warm image, 1024 x 1024, p95", _p95(warm) / p, "P", 0.6, False, note)
    note = f"longest {_ms(max(cold))}, median {_ms(np.median(cold))}, one after the other, with reading the file"
    yield Row("first click on a cold image, 1024 x 1024, longest of 10", max(cold) / p, "P", 5, False, note)


def _people(server: _Server, folder: _Folder, p: float) -> Iterator[Row]:
    """Let people click on images of their own, each as soon as the last click is answered."""
    pictures = folder.pictures(PEOPLE, 1024, 220)
    server.warm(pictures)
    alone = [[server.ask(each.click(i)) for i in range(CLICKS)] for each in pictures]
    until = time.monotonic() + MINUTE

    def person(number: int) -> tuple[list[float], int]:
        choose, times, wrong = random.Random(number), [], 0
        while time.monotonic() < until:
            i = choose.randrange(CLICKS)
            given, started = pictures[number].click(i), time.perf_counter()
            answer = server.ask(given)
            times.append(time.perf_counter() - started)
            wrong += answer != alone[number][i]
        return times, wrong

    with ThreadPoolExecutor(PEOPLE) as pool:
        found = list(pool.map(person, range(PEOPLE)))
    times = [each for mine, _ in found for each in mine]
    note = f"{len(times)} clicks in {MINUTE:.0f} s without a pause; median {_ms(np.median(times))}"
    yield Row(
        f"{PEOPLE} people clicking at once, p95", _p95(times) / p, "P", 5, False, f"{note}, p95 {_ms(_p95(times))}"
    )
    different = len({answer for mine in alone for answer in mine})
    note = f"each compared with the one asked alone; {different} different ones"
    yield Row("... answers that differ from those asked alone", sum(wrong for _, wrong in found), "", 0, False, note)


def _health(server: _Server, folder: _Folder) -> Row:
    """Ask for the health of the server all the while."""
    given = body([each.task for each in folder.pictures(BATCH, 512, 55)])
    times = []
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=server.url, timeout=60) as client:
        batch = pool.submit(server.timed, given)
        while not batch.done():
            asked = time.perf_counter()
            client.get("/health").raise_for_status()
            times.append(1000 * (time.perf_counter() - asked))
            time.sleep(0.02)
    took = batch.result()
    note = f"median {np.median(times):.0f} ms of {len(times)}; the batch took {took:.0f} s"
    return Row(f"/health while a batch of {BATCH} tasks runs, longest", max(times), "ms", 100, False, note)


def _everything(server: _Server, folder: _Folder, root: Path) -> Iterator[Row]:
    """Annotate everything in three ways, which take turns: a plain loop, a batch, `prelabel`."""
    sam = apart(Sam.from_pretrained)
    plain, batch, whole, objects = 0.0, 0.0, 0.0, 0
    with tempfile.TemporaryDirectory() as cache:
        bench = Workbench(Settings(roots=(root,)), lambda: sam, Embeddings.at(cache))
        for _ in range(ROUNDS):
            pictures = folder.pictures(IMAGES, 512, 55)
            planes = [np.asarray(read_planes(root / each.name)[0]) for each in pictures]
            found, took = apart(partial(_looped, sam, planes))
            objects += found
            plain += took
            batch += server.timed(body([each.task for each in pictures]))
            time.sleep(LOOK)
            whole += _prelabelled(bench, pictures)
    count = ROUNDS * IMAGES
    for what, took in ((f"batches of {IMAGES} tasks", batch), ("prelabel, stored in a table in memory", whole)):
        note = f"{count / took:.2f} and {count / plain:.2f} images/s; 512 x 512, {objects / count:.0f} objects each"
        yield Row(f"{what}, against a plain loop of segment_all", plain / took, "x", 0.9, True, note)


def _looped(sam: Sam, planes: Sequence[np.ndarray]) -> tuple[int, float]:
    """Annotate everything as a script would; return how many objects there are and the seconds it took."""
    started = time.perf_counter()
    objects = sum(len(part) for plane in planes for part in segment_all(sam, sam.encode(plane)))
    return objects, time.perf_counter() - started


def _prelabelled(bench: Workbench, pictures: Sequence[_Picture]) -> float:
    table = Studio()
    for each in pictures:
        table.add_task(each.task["data"])
    started = time.perf_counter()
    with table.client() as studio:
        predict = bench.predictor(studio.project(1))
        with bench.kept():
            made = [each.state for each in prelabel(studio, list(studio.tasks(1)), predict, Rules("bench"))]
    took = time.perf_counter() - started
    if made != ["made"] * len(pictures):
        msg = f"got {made}, expected a prediction of each task"
        raise RuntimeError(msg)
    return took


def _memory(server: _Server, folder: _Folder) -> Row:
    """Click once on each of many images; the server may keep only the embeddings of the latest."""
    pictures = folder.pictures(DISTINCT, 64, 4)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(server.timed, [each.click(0) for each in pictures[:EARLY]]))
        early = server.resident
        list(pool.map(server.timed, [each.click(0) for each in pictures[EARLY:]]))
    late = server.resident
    note = f"{early:.0f} MiB after {EARLY}, {late:.0f} MiB after {DISTINCT}; {KEPT >> 20} MiB of embeddings are kept"
    what = f"growth of memory from {EARLY} to {DISTINCT} distinct images"
    return Row(what, 100 * (late / early - 1), "%", 10, False, note)


def _p95(times: Sequence[float]) -> float:
    return float(np.percentile(times, 95))


def _ms(seconds: Any) -> str:
    return f"{1000 * float(seconds):.0f} ms"
