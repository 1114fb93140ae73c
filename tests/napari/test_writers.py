"""Labels written for other programs, and what these read: every pixel, size, unit and number."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from napari.layers import Labels
from numpy.typing import NDArray
from pycocotools import mask as rle
from skimage.draw import polygon2mask

from sam_core import ImageError, read_planes
from sam_napari._writers import WRITERS, Objects, write_coco, write_csv, write_rois, write_tiff, write_zarr

roifile = pytest.importorskip("roifile", reason="roifile is missing: pip install roifile")

MICRONS = {"scale": (0.5, 0.25), "units": ("um", "um"), "axis_labels": ("y", "x")}
STACK = {"scale": (2.0, 0.5, 0.5), "units": ("um",) * 3, "axis_labels": ("z", "y", "x")}
LAPSE = {"scale": (5.0, 0.5, 0.5), "units": ("minute", "um", "um"), "axis_labels": ("t", "y", "x")}
BOTH = {"scale": (5.0, 2.0, 0.5, 0.5), "units": ("minute", "um", "um", "um"), "axis_labels": ("t", "z", "y", "x")}


def plane() -> NDArray[np.int32]:
    """Return a square, and a ring with an island in its hole that belongs to it."""
    out = np.zeros((20, 30), np.int32)
    out[2:6, 3:9] = 4
    out[8:18, 10:22] = 300
    out[10:16, 12:20] = 0
    out[12:14, 15:17] = 300
    return out


def stack() -> NDArray[np.int32]:
    return np.stack([plane(), np.roll(plane(), 1, axis=1), np.zeros((20, 30), np.int32)])


def layer(data: Any, **about: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return what napari gives to a writer."""
    data, meta, _ = Labels(data, name="cells", **about).as_layer_data_tuple()
    return data, meta


# -- label images ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".zarr", ".ome.zarr"])
@pytest.mark.parametrize(
    ("labels", "about", "axes", "scale", "unit"),
    [
        (plane(), MICRONS, "YX", (0.5, 0.25), "micrometer"),
        (stack(), STACK, "ZYX", (2.0, 0.5, 0.5), "micrometer"),
        (plane(), {}, "YX", None, ""),
        (stack(), {"scale": (2000.0, 0.5, 0.5), "units": ("nm", "um", "um")}, "ZYX", (2.0, 0.5, 0.5), "micrometer"),
    ],
)
def test_labels_come_back_with_their_sizes(
    tmp_path: Path,
    ending: str,
    labels: NDArray[np.int32],
    about: Mapping[str, Any],
    axes: str,
    scale: tuple[float, ...] | None,
    unit: str,
) -> None:
    file = tmp_path / f"cells{ending}"
    assert WRITERS["." + ending.split(".")[-1]](str(file), *layer(labels, **about)) == [str(file)]
    planes = read_planes(file)
    np.testing.assert_array_equal(np.stack(list(planes)).reshape(labels.shape), labels)
    assert (planes.axes, planes.unit) == (axes, unit)
    assert (scale is None and planes.scale is None) or planes.scale == pytest.approx(scale)


def test_a_time_lapse_is_one(tmp_path: Path) -> None:
    write_tiff(str(tmp_path / "a.tif"), *layer(stack(), **LAPSE))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.series[0].axes == "TYX"
        assert file.imagej_metadata["finterval"] == 300.0
    write_zarr(str(tmp_path / "a.zarr"), *layer(stack(), **LAPSE))
    (image,) = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["t", "y", "x"]
    assert image["datasets"][0]["coordinateTransformations"][0]["scale"] == [300.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("order", "labels"),
    [((1, 2, 0), ("y", "x", "z")), ((2, 1, 0), ("x", "y", "z")), ((0, 2, 1), ("Z", "X", "Y"))],
)
def test_axes_in_any_order(tmp_path: Path, order: tuple[int, ...], labels: tuple[str, ...]) -> None:
    scale = tuple((2.0, 0.5, 0.25)[axis] for axis in order)
    file = tmp_path / "a.zarr"
    write_zarr(str(file), *layer(stack().transpose(order), scale=scale, units=("um",) * 3, axis_labels=labels))
    planes = read_planes(file)
    np.testing.assert_array_equal(np.stack(list(planes)), stack())
    assert planes.scale == (2.0, 0.5, 0.25)


