"""SAM's two-way transformer: a few prompt tokens and many image tokens attend to each other.

There are about ten tokens to a prompt and thousands of image tokens, so the projections of the image are never made.
With tokens t and image x, softmax((Wq t)ᵀ(Wk x)) = softmax((Wkᵀ Wq t)ᵀ x): the key projection moves to the few, and
in the same way Σ p (Wv x) = Wv (Σ p x). This is exact (the bias of a key adds the same to a whole row of the softmax
and falls out), and as long as all prompts still share one image nothing of its size is made per prompt at all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention at a width that may be smaller than that of the tokens.

    Parameters
    ----------
    width
        Channels of queries, keys, values and of the result.
    num_heads
        Heads; `width // downsample` must be divisible by it.
    downsample
        The attention works at `width // downsample` channels.
    """

    def __init__(self, width: int, num_heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = width // downsample
        self.num_heads = num_heads
        self.head_width = inner // num_heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, self.head_width))

    def _per_head(self, weight: Tensor) -> Tensor:
        return weight.unflatten(0, (self.num_heads, self.head_width))

    def among_tokens(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from tokens `q` (P, T, C) to tokens `k`, `v` (P, S, C): (P, T, C)."""
        q, k, v = (self._heads(f(x)).transpose(1, 2) for f, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v)))
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def tokens_to_image(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from tokens `q` (P, T, C) to image `k`, `v` (P or 1, N, C): (P, T, C)."""
        queries = self._heads(self.q_proj(q)) / math.sqrt(self.head_width)
        folded = torch.einsum("pthd,hdc->pthc", queries, self._per_head(self.k_proj.weight).to(queries.dtype))
        weights = torch.softmax(_shared_matmul(folded.flatten(1, 2), k.mT), dim=-1)
        mixed = _shared_matmul(weights.to(v.dtype), v).unflatten(1, folded.shape[1:3])
        values = torch.einsum("pthc,hdc->pthd", mixed, self._per_head(self.v_proj.weight).to(mixed.dtype))
        return self.out_proj(values.flatten(2) + self.v_proj.bias.to(values.dtype))

    def image_to_tokens(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from image `q` (P or 1, N, C) to tokens `k`, `v` (P, T, C): (P, N, C)."""
        keys = self._heads(self.k_proj(k)) / math.sqrt(self.head_width)
        folded = torch.einsum("pthd,hdc->pthc", keys, self._per_head(self.q_proj.weight).to(keys.dtype))
        bias = torch.einsum("pthd,hd->pth", keys, self.q_proj.bias.to(keys.dtype).unflatten(0, keys.shape[2:]))
        scores = _shared_matmul(folded.flatten(1, 2), q.mT) + bias.flatten(1).unsqueeze(-1)
        weights = torch.softmax(scores.unflatten(1, folded.shape[1:3]), dim=1).flatten(1, 2)
        values = self._heads(self.v_proj(v))
        spread = torch.einsum("pthd,hdc->pthc", values, self._per_head(self.out_proj.weight.mT).to(values.dtype))
        return weights.mT.to(spread.dtype) @ spread.flatten(1, 2) + self.out_proj.bias.to(spread.dtype)


def _shared_matmul(rows: Tensor, image: Tensor) -> Tensor:
    """Multiply (P, R, A) by (P or 1, A, B); an image that all prompts share takes one large product."""
    if image.shape[0] == 1:
        return (rows.flatten(0, 1) @ image[0]).unflatten(0, rows.shape[:2])
    return rows @ image


class TwoWayBlock(nn.Module):
    """Self-attention of tokens, tokens to image, perceptron on tokens, image to tokens."""

    def __init__(self, width: int, num_heads: int, mlp_width: int, downsample: int, *, first: bool, eps: float) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(width, num_heads)
        self.layer_norm1 = nn.LayerNorm(width, eps)
        self.cross_attn_token_to_image = Attention(width, num_heads, downsample)
        self.layer_norm2 = nn.LayerNorm(width, eps)
        self.mlp = _TokenMlp(width, mlp_width)
        self.layer_norm3 = nn.LayerNorm(width, eps)
        self.layer_norm4 = nn.LayerNorm(width, eps)
        self.cross_attn_image_to_token = Attention(width, num_heads, downsample)

    def forward(self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor) -> tuple[Tensor, Tensor]:
        """Update tokens (P, T, C) and image (P or 1, N, C); afterwards the image is one per prompt."""
        # Self-attention: the first block sees the prompt itself, without position added and without a residual.
        if self.first:
            tokens = self.self_attn.among_tokens(tokens, tokens, tokens)
        else:
            placed = tokens + token_pe
            tokens = tokens + self.self_attn.among_tokens(placed, placed, tokens)
        tokens = self.layer_norm1(tokens)

        # Tokens to image.
        placed_image = image + image_pe
        tokens = self.layer_norm2(
            tokens + self.cross_attn_token_to_image.tokens_to_image(tokens + token_pe, placed_image, image)
        )

        # Perceptron on the tokens.
        tokens = self.layer_norm3(tokens + self.mlp(tokens))

        # Image to tokens.
        update = self.cross_attn_image_to_token.image_to_tokens(placed_image, tokens + token_pe, tokens)
        return tokens, self.layer_norm4(image + update)


class _TokenMlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(F.relu(self.lin1(x)))


class TwoWayTransformer(nn.Module):
    """Blocks of two-way attention and a last look of the tokens at the image.

    Parameters
    ----------
    depth, width, num_heads, mlp_width
        As in the SAM paper: 2, 256, 8, 2048.
    downsample
        Cross-attention works at `width // downsample` channels.
    eps
        Of the layer normalisations of the blocks: 1e-6 in transformers, 1e-5 in the original code.
    """

    def __init__(
        self, *, depth: int, width: int, num_heads: int, mlp_width: int, downsample: int = 2, eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(width, num_heads, mlp_width, downsample, first=i == 0, eps=eps) for i in range(depth)
        )
        self.final_attn_token_to_image = Attention(width, num_heads, downsample)
        self.layer_norm_final_attn = nn.LayerNorm(width)  # 1e-5 in both codes, whatever the blocks have

    def forward(self, prompt_tokens: Tensor, image: Tensor, image_pe: Tensor) -> tuple[Tensor, Tensor]:
        """Let prompt tokens (P, T, C) and image tokens (P or 1, N, C) with positions (N, C) attend to each other.

        Returns the tokens (P, T, C) and the image tokens (P, N, C).
        """
        tokens = prompt_tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompt_tokens, image_pe)
        update = self.final_attn_token_to_image.tokens_to_image(tokens + prompt_tokens, image + image_pe, image)
        return self.layer_norm_final_attn(tokens + update), image
