"""Scores of answers to proposals: what is fitted, to what, and what stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sam_core import Masks, Prompt, Sam, samples, to_rgb8
from sam_core.families.cell import CellFamily
from sam_core.modeling.cell import CellNetwork
from sam_core.modeling.checkpoint import write_checkpoint
from sam_core.training.examples import Example
from sam_core.training.proposal_scores import BATCH, _best_iou, fit_proposal_scores
from sam_core.training.versions import LARGEST, draw_plane
from tests.tiny import TINY

JUDGING = replace(TINY, proposal_iou=True)
HEAD = "mask_decoder.proposal_iou_head."


def eager(network: CellNetwork) -> CellNetwork:
    """Let a network that has learned nothing propose something everywhere."""
    bias = network.proposal_head.out.bias
    assert bias is not None
    with torch.no_grad():
        bias[:8] += 3
    return network


def planes(count: int = 6) -> list[Example]:
    drawn = (samples.cells((128, 128), count=14, diameter=18, seed=seed) for seed in range(count))
    return [Example(np.repeat(to_rgb8(s.image)[..., :1], 3, axis=2), s.labels, "") for s in drawn]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = eager(CellNetwork(JUDGING)).half()
    write_checkpoint(tmp_path, {"model_type": "cell", **JUDGING.to_dict(), "min_proposal": 0.6}, network.state_dict())
    return tmp_path


def error(folder: Path, seen: Sequence[Example]) -> float:
    """Mean squared error of the scores that answers to proposals get."""
    sam = Sam.from_pretrained(folder, dtype="float32")
    errors = []
    for plane in seen:
        embedding = sam.encode(plane.image)
        prompts = [p for p in sam.propose(embedding) or [] if p.is_lone_click]
        masks = sam.decode(embedding, prompts, candidates=3)
        errors += ((masks.scores - _best_iou(masks, Masks.from_labels(plane.labels))) ** 2).tolist()
    return float(np.mean(errors))


def test_scores_of_proposals_come_nearer_to_the_truth_and_nothing_else_changes(model: Path) -> None:
    before, file, wrong = load_file(model / "model.safetensors"), model / "config.json", error(model, planes())
    told = file.read_text()
    count = fit_proposal_scores(model, planes())
    assert count >= BATCH
    assert error(model, planes()) < 0.5 * wrong
    after = load_file(model / "model.safetensors")
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(HEAD) for name in changed)
    assert {value.dtype for name, value in after.items() if name.startswith(HEAD)} == {torch.float16}
    assert '"min_proposal": 0.6' in told
    assert '"min_proposal": 0.6' in file.read_text()


def test_planes_are_drawn_as_they_are_or_resized_with_their_labels() -> None:
    rows, columns = np.ogrid[:1000, :90]
    discs = (rows % 40 - 20) ** 2 + (columns % 40 - 20) ** 2 < 15**2
    plane = Example(
        np.repeat(np.where(discs, 255, 0).astype(np.uint8)[..., None], 3, axis=-1), discs.astype(np.int32), ""
    )
    rng = np.random.default_rng(0)
    drawn = [draw_plane(plane, rng) for _ in range(40)]
    shapes = {tuple(sorted(one.labels.shape)) for one in drawn}
    assert (90, LARGEST) in shapes
    assert len(shapes) > 10
    assert max(max(shape) for shape in shapes) == LARGEST
    agree = []
    for one in drawn:
        assert one.image.shape == (*one.labels.shape, 3)
        bright, inside = one.image.astype(float).mean(axis=-1), one.labels > 0
        agree.append(abs(np.corrcoef(bright.ravel(), inside.ravel())[0, 1]))  # they may be inverted
    assert min(agree) > 0.5
    assert np.median(agree) > 0.97


def test_the_same_seed_gives_the_same_scores(model: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    for name in ("config.json", "model.safetensors"):
        (other / name).write_bytes((model / name).read_bytes())
    assert fit_proposal_scores(model, planes(), seed=3) == fit_proposal_scores(other, planes(), seed=3)
    assert (model / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


@pytest.mark.parametrize("why", ["no head", "too few answers"])
def test_what_cannot_be_fitted_stays(model: Path, why: str) -> None:
    if why == "no head":
        network = eager(CellNetwork(TINY))
        write_checkpoint(model, {"model_type": "cell", **TINY.to_dict()}, network.state_dict())
    before = (model / "model.safetensors").read_bytes()
    assert fit_proposal_scores(model, planes(2 if why == "no head" else 0)) == 0
    assert (model / "model.safetensors").read_bytes() == before


def test_a_mask_is_as_good_as_the_object_that_it_is_most_like() -> None:
    labels = np.zeros((8, 12), np.int32)
    labels[0:4, 0:4], labels[0:4, 6:10] = 1, 2
    found = np.zeros((3, 8, 12), bool)
    found[0, 0:4, 2:10] = True  # half of the first, all of the second
    found[1, 6:8] = True  # nothing
    masks = Masks.merge([Masks.from_labels(one.astype(np.int32)) for one in found])
    empty = Masks.merge([masks[[1]], masks[[0]]])
    assert _best_iou(empty, Masks.from_labels(labels)).tolist() == [0, 0.5]


def judged(network: CellNetwork, change: Callable[[Prompt], Prompt]) -> np.ndarray:
    sam = Sam(CellFamily(network.eval()), "test", Sam.from_pretrained("cell").segment_all_options)
    embedding = sam.encode(np.full((64, 64), 99, np.uint8))
    prompts = [change(Prompt.of([(20, 20)])), Prompt.of([(40, 40)])]
    return sam.decode(embedding, prompts, candidates=3).scores.reshape(2, 3)


def test_only_what_is_proposed_gets_the_scores_of_proposals() -> None:
    torch.manual_seed(0)
    network = CellNetwork(JUDGING).requires_grad_(False)
    decoder = network.mask_decoder
    assert decoder.proposal_iou_head is not None
    decoder.proposal_iou_head.proj_out.weight.zero_()
    decoder.proposal_iou_head.proj_out.bias.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    plain, proposed = judged(network, lambda p: p), judged(network, lambda p: replace(p, proposed=True))
    np.testing.assert_allclose(proposed[0], torch.tensor([1.0, 2.0, 3.0]).sigmoid(), rtol=1e-6)
    np.testing.assert_array_equal(proposed[1], plain[1])
    assert not np.isclose(proposed[0], plain[0]).any()


def test_without_such_a_head_there_is_one_score() -> None:
    torch.manual_seed(0)
    network = CellNetwork(TINY)
    plain, proposed = judged(network, lambda p: p), judged(network, lambda p: replace(p, proposed=True))
    np.testing.assert_array_equal(proposed, plain)
