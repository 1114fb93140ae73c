"""Layers that several networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
        # In channels-last memory the permutations are free and the fused kernel runs over contiguous channels.
        last = x.permute(0, 2, 3, 1)
        return F.layer_norm(last, last.shape[-1:], self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


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
        y = self.scale * self.project(F.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2).to(x.dtype)
