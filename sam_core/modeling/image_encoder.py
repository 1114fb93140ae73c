"""SAM's image encoder: a plain vision transformer with windows and relative positions (Li et al. 2022, ViTDet).

In bfloat16 the products are made in bfloat16, but the residual stream and the normalisations stay in float32: twelve
and more layers would otherwise add up their roundings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_core.modeling.layers import LayerNorm2d
from sam_core.modeling.relative_attention import distances, relative_attention
from sam_core.modeling.sam_config import VisionConfig


class VisionAttention(nn.Module):
    """Self-attention of a grid of tokens, within windows or over all of it.

    Parameters
    ----------
    width, num_heads
        Channels of a token and heads.
    window
        Side of a window in tokens; 0 for attention over the whole grid.
    grid
        Side of the grid of tokens that the relative positions are made for; only asked where `window` is 0.
    """

    def __init__(self, width: int, num_heads: int, *, window: int, grid: int, bias: bool, relative: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.relative = relative
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.proj = nn.Linear(width, width)
        if relative:
            distances = 2 * (window or grid) - 1
            self.rel_pos_h = nn.Parameter(torch.zeros(distances, width // num_heads))
            self.rel_pos_w = nn.Parameter(torch.zeros(distances, width // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        """Attend among `x` (B, H, W, C); the same shape comes back."""
        height, width = x.shape[1:3]
        # Projections come before the cut into windows, so none is made of the tokens that fill up the last windows.
        qkv = self.qkv(x)
        qkv = self._cut(qkv) if self.window else qkv
        rows, columns = qkv.shape[1:3]
        q, k, v = qkv.flatten(1, 2).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = self._attend(q, k, v, (rows, columns)).transpose(1, 2).flatten(2).unflatten(1, (rows, columns))
        return self.proj(self._join(mixed, height, width) if self.window else mixed)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]) -> Tensor:
        if not self.relative:
            return F.scaled_dot_product_attention(q, k, v)
        placed = q.unflatten(2, grid)
        relative_h = torch.einsum("bnyxc,ykc->bnyxk", placed, distances(self.rel_pos_h, grid[0])).flatten(2, 3)
        relative_w = torch.einsum("bnyxc,xkc->bnyxk", placed, distances(self.rel_pos_w, grid[1])).flatten(2, 3)
        return relative_attention(q, k, v, relative_h, relative_w)

    def _cut(self, qkv: Tensor) -> Tensor:
        """Cut (B, H, W, D) into windows (B * windows, w, w, D); a token that fills up is one of zeros, projected."""
        batch, height, width, channels = qkv.shape
        side = self.window
        down, across = -(-height // side), -(-width // side)
        if (down * side, across * side) != (height, width):
            filled = qkv.new_zeros(batch, down * side, across * side, channels)
            if self.qkv.bias is not None:
                filled += self.qkv.bias.to(qkv.dtype)
            filled[:, :height, :width] = qkv
            qkv = filled
        return qkv.unflatten(2, (across, side)).unflatten(1, (down, side)).transpose(2, 3).flatten(0, 2)

    def _join(self, x: Tensor, height: int, width: int) -> Tensor:
        side = self.window
        down, across = -(-height // side), -(-width // side)
        whole = x.unflatten(0, (-1, down, across)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return whole[:, :height, :width]


class VisionMlp(nn.Module):
    """Perceptron on every token."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        return self.lin2(F.gelu(self.lin1(x)))


class VisionLayer(nn.Module):
    """One layer of the transformer."""

    def __init__(self, config: VisionConfig, *, window: int) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.attn = VisionAttention(
            config.hidden_size,
            config.num_attention_heads,
            window=window,
            grid=config.grid,
            bias=config.qkv_bias,
            relative=config.use_rel_pos,
        )
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = VisionMlp(config.hidden_size, config.mlp_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map a float32 residual stream (B, H, W, C) to the next one."""
        x = x + self.attn(_normalise(x, self.layer_norm1))
        return x + self.mlp(_normalise(x, self.layer_norm2))


def _normalise(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Normalise in float32; the result is in the dtype of the weights."""
    exact = F.layer_norm(x, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
    return exact.to(norm.weight.dtype)


class _PatchEmbedding(nn.Module):
    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels, width, patch, stride=patch)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.projection(pixels.to(self.projection.weight.dtype)).permute(0, 2, 3, 1)


class _Neck(nn.Module):
    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, channels, 1, bias=False)
        self.layer_norm1 = LayerNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.layer_norm2 = LayerNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x.permute(0, 3, 1, 2).to(self.conv1.weight.dtype))
        return self.layer_norm2(self.conv2(self.layer_norm1(x)))


class ImageEncoder(nn.Module):
    """Image to one grid of features."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbedding(config.num_channels, config.hidden_size, config.patch_size)
        self.pos_embed = (
            nn.Parameter(torch.zeros(1, config.grid, config.grid, config.hidden_size)) if config.use_abs_pos else None
        )
        self.layers = nn.ModuleList(
            VisionLayer(config, window=0 if i in config.global_attn_indexes else config.window_size)
            for i in range(config.num_hidden_layers)
        )
        self.neck = _Neck(config.hidden_size, config.output_channels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode normalised `pixels` (B, 3, S, S): (B, C, S / patch, S / patch) in the dtype of the weights."""
        # Channels last in memory from here on: otherwise every normalisation and every sum would make a copy.
        x = self.patch_embed(pixels).float().contiguous()
        if self.pos_embed is not None:
            x = x + self.pos_embed.float()
        for layer in self.layers:
            x = layer(x)
        return self.neck(x)
