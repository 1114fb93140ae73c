"""`sam-core evaluate`, and the pictures it draws, with a fake model behind it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from sam_core import cli
from sam_core.cli import common
from sam_core.evaluation import EvaluateOptions, Item, Stack, evaluate_items, evaluate_stacks
from sam_core.evaluation.worst import ANSWER, SIDE, TRUTH, worst_cases, worst_sheets
from tests.evaluation.test_evaluation import draw
from tests.fake import FakeSegmenter

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `sam-core evaluate` with a fake model, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(common, "load_model", lambda *_, **__: FakeSegmenter())
    return lambda *arguments: CliRunner().invoke(cli.app, ["evaluate", *map(str, arguments)])


def make_set(folder: Path, count: int = 3) -> Path:
    """Write images of which each has two objects that touch, and one apart."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    labels = draw((2, 2, 8, 8), (2, 8, 8, 20), (12, 2, 18, 8)).astype(np.uint16)
    for i in range(count):
        Image.fromarray((200 * (labels > 0)).astype(np.uint8)).save(folder / "images" / f"{i}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{i}.png")
    return folder


def test_two_models_are_measured_and_everything_is_written(run: Run, tmp_path: Path) -> None:
    result = run(make_set(tmp_path / "cells"), "--compare", "other", "--by", "size", "--clicks", 3)
    assert result.exit_code == 0, result.output
    for told in ("mean IoU", "by size", "calibration", "mSA / AP50", "cell (first) and other (second)", "difference"):
        assert told in " ".join(result.stdout.split())
    record = json.loads(Path("evaluation/results.json").read_text())
    assert record["rows"][0]["objects"] == 9
    assert record["rows"][0]["1 click"] == pytest.approx(2 / 3)  # 1/3, 2/3 and 1
    assert {row["difference"] for row in record["comparison"]} == {0}
    assert "by acquisition" in Path("evaluation/results.md").read_text()
    assert not list(Path("evaluation").glob(".*"))


def test_json_is_one_line_and_the_same_each_time(run: Run, tmp_path: Path) -> None:
    make_set(tmp_path / "cells")
    lines = [run("cells", "--json", "--no-automatic", "--no-baseline").stdout.splitlines() for _ in range(2)]
    assert [len(each) for each in lines] == [1, 1]
    records = [json.loads(each[0]) for each in lines]
    for record in records:
        for row in (*record["rows"], *record["by_acquisition"]):
            for key in ("encode ms", "click ms", "s"):
                row.pop(key)
    assert records[0] == records[1]


@pytest.mark.parametrize(
    ("name", "told", "drawn"),
    [
        ("cells", None, True),
        ("emps", None, False),
        ("cells", [{"dataset": "cells", "shareable": False}], False),
        ("cells", [{"dataset": "others", "shareable": False}, {"dataset": "cells"}], True),
    ],
)
def test_pictures_are_drawn_only_where_they_may_be_shown(
    run: Run, tmp_path: Path, name: str, told: list[dict] | None, drawn: bool
) -> None:
    make_set(tmp_path / name, 1)
    if told is not None:
        (tmp_path / "manifest.json").write_text(json.dumps(told))
    result = run(name, "--worst", "worst", "--clicks", 2)
    assert result.exit_code == 0, result.output
    sheets = {f"cells_{kind}.png" for kind in ("1_click", "2_clicks", "box", "everything")}
    assert {path.name for path in Path("worst").iterdir()} == (sheets if drawn else set())


def test_the_worst_come_first_and_not_all_of_one_image() -> None:
    items = [
        Item.of((200 * (labels > 0)).astype(np.uint8), labels, name=name, set="s")
        for name, labels in (
            ("good", draw((2, 2, 8, 8))),
            ("bad", draw((2, 2, 8, 5), (2, 5, 8, 9), (2, 9, 8, 14), (2, 14, 8, 20))),
        )
    ]
    options = EvaluateOptions(clicks=1)
    results = list(evaluate_items(FakeSegmenter(), items, options))
    boxes = [case for case in worst_cases(results) if case.sheet == "s, box"]
    assert [(case.image, case.index) for case in boxes] == [(1, 0), (1, 1), (0, 0)]
    assert [case.score for case in boxes] == sorted(case.score for case in boxes)
    sheets = dict(worst_sheets(FakeSegmenter(), items, results, options))
    assert sheets.keys() == {"s, 1 click", "s, box", "s, everything"}
    colours = {tuple(pixel) for pixel in sheets["s, 1 click"].reshape(-1, 3)}
    assert {TRUTH, ANSWER} & colours
    assert min(sheets["s, 1 click"].shape[:2]) > SIDE


def test_stacks_are_also_measured_whole(run: Run, tmp_path: Path) -> None:
    labels = np.zeros((4, 24, 24), np.uint16)
    labels[:3, 2:10, 2:10], labels[1:, 14:20, 14:20] = 1, 2
    np.savez(tmp_path / "stack.npz", image=labels * 100, label=labels)
    result = run(tmp_path, "--clicks", 1)
    assert result.exit_code == 0, result.output
    assert "stacks in 3D" in result.stdout
    (row,) = json.loads(Path("evaluation/results.json").read_text())["stacks"]
    assert {key: row[key] for key in ("stack", "planes", "objects", "found")} == {
        "stack": "stack", "planes": 4, "objects": 2, "found": 2,
    }  # fmt: skip
    assert row["joined mSA"] == row["truth joined mSA"] == row["planes AP50"] == 1
    assert "baseline mSA" in row


def test_joining_costs_what_moves_too_far_between_planes() -> None:
    labels = np.zeros((2, 24, 24), np.int32)
    labels[0, 2:10, 2:10] = labels[1, 8:16, 8:16] = 1
    stack = Stack("moving", "made up", "", lambda: (list((labels * 200).astype(np.uint8)), labels))
    (found,) = evaluate_stacks(FakeSegmenter(), [stack], EvaluateOptions(baseline=False))
    assert found.found == 2
    assert found.accuracy == {"joined": (0.05, 0.5), "truth joined": (0.05, 0.5), "planes": (1.0, 1.0)}


def test_an_empty_stack_is_measured() -> None:
    stack = Stack("empty", "made up", "", lambda: ([np.zeros((8, 8), np.uint8)], np.zeros((1, 8, 8), np.int32)))
    (found,) = evaluate_stacks(FakeSegmenter(), [stack])
    assert found.row["joined mSA"] == 1
    assert "planes mSA" not in found.row
