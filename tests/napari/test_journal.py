"""A journal makes the same labels again: after anything the user does, and after anything that happens to its file."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam_napari import _journal
from sam_napari._change import Change
from sam_napari._journal import (
    Journal,
    JournalError,
    change_of,
    entry_of,
    events,
    journals,
    pixels_facts,
)
from sam_napari._replay import replay
from sam_napari._source import Plane
from tests.napari.array_canvas import ArrayCanvas
from tests.napari.doubles import FLAT, IN_ALONE, IN_BELOW, IN_LEFT, IN_RIGHT, NOWHERE, SHAPE, Desk, boxed

POINTS = [IN_LEFT, IN_RIGHT, IN_BELOW, IN_ALONE, NOWHERE]
Tell = Callable[[str], None]


def _silent(text: str) -> None:
    pytest.fail(f"the user was told {text!r}")


def _journal_for(folder: Path, array: NDArray[Any], tell: Tell = _silent, **facts: Any) -> Journal:
    return Journal(folder, "abc", {"shape": array.shape, "dtype": array.dtype.name, **facts}, tell)


def _desk(folder: Path, array: NDArray[Any], *, tidy: bool = True) -> Desk:
    desk = Desk(array, journal=_journal_for(folder, array))
    while tidy and desk.controller.tidy():
        pass
    return desk


# -- whatever the user does --------------------------------------------------------------------------------------------


@st.composite
def brushes(draw: st.DrawFn, shape: tuple[int, ...]) -> Change:
    """What somebody else paints: a box on a plane of any orientation."""
    rows, columns = draw(st.permutations(range(len(shape))))[:2]
    index = tuple(0 if axis in (rows, columns) else draw(st.integers(0, n - 1)) for axis, n in enumerate(shape))
    box = []
    for axis in (rows, columns):
        start = draw(st.integers(0, shape[axis] - 1))
        box.append((start, draw(st.integers(start + 1, shape[axis]))))
    (y0, y1), (x0, x1) = box
    values = np.full((y1 - y0, x1 - x0), draw(st.integers(0, 5)), np.int32)
    return Change(Plane((rows, columns), index), (y0, x0, y1, x1), values)


def _act(desk: Desk, data: st.DataObject) -> None:
    """Do one of all the things that can be done."""
    shape = desk.labels.shape
    plane = FLAT if len(shape) == 2 else Plane((1, 2), (data.draw(st.integers(0, shape[0] - 1)), 0, 0))
    point = data.draw(st.sampled_from(POINTS))
    changes = st.lists(brushes(shape), min_size=1, max_size=2)
    action = data.draw(st.sampled_from(["point", "native", "other"]))
    if action == "point":
        kind = data.draw(st.sampled_from(["hover", "click", "click", "exclude", "include"]))
        getattr(desk.controller, kind)(plane, point, 1)
    elif action == "native":
        kind = data.draw(st.sampled_from(["undo", "redo", "paint", "preserve", "selected", "replace"]))
        if kind == "paint":
            desk.canvas.paint(data.draw(changes))
        elif kind == "preserve":
            desk.canvas.preserve = not desk.canvas.preserve
        elif kind == "selected":
            desk.canvas.selected = data.draw(st.integers(0, 9))
        elif kind == "replace":
            desk.canvas.replace(np.roll(desk.labels, 7, axis=-1))
        else:
            getattr(desk.canvas, kind)()
    else:
        kind = data.draw(
            st.sampled_from(["cycle", "erase", "release", "box", "select", "commit", "late", "answer", "tidy"])
        )
        if kind == "cycle":
            desk.controller.cycle(data.draw(st.sampled_from([1, -1])))
        elif kind == "box":
            desk.controller.box(plane, (3, 3, data.draw(st.sampled_from([13, 21, 45])), 50), 1)
        elif kind == "select":
            desk.controller.select(plane, point)
        elif kind == "commit":
            desk.controller.commit("batch", data.draw(changes), objects=2)
        elif kind in ("late", "answer"):
            desk.bench.at_once = kind == "answer"
            if kind == "answer":
                desk.bench.answer_all()
        else:
            getattr(desk.controller, kind)()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_replay_is_exact_whatever_was_done(data: st.DataObject, tmp_path: Path) -> None:
    shape = data.draw(st.sampled_from([SHAPE, (2, *SHAPE)]))
    array = np.zeros(shape, data.draw(st.sampled_from([np.int32, np.uint16, np.uint8])))
    if data.draw(st.booleans()):
        array[..., 10:20, 10:30] = 7
    desk = _desk(tmp_path, array, tidy=data.draw(st.booleans()))
    journal = desk.controller.target._journal
    assert journal is not None
    for _ in range(data.draw(st.integers(1, 25))):
        _act(desk, data)
    final = desk.labels.copy()
    desk.close()
    if journal.path.exists():
        again = replay(journal.path)
        assert again.dtype == final.dtype
        assert (again == final).all()
    else:
        assert not final.any()


def test_a_journal_that_begins_later_has_it_all_and_nothing_is_forgotten(tmp_path: Path) -> None:
    desk = Desk(np.zeros(SHAPE, np.int32))
    desk.click(IN_ALONE, IN_LEFT)
    journal = _journal_for(tmp_path, desk.labels)
    desk.controller.retarget(desk.canvas, journal)
    desk.controller.cycle(1)
    assert desk.controller.state.scores == pytest.approx((0.5, 0.9, 0.7))
    desk.close()
    assert (replay(journal.path) == desk.labels).all()


def test_everything_that_was_done_is_told(tmp_path: Path) -> None:
    desk = _desk(tmp_path, np.zeros(SHAPE, np.int32))
    desk.click(IN_LEFT)
    desk.controller.cycle(1)
    desk.exclude(IN_BELOW)
    desk.exclude(IN_BELOW)  # does nothing any more
    desk.canvas.undo()
    desk.controller.box(FLAT, (28, 28, 42, 46), 1)
    desk.controller.erase()
    desk.close()
    (entry,) = journals(tmp_path, "abc")
    told = list(events(entry.path))
    kinds = ["open", "take", "cycle", "refine", "refine", "pixels", "box", "erase", "close"]
    assert [event.kind for event in told] == kinds
    assert [event.number for event in told] == list(range(len(kinds)))
    assert told[1].facts["prompt"] == {"points": [[8.0, 6.0]], "positive": [True], "box": None, "previous": False}
    assert told[3].facts["prompt"]["positive"] == [True, False]
    assert (told[1].facts["label"], told[1].facts["plane"], told[1].facts["of"]) == (
        1,
        {"axes": [0, 1], "index": [0, 0]},
        3,
    )
    assert (entry.finished, entry.live, entry.opened["shape"]) == (True, False, [48, 64])


# -- whatever happens to the file --------------------------------------------------------------------------------------


def _worked(folder: Path) -> tuple[bytes, dict[int, NDArray[Any]]]:
    """Return the bytes of a journal, and the labels after each of its events."""
    array = np.zeros(SHAPE, np.int32)
    desk = _desk(folder, array)
    journal = desk.controller.target._journal
    assert journal is not None
    states = {0: array.copy()}
    steps: list[Callable[[], None]] = [
        lambda: desk.click(IN_LEFT),
        lambda: desk.exclude(IN_RIGHT),
        lambda: desk.canvas.undo(),
        lambda: desk.click(IN_ALONE),
        lambda: desk.canvas.paint([Change(FLAT, (0, 0, 3, 3), np.arange(9, dtype=np.int32).reshape(3, 3))]),
    ]
    for i, step in enumerate(steps, start=1):
        step()
        desk.controller.tidy()
        states[i] = array.copy()
    desk.close()
    return journal.path.read_bytes(), states


def test_a_journal_cut_off_at_any_byte_is_replayed_up_to_there(tmp_path: Path) -> None:
    data, states = _worked(tmp_path / "journals")
    first = data.index(b"\n") + 1
    path = tmp_path / "cut.jsonl"
    for end in range(first, len(data) + 1):
        path.write_bytes(data[:end])
        # The last line is whole but for its end of line, or not at all.
        last = data.count(b"\n", 0, end + 1) - 1
        assert (replay(path) == states[min(last, max(states))]).all()
        assert entry_of(path).finished == (end >= len(data) - 1)


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    data, states = _worked(tmp_path / "journals")
    lines = data.split(b"\n")
    lines[2] = b'{"n": 2, "event": "refine", "s": 0, "pixels": [{"axes": [0, 1]}]}'
    lines[3:3] = [b"\xff\xfe", b"[1, 2]", lines[3][: len(lines[3]) // 2]]
    path = tmp_path / "damaged.jsonl"
    path.write_bytes(b"\n".join(lines))
    assert [event.number for event in events(path)] == [0, 1, 3, 4, 5, 6]
    assert (replay(path) == states[5]).all()
    assert (replay(path, until=1) == states[1]).all()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "expected a journal"),
        (b'{"n":0,"event":"take"}\n', "expected a journal"),
        (b'{"n":0,"event":"open","format":2}\n', "of format 2"),
        (b'{"n":0,"event":"open","format":1,"shape":[-1],"dtype":"int32"}\n', r"got labels of shape \(-1,\)"),
        (b'{"n":0,"event":"open","format":1,"shape":[2,2],"dtype":"cat"}\n', "dtype cat"),
    ],
)
def test_what_is_no_journal_says_so(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(data)
    with pytest.raises(JournalError, match=says):
        replay(path)
    assert journals(tmp_path) == [] or b'format":1' in data


def test_a_journal_of_another_shape_says_so(tmp_path: Path) -> None:
    _worked(tmp_path)
    (entry,) = journals(tmp_path)
    for shape in ((10, 10), (48, 64, 1)):
        with pytest.raises(JournalError, match="got labels of shape"):
            replay(entry.path, shape)
    assert journals(tmp_path, "another image") == []
    assert journals(tmp_path / "nowhere") == []


def test_a_replay_paints_on_what_it_is_given(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    _, states = _worked(tmp_path)
    (entry,) = journals(tmp_path)
    out = zarr.zeros(SHAPE, chunks=(7, 9), dtype="uint16")
    assert replay(entry.path, out=out) is out
    assert (out[:] == states[5]).all()


# -- disks -------------------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_told_once_and_work_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    told: list[str] = []
    array = np.zeros(SHAPE, np.int32)
    desk = Desk(array, journal=_journal_for(tmp_path / "file", array, told.append))
    desk.click(IN_LEFT, IN_BELOW)
    desk.close()
    assert len(told) == 1
    assert "The journal cannot be written" in told[0]
    assert array.max() == 2


class _Disk:
    """Has room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room, self._write = room, os.write

    def write(self, file: int, data: Any) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = self._write(file, bytes(data)[: self.room])
        self.room -= done
        return done


