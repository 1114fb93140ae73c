"""Label images that other programs open."""

from __future__ import annotations

import errno
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam_core import samples, save_labels
from sam_core.storage import read_planes

ENDINGS = ("a.tif", "a.TIFF", "a.ome.tif", "a.ome.tiff", "a.zarr", "a.ome.zarr")
CELLS = samples.cells((60, 70)).labels
STACK = samples.z_stack((5, 40, 50)).labels

shapes = hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=9)
numbers = st.sampled_from([0, 1, 2, 255, 256, 65535, 65536, 2**31 - 1])


@settings(max_examples=40, deadline=None)
@given(labels=hnp.arrays(np.int32, shapes, elements=numbers), name=st.sampled_from(ENDINGS))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray, name: str) -> None:
    path = tmp_path_factory.mktemp("labels") / name
    save_labels(path, labels)
    written = tifffile.imread(path) if "tif" in name.lower() else zarr.open_group(path, mode="r")["0"][...]
    assert np.array_equal(written, labels)
    assert written.dtype == np.min_scalar_type(labels.max())


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize(
    ("labels", "scale", "axes"),
    [(CELLS, (0.5, 0.25), None), (STACK, (2.0, 0.5, 0.25), None), (STACK, (30.0, 0.5, 0.25), "TYX")],
)
def test_scale_and_axes_are_read_again(
    tmp_path: Path, name: str, labels: np.ndarray, scale: tuple[float, ...], axes: str | None
) -> None:
    save_labels(tmp_path / name, labels, scale=scale, unit="µm", axes=axes)
    planes = read_planes(tmp_path / name)
    assert planes.shape == labels.shape
    assert planes.axes == axes or planes.axes == "ZYX"[-labels.ndim :]
    assert planes.unit == "micrometer"
    assert planes.scale is not None
    assert planes.scale[-2:] == pytest.approx((0.5, 0.25))
    if planes.axes == "ZYX":
        assert planes.scale[0] == pytest.approx(2)


@pytest.mark.parametrize("name", ENDINGS)
def test_large_numbers_and_no_unit_keep_their_scale(tmp_path: Path, name: str) -> None:
    save_labels(tmp_path / name, CELLS + 70000, scale=(0.5, 0.25))
    planes = read_planes(tmp_path / name)
    assert planes.scale == pytest.approx((0.5, 0.25))
    assert planes.unit == ""
    assert np.array_equal(planes[0], CELLS + 70000)


@pytest.mark.parametrize("name", ENDINGS)
def test_stacks_at_several_times(tmp_path: Path, name: str) -> None:
    both = np.stack([STACK, STACK[::-1]])
    save_labels(tmp_path / name, both, scale=(30, 2, 0.5, 0.25), unit="um")
    path = tmp_path / name
    written = tifffile.imread(path) if "tif" in name.lower() else zarr.open_group(path, mode="r")["0"][...]
    np.testing.assert_array_equal(written, both)


def test_fiji_finds_its_own_format(tmp_path: Path) -> None:
    save_labels(tmp_path / "a.tif", STACK, scale=(2, 0.5, 0.25), unit="micrometer", made_by="sam-core 1, model cell-é")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_imagej
        about = file.imagej_metadata
        assert (about["slices"], about["spacing"], about["unit"], about["max"]) == (5, 2.0, "um", STACK.max())
        assert about["Info"] == "sam-core 1, model cell-é"
        page = file.pages[0]
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.tags["XResolution"].value == (4, 1)
        assert page.software == "sam-core 1, model cell-?"


def test_ome_tiff_says_what_made_it(tmp_path: Path) -> None:
    save_labels(tmp_path / "a.ome.tif", STACK, scale=(2, 0.5, 0.25), unit="nm", made_by="sam-core 1")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_ome
        assert file.pages[0].software == "sam-core 1"
        about = tifffile.xml2dict(file.ome_metadata)["OME"]
    assert about["Creator"] == "sam-core 1"
    pixels = about["Image"]["Pixels"]
    assert (pixels["SizeZ"], pixels["PhysicalSizeZ"], pixels["PhysicalSizeXUnit"]) == (5, 2, "nm")


@pytest.mark.parametrize(("labels", "scale"), [(CELLS, (0.5, 0.25)), (STACK, None), (STACK, (2, 0.5, 0.25))])
def test_ome_zarr_is_valid(tmp_path: Path, labels: np.ndarray, scale: tuple[float, ...] | None) -> None:
    models = pytest.importorskip("ome_zarr_models.v04", reason="comes with newer versions of ome-zarr")
    save_labels(tmp_path / "a.ome.zarr", labels, scale=scale, unit="um", made_by="sam-core 1")
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    about = models.ImageLabel.from_zarr(group).ome_attributes
    assert about.multiscales[0].metadata == {"made_by": "sam-core 1"}
    assert about.multiscales[0].datasets[0].coordinateTransformations[0].scale == list(scale or (1,) * labels.ndim)


