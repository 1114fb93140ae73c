"""Measures, against those of known shapes and of scikit-image."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from skimage.draw import ellipse
from skimage.measure import regionprops

from sam_core import samples
from sam_core.storage import measures, save_measures
from sam_core.storage.measures import measure


def _saved(path: Path, *arguments: object, **options: object) -> list[dict[str, str]]:
    save_measures(path, *arguments, **options)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_measures_are_those_of_scikit_image(tmp_path: Path) -> None:
    sample = samples.cells((80, 90))
    rows = _saved(tmp_path / "a.csv", sample.labels, [sample.image])
    found = regionprops(sample.labels, sample.image)
    assert len(rows) == len(found)
    for row, one in zip(rows, found, strict=True):
        assert row["label"] == str(one.label)
        expected = {
            "area_px": one.num_pixels,
            "centroid_y_px": one.centroid[0],
            "centroid_x_px": one.centroid[1],
            "diameter_px": one.equivalent_diameter_area,
            "eccentricity": one.eccentricity,
            "intensity_mean": one.intensity_mean,
            "intensity_min": one.intensity_min,
            "intensity_max": one.intensity_max,
        }
        assert set(row) == {"label", *expected}
        assert {name: float(row[name]) for name in expected} == pytest.approx(expected, rel=1e-5)


def test_physical_units_where_they_are_known(tmp_path: Path) -> None:
    labels = np.zeros((20, 30), int)
    labels[4:8, 10:20] = 3
    (row,) = _saved(tmp_path / "a.csv", labels, [labels], scale=(0.5, 0.25), unit="micron")
    assert float(row["area_px"]) == 40
    assert float(row["area_um2"]) == 5
    assert (float(row["centroid_y_px"]), float(row["centroid_x_px"])) == (5.5, 14.5)
    assert (float(row["centroid_y_um"]), float(row["centroid_x_um"])) == (2.75, 3.625)
    assert float(row["diameter_um"]) == pytest.approx((4 * 5 / np.pi) ** 0.5, rel=1e-5)


def test_eccentricity_counts_the_scale() -> None:
    labels = np.zeros((200, 300), int)
    labels[ellipse(100, 150, 40, 80)] = 1
    plain = measure(labels, [labels])["eccentricity"][0]
    round_ = measure(labels, [labels], scale=(2, 1), unit="um")["eccentricity"][0]
    assert plain == pytest.approx(3**0.5 / 2, abs=0.01)
    assert round_ < 0.1


@pytest.mark.parametrize(("unit", "column"), [("", "volume_unit3"), ("nm", "volume_nm3"), ("µm", "volume_um3")])
def test_a_stack_is_measured_in_three_dimensions(tmp_path: Path, unit: str, column: str) -> None:
    labels = np.zeros((6, 20, 30), int)
    labels[1:5, 4:8, 10:20] = 2
    labels[0, 0, 0] = 8
    rows = _saved(tmp_path / "a.csv", labels, list(labels), scale=(2, 0.5, 0.5), unit=unit)
    assert [row["label"] for row in rows] == ["2", "8"]
    assert [float(row["volume_px"]) for row in rows] == [160, 1]
    assert [float(row[column]) for row in rows] == [80, 0.5]
    assert [float(rows[0][f"centroid_{axis}_px"]) for axis in "zyx"] == [2.5, 5.5, 14.5]
    end = column.removeprefix("volume_")[:-1]
    assert [float(rows[0][f"centroid_{axis}_{end}"]) for axis in "zyx"] == [5, 2.75, 7.25]
    assert float(rows[0][f"diameter_{end}"]) == pytest.approx((6 * 80 / np.pi) ** (1 / 3), rel=1e-5)
    assert "eccentricity" not in rows[0]


def test_intensities_of_a_stack_are_those_of_all_its_planes() -> None:
    sample = samples.z_stack((6, 60, 70))
    found = measure(sample.labels, list(sample.image))
    for i, one in enumerate(regionprops(sample.labels, sample.image)):
        assert found["intensity_mean"][i] == pytest.approx(one.intensity_mean)
        assert (found["intensity_min"][i], found["intensity_max"][i]) == (one.intensity_min, one.intensity_max)


def test_a_time_lapse_has_a_row_for_each_time(tmp_path: Path) -> None:
    labels = np.zeros((3, 10, 10), int)
    labels[0, 2:4, 2:4] = labels[2, 3:5, 3:6] = 4
    labels[1, 0, 0] = 5
    rows = _saved(tmp_path / "a.csv", labels, list(labels * 10), scale=(30, 0.5, 0.5), unit="um", axes="TYX")
    told = [(row["label"], row["plane"], row["area_px"], float(row["area_um2"]), row["intensity_max"]) for row in rows]
    assert told == [("4", "0", "4", 1.0, "40"), ("5", "1", "1", 0.25, "50"), ("4", "2", "6", 1.5, "40")]


def test_each_channel_is_measured() -> None:
    labels = np.array([[1, 1, 0], [0, 2, 2]])
    image = np.arange(18.0).reshape(2, 3, 3)
    found = measure(labels, [image])
    assert found["intensity_mean_c0"].tolist() == [1.5, 13.5]
    assert found["intensity_max_c2"].tolist() == [5, 17]


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    labels = np.array([[1, 1, 1, 2, 2]])
    image = np.array([[3, np.nan, 5, np.nan, np.inf]], np.float32)
    one, two = _saved(tmp_path / "a.csv", labels, [image])
    assert (one["intensity_mean"], one["intensity_min"], one["intensity_max"]) == ("4", "3", "5")
    assert (two["area_px"], two["intensity_mean"], two["intensity_max"]) == ("2", "", "")


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (1, 4, 5)])
@pytest.mark.parametrize("axes", [None, "TYX"])
def test_without_objects_there_is_a_header(tmp_path: Path, shape: tuple[int, ...], axes: str | None) -> None:
    labels = np.zeros(shape, int)
    options = {"axes": axes} if len(shape) == 3 else {}
    assert _saved(tmp_path / "a.csv", labels, list(labels.reshape(-1, 4, 5)), scale=(1,) * len(shape), **options) == []
    header = (tmp_path / "a.csv").read_text().split("\n")[0]
    assert header.startswith(
        "label,plane,area_px" if options.get("axes") else "label,area_px" if len(shape) == 2 else "label,volume_px"
    )
    assert "intensity_mean" in header


def test_numbers_far_apart_and_large_need_no_memory() -> None:
    labels = np.array([[0, 2**31 - 1], [70000, 0]])
    assert measure(labels, [labels])["label"].tolist() == [70000, 2**31 - 1]


def test_a_stack_of_one_plane_is_a_stack() -> None:
    assert "volume_px" in measure(np.ones((1, 3, 4), int), [np.ones((3, 4))])


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    labels = np.ones((3, 4), int)
    for planes, options, said in [
        ([], {}, "0 planes"),
        ([labels] * 2, {}, "2 planes"),
        ([labels[:2]], {}, "same size"),
        ([labels], {"scale": (1, 1, 1)}, "2 positive"),
    ]:
        with pytest.raises(ValueError, match=said):
            save_measures(tmp_path / "a.csv", labels, planes, **options)
    assert not list(tmp_path.iterdir())


def test_an_interruption_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("old")

    def interrupt(_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(measures, "_text", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_measures(tmp_path / "a.csv", np.ones((3, 4), int), [np.ones((3, 4))])
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.csv", "old")]
