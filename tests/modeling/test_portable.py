"""The portable decoder is the decoder once more: same weights, another layout."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sam_core import CheckpointError, Sam, SegmentAllOptions
from sam_core.families.cell import CellFamily
from sam_core.modeling.cell import CellConfig, CellNetwork
from sam_core.modeling.mask_decoder import nested
from sam_core.modeling.portable import PortableDecoder
from tests.fake_family import FakeFamily

CONFIG = CellConfig(widths=(8, 12, 16), depths=(1, 1, 1), stem=6, width=32, fine=(6, 5), mlp_width=48, window=64)


@pytest.fixture(scope="module")
def network() -> CellNetwork:
    torch.manual_seed(0)
    network = CellNetwork(CONFIG).eval().requires_grad_(False)
    with torch.no_grad():  # what begins as nothing is to be something, and no two layers are alike
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def _flat(logits: Tensor) -> Tensor:
    """Lay logits (1, 4, 4h, 4w) out nested, (16 h w, 4)."""
    height, width = logits.shape[2] // 4, logits.shape[3] // 4
    return nested(logits, (height, width), 2)[0].flatten(0, -2)


PROMPTS = {
    "click": ([[0, 0], [0, 0], [20.5, 33]], [-1, -1, 1]),
    "clicks": ([[0, 0], [0, 0], [20, 33], [50, 8], [3, 3]], [-1, -1, 1, 0, 1]),
    "box": ([[4, 6], [40, 50], [0, 0]], [2, 3, -1]),
    "box and clicks": ([[4, 6], [40, 50], [20, 20], [10, 39]], [2, 3, 1, 0]),
}


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize(("points", "codes"), PROMPTS.values(), ids=PROMPTS)
def test_it_answers_as_the_network_does(
    network: CellNetwork, points: list[list[float]], codes: list[int], corrected: bool
) -> None:
    random = torch.Generator().manual_seed(1)
    levels = network.encoder(torch.rand(1, 3, 64, 64, generator=random))
    previous = 8 * torch.randn(32, 32, generator=random) if corrected else torch.zeros(32, 32)
    placed, coded = torch.tensor(points), torch.tensor(codes, dtype=torch.int32)
    logits, scores = network(levels, placed[None], coded[None].long(), previous[None, None] if corrected else None)

    portable = PortableDecoder(network, {})
    grid = (8, 8)
    windows = [nested(level, grid, i)[0] for i, level in enumerate(levels)]
    found, found_scores = portable(*windows, placed, coded, previous)

    assert logits.std() > 0.05
    torch.testing.assert_close(found, _flat(logits), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found_scores, scores[0], atol=1e-6, rtol=1e-5)


def test_it_says_what_it_takes(network: CellNetwork) -> None:
    inputs = PortableDecoder(network, {}).inputs
    assert inputs == {
        "tokens": (64, 32),
        "fine4": (64, 2, 2, 6),
        "fine2": (64, 2, 2, 2, 2, 5),
        "points": ("n", 2),
        "codes": ("n",),
        "previous": (32, 32),
    }


def test_nested_features_lie_where_the_docstring_says() -> None:
    plane = torch.arange(16 * 24).reshape(1, 1, 16, 24)
    laid = nested(plane, (4, 6), 2)[0, ..., 0].numpy()
    for token, a, b, c, d in np.ndindex(laid.shape):
        i, j = divmod(token, 6)
        assert laid[token, a, b, c, d] == plane[0, 0, 4 * i + 2 * a + c, 4 * j + 2 * b + d]


def test_it_is_a_copy_in_float32(network: CellNetwork) -> None:
    half = CellFamily(CellNetwork(CONFIG).bfloat16())
    portable = Sam(half, "cell-half", SegmentAllOptions()).portable_decoder()
    assert {p.dtype for p in portable.parameters()} == {torch.float32}
    assert {p.dtype for p in half.network.parameters()} == {torch.bfloat16}


def test_its_rules_are_those_that_decode_follows(network: CellNetwork) -> None:
    rules = Sam(CellFamily(network), "cell-test", SegmentAllOptions()).portable_decoder().rules
    views = CellFamily(network).views((300, 200), (300, 200))
    assert [view.reach for view in views] == [rules["fill"] * rules["window"] * view.shrink for view in views]
    assert len(range(100)[views[0].levels]) == rules["levels"]
    assert (rules["window"], rules["token_stride"], rules["mask_stride"]) == (64, 8, 2)


def test_other_models_have_none() -> None:
    with pytest.raises(CheckpointError, match="model_type 'cell'"):
        Sam(FakeFamily(), "fake", SegmentAllOptions()).portable_decoder()
