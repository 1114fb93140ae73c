"""Images of all kinds, plane by plane."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from sam_core import ImageError, to_rgb8
from sam_core.storage import Planes, read_planes

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
RGB = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=2)


def _values(shape: tuple[int, ...], dtype: object = np.uint16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def _all(planes: Planes) -> np.ndarray:
    return np.stack(list(planes)).reshape(*planes.shape, *([planes.channels] if planes.channels else []))


# -- pictures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "gif"])
def test_gray_and_colour_pictures(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    options = {"lossless": True} if ending == "webp" else {}
    Image.fromarray(RGB).save(path, **options)
    planes = read_planes(path)
    assert (len(planes), planes.shape, planes.axes) == (1, (3, 4), "YX")
    assert (planes.channels, planes.scale, planes.unit) == (3, None, "")
    if ending != "gif":
        assert np.array_equal(planes[0], RGB)
        assert np.array_equal(read_planes(path, channel=1)[0], RGB[..., 1])


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        (GRAY, "L"),
        (GRAY > 90, "1"),
        (_values((3, 4)) * 300, "I;16"),
        (np.dstack([RGB, GRAY]), "RGBA"),
        (RGB, "RGB"),
    ],
)
def test_png_keeps_its_type(tmp_path: Path, values: np.ndarray, mode: str) -> None:
    image = Image.fromarray(values)
    assert image.mode == mode
    image.save(tmp_path / "a.png")
    plane = read_planes(tmp_path / "a.png")[0]
    assert plane.dtype == values.dtype
    assert np.array_equal(plane, values)


@pytest.mark.parametrize(
    ("mode", "kind", "channels"), [("P", "PNG", 3), ("LA", "PNG", 0), ("CMYK", "JPEG", 3), ("YCbCr", "JPEG", 3)]
)
def test_other_colours_become_gray_or_rgb(tmp_path: Path, mode: str, kind: str, channels: int) -> None:
    Image.fromarray(RGB).convert(mode).save(tmp_path / "a", format=kind)
    assert read_planes(tmp_path / "a").channels == channels


def _deep_png(values: np.ndarray) -> bytes:
    height, width, channels = values.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_are_kept(tmp_path: Path, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 6, channels), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(_deep_png(values))
    assert np.array_equal(read_planes(tmp_path / "a.png")[0], values)


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_a_picture_is_turned_as_exif_says(tmp_path: Path, orientation: int) -> None:
    values = np.kron(np.array([[0, 255, 60], [120, 180, 30]], np.uint8), np.ones((8, 8), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values).save(tmp_path / "a.jpg", exif=exif, quality=95)
    plane = read_planes(tmp_path / "a.jpg")[0]
    expected = TURNS[orientation](values)
    assert plane.shape == expected.shape
    assert np.abs(plane.astype(int) - expected).max() < 12


def test_frames_are_planes(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((6, 5), value, np.uint8)) for value in (0, 100, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    planes = read_planes(tmp_path / "a.gif")
    assert (planes.shape, planes.axes, planes.channels) == ((3, 6, 5), "TYX", 3)
    assert [int(plane[2, 2, 0]) for plane in planes] == [0, 100, 200]


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.png", GRAY)
    Image.fromarray(GRAY).save(tmp_path / "b.tif", format="PNG")
    assert np.array_equal(read_planes(tmp_path / "a.png")[0], read_planes(tmp_path / "b.tif")[0])


# -- npy -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "found", "axes", "channels"),
    [
        ((6, 7), (6, 7), "YX", 0),
        ((1, 1), (1, 1), "YX", 0),
        ((5, 6, 7), (5, 6, 7), "ZYX", 0),
        ((1, 6, 7), (1, 6, 7), "ZYX", 0),
        ((6, 7, 3), (6, 7), "YX", 3),
        ((6, 7, 1), (6, 7), "YX", 0),
        ((5, 6, 7, 2), (5, 6, 7), "ZYX", 2),
        ((1, 6, 7, 2), (1, 6, 7), "ZYX", 2),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, ">u2", np.float32, np.int64, bool])
def test_arrays(
    tmp_path: Path, shape: tuple[int, ...], found: tuple[int, ...], axes: str, channels: int, dtype: object
) -> None:
    values = _values(shape, dtype)
    np.save(tmp_path / "a.npy", values)
    planes = read_planes(tmp_path / "a.npy")
    assert (planes.shape, planes.axes, planes.channels) == (found, axes, channels)
    assert np.array_equal(_all(planes).ravel(), values.ravel())
    assert planes[0].dtype == values.dtype.newbyteorder("=") == planes.dtype
    assert planes[0].dtype.isnative


def test_planes_are_indexed_like_a_list(tmp_path: Path) -> None:
    values = _values((6, 5, 7))
    np.save(tmp_path / "a.npy", values)
    planes = read_planes(tmp_path / "a.npy")
    assert np.array_equal(planes[-1], values[5])
    part = planes[4:1:-2]
    assert part.shape == (2, 5, 7)
    assert np.array_equal(_all(part), values[4:1:-2])
    assert np.array_equal(planes[:1][0], values[0])
    assert planes[:1].shape == (1, 5, 7)
    for wrong in (6, -7):
        with pytest.raises(IndexError):
            planes[wrong]


@pytest.mark.parametrize("value", [np.nan, np.inf, 7.0])
def test_nan_infinite_and_constant_pixels_are_kept(tmp_path: Path, value: float) -> None:
    values = np.full((4, 5), value, np.float32)
    values[0, 0] = 7.0
    np.save(tmp_path / "a.npy", values)
    plane = read_planes(tmp_path / "a.npy")[0]
    assert np.array_equal(plane, values, equal_nan=True)
    assert to_rgb8(plane).shape == (4, 5, 3)


# -- TIFF ----------------------------------------------------------------------------------------------------

COMPRESSION = [None, "zlib", "lzma"]


@pytest.mark.parametrize("compression", COMPRESSION)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64, bool])
def test_pages_are_planes(tmp_path: Path, dtype: object, compression: str | None) -> None:
    values = _values((5, 16, 17), dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", metadata=None, compression=compression)
    planes = read_planes(tmp_path / "a.tif")
    assert (planes.axes, planes.scale) == ("ZYX", None)
    assert planes[0].dtype == values.dtype
    assert np.array_equal(_all(planes), values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"bigtiff": True}])
def test_ways_to_write_an_image(tmp_path: Path, order: str, options: dict) -> None:
    values = _values((40, 50))
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=order, **options)
    planes = read_planes(tmp_path / "a.tif")
    assert planes.shape == (40, 50)
    assert planes[0].dtype == np.uint16
    assert np.array_equal(planes[0], values)


LENGTHS = {"T": 3, "Z": 4, "C": 2, "Y": 8, "X": 9}


def _orders(letters: str) -> list[str]:
    return ["".join(each) + "YX" for n in range(len(letters) + 1) for each in itertools.permutations(letters, n)]


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("axes", [axes for axes in _orders("TZC") if not {"T", "Z"} <= set(axes)])
def test_axes_of_ome_tiff(tmp_path: Path, axes: str, compression: str | None) -> None:
    values = _values(tuple(LENGTHS[letter] for letter in axes))
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, values, metadata={"axes": axes}, photometric="minisblack", compression=compression)
    planes = read_planes(path)
    expected = values
    if "C" in axes:
        expected = np.moveaxis(values, axes.index("C"), -1)
        assert np.array_equal(_all(read_planes(path, channel=1)), expected[..., 1])
    assert np.array_equal(_all(planes), expected)
    assert planes.axes == axes.replace("C", "")


@pytest.mark.parametrize("axes", [axes for axes in _orders("TZC") if {"T", "Z"} <= set(axes)])
def test_times_and_planes_together_need_a_choice(tmp_path: Path, axes: str) -> None:
    values = _values(tuple(LENGTHS[letter] for letter in axes))
    tifffile.imwrite(tmp_path / "a.ome.tif", values, metadata={"axes": axes}, photometric="minisblack")
    with pytest.raises(ImageError, match="choose one time"):
        read_planes(tmp_path / "a.ome.tif")
    planes = read_planes(tmp_path / "a.ome.tif", time=2, channel=0)
    expected = values.take(2, axes.index("T"))
    left = axes.replace("T", "")
    assert np.array_equal(_all(planes), expected.take(0, left.index("C")) if "C" in left else expected)


def test_axes_of_length_one_are_a_matter_of_form(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", _values((1, 1, 1, 8, 9)), metadata={"axes": "TCZYX"})
    assert read_planes(tmp_path / "a.ome.tif").shape == (8, 9)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_colours_in_tiff(tmp_path: Path, planar: str, compression: str | None) -> None:
    values = _values((4, 8, 9, 3), np.uint8)
    stored = values if planar == "contig" else np.moveaxis(values, -1, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, compression=compression)
    assert np.array_equal(_all(read_planes(tmp_path / "a.tif")), values)
    assert np.array_equal(_all(read_planes(tmp_path / "a.tif", channel=2)), values[..., 2])


def test_many_channels_need_a_choice(tmp_path: Path) -> None:
    values = _values((6, 8, 9))
    tifffile.imwrite(tmp_path / "a.ome.tif", values, metadata={"axes": "CYX"}, photometric="minisblack")
    with pytest.raises(ImageError, match=r"6 channels.*choose one"):
        read_planes(tmp_path / "a.ome.tif")
    assert np.array_equal(read_planes(tmp_path / "a.ome.tif", channel=5)[0], values[5])


def test_of_a_pyramid_the_finest_level_is_read(tmp_path: Path) -> None:
    values = _values((64, 80))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(values, subifds=2, metadata={"axes": "YX"}, compression="zlib", tile=(16, 16))
        for step in (2, 4):
            file.write(values[::step, ::step], subfiletype=1, compression="zlib", tile=(16, 16))
    assert np.array_equal(read_planes(tmp_path / "a.ome.tif")[0], values)


@pytest.mark.parametrize("kind", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("values", [_values((9, 8)), _values((9, 8, 3), np.uint8), _values((9, 8), np.float32)])
def test_other_compressions(tmp_path: Path, kind: str, values: np.ndarray) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif", compression=kind)
    assert np.array_equal(read_planes(tmp_path / "a.tif")[0], values)


def test_pages_of_lzw(tmp_path: Path) -> None:
    values = _values((3, 9, 8))
    first, *others = [Image.fromarray(plane) for plane in values]
    first.save(tmp_path / "a.tif", compression="tiff_lzw", save_all=True, append_images=others)
    assert np.array_equal(_all(read_planes(tmp_path / "a.tif")), values)


SIZES: list[tuple[dict, tuple[float, ...] | None, str]] = [
    ({"ome": True, "metadata": {"axes": "ZYX"}}, None, ""),
    (
        {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2}},
        (2, 0.5, 0.25),
        "micrometer",
    ),
    (
        {
            "ome": True,
            "metadata": {
                "axes": "ZYX",
                "PhysicalSizeX": 0.25,
                "PhysicalSizeY": 0.5,
                "PhysicalSizeZ": 2000,
                "PhysicalSizeZUnit": "nm",
            },
        },
        (2, 0.5, 0.25),
        "micrometer",
    ),
    ({"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}}, None, "micrometer"),
    ({"ome": True, "metadata": {"axes": "TYX", "PhysicalSizeX": 2, "PhysicalSizeY": 2}}, (1, 2, 2), "micrometer"),
    (
        {"imagej": True, "resolution": (4, 2), "metadata": {"axes": "ZYX", "spacing": 3, "unit": "micron"}},
        (3, 0.5, 0.25),
        "micrometer",
    ),
    ({"imagej": True, "resolution": (4, 2), "metadata": {"axes": "ZYX", "unit": "nm"}}, (1, 0.5, 0.25), "nanometer"),
    ({"imagej": True, "metadata": {"axes": "ZYX"}}, None, ""),
    ({"imagej": True, "resolution": (4, 4), "metadata": {"axes": "TYX", "unit": "um"}}, (1, 0.25, 0.25), "micrometer"),
    ({"resolution": (300, 300), "resolutionunit": "INCH", "metadata": {"axes": "TYX"}}, None, ""),
    (
        {"resolution": (20000, 10000), "resolutionunit": "CENTIMETER", "metadata": {"axes": "TYX"}},
        (1, 1, 0.5),
        "micrometer",
    ),
]


@pytest.mark.parametrize(("options", "scale", "unit"), SIZES)
def test_sizes_of_pixels_in_tiff(tmp_path: Path, options: dict, scale: tuple[float, ...] | None, unit: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", _values((3, 8, 9)), photometric="minisblack", **options)
    planes = read_planes(tmp_path / "a.tif")
    assert planes.scale == (None if scale is None else pytest.approx(scale))
    assert planes.unit == unit


def test_a_large_image_is_read_by_parts(tmp_path: Path) -> None:
    shape = (2000, 2000, 2000)
    mapped = tifffile.memmap(tmp_path / "a.tif", shape=shape, dtype=np.uint8, bigtiff=True, photometric="minisblack")
    mapped[1999, 5, 6] = 7
    mapped.flush()
    del mapped
    planes = read_planes(tmp_path / "a.tif")
    assert planes.shape == shape
    assert planes[1999][5, 6] == 7


def test_pages_are_read_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", _values((5, 8, 9)), photometric="minisblack", compression="zlib")
    read: list[int] = []
    asarray = tifffile.TiffPage.asarray
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda page, *_, **__: read.append(page.index) or asarray(page))
    frame = tifffile.TiffFrame.asarray
    monkeypatch.setattr(tifffile.TiffFrame, "asarray", lambda page, *_, **__: read.append(page.index) or frame(page))
    planes = read_planes(tmp_path / "a.tif")
    assert not read
    planes[3]
    assert set(read) == {3}


# -- OME-Zarr ------------------------------------------------------------------------------------------------

ZARR_AXES = ["yx", "zyx", "cyx", "tyx", "czyx", "tcyx", "tczyx"]


def _save_zarr(path: Path, values: np.ndarray, axes: str, version: str, **about: object) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    group.create_array("s0", data=values)
    group.create_array("s1", data=values[..., ::2, ::2])
    types = {"t": "time", "c": "channel"}
    scale = [{"t": 1.0, "c": 1.0, "z": 2000.0, "y": 0.5, "x": 0.25}[axis] for axis in axes]
    units = {"z": "nanometer", "y": "micrometer", "x": "micrometer"}
    named = [
        {"name": a, "type": types.get(a, "space")} | ({"unit": units[a]} if a in units and version > "0.3" else {})
        for a in axes
    ]
    levels = [
        {"path": f"s{i}", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        if version > "0.3"
        else {"path": f"s{i}"}
        for i in range(2)
    ]
    image = {"version": version, "axes": list(axes) if version == "0.3" else named, "datasets": levels}
    if version in ("0.1", "0.2"):
        del image["axes"]
    meta = {"multiscales": [image | about]}
    group.attrs.update({"ome": meta} if version == "0.5" else meta)


@pytest.mark.parametrize("version", ["0.3", "0.4", "0.5"])
@pytest.mark.parametrize("axes", ZARR_AXES)
def test_ome_zarr(tmp_path: Path, axes: str, version: str) -> None:
    lengths = {"t": 1 if "z" in axes else 3, "c": 2, "z": 4, "y": 8, "x": 9}
    values = _values(tuple(lengths[axis] for axis in axes))
    _save_zarr(tmp_path / "a.zarr", values, axes, version)
    planes = read_planes(tmp_path / "a.zarr")
    expected = np.moveaxis(values, axes.index("c"), -1) if "c" in axes else values
    assert np.array_equal(_all(planes), expected[0] if "t" in axes and "z" in axes else expected)
    if version == "0.3":
        assert planes.scale is None
    else:
        assert planes.unit == "micrometer"
        along = {"ZYX": (2.0,), "TYX": (1.0,), "YX": ()}[planes.axes]
        assert planes.scale == (*along, 0.5, 0.25)


def test_the_oldest_ome_zarr_has_five_axes(tmp_path: Path) -> None:
    _save_zarr(tmp_path / "a.zarr", _values((1, 2, 4, 8, 9)), "tczyx", "0.1")
    assert read_planes(tmp_path / "a.zarr").shape == (4, 8, 9)


def test_the_scale_of_the_image_counts_too(tmp_path: Path) -> None:
    steps = [{"type": "scale", "scale": [3.0, 2.0]}]
    _save_zarr(tmp_path / "a.zarr", _values((8, 9)), "yx", "0.4", coordinateTransformations=steps)
    assert read_planes(tmp_path / "a.zarr").scale == (1.5, 0.5)


def test_a_zarr_array_is_read_like_any_array(tmp_path: Path) -> None:
    values = _values((4, 8, 9))
    zarr.save_array(tmp_path / "a.zarr", values)
    assert np.array_equal(_all(read_planes(tmp_path / "a.zarr")), values)
    zarr.create_array(tmp_path / "b.zarr", data=values, dimension_names=["c", "y", "x"])
    assert read_planes(tmp_path / "b.zarr").channels == 4


def test_the_first_of_images_side_by_side_is_read(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    _save_zarr(tmp_path / "a.zarr" / "0", _values((8, 9)), "yx", "0.4")
    assert read_planes(tmp_path / "a.zarr").shape == (8, 9)


def test_chunks_are_read_when_asked_for(tmp_path: Path) -> None:
    shape = (10_000_000, 500, 600)
    options = {"dtype": np.uint8, "chunks": (1, 500, 600), "dimension_names": ["z", "y", "x"]}
    zarr.create_array(tmp_path / "a.zarr", shape=shape, **options)[9_999_999, 3, 4] = 9
    planes = read_planes(tmp_path / "a.zarr")
    assert planes.shape == shape
    assert planes[-1][3, 4] == 9
