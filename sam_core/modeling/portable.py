"""The part of the model "cell" that answers a prompt, as one plain function of arrays: for runtimes other than torch.

A browser or a phone runs it one prompt at a time and on a small engine, whose permutations are slow and whose matrix
products are fast. So it is the network of `CellNetwork` once more with the same weights, laid out token by token from
the first array to the last: what a token sees of the finer features lies beside it, and so do its logits.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_core.modeling.cell import CellNetwork, sketch_prompts
from sam_core.modeling.layers import Block
from sam_core.modeling.mask_decoder import nested, upsampled


class PortableDecoder(nn.Module):
    """Answers one prompt about one window; float32, on the CPU. Make one with `Sam.portable_decoder`.

    "Nested" arrays of a window of T = h * w tokens have a row for each token, row by row, and behind it axes of length
    two for each halving of a token: first y and x of the halves, then those of the quarters, last the channels. The
    pixel that is quarter (a, b), (c, d) of the token in row i and column j thus lies at 4 i + 2 a + c, 4 j + 2 b + d.

    Parameters
    ----------
    network
        Whose weights are copied.
    rules
        How `Sam.decode` places windows and chooses among answers, as numbers:

        - `window`: height and width of a window, in pixels of the view;
        - `token_stride`, `mask_stride`: pixels of the view to a token and to a logit;
        - `levels`: features of one view;
        - `fill`: extent that an object may have in a window, as a part of the window;
        - `enlarged`: times that a small plane is also seen enlarged at most, and windows that it may then be long; one
          less for what is at most half a window long;
        - `doubt`: score below which the answer to a lone click is also sought in the next coarser view;
        - `far_better`: by how much that has to score higher to be taken.
    """

    def __init__(self, network: CellNetwork, rules: Mapping[str, float]) -> None:
        super().__init__()
        own = copy.deepcopy(network).float().cpu().eval().requires_grad_(False)
        self.rules = dict(rules)
        self.position = own.shared_image_embedding
        self.prompt_encoder = own.prompt_encoder
        self.mask_decoder = own.mask_decoder
        self._window = network.config.window

    @property
    def inputs(self) -> dict[str, tuple[int | str, ...]]:
        """Names and shapes of what `forward` takes, in order; "n" is the number of coded points."""
        height, width = self.prompt_encoder.grid_size
        tokens, channels = height * width, self.mask_decoder.iou_token.weight.shape[1]
        at4, at2 = (conv.get_parameter("weight").shape[1] for conv in self.mask_decoder.skip_projections)
        return {
            "tokens": (tokens, channels),
            "fine4": (tokens, 2, 2, at4),
            "fine2": (tokens, 2, 2, 2, 2, at2),
            "points": ("n", 2),
            "codes": ("n",),
            "previous": (4 * height, 4 * width),
        }

    def forward(
        self, tokens: Tensor, fine4: Tensor, fine2: Tensor, points: Tensor, codes: Tensor, previous: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Answer a prompt.

        Parameters
        ----------
        tokens, fine4, fine2
            The encoder's features in the window: (T, width), and nested (T, 2, 2, c) and (T, 2, 2, 2, 2, c').
        points
            (N, 2) float, x then y in pixels of the window, an integer is the centre of a pixel. As in training, the
            first two are the corners of the box, the last pixel inclusive, and at least one follows.
        codes
            (N,) int32: -1 for a point that is not there, 0 and 1 for a negative and a positive click, 2 and 3 for the
            upper left and the lower right corner.
        previous
            (4 h, 4 w) logits of the answer to be corrected, not nested; all 0 where there is none.

        Returns
        -------
        logits
            (16 T, 4) nested logits of the single answer and of the three candidates.
        scores
            (4,) the IoU that each is predicted to have.
        """
        decoder, codes = self.mask_decoder, codes.long()
        grid = self.prompt_encoder.grid_size

        # The prompt: coded points, and a sketch of it on the grid of the masks.
        sparse, _ = self.prompt_encoder(points.unsqueeze(0), codes.unsqueeze(0))
        sketch = sketch_prompts(points.unsqueeze(0), codes.unsqueeze(0), previous[None, None], self._window)
        dense = self._embed(nested(sketch, grid, 2)[0])

        # The transformer.
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight, sparse[0]]).unsqueeze(0)
        placed = _blended(tokens + dense, decoder.blend_in, grid).unsqueeze(0)
        answer, image = decoder.transformer(own, placed, self.position.grid(*grid))
        answer = answer[:, : 1 + decoder.num_masks]
        image = _blended(image[0], decoder.blend_out, grid)

        # The masks.
        project4, project2 = decoder.skip_projections
        x = upsampled(image, decoder.upscale_conv1) + _mixed(fine4, project4)
        norm = decoder.upscale_layer_norm
        x = F.gelu(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
        x = F.gelu(upsampled(x, decoder.upscale_conv2) + _mixed(fine2, project2))
        heads = decoder.output_hypernetworks_mlps
        weights = torch.cat([head(answer[:, 1 + i]) for i, head in enumerate(heads)])
        return x.flatten(0, -2) @ weights.mT, decoder.score(answer)[0]

    def _embed(self, sketch: Tensor) -> Tensor:
        """Embed a nested sketch (T, 2, 2, 2, 2, 1) of a previous mask as `MaskEmbedding` does: (T, width)."""
        embed = self.prompt_encoder.mask_embed
        x = sketch.flatten(3)
        for conv, norm in ((embed.conv1, embed.layer_norm1), (embed.conv2, embed.layer_norm2)):
            x = F.linear(x, conv.weight.permute(0, 2, 3, 1).flatten(1), conv.bias)
            x = F.gelu(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)).flatten(1)
        return F.linear(x, embed.conv3.weight.flatten(1), embed.conv3.bias)


def _blended(x: Tensor, block: Block | nn.Identity, grid: tuple[int, int]) -> Tensor:
    """Apply a block to tokens (h * w, C)."""
    if not isinstance(block, Block):
        return x
    y = block.depthwise(x.mT.unflatten(1, grid).unsqueeze(0))[0].flatten(1).mT
    y = F.gelu(block.expand(block.norm(y)))
    return x + F.linear(y, block.scale.unsqueeze(1) * block.project.weight, block.scale * block.project.bias)


def _mixed(x: Tensor, conv: nn.Module) -> Tensor:
    """Apply a 1 x 1 convolution to features with channels last."""
    return F.linear(x, conv.get_parameter("weight").flatten(1), conv.get_parameter("bias"))
