"""SAM's mask decoder: prompt tokens and image tokens become mask logits and a predicted IoU for each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_core.modeling.layers import Block, FeedForward, LayerNorm2d
from sam_core.modeling.transformer import TwoWayTransformer


class MaskDecoder(nn.Module):
    """Predicts one mask for a clear prompt and three for an ambiguous one (four mask tokens).

    The steps are separate because the answer is cheap until the masks are upsampled: `attend` and `score` run for all
    prompts, `upscale` only for those whose predicted IoU is worth it.

    Parameters
    ----------
    width
        Channels of a token; masks are made at `width // 8` channels.
    depth, num_heads, mlp_width, downsample
        Of the two-way transformer.
    num_candidates
        Masks for an ambiguous prompt; one more token answers clear prompts.
    iou_hidden, iou_depth, iou_sigmoid
        Of the head that predicts the IoU.
    proposal_iou
        A second such head, for prompts that a model proposes: a person clicks on objects, a model now and then beside.
    skips
        Channels of finer image features at 2 and 4 times the resolution of the tokens, or () for none (SAM).
    blend
        A convolutional block before the transformer and one behind it, in which what is drawn of the prompt and what is
        seen in the image act on each other from token to token. False for SAM, whose encoder is far deeper.
    eps
        Of the layer normalisations.
    """

    def __init__(
        self,
        width: int,
        *,
        depth: int = 2,
        num_heads: int = 8,
        mlp_width: int = 2048,
        downsample: int = 2,
        num_candidates: int = 3,
        iou_hidden: int = 256,
        iou_depth: int = 3,
        iou_sigmoid: bool = False,
        proposal_iou: bool = False,
        skips: Sequence[int] = (),
        blend: bool = False,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.num_masks = num_candidates + 1
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(self.num_masks, width)
        self.transformer = TwoWayTransformer(
            depth=depth, width=width, num_heads=num_heads, mlp_width=mlp_width, downsample=downsample, eps=eps
        )
        self.blend_in = Block(width, expand=2, scale=0.0) if blend else nn.Identity()
        self.blend_out = Block(width, expand=2, scale=0.0) if blend else nn.Identity()
        self.upscale_conv1 = nn.ConvTranspose2d(width, width // 4, 2, stride=2)
        self.upscale_conv2 = nn.ConvTranspose2d(width // 4, width // 8, 2, stride=2)
        self.upscale_layer_norm = LayerNorm2d(width // 4)
        self.skip_projections = nn.ModuleList(nn.Conv2d(c, width // (4 << i), 1) for i, c in enumerate(skips))
        self.output_hypernetworks_mlps = nn.ModuleList(
            FeedForward(width, width, width // 8, 3) for _ in range(self.num_masks)
        )
        self.iou_prediction_head = FeedForward(width, iou_hidden, self.num_masks, iou_depth, sigmoid=iou_sigmoid)
        self.proposal_iou_head = (
            FeedForward(width, iou_hidden, self.num_masks, iou_depth, sigmoid=iou_sigmoid) if proposal_iou else None
        )

    def attend(self, image: Tensor, image_pe: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Run the transformer.

        Parameters
        ----------
        image
            (P or 1, C, h, w) features; one row where all prompts are about the same picture.
        image_pe
            (h * w, C) positions of the image tokens.
        sparse, dense
            (P, N, C) and (P or 1, C, h, w) from the prompt encoder.

        Returns
        -------
        tokens
            (P, 1 + masks, C): the IoU token, then one token a mask.
        image
            (P, C, h, w) image features as the prompts see them.
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse.to(own.dtype)], dim=1)
        # In channels-last memory the way from pixels to tokens and back is free.
        placed = self.blend_in((image + dense).contiguous(memory_format=torch.channels_last))
        source = placed.flatten(2).mT
        tokens, source = self.transformer(tokens, source, image_pe.to(source.dtype))
        return tokens[:, : 1 + self.num_masks], self.blend_out(source.mT.unflatten(2, placed.shape[2:]))

    def score(self, tokens: Tensor, proposed: Tensor | None = None) -> Tensor:
        """Predict the IoU of each mask from `tokens` (P, 1 + masks, C): (P, masks), the single answer first.

        `proposed` (P,) bool tells which prompts nobody gave; None: all were given by a person.
        """
        scores: Tensor = self.iou_prediction_head(tokens[:, 0])
        if proposed is None or self.proposal_iou_head is None:
            return scores
        return torch.where(proposed.unsqueeze(1), self.proposal_iou_head(tokens[:, 0]), scores)

    def upscale(self, tokens: Tensor, image: Tensor, masks: slice, skips: Sequence[Tensor] = ()) -> Tensor:
        """Draw the masks.

        Parameters
        ----------
        tokens, image
            What `attend` returned, for the prompts whose masks are wanted.
        masks
            Which of the mask tokens: `slice(0, 1)` for the single answer, `slice(1, None)` for the candidates.
        skips
            (P or 1, c, 2h, 2w) and (P or 1, c', 4h, 4w) finer features, where the decoder was built with them.

        Returns
        -------
        logits
            (P, masks, 4h, 4w).
        """
        # Kernels as large as their stride do not overlap, so each token is drawn by itself: the work is a few matrix
        # products over tokens in a row, and only the finished masks are laid out as images.
        fine = [project(skip) for project, skip in zip(self.skip_projections, skips, strict=True)]
        x = upsampled(image.flatten(2).mT, self.upscale_conv1)
        x = x + nested(fine[0], image.shape[2:], 1) if fine else x
        norm = self.upscale_layer_norm
        x = F.gelu(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
        x = upsampled(x, self.upscale_conv2)
        x = F.gelu(x + nested(fine[1], image.shape[2:], 2) if fine else x)
        wanted = range(self.num_masks)[masks]
        weights = torch.stack([self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in wanted], dim=1)
        logits = weights.to(x.dtype) @ x.flatten(1, -2).mT
        cells = logits.unflatten(2, (*image.shape[2:], 2, 2, 2, 2))
        return cells.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5, 7).flatten(2, 4)


def upsampled(x: Tensor, conv: nn.ConvTranspose2d) -> Tensor:
    """Apply a 2 x 2 kernel of stride 2 to pixels (..., C): (..., 2, 2, C'), for each its four new pixels."""
    weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)
    bias = None if conv.bias is None else conv.bias.repeat(4)
    return F.linear(x, weight, bias).unflatten(-1, (2, 2, conv.out_channels))


def nested(fine: Tensor, grid: Sequence[int], doublings: int) -> Tensor:
    """Lay features (P, C, H, W) finer than the tokens out as `upscale` works: (P, h * w, 2, 2, ..., C).

    `grid` is h, w of the tokens and `doublings` how often the features are twice as fine; each makes two axes.
    """
    height, width = grid
    split = (2,) * doublings
    cells = fine.unflatten(3, (width, *split)).unflatten(2, (height, *split))
    rows, columns = range(2, 3 + doublings), range(3 + doublings, 4 + 2 * doublings)
    order = [axis for pair in zip(rows, columns, strict=True) for axis in pair]
    return cells.permute(0, *order, 1).flatten(1, 2)
