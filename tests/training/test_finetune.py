"""Fine-tuning: what is held out, what is cached, and that nothing is kept that is not better."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from sam_core import CheckpointError, ImageError, Sam, cli, samples, to_rgb8
from sam_core.evaluation import Item
from sam_core.modeling.cell import CellNetwork
from sam_core.modeling.checkpoint import write_checkpoint
from sam_core.training import finetune
from sam_core.training.crops import CropOptions
from sam_core.training.examples import Example
from sam_core.training.finetune import FineTuneOptions, best_threshold, choose_thresholds, fine_tune
from sam_core.training.held_out import read_parts, split
from sam_core.training.versions import Version, draw_versions, draw_window, encoded
from tests.tiny import TINY

QUICK = FineTuneOptions(steps=4, batch=1, objects=2, versions=4, thresholds=False)


def plane(seed: int = 0, shape: tuple[int, int] = (64, 96)) -> tuple[np.ndarray, np.ndarray]:
    sample = samples.cells(shape, count=6, diameter=16, seed=seed)
    return to_rgb8(sample.image), sample.labels


def item(name: str, seed: int = 0) -> Item:
    return Item.of(*plane(seed), name=name)


def write_set(folder: Path, count: int, splits: dict[str, str] | None = None) -> Path:
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for i in range(count):
        image, labels = plane(i)
        Image.fromarray(image).save(folder / "images" / f"{i}.png")
        Image.fromarray(labels.astype(np.uint16)).save(folder / "labels" / f"{i}.png")
    if splits is not None:
        records = [{"name": str(i), "split": splits.get(str(i), "train")} for i in range(count)]
        (folder / "items.json").write_text(json.dumps(records))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tiny model that has learned nothing."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    write_checkpoint(folder, {"model_type": "cell", **TINY.to_dict()}, CellNetwork(TINY).state_dict())
    return folder


def scored(monkeypatch: pytest.MonkeyPatch, before: float, after: float) -> None:
    """Let the first model that is measured get one score, and the next another."""
    scores = iter((before, after))

    def measure(model: Sam, items: object) -> dict[str, float]:
        score = next(scores)
        return {**dict.fromkeys(finetune.MEASURED, score), "score": score, "objects": 3}

    monkeypatch.setattr(finetune, "measure", measure)


# -- what is held out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "held_out"),
    [
        ("abcde", "c"),
        ("ab", "b"),
        ("abcdefghij", "ch"),
        (["s[0]", "s[1]", "s[4]", "s[7]"], ["s[7]"]),  # neighbours are alike: the end of the stack
        (["s[0]", "s[1]", "t[0]", "t[1]"], ["t[0]", "t[1]"]),  # a whole stack
    ],
)
def test_a_fifth_of_the_images_is_held_out(names: list[str], held_out: list[str]) -> None:
    parts = split([item(name) for name in names])
    assert [one.name for one in parts.held_out] == list(held_out)
    assert sorted(one.name for one in (*parts.train, *parts.held_out)) == sorted(names)
    assert all(name in parts.told for name in held_out)


def test_of_one_image_a_side_is_held_out() -> None:
    image, labels = plane()
    parts = split([Item.of(image, labels, name="only")])
    (left, left_labels), (right, right_labels) = (one.read() for one in (*parts.train, *parts.held_out))
    assert np.array_equal(np.concatenate([left, right], axis=1), image)
    assert np.array_equal(np.concatenate([left_labels, right_labels], axis=1), labels)
    assert left_labels.any()
    assert right_labels.any()
    assert "right part" in parts.told


def test_one_object_is_too_few() -> None:
    labels = np.zeros((30, 40), np.int32)
    labels[3:9, 3:9] = 1
    with pytest.raises(ImageError, match="label more"):
        split([Item.of(labels * 200, labels, name="only")])


def test_validation_images_are_held_out_and_test_images_left_alone(tmp_path: Path) -> None:
    parts = read_parts(write_set(tmp_path / "cells", 5, {"1": "val", "3": "test"}))
    assert [one.name for one in parts.train] == ["0", "2", "4"]
    assert [one.name for one in parts.held_out] == ["1"]


# -- versions ------------------------------------------------------------------------------------------------------


def examples() -> list[Example]:
    return [Example(*plane(seed), "") for seed in range(2)]


def test_versions_are_the_same_each_time_and_of_every_image() -> None:
    first, again = (draw_versions(examples(), 4, 64, seed=1) for _ in range(2))
    assert len(first) == 4
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert one.labels.shape == (128, 128)
        assert one.labels.any()


def test_features_lie_where_their_pixels_do() -> None:
    (drawn,) = draw_versions(examples()[:1], 1, 64, seed=2)
    # Instead of features, the labels at each stride.
    levels = tuple(torch.from_numpy(drawn.labels[::stride, ::stride].copy())[None] for stride in (8, 4, 2))
    rng = np.random.default_rng(0)
    version = Version(drawn.pixels, drawn.labels, levels)
    found = [draw_window(version, CropOptions(size=64, objects=2), rng) for _ in range(10)]
    assert any(found)
    for crop, cuts in filter(None, found):
        for stride, cut in zip((8, 4, 2), cuts, strict=True):
            assert np.array_equal(cut[0].numpy(), crop.labels[::stride, ::stride])


def test_features_are_those_of_the_encoder() -> None:
    torch.manual_seed(0)
    network = CellNetwork(TINY)
    (drawn,) = draw_versions(examples()[:1], 1, 64, seed=2)
    levels = encoded(drawn, network, bfloat16=False).levels
    pixels = torch.from_numpy(drawn.pixels).permute(2, 0, 1)[None] / 255
    for ours, theirs in zip(levels, network.encoder(pixels), strict=True):
        assert torch.allclose(ours.float(), theirs[0], atol=1e-2, rtol=1e-2)


# -- the whole of it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after", "better"), [(0.5, 0.6, True), (0.5, 0.5, False), (0.5, 0.4, False)])
def test_only_what_is_better_is_kept(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: float, after: float, better: bool
) -> None:
    scored(monkeypatch, before, after)
    weights, out = (base / "model.safetensors").read_bytes(), tmp_path / "mine"
    records = list(fine_tune(base, write_set(tmp_path / "cells", 3), out, QUICK, device="cpu"))
    assert [record["stage"] for record in records] == ["split", "before", "step", "step", "after", "done"]
    assert records[-1]["better"] is better
    assert out.exists() is better
    assert {path.name for path in tmp_path.iterdir()} == {"cells", *(["mine"] if better else [])}
    assert (base / "model.safetensors").read_bytes() == weights
    if better:
        assert "| box | 0.500 | 0.600 |" in (out / "README.md").read_text()
        assert len(Sam.from_pretrained(out).fingerprint)


def test_the_encoder_stays_and_the_decoder_and_proposals_learn(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(monkeypatch, 0, 1)
    list(fine_tune(base, write_set(tmp_path / "cells", 2), tmp_path / "mine", QUICK, device="cpu"))
    old, new = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "mine"))
    changed = {key.split(".")[0] for key in old if not torch.equal(old[key].half(), new[key].half())}
    assert changed == {"mask_decoder", "proposal_head"}


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_set(tmp_path / "cells", 2)
    scored(monkeypatch, 0, 1)
    for record in fine_tune(base, folder, tmp_path / "stopped", QUICK, device="cpu"):
        if record.get("step") == 2:
            break
    scored(monkeypatch, 1, 1)  # what was measured before is known
    rest = list(fine_tune(base, folder, tmp_path / "stopped", QUICK, device="cpu"))
    assert [record["step"] for record in rest if record["stage"] == "step"] == [4]
    assert rest[1]["score"] == 0
    scored(monkeypatch, 0, 1)
    list(fine_tune(base, folder, tmp_path / "whole", QUICK, device="cpu"))
    stopped, whole = (load_file(tmp_path / name / "model.safetensors") for name in ("stopped", "whole"))
    assert all(torch.equal(stopped[key], whole[key]) for key in whole)


def test_other_labels_begin_a_new_run(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_set(tmp_path / "cells", 2)
    scored(monkeypatch, 0, 1)
    for record in fine_tune(base, folder, tmp_path / "mine", QUICK, device="cpu"):
        if record.get("step") == 2:
            break
    Image.fromarray(plane(9)[1].astype(np.uint16)).save(folder / "labels" / "0.png")
    scored(monkeypatch, 0, 1)
    steps = [r["step"] for r in fine_tune(base, folder, tmp_path / "mine", QUICK, device="cpu") if r["stage"] == "step"]
    assert steps == [2, 4]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda out: (out.mkdir(), (out / "precious").touch()), "not empty"),
        (lambda out: out.touch(), "not empty"),
    ],
)
def test_nothing_is_overwritten(base: Path, tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    make(tmp_path / "mine")
    with pytest.raises(CheckpointError, match=said):
        next(fine_tune(base, write_set(tmp_path / "cells", 2), tmp_path / "mine", QUICK))


def test_the_command_tells_before_and_after(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "cells", 2)
    monkeypatch.setattr(finetune, "choose_thresholds", lambda *_: (finetune.SegmentAllOptions(), 0.5))
    for score, told in ((0.7, "written to mine"), (0.1, "stay with")):
        scored(monkeypatch, 0.5, score)
        result = CliRunner().invoke(cli.app, ["train", "--from", str(base), "cells", "--out", "mine", "--steps", "2"])
        assert result.exit_code == 0, result.output
        assert told in result.stdout
        assert "held out: whole images: 1" in result.stdout
        for path in (tmp_path / "mine").glob("*"):
            path.unlink()
    assert CliRunner().invoke(cli.app, ["train", "run.toml", "--steps", "2"]).exit_code == 2


@pytest.mark.parametrize(
    ("scores", "lax", "expected"),
    [
        ({0.4: 0.30, 0.5: 0.30, 0.6: 0.303}, False, 0.5),  # no clear gain
        ({0.4: 0.31, 0.5: 0.30, 0.6: 0.303}, False, 0.4),
        ({0.4: 0.30, 0.5: 0.302, 0.6: 0.303}, True, 0.4),  # about as good, and more forgiving
        ({0.4: 0.29, 0.5: 0.30, 0.6: 0.34}, True, 0.6),
        ({0.4: 0.0, 0.5: 0.0, 0.6: 0.0}, True, 0.5),  # nothing to learn from
    ],
)
def test_thresholds_are_changed_for_a_gain(scores: dict[float, float], lax: bool, expected: float) -> None:
    assert best_threshold(scores, 0.5, lax=lax) == expected


def test_thresholds_of_a_model_that_finds_nothing_stay(base: Path) -> None:
    options, min_proposal = choose_thresholds(base, examples()[:1], "cpu")
    assert (options, min_proposal) == (Sam.from_pretrained(base).segment_all_options, 0.4)
