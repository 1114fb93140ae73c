"""SAM's image encoder: a plain vision transformer with windows and relative positions (Li et al. 2022, ViTDet).

The decomposed relative positions add q·Rh[y - y'] + q·Rw[x - x'] to the score of a query at (y, x) and a key at
(y', x'). Written as a bias this is one number per head and pair of tokens, 0.8 GB for ViT-B, and it keeps attention
from its fused kernel. Appended to the queries, with one-hot rows and columns appended to the keys, it is part of the
scalar product and never exists.

In bfloat16 the products are made in bfloat16, but the residual stream and the normalisations stay in float32: twelve
and more layers would otherwise add up their roundings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_core.modeling.layers import LayerNorm2d
from sam_core.modeling.sam_config import VisionConfig

ALIGN = 32  # head widths are filled up with zeros to a multiple of this, which the kernels want
BLOCK = 1 << 21  # scores made at a time: 4 MB in bfloat16


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
        head = q.shape[-1]
        rows, columns = grid
        filled = -(-(head + rows + columns) // ALIGN) * ALIGN
        queries, keys = q.new_zeros(*q.shape[:3], filled), q.new_zeros(*q.shape[:3], filled)
        # q·k is scaled by 1 / sqrt(head), the relative positions are not.
        queries[..., :head] = q * head**-0.5
        spread = q.unflatten(2, grid)
        places = queries.unflatten(2, grid)
        places[..., head : head + rows] = torch.einsum("bnyxc,ykc->bnyxk", spread, distances(self.rel_pos_h, rows))
        places[..., head + rows : head + rows + columns] = torch.einsum(
            "bnyxc,xkc->bnyxk", spread, distances(self.rel_pos_w, columns)
        )
        keys[..., :head] = k
        keys[..., head : head + rows + columns] = one_hots(rows, columns, k)
        if q.device.type == "cpu" and not torch.is_grad_enabled():
            return attend_in_blocks(queries, keys, v.contiguous())
        values = F.pad(v, (0, filled - head))  # the fused kernels want one width
        return F.scaled_dot_product_attention(queries, keys, values, scale=1.0)[..., :head]

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


def attend_in_blocks(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend from q (B, heads, N, D) to k (B, heads, N, D) and v (B, heads, N, C), without scaling and gradients.

    On a CPU large products are several times as fast as those of the fused kernel, as long as the block of scores
    stays in the cache and its memory is used again.
    """
    out = torch.empty_like(v)
    result, queries, keys, values = (x.flatten(0, 1) for x in (out, q, k, v))
    groups, count = queries.shape[:2]
    some, rows = max(1, BLOCK // count**2), min(count, max(1, BLOCK // count))
    scores = q.new_empty(some * rows * count)
    for group in range(0, groups, some):
        part = slice(group, group + some)
        for row in range(0, count, rows):
            block = queries[part, row : row + rows]
            held = scores[: block.shape[0] * block.shape[1] * count].view(*block.shape[:2], count)
            torch.bmm(block, keys[part].mT, out=held)
            torch.softmax(held, dim=-1, out=held)
            torch.bmm(held, values[part], out=result[part, row : row + rows])
    return out


def distances(table: Tensor, size: int) -> Tensor:
    """Look up relative positions: row i, column j of (size, size, C) is for a query at i and a key at j.

    A table of another size is interpolated, as in the original.
    """
    if len(table) != 2 * size - 1:
        table = F.interpolate(table.T[None].float(), size=2 * size - 1, mode="linear")[0].T.to(table.dtype)
    steps = torch.arange(size, device=table.device)
    return table[steps[:, None] - steps + size - 1]


def one_hots(rows: int, columns: int, like: Tensor) -> Tensor:
    """Mark the row and the column of every token of a grid: (rows * columns, rows + columns)."""
    row = torch.eye(rows, device=like.device, dtype=like.dtype).repeat_interleave(columns, dim=0)
    column = torch.eye(columns, device=like.device, dtype=like.dtype).repeat(rows, 1)
    return torch.cat([row, column], dim=1)


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
        x = self.patch_embed(pixels).float()
        if self.pos_embed is not None:
            x = x + self.pos_embed.float()
        for layer in self.layers:
            x = layer(x)
        return self.neck(x)
