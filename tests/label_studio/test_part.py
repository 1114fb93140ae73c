"""The part of a large page that is encoded first, and when the rest follows; with a fake model."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam_core import Embedding, EmbeddingCache, Masks, Segmenter, Tiling
from sam_core.logits import Logits
from sam_label_studio.embeddings import MOST, Embeddings
from sam_label_studio.memory import Memory
from sam_label_studio.part import HALO, WORTH, Box, are_complete, area, holds, part_around
from sam_label_studio.predict import predict_task
from sam_label_studio.serial import SerialSegmenter
from tests.fake import FakeSegmenter
from tests.label_studio.server import controls, keypoint, memory, png, source, squares, task, uri

SHAPE = (900, 1200)
LONG = 20.0  # seconds
ROOT = Path(__file__).parents[2]


class PartSegmenter(FakeSegmenter):
    """Can encode a part of a plane; keeps what of each plane was encoded, None for all."""

    def __init__(self, *, can: bool = True) -> None:
        super().__init__()
        self.can = can
        self.parts: list[Box | None] = []

    def encode(self, image: NDArray[Any], **more: Any) -> Embedding:
        self.parts.append(None)
        return super().encode(image, **more)

    def encode_part(self, image: NDArray[Any], part: Box) -> Embedding | None:
        if not self.can:
            return None
        self.parts.append(part)
        y0, x0, y1, x1 = part
        feature = image[None, None, y0:y1, x0:x1].astype(np.float16)
        return Embedding((feature,), (image.shape[0], image.shape[1]), None, self.fingerprint, part=part)


class ByTile(PartSegmenter):
    """Takes some steps to encode a plane, the first when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def encode_by_tile(self, image: NDArray[Any], *, tiling: Tiling | None = None) -> Iterator[Embedding | None]:
        self.begun.set()
        assert self.go_on.wait(LONG)
        yield None
        yield None
        yield self.encode(image, tiling=tiling)


def _plane(*boxes: Box) -> np.ndarray:
    plane = np.zeros(SHAPE, np.uint8)
    for y0, x0, y1, x1 in boxes or [(100, 100, 140, 160), (130, 300, 150, 330), (700, 1000, 760, 1040)]:
        plane[y0:y1, x0:x1] = 250
    return plane


class _Page:
    """A task about one plane, asked again and again."""

    def __init__(
        self,
        plane: np.ndarray,
        model: PartSegmenter | None = None,
        cache: Embeddings | None = None,
        *,
        serial: bool = False,
    ) -> None:
        self.task = task(uri(png(plane)))
        self.model = model or PartSegmenter()
        self.asked: Segmenter = SerialSegmenter(self.model) if serial else self.model
        self.cache = cache or memory()

    def click(self, *points: tuple[float, float]) -> dict:
        return self._ask(context={"result": [keypoint(*point, shape=SHAPE) for point in points]})

    def _ask(self, **how: Any) -> dict:
        return predict_task(self.task, controls(), self.asked, self.cache, source(), **how)

    def is_whole(self) -> bool:
        """Wait until all of it is in memory, and nothing else."""
        until = time.monotonic() + LONG
        while self.cache.nbytes != np.prod(SHAPE) * 2 and time.monotonic() < until:
            time.sleep(0.01)
        return time.monotonic() < until


FIRST, LAST = (0, 0, 512, 512), (448, 704, 900, 1200)


def test_the_first_click_encodes_the_part_around_it_and_is_answered_as_by_the_whole() -> None:
    page, whole = _Page(_plane()), _Page(_plane(), PartSegmenter(can=False))
    answer = page.click((120, 130))
    assert page.model.parts == [FIRST]
    assert answer == whole.click((120, 130))
    assert whole.model.parts == [None]
    assert len(answer["result"]) == 1


def test_a_click_inside_that_part_encodes_nothing_and_one_outside_another_part() -> None:
    page = _Page(_plane())
    page.click((120, 130))
    page.click((140, 310))
    assert page.model.parts == [FIRST]
    for _ in range(2):
        assert len(page.click((730, 1020))["result"]) == 1
        assert len(page.click((120, 130))["result"]) == 1
        assert page.model.parts == [FIRST, LAST]


