"""The embedded model's network: a light convolutional encoder, SAM's prompts and masks at small width, a proposal head.

Everything it does is local. The encoder normalises each pixel by itself, so a tile of a large plane looks as it would
inside the whole; and a prompt is decoded inside a window of fixed size around it, so a click costs the same on a
thumbnail and on a slide. Objects too large for a window are found one octave up: `encode` is called on a pyramid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_core.errors import CheckpointError
from sam_core.modeling.layers import Block, LayerNorm2d, NormedConv, normalised
from sam_core.modeling.mask_decoder import MaskDecoder
from sam_core.modeling.prompt_encoder import (
    BOTTOM_RIGHT,
    NEGATIVE,
    POSITIVE,
    TOP_LEFT,
    PositionalEmbedding,
    PromptEncoder,
)

TOKEN_STRIDE = 8  # pixels to an image token, along each axis
MASK_STRIDE = 2  # pixels to a mask logit, and to a proposal
SPOT_SIGMA = 2.5  # pixels; of the spot that a click is drawn as
SPOT_HEIGHT = 3.0
LOGIT_LIMIT = 16.0  # what previous logits are clamped to
PLANE_MULTIPLE = 16  # a plane is padded to a multiple of this: the coarsest stride inside the encoder


@dataclass(frozen=True, slots=True)
class CellConfig:
    """Sizes of a `CellNetwork`, as its `config.json` holds them.

    Parameters
    ----------
    widths, depths
        Channels and blocks of the encoder's stages at strides 4, 8 and 16.
    stem
        Channels at stride 2.
    width
        Channels of an image token (stride 8) and of a prompt token.
    fine
        Channels kept of the features at strides 4 and 2, for sharp edges.
    num_heads, mlp_width, decoder_depth
        Of the two-way transformer.
    proposal_width
        Channels of the proposal head.
    window
        Height and width in pixels of the square that a prompt is decoded in.
    proposal_iou
        Whether answers to proposals have a head of their own for the predicted IoU.
    """

    widths: tuple[int, int, int] = (48, 96, 192)
    depths: tuple[int, int, int] = (2, 3, 6)
    stem: int = 24
    width: int = 128
    fine: tuple[int, int] = (32, 16)
    num_heads: int = 4
    mlp_width: int = 512
    decoder_depth: int = 2
    proposal_width: int = 64
    window: int = 256
    proposal_iou: bool = False

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> CellConfig:
        """Read what `to_dict` wrote; keys of other concerns are left alone."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items() if k in known}
        config = cls(**values)
        if config.window % 64 or config.width % config.num_heads:
            msg = (
                f"got window {config.window}, width {config.width} and {config.num_heads} heads in a config.json of "
                "model_type 'cell'; expected a window divisible by 64 and a width divisible by the heads; "
                "do use a checkpoint that sam-core saved"
            )
            raise CheckpointError(msg)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)


