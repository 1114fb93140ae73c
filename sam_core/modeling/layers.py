"""Layers that several networks share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BAND = 1 << 20  # values that are worked on at a time where each pixel is treated by itself: they stay in the cache
NARROW = 32  # channels: below, torch normalises bfloat16 one value after the other


def by_bands(work: Callable[[Tensor], Tensor], pixels: Tensor, inside: int) -> Tensor:
    """Apply what treats each pixel by itself to pixels (..., C), some rows of them at a time: (..., C').

    What is made inside, `inside` values a pixel, is then never larger than a band: memory is not asked of the system
    for it, and it is still in the cache when it is read. While gradients are wanted all is kept anyway.
    """
    rows = pixels.flatten(0, -2)
    size = max(1, BAND // inside)
    if torch.is_grad_enabled() or len(rows) <= size or pixels.device.type != "cpu":
        return work(pixels)
    done = None
    for start in range(0, len(rows), size):
        band = work(rows[start : start + size])
        done = band.new_empty(len(rows), band.shape[1]) if done is None else done
        done[start : start + size] = band
    assert done is not None
    return done.unflatten(0, pixels.shape[:-1])


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of an image, every pixel by itself.

    Unlike group or batch normalisation it knows nothing of the rest of the picture, so a tile is normalised exactly
    as the same pixels are inside the whole plane.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (B, C, H, W); the same shape and dtype come back."""
        return normalised(x, self.weight, self.bias, eps=self.eps)


def normalised(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float = 1e-6) -> Tensor:
    """Normalise `x` (B, C, H, W) over the channels; without weight and bias to a mean of 0 and a variance of 1."""
    # In channels-last memory the permutations are free and the fused kernel runs over contiguous channels.
    last = x.permute(0, 2, 3, 1)
    shape = last.shape[-1:]

    def work(rows: Tensor) -> Tensor:
        if rows.dtype == torch.bfloat16 and shape[0] < NARROW and rows.device.type == "cpu":
            w, b = (None if each is None else each.float() for each in (weight, bias))
            return F.layer_norm(rows.float(), shape, w, b, eps).to(rows.dtype)
        return F.layer_norm(rows, shape, weight, bias, eps)

    return by_bands(work, last, shape[0]).permute(0, 3, 1, 2)


class NormedConv(nn.Sequential):
    """`LayerNorm2d` and a convolution without padding, of an image that is normalised already.

    What several of them look at is so normalised once. Weight and bias of the norm are multiplied into those of the
    convolution, which are few numbers where the image has many.
    """

    NAMES = ("0.weight", "0.bias", "1.weight", "1.bias")

    def __init__(self, width_in: int, width_out: int, *, stride: int = 1) -> None:
        super().__init__(LayerNorm2d(width_in), nn.Conv2d(width_in, width_out, stride, stride=stride))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map `normalised` x (B, C, H, W) to (B, C', H / stride, W / stride)."""
        scale, shift, weight, bias = (self.get_parameter(name) for name in self.NAMES)
        moved = bias + (weight * shift[:, None, None]).sum(dim=(1, 2, 3))
        return F.conv2d(x, weight * scale[:, None, None], moved, stride=self.stride)


class FeedForward(nn.Module):
    """The small multi-layer perceptron of SAM's heads: ReLU between linear layers, nothing after the last."""

    def __init__(self, width_in: int, hidden: int, width_out: int, depth: int, *, sigmoid: bool = False) -> None:
        super().__init__()
        self.proj_in = nn.Linear(width_in, hidden)
        self.layers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth - 2))
        self.proj_out = nn.Linear(hidden, width_out)
        self.sigmoid = sigmoid

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (..., width_in) to (..., width_out)."""
        x = F.relu(self.proj_in(x))
        for layer in self.layers:
            x = F.relu(layer(x))
        x = self.proj_out(x)
        return torch.sigmoid(x) if self.sigmoid else x


class Block(nn.Module):
    """Depthwise 7 x 7 convolution and a perceptron over channels, with a residual (ConvNeXt, Liu et al. 2022).

    Parameters
    ----------
    width
        Channels.
    expand
        Channels inside the perceptron, as a multiple of `width`.
    scale
        Initial factor of the residual branch, learned per channel; 0 makes a block that at first does nothing.
    """

    def __init__(self, width: int, *, expand: int = 4, scale: float = 1.0) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, expand * width)
        self.project = nn.Linear(expand * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        weight, bias = self.scale.unsqueeze(1) * self.project.weight, self.scale * self.project.bias

        def perceptron(rows: Tensor) -> Tensor:
            return F.linear(F.gelu(self.expand(rows)), weight, bias)

        return x + by_bands(perceptron, y, self.expand.out_features).permute(0, 3, 1, 2).to(x.dtype)