def test_ome_zarr_is_read_by_ome_zarr(tmp_path: Path) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    save_labels(tmp_path / "a.ome.zarr", STACK, scale=(2, 0.5, 0.25), unit="um")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (node,) = Reader(parse_url(tmp_path / "a.ome.zarr"))()
        assert np.array_equal(np.asarray(node.data[0]), STACK)
    assert [axis["unit"] for axis in node.metadata["axes"]] == ["micrometer"] * 3


def test_large_labels_have_smaller_levels(tmp_path: Path) -> None:
    labels = np.zeros((1500, 2300), np.int32)
    labels[700:900, 1000:1400] = 9
    save_labels(tmp_path / "a.zarr", labels, scale=(1, 0.5))
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    datasets = group.attrs["multiscales"][0]["datasets"]
    assert [group[each["path"]].shape for each in datasets] == [(1500, 2300), (750, 1150), (375, 575)]
    assert datasets[2]["coordinateTransformations"][0]["scale"] == [4.0, 2.0]
    assert set(np.unique(group["2"][...])) == {0, 9}


@pytest.mark.parametrize("name", ["a.png", "a", "tif", "a.tif.gz", "a.npy"])
def test_an_ending_that_is_not_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"\.tif .*\.ome\.zarr"):
        save_labels(tmp_path / name, CELLS)


BAD = [
    (np.zeros((2, 2), np.float32), {}, "float32"),
    (np.zeros(4, np.int32), {}, r"shape \(4,\)"),
    (np.zeros((1, 1, 2, 3, 4), np.int32), {}, r"\(1, 1, 2, 3, 4\)"),
    (np.zeros((1, 2, 3, 4), np.int32), {"axes": "ZTYX"}, "axes ZTYX"),
    (np.zeros((0, 5), np.int32), {}, r"\(0, 5\)"),
    (np.array([[-1, 2]]), {}, "from -1"),
    (CELLS, {"scale": (1, 2, 3)}, "expected 2 positive numbers"),
    (CELLS, {"scale": (0, 1)}, "positive"),
    (CELLS, {"scale": (1, float("nan"))}, "positive"),
    (CELLS, {"axes": "ZYX"}, "axes ZYX"),
    (STACK, {"axes": "XYZ"}, "axes XYZ"),
    (STACK, {"axes": "CYX"}, "axes CYX"),
]


@pytest.mark.parametrize(("labels", "options", "said"), BAD)
def test_what_makes_no_sense_is_refused(tmp_path: Path, labels: np.ndarray, options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        save_labels(tmp_path / "a.tif", labels, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError(errno.ENOSPC, "No space left on device")])
def test_an_interruption_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException
) -> None:
    save_labels(tmp_path / name, CELLS)
    write, fill = tifffile.imwrite, zarr.Array.__setitem__

    def half(*args: object, **kwargs: object) -> None:
        write(*args, **kwargs)
        raise error

    def half_filled(*args: object) -> None:
        fill(*args)
        raise error

    monkeypatch.setattr(tifffile, "imwrite", half)
    monkeypatch.setattr(zarr.Array, "__setitem__", half_filled)
    expected = type(error) if isinstance(error, OSError) else error
    with pytest.raises(expected, match="free some space" if isinstance(error, OSError) else None):
        save_labels(tmp_path / name, STACK)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert np.array_equal(read_planes(tmp_path / name)[0], CELLS)


@pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
def test_labels_replace_labels(tmp_path: Path, name: str) -> None:
    for labels in (STACK, CELLS):
        save_labels(tmp_path / name, labels)
    assert read_planes(tmp_path / name).shape == CELLS.shape


def test_an_image_is_never_replaced_by_its_labels(tmp_path: Path) -> None:
    zarr.save_array(tmp_path / "a.zarr", CELLS)
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "notes.txt").write_text("mine")
    group = zarr.open_group(tmp_path / "c.zarr", mode="w")
    group.attrs["ome"] = {"multiscales": []}
    for name in "abc":
        before = sorted(path.name for path in (tmp_path / f"{name}.zarr").iterdir())
        with pytest.raises(FileExistsError, match="something other than labels"):
            save_labels(tmp_path / f"{name}.zarr", CELLS)
        assert sorted(path.name for path in (tmp_path / f"{name}.zarr").iterdir()) == before


def test_the_folder_must_be_there(tmp_path: Path) -> None:
    for name in ("a.tif", "a.zarr"):
        with pytest.raises(OSError, match="nowhere"):
            save_labels(tmp_path / "nowhere" / name, CELLS)
    assert not (tmp_path / "nowhere" / "a.tif").exists()


def test_metadata_is_json(tmp_path: Path) -> None:
    save_labels(tmp_path / "a.zarr", STACK, scale=np.array([2, 0.5, 0.5]), unit="um", axes="TYX")
    about = json.loads((tmp_path / "a.zarr" / ".zattrs").read_text())
    assert about["multiscales"][0]["axes"][0] == {"name": "t", "type": "time", "unit": "second"}
    assert about["image-label"] == {"version": "0.4"}
