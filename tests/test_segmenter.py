"""What every Segmenter keeps to: the fakes, and `Sam` over tiny networks of random weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from sam_core import (
    Embedding,
    EmbeddingError,
    Masks,
    Prompt,
    PromptError,
    SegmentAllOptions,
    Tiling,
    propagate,
    samples,
    segment,
    segment_all,
)
from sam_core.families.cell import CellFamily
from sam_core.families.vit import VitFamily
from sam_core.modeling.cell import CellNetwork
from sam_core.modeling.sam_config import SamConfig
from sam_core.modeling.sam_network import SamNetwork
from sam_core.sam import Sam
from sam_core.types import Segmenter
from tests.fake import FakeSegmenter
from tests.fake_family import FakeFamily, fake_sam
from tests.tiny import TINY

ANYTHING = SegmentAllOptions(points_per_side=6, min_score=0, min_stability=0)
VIT = {
    "vision_config": {
        "hidden_size": 16,
        "output_channels": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 64,
        "window_size": 2,
        "global_attn_indexes": [0],
        "num_pos_feats": 8,
        "mlp_dim": 16,
    },
    "prompt_encoder_config": {"hidden_size": 16, "mask_input_channels": 8},
    "mask_decoder_config": {"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
}


def tiny_cell() -> Sam:
    torch.manual_seed(0)
    return Sam(CellFamily(CellNetwork(TINY).eval(), min_proposal=0.05), "cell", ANYTHING)


def tiny_vit() -> Sam:
    torch.manual_seed(0)
    network = SamNetwork(SamConfig.from_dict(VIT))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Sam(VitFamily(network.eval()), "vit", ANYTHING)


MODELS = {"fake": FakeSegmenter, "fake family": lambda: fake_sam(FakeFamily()), "cell": tiny_cell, "vit": tiny_vit}
PLANE = samples.cells((100, 130), count=12, seed=3)
TILINGS = {"whole": None, "tiled": Tiling((48, 48), (8, 8))}


@cache
def encoded(model: str, tiling: str) -> tuple[Segmenter, Embedding]:
    segmenter = MODELS[model]()
    return segmenter, segmenter.encode((255 * (PLANE.labels > 0)).astype(np.uint8), tiling=TILINGS[tiling])


def on_cells(count: int) -> list[Prompt]:
    middles = [np.argwhere(PLANE.labels == i) for i in range(1, count + 1)]
    return [Prompt.of([points[len(points) // 2]]) for points in middles]


@pytest.fixture(params=[(model, tiling) for model in MODELS for tiling in TILINGS], ids=" ".join)
def asked(request: pytest.FixtureRequest) -> tuple[Segmenter, Embedding]:
    return encoded(*request.param)


def test_it_is_one(asked: tuple[Segmenter, Embedding]) -> None:
    model, embedding = asked
    assert isinstance(model, Segmenter)
    assert embedding.model == model.fingerprint
    assert embedding.image_shape == (100, 130)
    assert len({len(level) for level in embedding.features} | {len(embedding.windows)}) == 1


@pytest.mark.parametrize("candidates", [1, 3])
def test_each_prompt_gets_its_answers_in_order(asked: tuple[Segmenter, Embedding], candidates: Any) -> None:
    model, embedding = asked
    masks = model.decode(embedding, on_cells(5), candidates=candidates)
    assert masks.prompt.tolist() == [i for i in range(5) for _ in range(candidates)]
    assert masks.shape == (100, 130)
    assert all(logits is not None and logits.shape == (100, 130) for logits in masks.logits)


def test_an_answer_is_that_of_its_prompt_alone(asked: tuple[Segmenter, Embedding]) -> None:
    model, embedding = asked
    lone = on_cells(4)
    first = model.decode(embedding, lone[:1])
    y, x = lone[1].points[0]
    prompts = [
        *lone,
        lone[0].refine(first),
        lone[1].click((2, 2), positive=False),
        Prompt.of([(y, x)], box=(max(y - 9, 0), max(x - 9, 0), y + 9, x + 9)),
        Prompt.of(box=(max(y - 9, 0), max(x - 9, 0), y + 9, x + 9)),
        Prompt.of(previous=PLANE.labels == 3),
    ]
    together = model.decode(embedding, prompts)
    for i, prompt in enumerate(prompts):
        alone = model.decode(embedding, [prompt])
        np.testing.assert_allclose(alone.scores, together[together.prompt == i].scores, atol=1e-5)
        ours, theirs = alone.logits[0], together.logits[i]
        assert ours is not None
        assert theirs is not None
        np.testing.assert_allclose(ours.values, theirs.values, atol=1e-3)


def test_scores_below_the_least_are_left_out(asked: tuple[Segmenter, Embedding]) -> None:
    model, embedding = asked
    scores = model.decode(embedding, on_cells(5), candidates=3).scores
    least = float(np.sort(scores)[len(scores) // 2])
    passing = model.decode(embedding, on_cells(5), candidates=3, min_score=least)
    assert 0 < len(passing) < len(scores)
    assert passing.scores.min() >= np.float32(least)
    assert len(model.decode(embedding, on_cells(5), candidates=3, min_score=float(scores.max()) + 0.1)) == 0


def test_no_prompts_no_masks(asked: tuple[Segmenter, Embedding]) -> None:
    model, embedding = asked
    assert len(model.decode(embedding, [])) == 0


def test_what_does_not_fit_is_refused(asked: tuple[Segmenter, Embedding]) -> None:
    model, embedding = asked
    with pytest.raises(PromptError, match="y=100, x=5"):
        model.decode(embedding, [Prompt.of([(5, 5)]), Prompt.of([(100, 5)])])
    other = encoded("fake" if model.fingerprint != "fake" else "cell", "whole")[1]
    with pytest.raises(EmbeddingError, match="got an embedding made by model"):
        model.decode(other, [Prompt.of([(5, 5)])])


def test_the_tasks_do(asked: tuple[Segmenter, Embedding]) -> None:
    model, embedding = asked
    assert len(segment(model, embedding, on_cells(1)[0])) <= 1
    parts = list(segment_all(model, embedding, ANYTHING))
    assert len(embedding.windows) <= len(parts) <= len(embedding.windows) + 1
    found = propagate(model, [embedding] * 3, {1: Masks.from_labels(PLANE.labels)[:3]}, min_iou=0)
    assert {plane for plane, _ in found} <= {0, 2}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (70, 2), (9, 8, 3)])
def test_planes_may_be_as_small_as_they_like(model: str, shape: tuple[int, ...]) -> None:
    segmenter = MODELS[model]()
    for tiling in (None, Tiling((32, 32), (4, 4))):
        embedding = segmenter.encode(np.full(shape, 200, np.uint8), tiling=tiling)
        masks = segmenter.decode(embedding, [Prompt.of([(0, 0)]), Prompt.of(box=(0, 0, 1, 1))])
        assert masks.shape == embedding.image_shape == shape[:2]
        for part in segment_all(segmenter, embedding, ANYTHING):
            assert part.shape == shape[:2]
