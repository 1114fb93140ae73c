"""`sam-core napari`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from sam_core import Masks
from sam_napari._change import painted
from sam_napari._journal import Journal
from sam_napari._source import Plane
from sam_napari.command import app
from tests.napari.array_canvas import ArrayCanvas

ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def journal(tmp_path: Path) -> tuple[Path, np.ndarray[Any, Any]]:
    """A journal of two objects on a stack, one of them undone, and what is left."""
    canvas = ArrayCanvas.blank((2, 20, 30), np.uint16)
    opened = {"shape": canvas.array_shape, "dtype": "uint16", "scale": [2.0, 0.5, 0.5]}
    journal = Journal(tmp_path / "journals", "abc", opened, print)
    for label, z in ((1, 0), (2, 1)):
        plane = Plane((1, 2), (z, 0, 0))
        square = np.zeros((20, 30), np.int32)
        square[3:9, 4 * label : 4 * label + 5] = 1
        change = painted(canvas, plane, label, Masks.from_labels(square))
        assert change is not None
        canvas.write([change])
        journal.note("take", [change], label=label)
    journal.close()
    return journal.path, canvas.array


@pytest.mark.parametrize("arguments", [("--help",), ("open", "--help"), ("replay", "-h")])
def test_help_is_quick_and_imports_neither_torch_nor_napari(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys; from sam_napari.command import app\n"
        f"try: app({list(arguments)!r})\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'napari', 'qtpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.tif",), "does not exist"),
        (("open", "nowhere.tif"), "does not exist"),
        (("--labels", "nowhere.tif"), "does not exist"),
        (("replay", "nowhere.jsonl", "--out", "out.tif"), "is no file"),
    ],
)
def test_what_is_not_there(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_replay_paints_the_same_labels(journal: tuple[Path, np.ndarray[Any, Any]], tmp_path: Path) -> None:
    path, labels = journal
    out = tmp_path / "labels.tif"
    result = run("replay", path, "--out", out)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(tifffile.imread(out), labels)


def test_replay_of_what_is_no_journal(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text("{}\n")
    result = run("replay", wrong, "--out", tmp_path / "labels.tif")
    assert (result.exit_code, "error:" in result.output) == (2, True)
    assert not (tmp_path / "labels.tif").exists()


def test_replay_to_a_place_that_is_not_there(journal: tuple[Path, np.ndarray[Any, Any]], tmp_path: Path) -> None:
    result = run("replay", journal[0], "--out", tmp_path / "no" / "labels.tif")
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_opens_images_and_labels_with_the_panel(
    tmp_path: Path, qtbot: Any, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari

    from sam_napari import _start

    image, labels = tmp_path / "cells.tif", tmp_path / "made elsewhere.tif"
    tifffile.imwrite(image, np.eye(64, dtype=np.uint8) * 200)
    tifffile.imwrite(labels, np.eye(64, dtype=np.uint16))
    shown: list[Any] = []
    monkeypatch.setattr(napari, "run", lambda: shown.extend(napari.viewer.Viewer._instances))
    result = run(image, "--labels", labels, "--model", "elsewhere")
    assert result.exit_code == 0, result.output
    viewer = napari.current_viewer()
    assert viewer is not None
    assert [layer.name for layer in viewer.layers][:2] == ["cells", "made elsewhere"]
    panel = next(iter(viewer.window.dock_widgets.values()))
    assert panel.desk.model == "elsewhere"
    assert panel.desk.canvas.layer.name == "made elsewhere"
    viewer.close()
    qtbot.wait(50)
    assert _start is not None
