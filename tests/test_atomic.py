"""Files and folders are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sam_core.atomic import placed


def _write(path: Path, text: str, *, folder: bool = False, error: BaseException | None = None) -> None:
    with placed(path) as beside:
        if folder:
            beside.mkdir()
        (beside / "file" if folder else beside).write_text(text)
        if error is not None:
            raise error


@pytest.mark.parametrize("folder", [False, True])
def test_what_is_there_is_replaced(tmp_path: Path, folder: bool) -> None:
    for text in ("old", "new"):
        _write(tmp_path / "a", text, folder=folder)
    assert (tmp_path / "a" / "file" if folder else tmp_path / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
@pytest.mark.parametrize("folder", [False, True])
def test_an_interruption_leaves_what_was_there(tmp_path: Path, error: type[BaseException], folder: bool) -> None:
    _write(tmp_path / "a", "old", folder=folder)
    with pytest.raises(error):
        _write(tmp_path / "a", "new", folder=folder, error=error())
    assert (tmp_path / "a" / "file" if folder else tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "a", "old", folder=True)
    replace = os.replace

    def refuse(source: Path, target: Path) -> None:
        if Path(target) == tmp_path / "a" and not (Path(source) / "file").read_text() == "old":
            raise OSError(errno.EIO, "input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="input/output"):
        _write(tmp_path / "a", "new", folder=True)
    assert (tmp_path / "a" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="free some space") as caught:
        _write(tmp_path / "a", "ha", error=full)
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="create the folder first"):
        _write(tmp_path / "nowhere" / "a", "x")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="permission"):
            _write(tmp_path / "a", "x")
    finally:
        tmp_path.chmod(0o700)