def test_parts_that_cost_as_much_as_the_whole_are_followed_by_the_whole() -> None:
    points = [(y, x) for y in (20, 450, 880) for x in (20, 600, 1180)]
    page = _Page(_plane(*((y - 9, x - 9, y + 9, x + 9) for y, x in points)))
    for point in points:
        assert len(page.click(point)["result"]) == 1
    *parts, last = page.model.parts
    areas = [area(part) for part in parts if part is not None]
    assert last is None
    assert len(areas) == len(parts)
    assert sum(areas[:-1]) < np.prod(SHAPE) <= sum(areas)
    assert page.is_whole()  # the parts are not kept beside it


def test_a_click_elsewhere_does_not_wait_until_the_whole_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    page, begun, go_on = _Page(_plane()), threading.Event(), threading.Event()
    encode = page.model.encode

    def slowly(*args: Any, **more: Any) -> Embedding:
        begun.set()
        assert go_on.wait(LONG)
        return encode(*args, **more)

    monkeypatch.setattr(page.model, "encode", slowly)
    page.click((120, 130))
    assert begun.wait(LONG)
    assert len(page.click((730, 1020))["result"]) == 1
    assert page.model.parts == [FIRST, LAST]
    go_on.set()
    assert page.is_whole()
    assert page.model.parts == [FIRST, LAST, None]


@pytest.mark.parametrize(
    "plane",
    [_plane((100, 100, 140, 900)), _plane((100, 100, 800, 140)), _plane((700, 1000, 760, 1040))],
    ids=["wide", "high", "nothing there"],
)
def test_an_object_that_the_part_does_not_hold_is_answered_by_the_whole(plane: np.ndarray) -> None:
    page, whole = _Page(plane), _Page(plane, PartSegmenter(can=False))
    assert page.click((120, 130)) == whole.click((120, 130))
    assert page.model.parts == [FIRST, None]


def test_clicks_far_from_each_other_are_in_one_part_or_ask_the_whole() -> None:
    near, far = _Page(_plane()), _Page(_plane())
    near.click((120, 130), (140, 310))
    far.click((120, 130), (730, 1020))
    assert near.model.parts == [FIRST]
    assert far.model.parts == [None]


def test_the_whole_is_encoded_when_nothing_else_is_to_be_done() -> None:
    page = _Page(_plane())
    page.click((120, 130))
    assert page.is_whole()
    page.click((730, 1020))
    assert page.model.parts == [FIRST, None]


def test_who_needs_the_whole_does_not_wait_for_who_is_encoding_it_at_leisure() -> None:
    model = ByTile()
    page = _Page(_plane(), model, serial=True)
    page.click((120, 130))
    assert model.begun.wait(LONG)
    with ThreadPoolExecutor(1) as person:
        answer = person.submit(page.click, (500, 600))  # nothing is there, as far as a part can tell
        model.go_on.set()
        assert answer.result(LONG)["result"] == []
    assert page.is_whole()
    page.cache.flush()


def test_a_server_that_stops_does_not_encode_the_rest_of_a_page() -> None:
    model = ByTile()
    page = _Page(_plane(), model, serial=True)
    page.click((120, 130))
    assert model.begun.wait(LONG)
    with ThreadPoolExecutor(1) as stopping:
        stopped = stopping.submit(page.cache.flush)
        while page.cache._begun:
            pass
        model.go_on.set()
        stopped.result(LONG)
    assert model.parts == [FIRST]


ENDING = """
from tests.label_studio import test_part as t

page = t._Page(t._plane())
add = page.cache._finishing.add
page.cache._finishing.add = lambda work, nbytes, rest: add(work, nbytes, rest=1000)
page.click((120, 130))
"""


def test_python_does_not_wait_until_the_rest_of_a_page_is_encoded() -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
    subprocess.run([sys.executable, "-c", ENDING], env=env, timeout=50, check=True)


def test_what_is_not_encoded_yet_is_left_when_the_server_stops(tmp_path: Path) -> None:
    page = _Page(_plane(), cache=Embeddings.at(tmp_path))
    page.click((120, 130))
    page.cache.flush()
    assert page.model.parts == [FIRST]
    assert len(EmbeddingCache(tmp_path)) == 0


def test_the_whole_goes_to_disk_and_is_taken_from_there(tmp_path: Path) -> None:
    first = _Page(_plane(), cache=Embeddings.at(tmp_path))
    first.click((120, 130), (730, 1020))
    first.cache.flush()
    second = _Page(_plane(), cache=Embeddings.at(tmp_path))
    assert second.click((120, 130)) == first.click((120, 130))
    assert second.model.parts == []


