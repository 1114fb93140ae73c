"""From a file to files: what is known of an image is known of its objects."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from sam_core import cli
from sam_core.cli import common
from sam_core.storage import read_planes
from tests.fake import FakeSegmenter


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(common, "load_model", lambda *_, **__: FakeSegmenter())


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["segment", *map(str, arguments), "--out", "out"])


def _squares(*shape: int) -> np.ndarray:
    values = np.zeros((*shape, 40, 40), np.uint8)
    values[..., 4:12, 6:20] = 150
    values[..., 20:30, 6:20] = 200
    return values


@pytest.mark.parametrize("format", ["tiff", "ome-zarr"])
@pytest.mark.parametrize(("axes", "scale"), [("ZYX", (2, 0.5, 0.25)), ("TYX", (1, 0.5, 0.25))])
def test_scale_and_axes_go_through(axes: str, scale: tuple[float, ...], format: str) -> None:
    size = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2}
    tifffile.imwrite("a.ome.tif", _squares(3), metadata={"axes": axes, **size}, photometric="minisblack")
    result = _run("a.ome.tif", "--format", format, "--format", "csv")
    assert result.exit_code == 0, result.output
    planes = read_planes(next(Path("out").glob("a_labels*")))
    assert planes.shape == (3, 40, 40)
    assert (planes.axes, planes.unit) == (axes, "micrometer")
    assert planes.scale == pytest.approx(scale)
    with open("out/a_measures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (2 if axes == "ZYX" else 6)
    assert float(rows[0]["volume_um3" if axes == "ZYX" else "area_um2"]) == (84 if axes == "ZYX" else 14)


def test_a_stack_of_one_plane_stays_a_stack() -> None:
    np.save("a.npy", _squares(1))
    result = _run("a.npy", "--json", "--format", "ome-zarr", "--format", "coco", "--overlay")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["size"] == [1, 40, 40]
    assert read_planes("out/a_labels.ome.zarr").shape == (1, 40, 40)
    saved = json.loads(Path("out/a_coco.json").read_text())
    assert saved["image"]["file_name"] == "a.npy"
    assert saved["info"]["made_by"].startswith("sam-core ")


def test_one_time_is_chosen() -> None:
    tifffile.imwrite("a.ome.tif", _squares(2, 3), metadata={"axes": "TZYX"}, photometric="minisblack")
    refused = _run("a.ome.tif")
    assert refused.exit_code == 2
    assert "--time" in refused.stderr
    result = _run("a.ome.tif", "--time", 1, "--json")
    assert json.loads(result.stdout)["size"] == [3, 40, 40]


def test_an_interruption_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    np.save("a.npy", _squares())
    assert _run("a.npy", "--overlay").exit_code == 0
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tifffile, "imwrite", interrupt)
    assert _run("a.npy", "--overlay").exit_code != 0
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before