def test_an_axis_of_one_channel_is_left_out() -> None:
    data, meta = layer(stack()[:, None], axis_labels=("z", "c", "y", "x"), scale=(2, 9, 0.5, 0.5))
    objects = Objects.of(data, meta)
    assert (objects.axes, objects.labels.shape, objects.scale) == ("zyx", (3, 20, 30), (2.0, 0.5, 0.5))


def test_a_place_in_the_world_goes_into_zarr(tmp_path: Path) -> None:
    write_zarr(str(tmp_path / "a.zarr"), *layer(plane(), **MICRONS, translate=(10, 20)))
    (image,) = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["multiscales"]
    assert image["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [0.5, 0.25]},
        {"type": "translation", "translation": [10.0, 20.0]},
    ]


def test_stacks_at_several_times_are_one_file(tmp_path: Path) -> None:
    both = np.stack([stack(), stack()[::-1]])
    data, meta = layer(both, **BOTH, translate=(0, 1, 2, 3))
    assert write_tiff(str(tmp_path / "a.tif"), data, meta) == [str(tmp_path / "a.tif")]
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.series[0].axes == "TZYX"
        assert file.imagej_metadata["spacing"] == 2.0
        np.testing.assert_array_equal(file.asarray(), both)
    assert write_zarr(str(tmp_path / "a.ome.zarr"), data, meta) == [str(tmp_path / "a.ome.zarr")]
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][...], both)
    (image,) = group.attrs["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["t", "z", "y", "x"]
    scaled, moved = image["datasets"][0]["coordinateTransformations"]
    assert scaled["scale"][1:] == [2.0, 0.5, 0.5]
    assert len(moved["translation"]) == 4


def test_lazy_labels_and_those_of_several_levels(tmp_path: Path) -> None:
    import dask.array as da

    data, meta = layer([plane(), plane()[::2, ::2]], multiscale=True)
    write_tiff(str(tmp_path / "levels.tif"), data, meta)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "levels.tif"), plane())
    write_tiff(str(tmp_path / "lazy.tif"), *layer(da.from_array(plane())))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "lazy.tif"), plane())


def test_more_axes_than_space_and_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="expected t, z, y and x"):
        write_tiff(str(tmp_path / "a.tif"), *layer(np.zeros((2, 2, 2, 4, 5), int)))
    assert not list(tmp_path.iterdir())


# -- COCO ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "about", "places"),
    [
        (plane(), MICRONS, [{}]),
        (stack(), LAPSE, [{"t": 0}, {"t": 1}, {"t": 2}]),
        (np.stack([stack()] * 2), BOTH, [{"t": t, "z": z} for t in range(2) for z in range(3)]),
    ],
)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_coco(tmp_path: Path, labels: NDArray[Any], about: Mapping[str, Any], places: list[dict[str, int]]) -> None:
    assert write_coco(str(tmp_path / "a.json"), *layer(labels, **about)) == [str(tmp_path / "a.json")]
    found = json.loads((tmp_path / "a.json").read_text())
    assert [{axis: image[axis] for axis in "tz" if axis in image} for image in found["images"]] == places
    drawn = np.zeros((len(places), 20, 30), int)
    for one in found["annotations"]:
        drawn[one["image_id"] - 1][rle.decode(one["segmentation"]).astype(bool)] = one["label"]
    np.testing.assert_array_equal(drawn.reshape(labels.shape), labels)


# -- ImageJ ----------------------------------------------------------------------------------------------------------


