"""Layers that several networks share."""

from __future__ import annotations

import pytest
import torch

from sam_core.modeling import layers
from sam_core.modeling.layers import Block, LayerNorm2d, NormedConv, by_bands, normalised


@pytest.mark.parametrize("band", [1, 7, 64, 1 << 20])
def test_bands_change_nothing(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    block, pixels = Block(6), torch.randn(2, 6, 5, 9)
    with torch.inference_mode():
        whole = block(pixels)
        monkeypatch.setattr(layers, "BAND", band * 24)
        torch.testing.assert_close(block(pixels), whole, rtol=1e-6, atol=1e-6)


def test_gradients_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "BAND", 24)
    calls: list[int] = []

    def work(rows: torch.Tensor) -> torch.Tensor:
        calls.append(len(rows))
        return 2 * rows

    pixels = torch.ones(3, 4, 6, requires_grad=True)
    by_bands(work, pixels, 24).sum().backward()
    assert calls == [3]  # all at once
    assert pixels.grad is not None
    assert pixels.grad.unique().tolist() == [2]


@pytest.mark.parametrize("channels", [3, 24, 48])
def test_few_channels_are_normalised_as_many_are(channels: int) -> None:
    torch.manual_seed(0)
    norm, x = LayerNorm2d(channels), torch.randn(1, channels, 8, 8)
    with torch.inference_mode():
        exact = norm(x)
        torch.testing.assert_close(norm.bfloat16()(x.bfloat16()).float(), exact, rtol=0.02, atol=0.03)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_of_what_is_normalised_is_norm_and_convolution(stride: int) -> None:
    torch.manual_seed(0)
    both, x = NormedConv(6, 10, stride=stride), torch.randn(2, 6, 8, 12)
    norm, conv = both
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
        torch.testing.assert_close(both(normalised(x)), conv(norm(x)))


def test_the_scale_of_a_block_is_that_of_its_branch() -> None:
    torch.manual_seed(0)
    block, x = Block(6), torch.randn(2, 6, 5, 9)
    with torch.no_grad():
        branch = block(x) - x
        block.scale.copy_(torch.arange(6.0))
        torch.testing.assert_close(block(x) - x, branch * torch.arange(6.0)[:, None, None], rtol=1e-5, atol=1e-5)