def test_many_pages_wait_without_taking_more_memory_than_they_may() -> None:
    cache, model = Embeddings(None, memory=4 * 512 * 512 * 2), PartSegmenter()
    for i in range(40):
        _Page(np.roll(_plane(), i, axis=1), model, cache).click((120, 130 + i))
        assert cache.nbytes <= cache.memory
    assert len(cache._begun) <= MOST
    cache.flush()


@pytest.mark.parametrize("mode", ["everything", "boxes"])
def test_nobody_waits_for_a_batch(mode: str) -> None:
    page = _Page(_plane())
    box = {"x": 8, "y": 11, "width": 6, "height": 5, "rotation": 0, "rectanglelabels": ["Dog"]}
    region = {"id": "r", "type": "rectanglelabels", "from_name": "rect", "to_name": "image", "value": box}
    page.task["annotations"] = [{"id": 1, "result": [region]}]
    page._ask(mode=mode)
    assert page.model.parts == [None]


def test_a_small_page_is_encoded_at_once() -> None:
    model = PartSegmenter()
    click = {"result": [keypoint(6, 10)]}
    predict_task(task(uri(png(squares()))), controls(), model, memory(), source(), context=click)
    assert model.parts == [None]


# -- memory ----------------------------------------------------------------------------------------------------------


def _embedding(part: Box | None, number: int = 0) -> Embedding:
    return Embedding((np.full((1, 1, 2, 2), number, np.float16),), (4, 4), None, "fake", part=part)


KEY = ("fake", "", "1.png", 0)


def test_parts_are_kept_until_the_whole_is_there_and_not_beside_it() -> None:
    memory, whole = Memory(limit=1000), _embedding(None)
    parts = [_embedding((i, i, i + 2, i + 2)) for i in range(2)]
    for part in parts:
        memory.keep(KEY, part)
    assert memory.of(KEY) == parts
    memory.keep(KEY, whole)
    memory.keep(KEY, parts[0])  # made while the whole was
    assert memory.of(KEY) == [whole]
    assert memory.nbytes == whole.nbytes


def test_the_page_used_last_stays() -> None:
    memory = Memory(limit=3 * _embedding(None).nbytes)
    keys = [("fake", "", f"{i}.png", 0) for i in range(4)]
    for key in keys[:3]:
        memory.keep(key, _embedding(None))
    memory.of(keys[0])
    memory.keep(keys[3], _embedding(None))
    assert [len(memory.of(key)) for key in keys] == [1, 0, 1, 1]


def test_what_is_old_is_forgotten_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(limit=1000)
    memory.keep(KEY, _embedding(None))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 601)
    assert memory.of(KEY) == []
    memory.keep(KEY, part := _embedding((0, 0, 2, 2)))
    assert memory.of(KEY) == [part]


# -- geometry --------------------------------------------------------------------------------------------------------


@st.composite
def _regions(draw: st.DrawFn) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    shape = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))
    sides = [sorted(draw(st.tuples(*[st.floats(0, size)] * 2))) for size in shape]
    (y0, y1), (x0, x1) = sides
    return (y0, x0, y1, x1), shape


@given(_regions())
def test_a_part_holds_what_it_is_for_and_saves_work(given_: tuple[Any, tuple[int, int]]) -> None:
    region, shape = given_
    part = part_around(region, shape)
    if part is None:
        sides = [region[axis + 2] - region[axis] + 2 * HALO + 192 for axis in (0, 1)]
        assert np.prod(np.minimum(np.maximum(sides, 640), shape)) > WORTH * np.prod(shape)
        return
    assert holds(part, region, shape)
    assert 0 <= part[0] < part[2] <= shape[0]
    assert 0 <= part[1] < part[3] <= shape[1]
    assert part[0] % 64 == part[1] % 64 == 0


@pytest.mark.parametrize(
    ("box", "complete"),
    [
        ((200, 200, 220, 220), True),
        ((64, 200, 220, 220), False),  # cut off above
        ((200, 200, 576, 220), False),  # below
        ((200, 200, 220, 512), False),  # on the right
        ((200, 0, 220, 220), True),  # ends where the plane does
    ],
)
def test_an_answer_that_runs_out_of_its_part_is_not_complete(box: Box, complete: bool) -> None:
    y0, x0, y1, x1 = box
    mask = np.zeros((1000, 1000), bool)
    mask[y0:y1, x0:x1] = True
    masks = Masks.from_logits(mask.shape, [Logits.of_mask(mask)], [0.9], [0])
    assert are_complete(masks, (64, 0, 576, 512), 1) is complete
    assert not are_complete(masks, (64, 0, 576, 512), 2)