def rasterised(roi: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill a ROI as ImageJ does: pixels whose middle lies inside an odd number of rings."""
    rings = roi.coordinates(multi=True) if roi.composite else [roi.coordinates()]
    out = np.zeros(shape, bool)
    for ring in rings:
        out ^= polygon2mask(shape, np.asarray(ring)[:, ::-1] - 0.5)
    return out


def read_rois(path: Path) -> list[Any]:
    found = roifile.roiread(path)
    return found if isinstance(found, list) else [found]


def test_imagej_rois_have_exactly_the_pixels_of_the_objects(tmp_path: Path) -> None:
    write_rois(str(tmp_path / "a.zip"), *layer(plane()))
    rois = read_rois(tmp_path / "a.zip")
    assert [roi.name for roi in rois] == ["0004", "0300"]
    for roi in rois:
        np.testing.assert_array_equal(rasterised(roi, (20, 30)), plane() == int(roi.name))
    assert [roi.composite for roi in rois] == [False, True]


@settings(deadline=None, max_examples=40)
@given(labels=arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2)))
def test_imagej_rois_of_any_shape(labels: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("rois") / "a.zip"
    write_rois(str(file), labels, {})
    drawn = np.zeros(labels.shape, int)
    for roi in read_rois(file):
        drawn[rasterised(roi, labels.shape)] = int(roi.name)
    np.testing.assert_array_equal(drawn, labels)


@pytest.mark.parametrize(
    ("labels", "about", "positions"),
    [
        (stack(), STACK, [(1, 0, 0), (2, 0, 0)]),
        (stack(), LAPSE, [(1, 0, 0), (2, 0, 0)]),
        (np.stack([stack(), stack()[::-1]]), BOTH, [(0, 1, 1), (0, 2, 1), (0, 2, 2), (0, 3, 2)]),
    ],
)
def test_imagej_rois_know_their_plane(
    tmp_path: Path, labels: NDArray[Any], about: Mapping[str, Any], positions: list[tuple[int, int, int]]
) -> None:
    write_rois(str(tmp_path / "a.zip"), *layer(labels, **about))
    rois = [roi for roi in read_rois(tmp_path / "a.zip") if roi.name.startswith("0004")]
    assert [(roi.position, roi.z_position, roi.t_position) for roi in rois] == positions
    assert len({roi.name for roi in rois}) == len(rois)


# -- measures --------------------------------------------------------------------------------------------------------


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_measures_in_physical_units(tmp_path: Path) -> None:
    write_csv(str(tmp_path / "a.csv"), *layer(plane(), **MICRONS))
    first, second = rows_of(tmp_path / "a.csv")
    assert (first["label"], first["area_px"], float(first["area_um2"])) == ("4", "24", 3.0)
    assert (float(first["centroid_y_um"]), float(first["centroid_x_um"])) == (1.75, 1.375)
    assert second["area_px"] == str(10 * 12 - 6 * 8 + 4)
    assert not any(name.startswith("intensity") for name in first)


def test_measures_of_a_stack_know_that_planes_are_farther_apart(tmp_path: Path) -> None:
    write_csv(str(tmp_path / "a.csv"), *layer(stack(), **STACK))
    first = rows_of(tmp_path / "a.csv")[0]
    assert (first["volume_px"], float(first["volume_um3"])) == ("48", 48 * 2.0 * 0.25)


def test_measures_over_time(tmp_path: Path) -> None:
    write_csv(str(tmp_path / "a.csv"), *layer(stack(), **LAPSE))
    assert [(row["label"], row["plane"]) for row in rows_of(tmp_path / "a.csv")] == [
        ("4", "0"),
        ("300", "0"),
        ("4", "1"),
        ("300", "1"),
    ]
    write_csv(str(tmp_path / "b.csv"), *layer(np.stack([stack(), 0 * stack()]), **BOTH))
    first = rows_of(tmp_path / "b.csv")[0]
    assert (first["time"], first["label"], first["volume_px"]) == ("0", "4", "48")


def test_measures_with_the_image(tmp_path: Path) -> None:
    labels = stack().transpose(1, 2, 0)
    image = np.where(labels == 4, 7.0, 2.0)
    data, meta = layer(labels, axis_labels=("y", "x", "z"))
    write_csv(str(tmp_path / "a.csv"), data, meta, image)
    assert [row["intensity_mean"] for row in rows_of(tmp_path / "a.csv")] == ["7", "2"]
    write_csv(str(tmp_path / "b.csv"), data, meta, np.stack([image, 2 * image], axis=-1))
    assert [row["intensity_mean_c1"] for row in rows_of(tmp_path / "b.csv")] == ["14", "4"]


# -- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".tif", ".zarr", ".json", ".zip", ".csv"])
def test_labels_without_objects(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"a{ending}"
    WRITERS[ending](str(file), *layer(np.zeros((5, 6), int)))
    assert file.exists()


@pytest.mark.parametrize("ending", [".tif", ".zarr", ".json", ".zip", ".csv"])
def test_what_was_there_stays_when_it_cannot_be_written(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"a{ending}"
    WRITERS[ending](str(file), *layer(plane()))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    with pytest.raises(OSError, match="No space left"):
        WRITERS[ending](str(file), *layer(0 * plane()))
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
