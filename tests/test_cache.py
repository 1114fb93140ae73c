"""Encoded planes kept on disk."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from sam_core import Embedding, EmbeddingCache, ImageError, Tiling, cache
from tests.fake import FakeSegmenter

TILING = Tiling((16, 16), (4, 4))


class WithOverview(FakeSegmenter):
    """Gives float32 features of two levels and, of a plane in tiles, an overview."""

    def encode(self, image: Any, *, tiling: Tiling | None = None) -> Embedding:
        one = super().encode(image, tiling=tiling)
        level = one.features[0].astype(np.float32) / 3
        overview = super().encode(image[::2, ::2]) if tiling is not None else None
        return replace(one, features=(level, level[..., ::2, ::2]), overview=overview)


def _plane(seed: int = 0, shape: tuple[int, ...] = (40, 50)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65535, shape, dtype=np.uint16)


def _same(a: Embedding | None, b: Embedding | None) -> bool:
    if a is None or b is None:
        return a is b
    about = [(e.image_shape, e.tiling, e.model, len(e.features)) for e in (a, b)]
    same = all(x.dtype == y.dtype == np.float16 and np.array_equal(x, y) for x, y in zip(a.features, b.features))  # noqa: B905
    return about[0] == about[1] and same and _same(a.overview, b.overview)


@pytest.fixture
def kept(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "deep" / "cache")


@pytest.mark.parametrize("tiling", [None, TILING])
def test_a_second_call_encodes_nothing_and_gives_the_same(kept: EmbeddingCache, tiling: Tiling | None) -> None:
    model = WithOverview()
    first = kept.encode(model, _plane(), tiling=tiling)
    count = model.encoded
    again = EmbeddingCache(kept.root).encode(model, _plane(), tiling=tiling)
    assert model.encoded == count
    assert _same(first, again)
    assert (again.overview is not None) == (tiling is not None)
    assert len(kept) == 1
    assert kept.nbytes >= first.nbytes


def test_other_pixels_shape_type_tiling_or_model_is_another_entry(kept: EmbeddingCache) -> None:
    plane = _plane()
    asked: list[tuple[str, np.ndarray, Tiling | None]] = [
        ("fake", plane, None),
        ("fake", plane, TILING),
        ("fake", plane, Tiling((16, 16), (5, 5))),
        ("other", plane, None),
        ("fake", plane.reshape(50, 40), None),
        ("fake", plane.view(np.int16), None),
        ("fake", plane + 1, None),
        ("fake", np.ascontiguousarray(plane[::-1]), None),
    ]
    assert len({cache.key_of(*each) for each in asked}) == len(asked)
    for name, image, tiling in asked:
        kept.encode(FakeSegmenter(name), image, tiling=tiling)
    assert len(kept) == len(asked)


def test_a_view_is_the_same_as_its_copy() -> None:
    plane = _plane()
    assert cache.key_of("m", plane[::2, 1::3], None) == cache.key_of("m", plane[::2, 1::3].copy(), None)


def test_a_new_format_reads_no_old_entry(kept: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeSegmenter()
    kept.encode(model, _plane())
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    kept.encode(model, _plane())
    assert model.encoded == 2


def _chunks(entry: Path) -> list[Path]:
    return [path for path in entry.rglob("*") if path.is_file() and path.name != "zarr.json"]


def _truncate(entry: Path) -> None:
    chunk = _chunks(entry)[-1]
    chunk.write_bytes(chunk.read_bytes()[:-40])


def _flip(entry: Path) -> None:
    chunk = _chunks(entry)[0]
    data = bytearray(chunk.read_bytes())
    data[10] ^= 1
    chunk.write_bytes(data)


def _lose(entry: Path) -> None:
    _chunks(entry)[0].unlink()


def _garble(entry: Path) -> None:
    (entry / "features" / "zarr.json").write_text("{")


def _forget(entry: Path) -> None:
    (entry / "features" / "zarr.json").unlink()


@pytest.mark.parametrize("damage", [_truncate, _flip, _lose, _garble, _forget])
def test_a_damaged_entry_is_made_anew(kept: EmbeddingCache, damage: Callable[[Path], None]) -> None:
    model = FakeSegmenter()
    whole = kept.encode(model, _plane(), tiling=TILING)
    (entry,) = kept.root.iterdir()
    damage(entry)
    assert _same(kept.encode(model, _plane(), tiling=TILING), whole)
    assert model.encoded == 2
    assert _same(kept.encode(model, _plane(), tiling=TILING), whole)
    assert model.encoded == 2
    assert [path.name for path in kept.root.iterdir()] == [entry.name]


def test_zeros_are_not_taken_for_missing(kept: EmbeddingCache) -> None:
    model = FakeSegmenter()
    for _ in range(2):
        assert not kept.encode(model, np.zeros((30, 30), np.uint8)).features[0].any()
    assert model.encoded == 1


def test_what_was_used_last_stays(kept: EmbeddingCache) -> None:
    model = FakeSegmenter()
    for seed in range(3):
        kept.encode(model, _plane(seed))
        time.sleep(0.02)
    kept.encode(model, _plane(0))
    size = kept.nbytes
    assert kept.prune(keep_bytes=size) == 0
    freed = kept.prune(keep_bytes=size // 2)
    assert (len(kept), kept.nbytes) == (1, size - freed)
    kept.encode(model, _plane(0))
    assert model.encoded == 3
    kept.encode(model, _plane(2))
    assert model.encoded == 4


def test_pruning_touches_nothing_else(kept: EmbeddingCache) -> None:
    kept.encode(FakeSegmenter(), _plane())
    (kept.root / "notes.txt").write_text("mine")
    (kept.root / "folder").mkdir()
    abandoned, busy = (kept.root / f".{'0' * 40}.{mark * 12}.part" for mark in "ab")
    abandoned.mkdir()
    busy.mkdir()
    os.utime(abandoned, (0, 0))
    assert kept.prune(keep_bytes=0) > 0
    assert {path.name for path in kept.root.iterdir()} == {"notes.txt", "folder", busy.name}


def test_less_than_nothing_cannot_be_kept(kept: EmbeddingCache) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        kept.prune(keep_bytes=-1)


def test_a_part_is_not_kept_for_the_whole(kept: EmbeddingCache) -> None:
    part = replace(FakeSegmenter().encode(_plane()), part=(0, 0, 40, 50))
    with pytest.raises(ValueError, match=r"the part \(0, 0, 40, 50\)"):
        kept.put(part, _plane())
    assert len(kept) == 0


def test_a_second_pass_over_a_stack_encodes_nothing(kept: EmbeddingCache) -> None:
    model = FakeSegmenter()
    planes = [_plane(seed) for seed in range(2 * cache.RECENT)]
    stack = kept.stack(model, planes)
    assert model.encoded == 0
    first = list(stack)
    assert model.encoded == len(planes)
    assert all(map(_same, first, stack))
    assert all(map(_same, first, EmbeddingCache(kept.root).stack(model, planes)))
    assert model.encoded == len(planes)


def test_a_stack_is_indexed_like_a_list(kept: EmbeddingCache) -> None:
    model = FakeSegmenter()
    planes = [_plane(seed) for seed in range(7)]
    stack = kept.stack(model, planes)
    assert stack[-1] is stack[6]
    part = stack[5:1:-2]
    assert model.encoded == 1
    assert len(part) == 2
    assert part[0] is stack[5]
    assert _same(part[-1], kept.encode(model, planes[3]))
    assert len(stack[2:2]) == 0
    for wrong in (7, -8):
        with pytest.raises(IndexError):
            stack[wrong]


def test_memory_of_a_stack_is_bounded(kept: EmbeddingCache) -> None:
    stack = kept.stack(FakeSegmenter(), [_plane(seed) for seed in range(cache.RECENT + 2)])
    first = stack[0]
    assert stack[0] is first
    assert len(list(stack)) == cache.RECENT + 2
    assert stack[0] is not first


def _refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_put_is_what_encode_would_have_kept(kept: EmbeddingCache) -> None:
    model, plane = WithOverview(), _plane()
    assert kept.get(model.fingerprint, plane, tiling=TILING) is None
    kept.put(model.encode(plane, tiling=TILING), plane, tiling=TILING)
    count = model.encoded
    assert _same(kept.get(model.fingerprint, plane, tiling=TILING), kept.encode(model, plane, tiling=TILING))
    assert model.encoded == count
    assert kept.get(model.fingerprint, plane) is None


def test_who_puts_is_told_why_it_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="in the way"):
        EmbeddingCache(tmp_path / "file" / "cache").put(FakeSegmenter().encode(_plane()), _plane())


def test_a_full_disk_costs_one_warning(kept: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr.Array, "__setitem__", _refuse)
    model = FakeSegmenter()
    with pytest.warns(RuntimeWarning, match="free some space") as caught:
        found = [kept.encode(model, _plane()) for _ in range(2)]
    assert [each.image_shape for each in found] == [(40, 50)] * 2
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert not list(kept.root.iterdir())


def test_a_folder_that_cannot_be_made_costs_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    kept = EmbeddingCache(tmp_path / "file" / "cache")
    with pytest.warns(RuntimeWarning, match="in the way"):
        assert kept.encode(FakeSegmenter(), _plane()).image_shape == (40, 50)
    assert (len(kept), kept.nbytes, kept.prune(keep_bytes=0)) == (0, 0, 0)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_can_only_be_read_is_read(kept: EmbeddingCache) -> None:
    model = FakeSegmenter()
    kept.encode(model, _plane())
    kept.root.chmod(0o500)
    try:
        kept.encode(model, _plane())
        with pytest.warns(RuntimeWarning, match="permission"):
            kept.encode(model, _plane(1))
    finally:
        kept.root.chmod(0o700)
    assert model.encoded == 2


def test_an_interruption_leaves_nothing(kept: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "_move", interrupt)
    with pytest.raises(KeyboardInterrupt):
        kept.encode(FakeSegmenter(), _plane())
    assert not list(kept.root.iterdir())


def test_writers_of_the_same_entry_do_not_disturb_each_other(kept: EmbeddingCache) -> None:
    together = threading.Barrier(4)

    class Together(FakeSegmenter):
        def encode(self, image: Any, *, tiling: Tiling | None = None) -> Embedding:
            together.wait(20)
            return super().encode(image, tiling=tiling)

    found: list[Embedding] = []

    def encode() -> None:
        found.append(EmbeddingCache(kept.root).encode(Together(), _plane(), tiling=TILING))

    threads = [threading.Thread(target=encode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(list(kept.root.iterdir())) == len(kept) == 1
    assert _same(kept.encode(FakeSegmenter(), _plane(), tiling=TILING), found[0])


def test_where_is_decided_at_each_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = EmbeddingCache()
    for name in ("a", "b"):
        monkeypatch.setenv("SAM_CORE_CACHE", str(tmp_path / name))
        kept.encode(FakeSegmenter(), _plane())
        assert len(list((tmp_path / name).iterdir())) == 1


def test_what_is_no_image_is_refused_by_the_model(kept: EmbeddingCache) -> None:
    with pytest.raises(ImageError):
        kept.encode(FakeSegmenter(), np.array([[None]]))
