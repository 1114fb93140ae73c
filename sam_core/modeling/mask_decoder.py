"""SAM's mask decoder: prompt tokens and image tokens become mask logits and a predicted IoU for each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_core.modeling.layers import FeedForward, LayerNorm2d
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
    skips
        Channels of finer image features at 2 and 4 times the resolution of the tokens, or () for none (SAM).
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
        skips: Sequence[int] = (),
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.num_masks = num_candidates + 1
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(self.num_masks, width)
        self.transformer = TwoWayTransformer(
            depth=depth, width=width, num_heads=num_heads, mlp_width=mlp_width, downsample=downsample, eps=eps
        )
        self.upscale_conv1 = nn.ConvTranspose2d(width, width // 4, 2, stride=2)
        self.upscale_conv2 = nn.ConvTranspose2d(width // 4, width // 8, 2, stride=2)
        self.upscale_layer_norm = LayerNorm2d(width // 4)
        self.skip_projections = nn.ModuleList(nn.Conv2d(c, width // (4 << i), 1) for i, c in enumerate(skips))
        self.output_hypernetworks_mlps = nn.ModuleList(
            FeedForward(width, width, width // 8, 3) for _ in range(self.num_masks)
        )
        self.iou_prediction_head = FeedForward(width, iou_hidden, self.num_masks, iou_depth, sigmoid=iou_sigmoid)

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
        placed = image + dense
        source = placed.flatten(2).mT
        tokens, source = self.transformer(tokens, source, image_pe.to(source.dtype))
        return tokens[:, : 1 + self.num_masks], source.mT.unflatten(2, placed.shape[2:])

    def score(self, tokens: Tensor) -> Tensor:
        """Predict the IoU of each mask from `tokens` (P, 1 + masks, C): (P, masks), the single answer first."""
        scores: Tensor = self.iou_prediction_head(tokens[:, 0])
        return scores

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
        fine = [project(skip) for project, skip in zip(self.skip_projections, skips, strict=True)]
        x = self.upscale_conv1(image)
        x = F.gelu(self.upscale_layer_norm(x + fine[0] if fine else x))
        x = self.upscale_conv2(x)
        x = F.gelu(x + fine[1] if fine else x)
        wanted = range(self.num_masks)[masks]
        weights = torch.stack([self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in wanted], dim=1)
        return torch.einsum("pmc,pchw->pmhw", weights.to(x.dtype), x)