class CellEncoder(nn.Module):
    """Image to tokens at stride 8 and finer features at strides 4 and 2."""

    def __init__(self, config: CellConfig) -> None:
        super().__init__()
        stem, widths, depths = config.stem, config.widths, config.depths
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, stride=2, padding=1),
            LayerNorm2d(stem),
            nn.GELU(),
            nn.Conv2d(stem, stem, 3, padding=1),
        )
        self.down = nn.ModuleList(NormedConv(a, b, stride=2) for a, b in zip((stem, *widths[:2]), widths, strict=True))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(w) for _ in range(d))) for w, d in zip(widths, depths, strict=True)
        )
        self.from_coarse = NormedConv(widths[2], config.width)
        self.from_middle = NormedConv(widths[1], config.width)
        self.merge = nn.Sequential(Block(config.width), Block(config.width), LayerNorm2d(config.width))
        self.fine4 = NormedConv(widths[0], config.fine[0])
        self.fine2 = NormedConv(stem, config.fine[1])

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode `pixels` (B, 3, H, W) in [0, 1], H and W multiples of 16.

        Returns
        -------
        tokens, fine4, fine2
            (B, width, H/8, W/8), (B, fine[0], H/4, W/4) and (B, fine[1], H/2, W/2).
        """
        at2 = normalised(self.stem(4 * pixels - 2))
        at4 = normalised(self.stages[0](self.down[0](at2)))
        at8 = normalised(self.stages[1](self.down[1](at4)))
        at16 = normalised(self.stages[2](self.down[2](at8)))
        coarse = F.interpolate(self.from_coarse(at16), scale_factor=2.0, mode="nearest")
        tokens = self.merge(coarse + self.from_middle(at8))
        return tokens, self.fine4(at4), self.fine2(at2)


class ProposalHead(nn.Module):
    """Where the objects probably are, at stride 2.

    Six maps: logit of foreground; logit of centrality (distance to the object's edge over its largest such distance);
    and the logarithm of the distances in pixels to the top, left, bottom and right of the object's box.
    """

    def __init__(self, config: CellConfig) -> None:
        super().__init__()
        width = config.proposal_width
        self.tokens = nn.Conv2d(config.width, width, 1)
        self.fine = nn.Conv2d(config.fine[0], width, 1)
        self.body = nn.Sequential(
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
        )
        self.out = nn.Conv2d(width, 6 * 4, 1)

    def forward(self, tokens: Tensor, fine4: Tensor) -> Tensor:
        """Map the encoder's (B, width, h, w) and (B, fine, 2h, 2w) to (B, 6, 4h, 4w)."""
        up = F.interpolate(self.tokens(tokens), scale_factor=2.0, mode="nearest")
        return F.pixel_shuffle(self.out(self.body(up + self.fine(fine4))), 2)


class CellNetwork(nn.Module):
    """Encoder, prompt encoder, mask decoder and proposal head of the model "cell"."""

    def __init__(self, config: CellConfig) -> None:
        super().__init__()
        self.config = config
        grid = config.window // TOKEN_STRIDE
        self.encoder = CellEncoder(config)
        self.shared_image_embedding = PositionalEmbedding(config.width // 2)
        self.prompt_encoder = PromptEncoder(
            config.width,
            input_size=(config.window, config.window),
            grid_size=(grid, grid),
            shared_embedding=self.shared_image_embedding,
        )
        self.mask_decoder = MaskDecoder(
            config.width,
            depth=config.decoder_depth,
            num_heads=config.num_heads,
            mlp_width=config.mlp_width,
            iou_hidden=config.width,
            iou_sigmoid=True,
            proposal_iou=config.proposal_iou,
            skips=config.fine,
            blend=True,
        )
        self.proposal_head = ProposalHead(config)

    @property
    def image_encoder(self) -> CellEncoder:
        """What sees the image."""
        return self.encoder

    def attend(self, tokens: Tensor, points: Tensor, codes: Tensor, previous: Tensor | None) -> tuple[Tensor, Tensor]:
        """Let P prompts look at their windows `tokens` (P or 1, width, w/8, w/8); see `MaskDecoder.attend`.

        `points` (P, N, 2) x, y in pixels of the window; `codes` (P, N); `previous` (P, 1, w/2, w/2) logits, all 0 for a
        prompt that has none.
        """
        sketch = sketch_prompts(points, codes, previous, self.config.window)
        sparse, dense = self.prompt_encoder(points, codes, sketch.to(tokens.dtype))
        sparse, dense = sparse.to(tokens.dtype), dense.to(tokens.dtype)
        position = self.shared_image_embedding.grid(*self.prompt_encoder.grid_size)
        result: tuple[Tensor, Tensor] = self.mask_decoder.attend(tokens, position, sparse, dense)
        return result

    def forward(
        self,
        windows: Sequence[Tensor],
        points: Tensor,
        codes: Tensor,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Answer P prompts with all four masks, for training.

        `windows` are the encoder's three levels, a row a prompt. Returns logits (P, 4, w/2, w/2) and IoUs (P, 4).
        """
        attended, image = self.attend(windows[0], points, codes, previous)
        logits = self.mask_decoder.upscale(attended, image, slice(0, None), windows[1:])
        return logits, self.mask_decoder.score(attended)


def sketch_prompts(points: Tensor, codes: Tensor, previous: Tensor | None, window: int) -> Tensor:
    """Draw prompts as the rough masks that the prompt encoder's mask branch takes.

    SAM leaves it to attention to find the place that a token names. A small network learns that slowly and places it
    coarsely; drawn on the grid of the masks, the place is exact from the first step. A box is a pale square, a click a
    small bright or dark spot, on top of the previous mask where there is one.

    Parameters
    ----------
    points, codes
        (P, N, 2) x, y in pixels of the window and (P, N), as `PromptEncoder` takes them.
    previous
        (P, 1, w/2, w/2) logits, all 0 for a prompt that has none; None when no prompt has one.
    window
        w, the side of the window in pixels.

    Returns
    -------
    Tensor
        (P, 1, w/2, w/2) float32, about -3 to 3.
    """
    centres = torch.arange(window // MASK_STRIDE, device=points.device) * MASK_STRIDE + 0.5 * (MASK_STRIDE - 1)
    x, y = points.float().unbind(-1)

    # Clicks: Gaussian spots that are separable, so a product of two small matrices draws them all.
    sign = (codes == POSITIVE).float() - (codes == NEGATIVE).float()
    columns = torch.exp(-((centres - x.unsqueeze(-1)) ** 2) / (2 * SPOT_SIGMA**2))
    rows = torch.exp(-((centres - y.unsqueeze(-1)) ** 2) / (2 * SPOT_SIGMA**2))
    spots = torch.einsum("pn,pny,pnx->pyx", SPOT_HEIGHT * sign, rows, columns)

    # Boxes: +1 inside and -1 outside.
    first, last = codes == TOP_LEFT, codes == BOTTOM_RIGHT
    left, top, right, bottom = ((v * k).sum(1, keepdim=True) for k in (first, last) for v in (x, y))
    inside_x = (centres >= left) & (centres <= right)
    inside_y = (centres >= top) & (centres <= bottom)
    square = 2.0 * (inside_y.unsqueeze(-1) & inside_x.unsqueeze(-2)) - 1
    ground = square * first.any(dim=1)[:, None, None]

    if previous is not None:
        given = previous[:, 0].abs().amax(dim=(1, 2), keepdim=True) > 0
        ground = torch.where(given, previous[:, 0].float().clamp(-LOGIT_LIMIT, LOGIT_LIMIT) / 8, ground)
    return (ground + spots).unsqueeze(1)
