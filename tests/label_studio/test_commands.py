"""Whole projects from the command line, with a fake model and a fake Label Studio."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from sam_core.evaluation import read_items
from sam_label_studio import rle
from sam_label_studio.client import LabelStudio
from sam_label_studio.command import app
from sam_label_studio.workbench import Workbench
from tests.fake import FakeSegmenter
from tests.label_studio.server import png, squares, uri
from tests.label_studio.studio import Studio

Run = Callable[..., Result]
SHAPE = (48, 64)


@pytest.fixture
def model() -> FakeSegmenter:
    return FakeSegmenter()


@pytest.fixture
def studio() -> Studio:
    """A project of three tasks, with one, two and three squares on their images."""
    studio = Studio()
    for count in (1, 2, 3):
        studio.add_task({"image": uri(png(squares(count)))})
    return studio


@pytest.fixture
def run(studio: Studio, model: FakeSegmenter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setattr(Workbench, "studio", lambda _: studio.client())
    monkeypatch.setattr("sam_label_studio.backend.load_model", lambda _: model)
    monkeypatch.setenv("SAM_LABEL_STUDIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def _lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def _results(studio: Studio) -> list[list[dict[str, Any]]]:
    return [prediction["result"] for task in studio.tasks.values() for prediction in task["predictions"]]


def _drawn(count: int, label: str = "Cell") -> list[dict[str, Any]]:
    """Draw each square of an image as a region of its own."""
    about = {"from_name": "brush", "to_name": "image", "type": "brushlabels"}
    size = {"original_width": SHAPE[1], "original_height": SHAPE[0], "image_rotation": 0}
    plane = squares(count)
    codes = [rle.encode(plane == 200 + 20 * i) for i in range(count)]
    return [{**about, **size, "value": {"format": "rle", "rle": code, "brushlabels": [label]}} for code in codes]


# -- prelabel ----------------------------------------------------------------------------------------------------


def test_everything_is_predicted_once(studio: Studio, run: Run) -> None:
    result = run("prelabel", "--project", 1)
    assert result.exit_code == 0, result.output
    assert "3 predicted, 0 skipped, 0 failed, as sam-core" in result.stdout
    assert [len(regions) for regions in _results(studio)] == [1, 2, 3]
    again = run("prelabel", "--project", 1, "--json")
    assert [line["state"] for line in _lines(again)[:-1]] == ["skipped"] * 3
    assert _lines(again)[-1]["made"] == 0


def test_other_settings_are_another_version(studio: Studio, run: Run) -> None:
    first, second = (_lines(run("prelabel", "-p", 1, "--json", "--tolerance", value))[-1] for value in (1, 2))
    assert first["model_version"] != second["model_version"]
    assert [len(versions) for versions in studio.versions().values()] == [2, 2, 2]


def test_a_task_that_fails_is_named_with_the_reason(studio: Studio, run: Run) -> None:
    broken = studio.add_task({"image": uri(b"GIF89a and no more")})
    result = run("prelabel", "--project", 1)
    assert result.exit_code == 1
    assert "3 predicted, 0 skipped, 1 failed" in result.stdout
    assert f"task {broken['id']} failed: ImageError: got" in result.stderr


def test_boxes_of_people_become_masks(studio: Studio, run: Run) -> None:
    value = {"x": 0, "y": 0, "width": 50, "height": 40, "rectanglelabels": ["Cell"]}
    box = {"id": "b", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value}
    studio.tasks[1]["annotations"].append({"id": 50, "result": [box]})
    result = run("prelabel", "--project", 1, "--mode", "boxes", "--json")
    assert [(line["state"], line["why"]) for line in _lines(result)[:-1]] == [
        ("made", ""),
        ("skipped", "it has nothing to start from"),
        ("skipped", "it has nothing to start from"),
    ]
    ((region,),) = _results(studio)
    assert region["type"] == "brushlabels"


def test_masks_of_people_are_refined(studio: Studio, run: Run) -> None:
    studio.tasks[2]["annotations"].append({"id": 50, "result": _drawn(2)})
    result = run("prelabel", "--project", 1, "--mode", "refine", "--json")
    assert [line["state"] for line in _lines(result)[:-1]] == ["skipped", "made", "skipped"]
    assert len(_results(studio)[0]) == 2


def test_the_most_doubtful_come_first(studio: Studio, run: Run) -> None:
    result = run("prelabel", "--project", 1, "--order", "doubt")
    assert "/projects/1/data?tab=" in result.stdout
    assert studio.about["model_version"].startswith("sam-core")
    assert [view["data"]["title"] for view in studio.views] == ["Default", "Doubtful first"]


def test_a_version_that_no_task_has_is_not_shown(studio: Studio, run: Run) -> None:
    for task in studio.tasks.values():
        task["annotations"].append({"id": 50, "result": []})
    studio.about["model_version"] = "another"
    assert run("prelabel", "--project", 1, "--order", "doubt").exit_code == 0
    assert studio.about["model_version"] == "another"


def test_a_project_shows_what_it_did_unless_told(studio: Studio, run: Run) -> None:
    studio.about["model_version"] = "another"
    run("prelabel", "--project", 1)
    assert studio.about["model_version"] == "another"
    run("prelabel", "--project", 1, "--show")
    assert studio.about["model_version"].startswith("sam-core")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--project", 7], "check the number"),
        (["--project", 1, "--url", "nowhere"], "expected http:// or https:// and a host"),
        (["--project", 1, "--output", "spots"], "expected one of brush"),
    ],
)
def test_what_cannot_work_is_one_line(run: Run, arguments: list[object], message: str) -> None:
    result = run("prelabel", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: got ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_config_that_can_answer_nothing_is_told_before_the_model_is_loaded(
    studio: Studio, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.about["label_config"] = "<View><Text name='t' value='$t'/></View>"
    monkeypatch.setattr("sam_label_studio.backend.load_model", lambda _: pytest.fail("loaded"))
    result = run("prelabel", "--project", 1)
    assert (result.exit_code, "without an Image tag" in result.stderr) == (2, True)


def test_a_key_that_is_not_taken_is_told(studio: Studio, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    client = studio.client()
    studio.key = "another"
    monkeypatch.setattr(Workbench, "studio", lambda _: client)
    result = run("prelabel", "--project", 1)
    assert (result.exit_code, "check LABEL_STUDIO_API_KEY" in result.stderr) == (2, True)


def test_an_interruption_keeps_what_was_finished(studio: Studio, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: LabelStudio, prediction: dict[str, Any]) -> int:
        if prediction["task"] == 2:
            raise KeyboardInterrupt
        return stored(_, prediction)

    stored = LabelStudio.add_prediction
    monkeypatch.setattr(LabelStudio, "add_prediction", interrupted)
    result = run("prelabel", "--project", 1)
    assert (result.exit_code, "what was finished is kept" in result.stderr) == (130, True)
    assert [len(versions) for versions in studio.versions().values()] == [1, 0, 0]


# -- warm --------------------------------------------------------------------------------------------------------


def test_warming_encodes_each_image_once_and_prediction_never_again(run: Run, model: FakeSegmenter) -> None:
    result = run("warm", "--project", 1)
    assert (result.exit_code, result.stdout) == (0, "3 images are encoded, 0 tasks failed\n")
    assert model.encoded == 3
    run("warm", "--project", 1)
    run("prelabel", "--project", 1)
    assert model.encoded == 3


def test_warming_names_what_fails_and_goes_on(studio: Studio, run: Run) -> None:
    broken = studio.add_task({"image": ""})
    result = run("warm", "--project", 1, "--json")
    assert result.exit_code == 1
    assert _lines(result)[-1] == {"project": 1, "pages": 3, "failed": 1}
    assert f"task {broken['id']} failed" in result.stderr


# -- export ------------------------------------------------------------------------------------------------------


def test_annotations_are_exported_and_read_back(studio: Studio, run: Run, tmp_path: Path) -> None:
    for count in (2, 3):
        studio.tasks[count]["annotations"].append({"id": 50 + count, "result": _drawn(count)})
    result = run("export", "--project", 1, "--out", "out")
    assert result.exit_code == 0, result.output
    assert "2 images with 5 objects in out, 0 tasks failed" in result.stdout
    items = {item.name: item.read() for item in read_items(tmp_path / "out", None)}
    assert sorted(items) == ["task2", "task3"]
    for count, (image, labels) in zip((2, 3), items.values(), strict=True):
        assert np.array_equal(image, squares(count))
        assert np.array_equal(labels > 0, squares(count) > 0)
        assert labels.max() == count
    assert {json.loads(line)["split"] for line in _items(tmp_path / "out")} == {"train", "test"}


def _items(folder: Path) -> list[str]:
    return [json.dumps(item) for item in json.loads((folder / "items.json").read_text())]


def test_an_image_that_cannot_be_read_is_named(studio: Studio, run: Run) -> None:
    studio.add_task({"image": uri(b"GIF89a and no more")})["annotations"].append({"id": 9, "result": _drawn(1)})
    result = run("export", "--project", 1)
    assert result.exit_code == 1
    assert "task 4 failed: ImageError" in result.stderr


def test_rectangles_are_left_out_and_told(studio: Studio, run: Run) -> None:
    value = {"x": 0, "y": 0, "width": 50, "height": 40, "rectanglelabels": ["Cell"]}
    box = {"id": "b", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value}
    studio.tasks[1]["annotations"].append({"id": 50, "result": [box, *_drawn(1)]})
    result = run("export", "--project", 1)
    assert "1 rectangles and key points are no masks" in result.stderr
    assert "1 images with 1 objects" in result.stdout
