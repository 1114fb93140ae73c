from collections.abc import Callable
from typing import Any

import pytest
import torch

from sam_core.modeling.relative_attention import attend_fused, attend_in_pieces, distances
from tests.modeling.oracle import oracle, ours

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

VARIANTS: list[dict[str, Any]] = [
    {},
    {"window_size": 5, "image_size": 80},  # one window is the whole grid
    {"window_size": 14, "global_attn_indexes": []},  # larger than the grid
    {"window_size": 0, "global_attn_indexes": [0, 1]},
    {"use_rel_pos": False},
    {"qkv_bias": False},
    {"use_abs_pos": False},
    {"hidden_size": 48, "num_attention_heads": 4},  # narrow heads, as SlimSAM's
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("grad", [False, True], ids=["asking", "training"])
def test_encoder_is_that_of_transformers(variant: dict[str, Any], grad: bool) -> None:
    model = oracle(**variant)
    network = ours(model)
    pixels = torch.randn(2, 3, network.image_size, network.image_size)
    with torch.set_grad_enabled(grad):
        expected = model.vision_encoder(pixels).last_hidden_state
        torch.testing.assert_close(network.encode(pixels), expected, rtol=1e-4, atol=2e-5)


@torch.inference_mode()
def test_encoder_in_bfloat16_points_the_same_way() -> None:
    model = oracle()
    pixels = torch.randn(1, 3, 160, 160)
    expected = model.vision_encoder(pixels).last_hidden_state
    got = ours(model).to(torch.bfloat16).encode(pixels)
    assert got.dtype == torch.bfloat16
    assert torch.cosine_similarity(got.float().flatten(), expected.flatten(), dim=0) >= 0.999


def test_gradients_reach_every_weight() -> None:
    network = ours(oracle())
    network.encode(torch.randn(1, 3, 160, 160)).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.vision_encoder.parameters())


@torch.inference_mode()
@pytest.mark.parametrize("grid", [(1, 1), (14, 14), (30, 40), (37, 41)])
@pytest.mark.parametrize("attend", [attend_fused, attend_in_pieces])
def test_relative_positions_are_a_bias(grid: tuple[int, int], attend: Callable[..., torch.Tensor]) -> None:
    rows, columns = grid
    q, k, v = (torch.randn(2, 3, rows * columns, 8) for _ in range(3))
    by_row, by_column = torch.randn(2, 3, rows * columns, rows), torch.randn(2, 3, rows * columns, columns)
    bias = (by_row.unsqueeze(-1) + by_column.unsqueeze(-2)).flatten(3)
    expected = torch.softmax(q @ k.mT * 8**-0.5 + bias, dim=-1) @ v
    torch.testing.assert_close(attend(q, k, v, by_row, by_column), expected, rtol=1e-4, atol=1e-5)


def test_relative_positions_of_another_size_are_interpolated() -> None:
    attention = oracle().vision_encoder.layers[1].attn
    table = attention.rel_pos_h.detach()  # for a grid of 10
    for size in (10, 7, 14):
        torch.testing.assert_close(distances(table, size), attention.get_rel_pos(size, size, table))


@pytest.mark.slow
@torch.inference_mode()
def test_vit_b_is_that_of_transformers() -> None:
    sizes = {"hidden_size": 768, "num_hidden_layers": 3, "num_attention_heads": 12, "mlp_dim": 3072}
    model = oracle(**sizes, image_size=1024, window_size=14, global_attn_indexes=[2])
    pixels = torch.randn(1, 3, 1024, 1024)
    expected = model.vision_encoder(pixels).last_hidden_state
    torch.testing.assert_close(ours(model).encode(pixels), expected, rtol=1e-3, atol=1e-3)
    got = ours(model).to(torch.bfloat16).encode(pixels)
    assert torch.cosine_similarity(got.float().flatten(), expected.flatten(), dim=0) >= 0.999
