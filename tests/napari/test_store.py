"""Embeddings found again, in memory and on disk."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import numpy as np
import pytest

from sam_core import Embedding, EmbeddingCache
from sam_napari._source import Plane
from sam_napari._store import Store
from sam_napari._turns import Key
from sam_napari._view import patch_at

SIZE = 1 << 10


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_napari._store.DELAY", 0.0)


def _key(number: int) -> Key:
    return 1, patch_at(Plane((1, 2), (number, 0, 0)), (8, 8), 1, (0, 0))


def _embedding(fill: float = 0) -> Embedding:
    return Embedding((np.full((1, 2, 16, 16), fill, np.float16),), (8, 8), None, "fake")


def _picture(fill: int = 0) -> np.ndarray:
    return np.full((8, 8), fill, np.uint8)


def _store(disk: EmbeddingCache | None = None, keep: int = 4 * SIZE) -> tuple[Store, list[str]]:
    told: list[str] = []
    return Store(disk, keep, told.append), told


def test_memory_is_bounded_and_what_was_used_stays() -> None:
    store, _ = _store()
    for number in range(4):
        store.remember(_key(number), _embedding(number))
    assert store.recall(_key(0)) is not None
    store.remember(_key(4), _embedding())
    assert [store.recall(_key(number)) is not None for number in range(5)] == [True, False, True, True, True]
    assert store.nbytes == 4 * SIZE
    store.remember(_key(4), _embedding())
    assert store.nbytes == 4 * SIZE


def test_the_latest_stays_whatever_its_size() -> None:
    store, _ = _store(keep=1)
    store.remember(_key(0), _embedding())
    store.remember(_key(1), _embedding())
    assert store.recall(_key(0)) is None
    assert store.recall(_key(1)) is not None


def test_room_is_made_but_not_at_the_cost_of_what_is_wanted() -> None:
    store, _ = _store()
    for number in range(4):
        store.remember(_key(number), _embedding())
    spare = {_key(number) for number in (0, 2, 3)}
    assert store.make_room(SIZE, spare)
    assert store.recall(_key(1)) is None
    assert not store.make_room(2 * SIZE, spare)
    assert all(store.recall(key) is not None for key in spare)


def test_what_is_written_is_found_by_its_pixels(tmp_path: Path) -> None:
    store, told = _store(EmbeddingCache(tmp_path))
    assert store.read("fake", _picture(7)) is None
    store.write(_embedding(0.5), _picture(7))
    store.close()
    found = _store(EmbeddingCache(tmp_path))[0].read("fake", _picture(7))
    assert found is not None
    assert (found.features[0] == 0.5).all()
    assert _store(EmbeddingCache(tmp_path))[0].read("other", _picture(7)) is None
    assert told == []


def test_writing_is_put_off_but_for_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_napari._store.DELAY", 1e6)
    cache = EmbeddingCache(tmp_path)
    store, _ = _store(cache)
    store.write(_embedding(), _picture(1))
    store.write(_embedding(), _picture(2))
    assert len(cache) == 0
    store.close()
    assert len(cache) == 2
    store.write(_embedding(), _picture(3))
    assert len(cache) == 2


def test_what_waits_to_be_written_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_napari._store.DELAY", 1e6)
    monkeypatch.setattr("sam_napari._store.UNWRITTEN", 3 * SIZE)
    cache = EmbeddingCache(tmp_path)
    store, told = _store(cache)
    for number in range(9):
        store.write(_embedding(), _picture(number))
    store.close()
    assert len(cache) == 2
    assert told == []


class Broken(EmbeddingCache):
    """Cannot be written to; counts how often it was tried, and lets tests wait for that."""

    tried = 0

    def __init__(self, root: Path, error: Exception) -> None:
        super().__init__(root)
        self.error = error
        self.done = threading.Event()

    def put(self, *_: object, **__: object) -> None:
        self.tried += 1
        try:
            raise self.error
        finally:
            self.done.set()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), RuntimeWarning("No space left")])
def test_a_disk_that_fails_is_told_once_and_left_alone_for_a_while(tmp_path: Path, error: Exception) -> None:
    broken = Broken(tmp_path, error)
    store, told = _store(broken)
    store.write(_embedding(), _picture(0))
    assert broken.done.wait(10)
    store.close()
    assert len(told) == 1
    assert "No space left" in told[0]
    again, _ = _store(broken)
    again._writer._give_up(error)  # type: ignore[union-attr]
    again.write(_embedding(), _picture(1))
    again.close()
    assert broken.tried == 1


def test_a_folder_that_must_not_be_looked_into_is_as_good_as_none(tmp_path: Path) -> None:
    class Locked(EmbeddingCache):
        def get(self, *_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    store, told = _store(Locked(tmp_path))
    assert store.read("fake", _picture()) is None
    assert store.read("fake", _picture()) is None
    assert len(told) == 1


def test_no_disk_no_thread() -> None:
    before = set(threading.enumerate())
    store, _ = _store()
    store.write(_embedding(), _picture())
    assert store.read("fake", _picture()) is None
    assert set(threading.enumerate()) == before
    store.close()
