"""What programs sent is deleted soon after it was read, and nothing else is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sam_space.uploads import Uploads


class Clock:
    """Runs what is to be done later when it is told to."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((seconds, call))

    def run(self) -> None:
        due, self.due = self.due, []
        for _, call in due:
            call()


def sent(path: Path, *, ago: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"1")
    os.utime(path, (time.time() - ago,) * 2)
    return path


@pytest.mark.parametrize("name", ["abc/cells.png", "tmp1"])
def test_it_goes_once_it_was_read(tmp_path: Path, name: str) -> None:
    clock = Clock()
    file, other = sent(tmp_path / name, ago=60), sent(tmp_path / "other" / "cells.png", ago=60)
    Uploads(tmp_path, 15, clock).answered(file)
    assert clock.due[0][0] == 15
    assert file.exists()
    clock.run()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other]
    assert not file.exists()
    assert file.parent == tmp_path or not file.parent.exists()


def test_what_was_sent_anew_meanwhile_stays_as_long_again(tmp_path: Path) -> None:
    clock = Clock()
    file = sent(tmp_path / "abc" / "cells.png", ago=60)
    Uploads(tmp_path, 15, clock).answered(file)
    os.utime(file, (time.time() - 5,) * 2)
    clock.run()
    assert file.exists()
    assert clock.due[0][0] == pytest.approx(10, abs=2)
    os.utime(file, (time.time() - 16,) * 2)
    clock.run()
    assert not file.exists()


def test_twice_answered_and_once_deleted(tmp_path: Path) -> None:
    clock = Clock()
    file = sent(tmp_path / "abc" / "cells.png", ago=60)
    uploads = Uploads(tmp_path, 15, clock)
    uploads.answered(file)
    uploads.answered(file)
    clock.run()
    assert not clock.due


@pytest.mark.parametrize("name", ["../elsewhere/cells.png", "a/b/cells.png", "../cells.png"])
def test_nothing_else_is_deleted(tmp_path: Path, name: str) -> None:
    clock = Clock()
    folder = tmp_path / "uploads"
    folder.mkdir()
    Uploads(folder, 15, clock).answered(sent(folder / name, ago=60))
    assert not clock.due
