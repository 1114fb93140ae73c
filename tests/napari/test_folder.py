"""A folder of images that are done one after the other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sam_core import ImageError
from sam_napari._folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("image 10.png", "image 2.png", "notes.txt", ".hidden.png", "stack.TIF"):
        (tmp_path / name).touch()
    (tmp_path / "big.zarr").mkdir()
    (tmp_path / "labels").mkdir()
    return tmp_path


def test_images_come_in_the_order_of_their_numbers(folder: Path) -> None:
    names = [path.name for path in Folder.of(folder).images]
    assert names == ["big.zarr", "image 2.png", "image 10.png", "stack.TIF"]


def test_goes_no_farther_than_the_ends(folder: Path) -> None:
    one = Folder.of(folder)
    assert [one.went(-1).at, one.went(1).at, one.went(1).went(99).at] == [0, 1, 3]


def test_finished_images_are_remembered_and_passed_over(folder: Path) -> None:
    one = Folder.of(folder).marked(True).went(1).marked(True)
    again = Folder.of(folder)
    assert (again.finished, again.done, again.at) == ({"big.zarr", "image 2.png"}, 2, 2)
    assert one.marked(False).next_open == 2
    assert again.went(-9).next_open == 2
    done = again.marked(True).went(1).marked(True)
    assert done.next_open is None
    assert Folder.of(folder).at == 0, "all are finished: the first"


def test_objects_lie_in_a_folder_of_their_own(folder: Path) -> None:
    assert Folder.of(folder).went(1).labels == folder / "labels" / "image 2.png.tif"


@pytest.mark.parametrize("record", ["{", "[1]", '{"finished": 3}'])
def test_a_record_that_is_none(folder: Path, record: str) -> None:
    (folder / "sam-core.json").write_text(record)
    if record == "[1]":
        assert Folder.of(folder).finished == frozenset()
    else:
        with pytest.raises(ImageError, match="move it away"):
            Folder.of(folder)


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no image"):
        Folder.of(tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root and Windows write anywhere")
def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    one = Folder.of(folder)
    folder.chmod(0o500)
    with pytest.raises(OSError, match="denied"):
        one.marked(True)
    folder.chmod(0o700)
