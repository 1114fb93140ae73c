"""Attention among the tokens of a grid with decomposed relative positions, without a bias matrix.

The relative positions add q·Rh[y - y'] + q·Rw[x - x'] to the score of a query at (y, x) and a key at (y', x'). Written
as a bias this is one number per head and pair of tokens, 0.8 GB for ViT-B, and it keeps attention from its fused
kernels. It is never made here:

* `attend_fused` appends the two terms to the queries and one-hot rows and columns to the keys, so that they are part of
  the scalar product.
* `attend_in_pieces` answers a few queries at a time. The terms are written where the scores are going to be, the
  product of queries and keys is added to them, and all of it stays in the cache of the processor. The vectors stay
  short and nothing is allocated on the way: on a CPU three times as fast as the fused kernel, but without gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

ALIGN = 32  # widths are filled up with zeros to a multiple of this, which fused kernels want
PIECE = 1 << 20  # scores in work at a time: 256 queries of a grid of 64 x 64 tokens, 2 MB in bfloat16


def relative_attention(q: Tensor, k: Tensor, v: Tensor, relative_h: Tensor, relative_w: Tensor) -> Tensor:
    """Attend among the tokens of a grid, in the way that is fastest where the tokens are.

    Parameters
    ----------
    q, k, v
        (B, heads, H * W, D), tokens in row-major order.
    relative_h, relative_w
        (B, heads, H * W, H) and (B, heads, H * W, W): what is added to the score of a query with every key in a row
        of the grid, and in a column. The scores themselves are scaled by 1 / sqrt(D), these terms are not.

    Returns
    -------
    Tensor
        (B, heads, H * W, D).
    """
    in_pieces = q.device.type == "cpu" and not torch.is_grad_enabled()
    return (attend_in_pieces if in_pieces else attend_fused)(q, k, v, relative_h, relative_w)


def attend_fused(q: Tensor, k: Tensor, v: Tensor, relative_h: Tensor, relative_w: Tensor) -> Tensor:
    """Do what `relative_attention` says as one scaled dot product attention over longer vectors."""
    width, rows, columns = q.shape[-1], relative_h.shape[-1], relative_w.shape[-1]
    rest = -(width + rows + columns) % ALIGN
    queries = F.pad(torch.cat([q * width**-0.5, relative_h, relative_w], dim=-1), (0, rest))
    places = one_hots(rows, columns, k).expand(*k.shape[:2], -1, -1)
    keys = F.pad(torch.cat([k, places], dim=-1), (0, rest))
    values = F.pad(v, (0, rows + columns + rest))
    return F.scaled_dot_product_attention(queries, keys, values, scale=1.0)[..., :width]


def attend_in_pieces(q: Tensor, k: Tensor, v: Tensor, relative_h: Tensor, relative_w: Tensor) -> Tensor:
    """Do what `relative_attention` says for a few queries at a time."""
    batch, heads, tokens, width = q.shape
    grid = relative_h.shape[-1], relative_w.shape[-1]
    q, k, v, relative_h, relative_w = (t.flatten(0, 1).contiguous() for t in (q, k, v, relative_h, relative_w))
    k = (k * width**-0.5).mT
    mixed = torch.empty_like(q)
    together, chunk = max(1, PIECE // tokens**2), min(tokens, max(1, PIECE // tokens))
    room = q.new_empty(2, together * chunk * tokens)
    for i in range(0, len(q), together):
        head = slice(i, i + together)
        for j in range(0, tokens, chunk):
            some = (head, slice(j, j + chunk))
            asked = q[some]
            scores, weights = room[:, : asked.shape[0] * asked.shape[1] * tokens].view(2, *asked.shape[:2], tokens)
            terms = relative_h[some].unsqueeze(3), relative_w[some].unsqueeze(2)
            torch.add(*terms, out=scores.unflatten(2, grid))
            scores.baddbmm_(asked, k[head])
            torch.softmax(scores, dim=-1, out=weights)
            mixed[some] = weights @ v[head]
    return mixed.unflatten(0, (batch, heads))


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
