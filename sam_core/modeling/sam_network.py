"""SAM's network: image encoder, prompt encoder and mask decoder, with transformers' names of weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from sam_core.modeling.image_encoder import ImageEncoder
from sam_core.modeling.mask_decoder import MaskDecoder
from sam_core.modeling.prompt_encoder import PositionalEmbedding, PromptEncoder
from sam_core.modeling.sam_config import SamConfig


class SamNetwork(nn.Module):
    """The network of the SAM family; the weights of transformers' `SamModel` fit as they are.

    Parameters
    ----------
    config
        Its sizes.
    """

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        vision, decoder = config.vision, config.decoder
        self.vision_encoder = ImageEncoder(vision)
        self.shared_image_embedding = PositionalEmbedding(vision.num_pos_feats)
        self.prompt_encoder = PromptEncoder(
            config.prompt.hidden_size,
            input_size=(vision.image_size, vision.image_size),
            grid_size=(vision.grid, vision.grid),
            shared_embedding=self.shared_image_embedding,
            mask_channels=config.prompt.mask_input_channels,
        )
        self.mask_decoder = MaskDecoder(
            decoder.hidden_size,
            depth=decoder.num_hidden_layers,
            num_heads=decoder.num_attention_heads,
            mlp_width=decoder.mlp_dim,
            downsample=decoder.attention_downsample_rate,
            num_candidates=decoder.num_multimask_outputs,
            iou_hidden=decoder.iou_head_hidden_dim,
            iou_depth=decoder.iou_head_depth,
            eps=decoder.layer_norm_eps,
        )
        self._position: Tensor | None = None
        self.register_load_state_dict_post_hook(_forget_position)  # type: ignore[no-untyped-call]

    @property
    def image_encoder(self) -> ImageEncoder:
        """What sees the image."""
        return self.vision_encoder

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that pictures are brought to."""
        return self.config.vision.image_size

    @property
    def mask_input_size(self) -> tuple[int, int]:
        """Height and width of the logits of a previous mask."""
        side = 4 * self.config.vision.grid
        return side, side

    def encode(self, pixels: Tensor) -> Tensor:
        """Encode normalised `pixels` (B, 3, S, S), padded with 0 after normalising: (B, C, h, w)."""
        return self.vision_encoder(pixels)

    def attend(
        self, image: Tensor, points: Tensor, codes: Tensor, previous: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Let P prompts look at the image; see `MaskDecoder.attend` for what comes back.

        Parameters
        ----------
        image
            (P or 1, C, h, w) from `encode`.
        points, codes
            (P, N, 2) x, y in pixels of the square, an integer the centre of a pixel; (P, N) what each is.
        previous
            (P, 1, 4h, 4w) logits of previous masks, or None.
        """
        sparse, dense = self.prompt_encoder(points, codes, previous)
        return self.mask_decoder.attend(image, self._grid(), sparse.to(image.dtype), dense.to(image.dtype))

    def _grid(self) -> Tensor:
        """Return the positions of the image tokens; they are the same for every prompt, and slow to make."""
        if self.training:
            return self.shared_image_embedding.grid(*self.prompt_encoder.grid_size)
        if self._position is None:
            with torch.inference_mode(False), torch.no_grad():  # what is kept must serve every mode
                self._position = self.shared_image_embedding.grid(*self.prompt_encoder.grid_size)
        return self._position

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._position = None  # it is on another device now
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]


def _forget_position(network: nn.Module, _: object) -> None:
    if isinstance(network, SamNetwork):
        network._position = None  # noqa: SLF001 - this is its own hook
