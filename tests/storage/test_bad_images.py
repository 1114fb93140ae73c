"""What is wrong with an image is told with the file, what was expected and what to do."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from sam_core import ImageError
from sam_core.storage import read_planes

NOISE = np.random.default_rng(0).integers(0, 60000, (5, 40, 50)).astype(np.uint16)


def _picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray((NOISE[0] >> 8).astype(np.uint8)).save(out, format=kind)
    return out.getvalue()


def _tiff(**options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, NOISE, photometric="minisblack", **options)
    return out.getvalue()


WHOLE: dict[str, Callable[[], bytes]] = {
    "png": lambda: _picture("PNG"),
    "jpg": lambda: _picture("JPEG"),
    "bmp": lambda: _picture("BMP"),
    "plain.tif": lambda: _tiff(metadata=None),
    "shaped.tif": lambda: _tiff(),
    "packed.tif": lambda: _tiff(compression="zlib"),
    "imagej.tif": lambda: _tiff(imagej=True, metadata={"axes": "ZYX"}),
    "packed_imagej.tif": lambda: _tiff(imagej=True, metadata={"axes": "ZYX"}, compression="zlib"),
    "ome.tif": lambda: _tiff(ome=True, metadata={"axes": "CYX"}),
    "big.tif": lambda: _tiff(bigtiff=True, metadata=None, compression="zlib"),
}


@pytest.mark.parametrize("part", [0.002, 0.1, 0.3, 0.6, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_cut_short(tmp_path: Path, name: str, part: float) -> None:
    data = WHOLE[name]()
    path = tmp_path / f"a.{name}"
    path.write_bytes(data[: max(1, int(len(data) * part))])
    with pytest.raises(ImageError, match=path.name):
        read_planes(path)


def test_arrays_that_are_cut_short(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", NOISE)
    data = (tmp_path / "a.npy").read_bytes()
    for size in (7, 40, 200, len(data) - 1):
        (tmp_path / "a.npy").write_bytes(data[:size])
        with pytest.raises(ImageError, match=r"a\.npy"):
            read_planes(tmp_path / "a.npy")


def test_damage_inside_is_found_when_the_plane_is_read(tmp_path: Path) -> None:
    data = bytearray(_tiff(compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        start, count = file.pages[2].dataoffsets[0], file.pages[2].databytecounts[0]
    data[start : start + count] = bytes(count)
    (tmp_path / "a.tif").write_bytes(data)
    planes = read_planes(tmp_path / "a.tif")
    assert np.array_equal(planes[1], NOISE[1])
    with pytest.raises(ImageError, match=r"plane 2 of .*a\.tif"):
        planes[2]


def _write(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def _array(values: object) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, values)

    return save


def _group(path: Path) -> None:
    zarr.open_group(path, mode="w").create_group("inside")


BAD: list[tuple[str, Callable[[Path], None], str]] = [
    ("missing.png", lambda _: None, "does not exist"),
    ("empty.png", _write(b""), "empty.*0 bytes"),
    ("text.png", _write(b"hello there, this is text"), "starts with b'hello there, thi'"),
    ("text.tif", _write(b"hello"), "no image"),
    ("zip.npz", _write(b"PK\x03\x04........"), "no image"),
    ("tag.tif", _write(b"II*\0"), "cut short"),
    ("nothing.tif", _write(b"II*\0\0\0\0\0"), "cannot be read|without an image"),
    ("folder", Path.mkdir, "without a zarr image"),
    ("a.zarr", Path.mkdir, "without a zarr image"),
    ("group.zarr", _group, "inside.*name one"),
    ("none.npy", _array(np.zeros((0, 5))), "nothing in it"),
    ("thin.npy", _array(np.zeros((5, 0, 3))), "nothing in it"),
    ("scalar.npy", _array(np.float64(3)), r"shape \(\)"),
    ("line.npy", _array(np.zeros(9)), r"shape \(9,\)"),
    ("five.npy", _array(np.zeros((2, 3, 4, 5, 6))), r"\(2, 3, 4, 5, 6\)"),
    ("complex.npy", _array(np.zeros((4, 5), complex)), "complex128"),
    ("words.npy", _array(np.array([["a", "b"], ["c", "d"]])), "real numbers"),
    ("record.npy", _array(np.zeros((4, 5), [("a", "i4")])), "real numbers"),
    ("many.npy", _array(np.zeros((2, 9, 9, 7))), "7 channels"),
]


@pytest.mark.parametrize(("name", "make", "said"), BAD, ids=[each[0] for each in BAD])
def test_what_is_wrong_is_told(tmp_path: Path, name: str, make: Callable[[Path], None], said: str) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(ImageError, match=said) as caught:
        read_planes(path)
    assert name in str(caught.value)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, None]), allow_pickle=True)
    with pytest.raises(ImageError, match=r"a\.npy"):
        read_planes(tmp_path / "a.npy")


@pytest.mark.parametrize("axes", ["TYX", "ZYX", "CYX"])
def test_a_channel_or_time_that_is_not_there(tmp_path: Path, axes: str) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", NOISE[:3], metadata={"axes": axes}, photometric="minisblack")
    for channel in (-1, 3):
        with pytest.raises(ImageError, match=f"channel {channel} of .*expected 0"):
            read_planes(tmp_path / "a.ome.tif", channel=channel)
    with pytest.raises(ImageError, match=r"time 3 of .*expected"):
        read_planes(tmp_path / "a.ome.tif", time=3)


def test_wrong_axes(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=NOISE, dimension_names=["a", "b", "c"])
    with pytest.raises(ImageError, match="expected y and x"):
        read_planes(tmp_path / "a.zarr")


def test_a_picture_that_would_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(_picture("PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)
    assert read_planes(tmp_path / "a.png").shape == (40, 50)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(ImageError, match=r"more than 1800 pixels.*OME-Zarr"):
        read_planes(tmp_path / "a.png")


def test_a_plane_too_large_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tif").write_bytes(_tiff(compression="zlib"))
    planes = read_planes(tmp_path / "a.tif")

    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "stack", refuse)
    with pytest.raises(ImageError, match=r"too large for memory.*OME-Zarr"):
        planes[0]


def test_a_compression_that_needs_more_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(NOISE[0]).save(tmp_path / "a.tif", compression="tiff_lzw")
    monkeypatch.setattr(Image, "open", lambda *_: 1 / 0)
    with pytest.raises(ImageError, match=r"LZW.*install imagecodecs"):
        read_planes(tmp_path / "a.tif")[0]


def test_an_interruption_is_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(_picture("PNG"))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Image, "open", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_planes(tmp_path / "a.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_picture("PNG"))
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(ImageError, match="permission"):
        read_planes(tmp_path / "a.png")