def test_what_a_full_disk_did_not_take_is_written_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array, told = np.zeros(SHAPE, np.int32), list[str]()
    journal = _journal_for(tmp_path, array, told.append)
    desk = Desk(array, journal=journal)
    desk.click(IN_LEFT)
    journal.flush()
    disk = _Disk(20)
    monkeypatch.setattr(_journal.os, "write", disk.write)
    desk.click(IN_BELOW)
    desk.canvas.undo()
    desk.controller.tidy()
    journal.flush()
    assert (replay(journal.path) == boxed((4, 4, 12, 20))).all()
    disk.room = 1 << 20
    desk.click(IN_ALONE)
    desk.close()
    assert (replay(journal.path) == array).all()
    assert ["No space left" in text for text in told] == [True]


def test_a_disk_that_stays_full_ends_the_journal_where_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array, told = np.zeros(SHAPE, np.int32), list[str]()
    journal = _journal_for(tmp_path, array, told.append)
    desk = Desk(array, journal=journal)
    desk.click(IN_LEFT)
    journal.flush()
    kept = array.copy()
    disk = _Disk(0)
    monkeypatch.setattr(_journal.os, "write", disk.write)
    monkeypatch.setattr(_journal, "OWED", 100)
    desk.click(IN_BELOW)
    journal.flush()
    disk.room = 1 << 20
    desk.click(IN_ALONE)
    desk.close()
    assert (replay(journal.path) == kept).all()
    assert not entry_of(journal.path).finished
    assert "ends here" in told[-1]


