"""Training: its parts against what they promise, and a small run that stops and goes on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy import ndimage

from sam_core import Prompt, Sam, samples
from sam_core.errors import CheckpointError, ImageError
from sam_core.modeling.cell import CellNetwork, sketch_prompts
from sam_core.modeling.prompt_encoder import BOTTOM_RIGHT, NEGATIVE, NOT_A_POINT, POSITIVE, TOP_LEFT
from sam_core.training.clicks import correction, first_prompts
from sam_core.training.config import TrainConfig, read_config
from sam_core.training.crops import CropOptions, CropSampler, draw_crop
from sam_core.training.examples import Example, read_examples
from sam_core.training.export import export
from sam_core.training.grow import start_from
from sam_core.training.loop import train
from sam_core.training.losses import LossWeights, answer_loss, dice_loss, focal_loss, true_iou
from sam_core.training.resample import cut, warp
from sam_core.training.synthetic import synthetic_examples
from sam_core.training.targets import proposal_targets
from tests.tiny import TINY

CROPS = CropOptions(size=64, objects=3, diameters=(9, 40))


def example(seed: int = 0) -> Example:
    sample = samples.cells((96, 120), count=12, diameter=18, seed=seed)
    rgb8 = np.repeat((sample.image / sample.image.max() * 255).astype(np.uint8)[..., None], 3, axis=2)
    return Example(rgb8, sample.labels, "synthetic")


def config(steps: int) -> TrainConfig:
    return TrainConfig(
        sets={"a": 1.0}, steps=steps, batch=2, warmup=2, cooldown=2, save_every=2, log_every=2, model=TINY, crops=CROPS
    )


def sampler() -> CropSampler:
    return CropSampler({"a": [example(0), example(1)]}, {"a": 1.0}, CROPS)


class TestCrops:
    def test_the_same_seed_draws_the_same_crops(self) -> None:
        for first, second, _ in zip(sampler().crops(3), sampler().crops(3), range(4), strict=False):
            np.testing.assert_array_equal(first.pixels, second.pixels)
            np.testing.assert_array_equal(first.points, second.points)

    def test_first_clicks_and_boxes_belong_to_their_objects(self) -> None:
        for crop, _ in zip(sampler().crops(5), range(10), strict=False):
            for index, (y, x), (y0, x0, y1, x1) in zip(
                crop.ids, crop.points.astype(int), crop.boxes.astype(int), strict=True
            ):
                assert crop.labels[y, x] == index
                rows, columns = np.nonzero(crop.labels == index)
                assert (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) == (y0, x0, y1, x1)

    def test_a_plane_without_objects_gives_no_crop(self) -> None:
        empty = Example(np.zeros((80, 80, 3), np.uint8), np.zeros((80, 80), np.int32), "")
        assert draw_crop(empty, CROPS, np.random.default_rng(0)) is None

    def test_a_plane_smaller_than_a_crop_is_padded(self) -> None:
        labels = np.zeros((20, 24), np.int32)
        labels[4:16, 4:18] = 1
        small = Example(np.full((20, 24, 3), 200, np.uint8), labels, "")
        crop = draw_crop(small, CropOptions(size=64, objects=1, zoom=(1.0, 1.0)), np.random.default_rng(0))
        assert crop is not None
        assert crop.pixels.shape == (64, 64, 3)
        assert (crop.labels == 1).sum() == 12 * 14

    @pytest.mark.parametrize("zoom", [0.5, 0.8, 1.0, 1.5, 2.0, 3.0])
    def test_pixels_and_labels_stay_aligned_at_every_magnification(self, zoom: float) -> None:
        rows, columns = np.ogrid[:300, :280]
        discs = ((rows % 40 - 20) ** 2 + (columns % 40 - 20) ** 2 < 15**2) & (rows < 280) & (columns < 280)
        image = np.repeat(np.where(discs, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)
        plane = Example(image, discs.astype(np.int32), "")
        rng = np.random.default_rng(0)
        for _ in range(20):
            pixels, labels = cut(plane, tuple(rng.uniform(20, 260, 2)), zoom, 256, rng)
            bright, inside = pixels[..., 0] > 127, labels > 0
            assert (bright & inside).sum() > 0.95 * (bright | inside).sum()

    @given(seed=st.integers(0, 2**32 - 1), zoom=st.floats(0.4, 3), ratio=st.floats(1, 4))
    @settings(max_examples=40, deadline=None)
    def test_a_warped_crop_shows_the_plane_turned_and_stretched(self, seed: int, zoom: float, ratio: float) -> None:
        ys, xs = np.mgrid[:200, :250]
        image = np.stack([ys, xs, np.full_like(ys, 255)], axis=-1).astype(np.uint8)  # each pixel says where it is
        plane = Example(image, (ys // 20 * 13 + xs // 20 + 1).astype(np.int32), "")
        pixels, labels = warp(plane, (100.0, 120.0), zoom, ratio, 128, np.random.default_rng(seed))
        # What is averaged or blended with what is outside says something else.
        inside = ndimage.binary_erosion(pixels[..., 2] == 255, iterations=4)
        assert inside.any()
        assert not labels[(pixels[..., 2] == 0) & ndimage.binary_erosion(pixels[..., 2] == 0, iterations=4)].any()
        y, x = pixels[inside, 0].astype(float), pixels[inside, 1].astype(float)
        within = (abs(y % 20 - 9.5) < 8) & (abs(x % 20 - 9.5) < 8)
        expected = y // 20 * 13 + x // 20 + 1
        np.testing.assert_array_equal(labels[inside][within], expected[within])
        places = np.column_stack([*np.nonzero(inside), np.ones(inside.sum())])
        slopes = np.linalg.lstsq(places, np.column_stack([y, x]), rcond=None)[0][:2]
        longer, shorter = 1 / np.linalg.svd(slopes, compute_uv=False)[::-1]
        assert (longer / shorter, longer * shorter) == pytest.approx((ratio, zoom**2), rel=0.1)

    @pytest.mark.parametrize("chance", [{"warped": 0.5}, {"stained": 0.5}])
    def test_some_crops_are_warped_or_shown_in_other_dyes(self, chance: dict[str, float]) -> None:
        options = replace(CROPS, **chance)  # type: ignore[arg-type]
        plain, some = (
            [crop for crop, _ in zip(CropSampler({"a": [example()]}, {"a": 1}, o).crops(0), range(8), strict=False)]
            for o in (CROPS, options)
        )
        for crop in some:
            assert (crop.labels[tuple(crop.points.astype(int).T)] == crop.ids).all()
        assert not all((a.pixels == b.pixels).all() for a, b in zip(plain, some, strict=True))


def test_synthetic_planes_are_the_same_each_time_and_of_two_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_core.training.synthetic.PLANES", 4)
    planes, again = synthetic_examples("rods"), synthetic_examples("rods")
    for one, other in zip(planes, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.labels.max() >= 4
    bright = [np.median(p.image[p.labels > 0]) > np.median(p.image[p.labels == 0]) for p in planes]
    assert bright == [True, False, True, False]
    assert len({plane.group for plane in planes}) == 2
    with pytest.raises(ImageError, match="'stars', expected one of rods, tissue"):
        synthetic_examples("stars")


def test_synthetic_sections_are_of_three_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_core.training.synthetic.PLANES", 4)
    groups = [plane.group for plane in synthetic_examples("tissue")]
    assert groups == ["eosin", "brown", "fluorescence", "eosin"]


def test_a_deeper_network_starts_where_a_shallower_one_has_come_to(tmp_path: Path) -> None:
    list(train(config(2), sampler(), tmp_path))
    export(tmp_path, config(2), tmp_path / "model")
    small, deep = CellNetwork(TINY), CellNetwork(replace(TINY, depths=(1, 2, 3)))
    start_from(small, tmp_path / "model")
    start_from(deep, tmp_path / "model")
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for one, other in zip(small.encoder(pixels), deep.encoder(pixels), strict=True):
            torch.testing.assert_close(one, other)
    with pytest.raises(CheckpointError, match=r"expected the widths of \[model\]"):
        start_from(CellNetwork(replace(TINY, widths=(8, 16, 16))), tmp_path / "model")
    (tmp_path / "run").mkdir()
    grown = replace(config(2), model=replace(TINY, depths=(1, 2, 3)), start=str(tmp_path / "model"))
    assert [record["step"] for record in train(grown, sampler(), tmp_path / "run")] == [2]


@pytest.mark.parametrize("kept", [0.0, 0.25, 1.0])
def test_some_of_the_weights_that_a_run_began_with_are_kept(tmp_path: Path, kept: float) -> None:
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
    list(train(config(2), sampler(), tmp_path / "first"))
    export(tmp_path / "first", config(2), tmp_path / "before")
    second = replace(config(2), start=str(tmp_path / "before"), kept=kept, seed=1)
    list(train(second, sampler(), tmp_path / "second"))
    export(tmp_path / "second", replace(second, kept=0.0), tmp_path / "after")
    export(tmp_path / "second", second, tmp_path / "blend")
    before, after, blend = (load_file(tmp_path / name / "model.safetensors") for name in ("before", "after", "blend"))
    for name, value in blend.items():
        expected = (1 - kept) * after[name].float() + kept * before[name].float()
        torch.testing.assert_close(value.float(), expected, atol=1e-3, rtol=1e-3)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_what_is_kept_must_have_been_there() -> None:
    with pytest.raises(ValueError, match=r"got kept 0\.5 with start '', expected a part, 0 to 1"):
        replace(config(2), kept=0.5)
    with pytest.raises(ValueError, match=r"got kept 1\.5"):
        replace(config(2), kept=1.5, start="cell")


def test_examples_of_one_modality(tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        for name, value in (("a", 1), ("b", 2)):
            np.save(tmp_path / kind / f"{name}.npy", np.full((8, 8), value, np.int32))
    about = [{"name": "a", "modality": "bright field"}, {"name": "b", "modality": "fluorescence"}]
    (tmp_path / "items.json").write_text(json.dumps(about))
    assert len(read_examples(tmp_path)) == 2
    assert len(read_examples(tmp_path, modality="fluorescence")) == 1
    with pytest.raises(ImageError, match="'bright field', 'fluorescence'"):
        read_examples(tmp_path, modality="phase contrast")


def test_proposal_targets_of_a_rectangle() -> None:
    labels = np.zeros((32, 32), np.int32)
    labels[8:20, 4:28] = 1
    maps = proposal_targets(labels)
    assert maps.shape == (6, 16, 16)
    assert maps[0].sum() == 6 * 12
    assert maps[1].max() == 1
    assert maps[1][maps[0] == 0].max() == 0
    # The first cell inside: its middle is one pixel from the top and left edges of the box.
    np.testing.assert_allclose(np.exp(maps[2:, 4, 2]), [1, 1, 11, 23], rtol=1e-5)


class TestLosses:
    def test_right_answers_cost_nothing_and_wrong_ones_do(self) -> None:
        target = torch.zeros(1, 8, 8)
        target[:, 2:6, 2:6] = 1
        sure = 40 * (target - 0.5)
        for loss in (focal_loss, dice_loss):
            assert float(loss(sure, target)) == pytest.approx(0, abs=1e-3)
            assert float(loss(-sure, target)) > 0.5

    def test_iou(self) -> None:
        target = torch.zeros(1, 4, 4)
        target[:, :2] = 1
        logits = torch.full((1, 4, 4), -1.0)
        logits[:, :1] = 1
        assert float(true_iou(logits, target)) == 0.5

    def test_a_lone_click_pays_for_its_best_candidate_only(self) -> None:
        target = torch.zeros(1, 8, 8)
        target[:, 2:6, 2:6] = 1
        right, wrong = 40 * (target - 0.5), -40 * (target - 0.5)
        logits = torch.stack([right, wrong, right, wrong], dim=1)
        scores = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
        weights = LossWeights(second=0.0)
        lone = answer_loss(logits, scores, target, torch.tensor([True]), weights)
        assert float(lone) == pytest.approx(0, abs=1e-2)


class TestClicks:
    def test_first_prompts_are_coded_as_the_encoder_takes_them(self) -> None:
        clicks, boxes = (
            torch.tensor([[10.0, 20.0]]).repeat(200, 1),
            torch.tensor([[4.0, 8.0, 24.0, 40.0]]).repeat(200, 1),
        )
        prompts = first_prompts(clicks, boxes, torch.Generator().manual_seed(0))
        assert prompts.points.shape == (200, 3, 2)
        with_box = (prompts.codes[:, 0] == TOP_LEFT) & (prompts.codes[:, 1] == BOTTOM_RIGHT)
        assert torch.equal(prompts.lone, ~with_box)
        assert 0.2 < float(with_box.float().mean()) < 0.6
        assert (prompts.points[:, 2] == torch.tensor([20.0, 10.0])).all()
        assert (prompts.codes[~with_box, 2] == POSITIVE).all()
        assert float((prompts.points[with_box, 0] - torch.tensor([8.0, 4.0])).abs().max()) <= 8

    @pytest.mark.parametrize(("missing", "positive"), [(True, True), (False, False)])
    def test_corrections_fall_on_errors(self, missing: bool, positive: bool) -> None:
        truth = torch.zeros(1, 32, 32)
        truth[:, 4:20, 4:20] = 1
        answer = torch.full((1, 32, 32), -5.0)
        answer[:, 4:20, 4 : 12 if missing else 28] = 5
        xy, sign = correction(answer, truth, torch.Generator().manual_seed(1))
        assert bool(sign) is positive
        assert 12 <= int(xy[0, 0]) < 20 if missing else 20 <= int(xy[0, 0]) < 28


class TestSketch:
    def test_clicks_are_spots_and_boxes_pale_squares(self) -> None:
        points = torch.tensor([[[8.0, 8.0], [40.0, 24.0], [20.0, 12.0]], [[0.0, 0.0], [0.0, 0.0], [50.0, 50.0]]])
        codes = torch.tensor([[TOP_LEFT, BOTTOM_RIGHT, POSITIVE], [NOT_A_POINT, NOT_A_POINT, NEGATIVE]])
        boxed, clicked = sketch_prompts(points, codes, None, 64)[:, 0]
        assert boxed.shape == (32, 32)
        assert float(boxed[6, 6]) == pytest.approx(1, abs=0.7)
        assert float(boxed[30, 30]) == -1
        assert float(boxed[6, 10]) > 2
        assert float(clicked[25, 25]) < -2
        assert float(clicked[2, 2]) == pytest.approx(0, abs=1e-3)

    def test_a_previous_mask_stands_in_for_the_box(self) -> None:
        points = torch.tensor([[[8.0, 8.0], [40.0, 24.0]]])
        codes = torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]])
        previous = torch.full((1, 1, 32, 32), 100.0)
        assert (sketch_prompts(points, codes, previous, 64) == 2).all()


class TestLoop:
    def test_a_run_that_stopped_goes_on(self, tmp_path: Path) -> None:
        first = list(train(config(4), sampler(), tmp_path))
        assert [r["step"] for r in first] == [2, 4]
        with (tmp_path / "log.jsonl").open("a") as log:
            log.write('{"step": 6}\n')  # logged, but stopped before the next checkpoint
        more = list(train(config(6), sampler(), tmp_path))
        assert [r["step"] for r in more] == [6]
        assert all(math.isfinite(v) for r in first + more for v in (r["answers"], r["proposals"]))
        logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert logged == first + more
        assert not list(tmp_path.glob("*.part"))

    def test_what_it_learned_can_be_loaded(self, tmp_path: Path) -> None:
        options = config(2)
        list(train(options, sampler(), tmp_path))
        export(tmp_path, options, tmp_path / "model")
        sam = Sam.from_pretrained(tmp_path / "model", dtype="float32")
        masks = sam.decode(sam.encode(np.zeros((70, 90), np.uint8)), [Prompt.of([(30, 40)])], candidates=3)
        assert len(masks) == 3

    def test_it_learns(self, tmp_path: Path) -> None:
        options = TrainConfig(
            sets={"a": 1.0}, steps=60, batch=2, learning_rate=3e-3, warmup=5, cooldown=10, save_every=60, log_every=20,
            model=TINY, crops=CROPS,
        )  # fmt: skip
        records = list(train(options, sampler(), tmp_path))
        assert records[-1]["proposals"] < 0.85 * records[0]["proposals"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("steps = 10", "sets"),
        ("steps = 10\nspeed = 3\n[sets]\na = 1", "speed"),
        ('steps = 10\noptimiser = "sgd"\n[sets]\na = 1', "adamw, muon"),
        ("steps = 10\n[sets]\na = 1\n[model]\nwidht = 3", "widht"),
    ],
)
def test_a_wrong_config_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_config(path)
