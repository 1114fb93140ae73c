"""SAM's prompt encoder: clicks, boxes and previous masks become tokens (Kirillov et al. 2023, section 3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_core.modeling.layers import LayerNorm2d

# What a coded point stands for. A box is two coded points, as in SAM's own export to ONNX.
NOT_A_POINT, NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT = -1, 0, 1, 2, 3


class PositionalEmbedding(nn.Module):
    """Random Fourier features of a position in the unit square (Tancik et al. 2020)."""

    def __init__(self, num_pos_feats: int, scale: float = 1.0) -> None:
        super().__init__()
        self.positional_embedding = nn.Buffer(scale * torch.randn(2, num_pos_feats))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # A network in bfloat16 keeps this one matrix exact: rounding it would displace every click.
        exact = self.positional_embedding
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.positional_embedding = nn.Buffer(exact.to(self.positional_embedding.device))
        return self

    def forward(self, xy: Tensor) -> Tensor:
        """Embed positions `xy` (..., 2) in [0, 1], x first: (..., 2 * num_pos_feats), float32.

        Always in float32: the angle is large, and bfloat16 would move a click by several pixels.
        """
        with torch.autocast(xy.device.type, enabled=False):
            angle = (2 * xy.float() - 1) @ self.positional_embedding.float() * (2 * math.pi)
            return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def grid(self, height: int, width: int) -> Tensor:
        """Embed the centres of a grid of cells over the unit square: (height * width, channels), row-major."""
        like = self.positional_embedding
        y = (torch.arange(height, device=like.device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=like.device, dtype=torch.float32) + 0.5) / width
        yy, xx = torch.meshgrid(y, x, indexing="ij")
        return self(torch.stack([xx, yy], dim=-1)).flatten(0, 1)


class MaskEmbedding(nn.Module):
    """Brings the logits of a previous mask, four times as fine as the image tokens, down to one vector a token."""

    def __init__(self, width: int, mask_channels: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, mask_channels // 4, 2, stride=2)
        self.layer_norm1 = LayerNorm2d(mask_channels // 4)
        self.conv2 = nn.Conv2d(mask_channels // 4, mask_channels, 2, stride=2)
        self.layer_norm2 = LayerNorm2d(mask_channels)
        self.conv3 = nn.Conv2d(mask_channels, width, 1)

    def forward(self, masks: Tensor) -> Tensor:
        """Embed `masks` (P, 1, 4h, 4w) logits: (P, width, h, w)."""
        x = F.gelu(self.layer_norm1(self.conv1(masks)))
        return self.conv3(F.gelu(self.layer_norm2(self.conv2(x))))


class PromptEncoder(nn.Module):
    """Turns coded points and previous masks into what the mask decoder attends with.

    Parameters
    ----------
    width
        Channels of a token.
    input_size
        Height and width in pixels of the frame that the points are given in.
    grid_size
        Height and width of the grid of image tokens that covers this frame.
    mask_channels
        Channels inside the mask embedding.
    shared_embedding
        The positional embedding; also used by the image tokens.
    """

    def __init__(
        self,
        width: int,
        *,
        input_size: tuple[int, int],
        grid_size: tuple[int, int],
        shared_embedding: PositionalEmbedding,
        mask_channels: int = 16,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.grid_size = grid_size
        self.shared_embedding = shared_embedding
        self.point_embed = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_embed = MaskEmbedding(width, mask_channels)
        self.no_mask_embed = nn.Embedding(1, width)

    def forward(
        self, points: Tensor, codes: Tensor, masks: Tensor | None = None, has_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode P prompts.

        Parameters
        ----------
        points
            (P, N, 2) float, x then y in pixels of the input frame, an integer is the centre of a pixel.
        codes
            (P, N) int: what each point is, one of the constants of this module.
        masks
            (P, 1, 4h, 4w) logits of previous masks over the same frame, or None where no prompt has one.
        has_mask
            (P,) bool: which prompts have a previous mask; None means all of them when `masks` is given.

        Returns
        -------
        sparse
            (P, N, width) tokens of the points.
        dense
            (P or 1, width, h, w) to be added to the image tokens; one row where all prompts share it.
        """
        return self._embed_points(points, codes), self._embed_masks(masks, has_mask)

    def _embed_points(self, points: Tensor, codes: Tensor) -> Tensor:
        height, width = self.input_size
        size = torch.tensor([width, height], dtype=torch.float32, device=points.device)
        position = self.shared_embedding((points.float() + 0.5) / size)
        kinds = torch.cat([self.not_a_point_embed.weight, *(e.get_parameter("weight") for e in self.point_embed)])
        is_point = (codes != NOT_A_POINT).unsqueeze(-1)
        return position * is_point + kinds[codes + 1]

    def _embed_masks(self, masks: Tensor | None, has_mask: Tensor | None) -> Tensor:
        none = self.no_mask_embed.weight.reshape(1, -1, 1, 1)
        if masks is None:
            return none.expand(1, -1, *self.grid_size)
        dense = self.mask_embed(masks)
        return dense if has_mask is None else torch.where(has_mask.reshape(-1, 1, 1, 1), dense, none.to(dense.dtype))