# -- two of them -------------------------------------------------------------------------------------------------------

CHILD = """
import sys, numpy as np
from pathlib import Path
from sam_napari._change import Change
from sam_napari._journal import Journal
from sam_napari._source import Plane
journal = Journal(Path(sys.argv[1]), "abc", {"shape": [4, 4], "dtype": "int32"}, print)
for i in range(1, 4):
    journal.note("take", [Change(Plane((0, 1), (0, 0)), (i, 0, i + 1, 4), np.full((1, 4), i, np.int32))])
journal.flush()
print("ready", flush=True)
sys.stdin.read()
"""


def test_two_processes_write_two_journals_and_the_killed_one_is_whole(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": _python_path()},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "ready\n"
    own = _journal_for(tmp_path, np.zeros((4, 4), np.int32))
    own.note("select")
    own.flush()
    assert [entry.live for entry in journals(tmp_path, "abc")] == [True, True]
    child.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    child.wait()
    child.stdin.close()
    child.stdout.close()
    own.close()
    entries = {entry.finished: entry for entry in journals(tmp_path, "abc")}
    assert not any(entry.live for entry in entries.values())
    assert (replay(entries[False].path) == np.arange(4)[:, None]).all()
    assert entries[True].path == own.path


def _python_path() -> str:
    root = Path(__file__).parents[2]
    return os.pathsep.join([str(root), str(root / "plugins")])


def test_closing_leaves_no_thread_and_an_unused_journal_no_file(tmp_path: Path) -> None:
    before = threading.active_count()
    unused = _journal_for(tmp_path, np.zeros((4, 4), np.int32))
    used = _journal_for(tmp_path, np.zeros((4, 4), np.int32))
    used.note("select")
    forgotten = _journal_for(tmp_path, np.zeros((4, 4), np.int32))
    forgotten.note("select")
    for journal in (unused, used):
        journal.close()
        journal.close()
        journal.note("select")
        assert journal.closed
    del forgotten
    assert threading.active_count() == before
    assert len(list(tmp_path.iterdir())) == 2


# -- size --------------------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 1 << 16), st.sampled_from([np.int32, np.uint8, np.int64]), st.sampled_from(["all", "some", "one"])
)
def test_pixels_there_and_back(seed: int, dtype: Any, kind: str) -> None:
    numbers = np.random.default_rng(seed)
    shape = (int(numbers.integers(1, 9)), int(numbers.integers(1, 9)))
    high = numbers.choice([1, 2, 200, 256, 70_000]) if dtype != np.uint8 else 250
    values = numbers.integers(0, high, shape, dtype, endpoint=True)
    where = None if kind == "all" else numbers.random(shape) < 0.5
    if kind == "one":
        values[...] = high
    box = (3, 5, 3 + shape[0], 5 + shape[1])
    change = change_of(json.loads(json.dumps(pixels_facts(Change(FLAT, box, values, where)))))
    assert (change.plane, change.box) == (FLAT, box)
    assert (change.written == (True if where is None else where)).all()
    assert (change.values[change.written] == values[change.written]).all()


