"""The command line, with a fake model behind it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from sam_core import CheckpointError, Prompt, Sam, cli, samples, to_rgb8
from sam_core.cli import common
from sam_core.cli.train import draw_curve
from tests.fake import FakeSegmenter

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `sam-core` with a fake model, in an empty folder."""
    monkeypatch.setenv("SAM_CORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(common, "load_model", lambda *_, **__: FakeSegmenter())
    return lambda *arguments: CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def _squares(count: int = 3, size: int = 48) -> np.ndarray:
    plane = np.zeros((size, size), np.uint8)
    for i in range(count):
        plane[4 + 14 * i : 12 + 14 * i, 6:20] = 200 + 20 * i
    return plane


def _save(path: Path, count: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_squares(count)).save(path)
    return path


def _lines(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# -- segment -------------------------------------------------------------------------------------------------


def test_everything_in_a_file_is_segmented(run: Run, tmp_path: Path) -> None:
    result = run("segment", _save(tmp_path / "a.png"))
    assert result.exit_code == 0, result.output
    assert "a.png: 48 x 48, 3 objects" in result.stdout
    assert len(np.unique(tifffile.imread("segmented/a_labels.tif"))) == 4


def test_all_formats_and_the_picture_are_written(run: Run, tmp_path: Path) -> None:
    formats = ("tiff", "ome-zarr", "coco", "geojson", "csv")
    options = [word for name in formats for word in ("--format", name)]
    result = run("segment", _save(tmp_path / "a.png"), *options, "--overlay", "--json", "--out", "out")
    assert result.exit_code == 0, result.output
    (record,) = _lines(result)
    assert set(record["outputs"]) == {*formats, "overlay"}
    assert all(Path(path).exists() for path in record["outputs"].values())
    assert not list(Path("out").glob(".*"))


def test_a_json_line_says_what_was_done(run: Run, tmp_path: Path) -> None:
    (record,) = _lines(run("segment", _save(tmp_path / "a.png"), "--json"))
    assert record["size"] == [48, 48]
    assert record["objects"] == 3
    assert 0 <= record["encode_ms"] <= record["total_ms"]


@pytest.mark.parametrize(
    ("asked", "objects"),
    [
        (["--point", "7,10"], 1),
        (["--point", "7,10", "--point", "21,10"], 2),
        (["--box", "3,5,13,21"], 1),
        (["--point", "7,10", "--point", "8,12", "--not", "40,40", "--one"], 1),
    ],
)
def test_what_is_asked_for_is_segmented(run: Run, tmp_path: Path, asked: list[str], objects: int) -> None:
    result = run("segment", _save(tmp_path / "a.png"), *asked, "--json")
    assert result.exit_code == 0, result.output
    assert _lines(result)[0]["objects"] == objects


def test_a_click_is_y_x(run: Run, tmp_path: Path) -> None:
    plane = np.zeros((20, 40), np.uint8)
    plane[2:6, 30:36] = 200
    Image.fromarray(plane).save(tmp_path / "a.png")
    assert run("segment", "a.png", "--point", "3,32").exit_code == 0
    assert np.array_equal(tifffile.imread("segmented/a_labels.tif") > 0, plane > 0)


def test_what_is_clicked_in_one_plane_is_followed_through_the_stack(run: Run, tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "stack.tif", np.stack([_squares(2)] * 4), photometric="minisblack", metadata={"axes": "ZYX"}
    )
    result = run("segment", "stack.tif", "--point", "7,10", "--point", "21,10", "--plane", 1, "--overlay")
    assert result.exit_code == 0, result.output
    labels = tifffile.imread("segmented/stack_labels.tif")
    assert labels.shape == (4, 48, 48)
    assert [set(plane[plane > 0]) for plane in labels] == [{1, 2}] * 4


def test_an_object_keeps_its_number_through_a_stack(run: Run, tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "stack.tif", np.stack([_squares(3)] * 3), photometric="minisblack", metadata={"axes": "ZYX"}
    )
    (record,) = _lines(run("segment", "stack.tif", "--json"))
    assert (record["size"], record["objects"]) == ([3, 48, 48], 3)


def test_tiles_do_not_change_the_answer(run: Run, tmp_path: Path) -> None:
    run("segment", _save(tmp_path / "a.png"), "--tile", 0, "--out", "whole")
    result = run("segment", tmp_path / "a.png", "--tile", 32, "--out", "tiled")
    assert result.exit_code == 0, result.output
    whole, tiled = (tifffile.imread(f"{name}/a_labels.tif") for name in ("whole", "tiled"))
    assert np.array_equal(whole > 0, tiled > 0)
    assert whole.max() == tiled.max()


def test_a_folder_stands_for_its_images_but_not_for_what_was_written(run: Run, tmp_path: Path) -> None:
    for name in ("in/a.png", "in/sub/b.png", "in/.hidden.png"):
        _save(tmp_path / name)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    for _ in range(2):
        result = run("segment", "in", "--out", "in/out", "--json")
        assert [Path(record["file"]).name for record in _lines(result)] == ["a.png", "b.png"]


def test_a_bad_file_is_named_and_the_others_go_on(run: Run, tmp_path: Path) -> None:
    _save(tmp_path / "in" / "a.png")
    _save(tmp_path / "in" / "c.png")
    (tmp_path / "in" / "b.png").write_bytes((tmp_path / "in" / "a.png").read_bytes()[:60])
    result = run("segment", "in", "--json")
    assert result.exit_code == 1
    assert "b.png" in result.stderr
    assert [("error" in record) for record in _lines(result)] == [False, True, False]
    assert sorted(path.name for path in Path("segmented").iterdir()) == ["a_labels.tif", "c_labels.tif"]


def test_nothing_done_is_bad_input(run: Run, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"no image")
    assert run("segment", "b.png").exit_code == 2


def test_what_is_finished_stays_after_an_interruption(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(FakeSegmenter):
        calls = 0

        def encode(self, *arguments, **options):
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().encode(*arguments, **options)

    monkeypatch.setattr(common, "load_model", lambda *_, **__: Interrupted())
    files = [_save(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    result = run("segment", *files)
    assert result.exit_code == 130
    assert [path.name for path in Path("segmented").iterdir()] == ["a_labels.tif"]


def test_files_of_one_name_have_outputs_of_their_own(run: Run, tmp_path: Path) -> None:
    files = [_save(tmp_path / name) for name in ("x/a.png", "y/a.png", "y/b.png")]
    assert run("segment", *files).exit_code == 0
    written = sorted(path.name for path in Path("segmented").iterdir())
    assert written == ["b_labels.tif", "x_a_png_labels.tif", "y_a_png_labels.tif"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--point", "7"], "expected Y,X"),
        (["--point", "seven,8"], "expected Y,X"),
        (["--box", "1,2,3"], "Y0,X0,Y1,X1"),
        (["--box", "9,9,2,2"], ""),
        (["--point", "nan,2"], ""),
        (["--not", "3,3"], "only what is not"),
        (["--box", "1,1,9,9", "--box", "2,2,8,8", "--one"], "2 boxes"),
        (["--point", "1,1", "--everything"], "--everything"),
        (["--format", "doc"], "doc"),
        (["--tile", "-1"], "--tile"),
        (["--point", "700,800"], "700"),
        (["--point", "7,10", "--plane", "5"], "plane 5"),
    ],
)
def test_bad_usage_is_refused(run: Run, tmp_path: Path, wrong: list[str], said: str) -> None:
    result = run("segment", _save(tmp_path / "a.png"), *wrong)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", ["missing.png", "empty"])
def test_no_image_is_bad_input(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    result = run("segment", name)
    assert result.exit_code == 2
    assert name in result.stderr


def test_an_output_folder_that_cannot_be_made_is_bad_input(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run("segment", _save(tmp_path / "a.png"), "--out", "file/out")
    assert result.exit_code == 2
    assert "Traceback" not in result.output


# -- the other commands --------------------------------------------------------------------------------------


def test_the_demonstration_ends_in_pictures_and_one_table(run: Run) -> None:
    result = run("demo", "--out", "out")
    assert result.exit_code == 0, result.output
    assert {"coins_overlay.png", "z_stack_overlay.png", "coins_labels.tif", "coins_coco.json"} <= {
        path.name for path in Path("out").iterdir()
    }
    assert all(column in result.stdout for column in ("file", "size", "objects", "encode ms", "total ms"))


def test_info_names_model_cache_and_versions(run: Run, tmp_path: Path) -> None:
    facts = _lines(run("info", "--json"))[0]
    assert facts["cache"] == str(tmp_path / "cache")
    assert facts["versions"]["numpy"] == np.__version__
    assert facts["fingerprint"] == FakeSegmenter().fingerprint
    assert "threads" in run("info").stdout


def test_info_tells_of_a_model_that_cannot_be_loaded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, **_: object) -> None:
        raise CheckpointError(f"nothing at {source}")  # noqa: EM102

    monkeypatch.setattr(common, "load_model", refuse)
    result = run("info", "--model", "lost", "--json")
    assert result.exit_code == 2
    assert _lines(result)[0]["problem"] == "nothing at lost"


def test_the_cache_is_filled_by_clicks_and_pruned(run: Run, tmp_path: Path) -> None:
    run("segment", _save(tmp_path / "a.png"))
    assert _lines(run("info", "--json"))[0]["cache_bytes"] == 0
    run("segment", tmp_path / "a.png", "--point", "7,10")
    assert _lines(run("info", "--json"))[0]["cache_bytes"] > 0
    assert _lines(run("cache", "prune", "--keep", "0", "--json"))[0]["bytes"] == 0
    assert run("cache", "prune", "--keep", "much").exit_code == 2


def test_a_plugin_adds_its_command_and_a_broken_one_only_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [
        EntryPoint("good", "tests.test_cli:_hello", "sam_core.commands"),
        EntryPoint("bad", "tests.nowhere:command", "sam_core.commands"),
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group: entries if group == "sam_core.commands" else [])
    app = typer.Typer()
    app.command()(_hello)
    cli.add_plugins(app)
    assert "bad" in capsys.readouterr().err
    assert CliRunner().invoke(app, ["good"]).stdout == "hello\n"


def _hello() -> None:
    """Say hello."""
    typer.echo("hello")


@pytest.mark.slow
def test_training_goes_on_where_it_stopped(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_core.training.synthetic.PLANES", 2)
    _labelled_set(tmp_path / "data" / "made_up")
    for steps in (1, 2):
        (tmp_path / "run.toml").write_text(
            f"steps = {steps}\nbatch = 2\nlog_every = 1\nsave_every = 1\n[crops]\nwarped = 0.5\n"
            '[sets]\nmade_up = 0.5\n"synthetic:rods" = 0.5\n'
        )
        result = run("train", "run.toml", "--data", "data", "--run", "run")
        assert result.exit_code == 0, result.output
        assert f"step {steps}/{steps}" in result.stdout
    logged = [json.loads(line)["step"] for line in Path("run/log.jsonl").read_text().splitlines()]
    assert logged == [1, 2]
    (tmp_path / "run.toml").write_text('steps = 3\n[sets]\n"synthetic:stars" = 1\n')
    result = run("train", "run.toml", "--run", "other")
    assert result.exit_code == 2
    assert "expected one of rods" in result.stderr


@pytest.mark.slow
def test_scores_of_proposals_are_fitted_to_a_model_as_it_is(run: Run, tmp_path: Path) -> None:
    _labelled_set(tmp_path / "data" / "made_up")
    result = _scored(run, planes=1)
    assert "too few" in result.stderr
    result = _scored(run, planes=24)
    assert result.exit_code == 0, result.output
    assert "the head for proposals is fitted to" in result.stdout
    plane = samples.cells((96, 96), count=6, seed=1).image
    click = [Prompt.of([(48, 48)])]
    answers = []
    for source in ("cell", "run/model"):
        sam = Sam.from_pretrained(source, dtype="float32")
        embedding = sam.encode(plane)
        proposed = [replace(click[0], proposed=True)]
        answers.append([sam.decode(embedding, prompts, candidates=3).scores for prompts in (click, proposed)])
    np.testing.assert_array_equal(answers[0][0], answers[1][0])
    assert not np.allclose(answers[0][1], answers[1][1])


def _scored(run: Run, planes: int) -> Result:
    Path("run.toml").write_text(
        f'start = "cell"\nsteps = 0\nplanes = {planes}\n[model]\ndepths = [2, 4, 10]\nproposal_iou = true\n'
        "[sets]\nmade_up = 1\n"
    )
    return run("train", "run.toml", "--data", "data", "--run", "run")


def test_the_curve_is_drawn_from_the_log(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `train`")
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"step": s, "answers": 1 / s}) + "\n" for s in range(1, 9)))
    draw_curve(log, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as curve:
        assert curve.size[0] > 400


def test_a_configuration_with_an_unknown_field_is_bad_input(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("steps = 1\nspeed = 9\n[sets]\nmade_up = 1.0\n")
    result = run("train", "run.toml")
    assert result.exit_code == 2
    assert "speed" in result.stderr
    assert run("train", "missing.toml").exit_code == 2


def _labelled_set(folder: Path) -> None:
    items = []
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for seed in range(2):
        sample = samples.cells((96, 96), count=6, seed=seed)
        Image.fromarray(to_rgb8(sample.image)).save(folder / "images" / f"{seed}.png")
        Image.fromarray(sample.labels.astype(np.uint16)).save(folder / "labels" / f"{seed}.png")
        items += [{"name": str(seed), "split": split, "modality": "made up"} for split in ("train", "test")]
    (folder / "items.json").write_text(json.dumps(items))