def test_a_click_is_small(tmp_path: Path) -> None:
    y, x = np.mgrid[:120, :120]
    disc = (y - 60) ** 2 + (x - 60) ** 2 < 55**2
    change = Change(FLAT, (1000, 2000, 1120, 2120), np.where(disc, 70_000, 0).astype(np.int32), disc)
    journal = _journal_for(tmp_path, np.zeros((4096, 4096), np.int32))
    journal.note("take", [change], label=70_000, plane=FLAT, prompt={"points": [[1060.0, 2060.0]], "positive": [True]})
    journal.close()
    assert journal.path.stat().st_size < 1500


def test_facts_that_json_does_not_have_do_not_cost_the_pixels(tmp_path: Path) -> None:
    journal = _journal_for(tmp_path, np.zeros(SHAPE, np.int32))
    change = Change(FLAT, (1, 1, 3, 3), np.full((2, 2), 5, np.int32))
    journal.note("batch", [change], labels=np.arange(2), path=tmp_path, score=np.float32(0.5))
    journal.note("batch", [change], strange={np.int32(1): 2})
    journal.close()
    _, plain, strange, _ = events(journal.path)
    assert plain.facts == {"labels": [0, 1], "path": str(tmp_path), "score": 0.5}
    assert "strange" in strange.facts["facts"]
    assert (replay(journal.path)[1:3, 1:3] == 5).all()


def test_labels_that_were_there_are_noted_in_pieces_when_there_is_time(tmp_path: Path) -> None:
    array = np.zeros((3, 600, 700), np.int32)
    array[1, 590:, 690:] = 4
    desk = _desk(tmp_path, array, tidy=False)
    journal = desk.controller.target._journal
    assert journal is not None
    while desk.controller.tidy():
        pass
    journal.flush()
    assert (replay(journal.path) == array).all()
    assert [len(event.changes) for event in events(journal.path)] == [0, 1]
    desk.canvas.replace(np.where(array, 5, 0))  # all of it may have changed
    while desk.controller.tidy():
        pass
    journal.flush()
    assert (replay(journal.path) == array).all()
    plane = Plane((0, 2), (0, 0, 0))
    desk.canvas.paint([Change(Plane((1, 2), (2, 0, 0)), (0, 0, 600, 700), np.full((600, 700), 6, np.int32))] * 3)
    desk.canvas.paint([Change(plane, (0, 0, 3, 700), np.full((3, 700), 8, np.int32))])
    desk.close()
    assert (replay(journal.path) == array).all()


def test_what_was_painted_before_the_disk_was_full_is_noted(tmp_path: Path) -> None:
    desk = _desk(tmp_path, np.zeros(SHAPE, np.int32))
    journal = desk.controller.target._journal
    assert journal is not None

    def half(changes: Any) -> Any:
        yield from ArrayCanvas.writing(desk.canvas, changes[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    changes = [Change(FLAT, (i, 0, i + 1, 4), np.full((1, 4), i, np.int32)) for i in (1, 2)]
    desk.canvas.writing = half  # type: ignore[method-assign]
    with pytest.raises(OSError, match="No space"):
        desk.controller.commit("batch", changes)
    del desk.canvas.writing
    steps = desk.controller.committing("batch", [Change(FLAT, (9, 0, 10, 1), np.ones((1, 1), np.int32)), changes[1]])
    next(steps)
    steps.close()
    desk.close()
    assert desk.labels.any(axis=1).nonzero()[0].tolist() == [1, 9]
    assert (replay(journal.path) == desk.labels).all()
