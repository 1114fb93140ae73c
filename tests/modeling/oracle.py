"""transformers' SamModel at toy sizes, and our network with its weights."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from sam_core.modeling.sam_config import SamConfig
from sam_core.modeling.sam_network import SamNetwork

TOY: dict[str, Any] = {
    "hidden_size": 32,
    "output_channels": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 160,
    "window_size": 4,  # does not divide the grid of 10: the last windows are filled up
    "global_attn_indexes": [1],
    "num_pos_feats": 16,
    "mlp_dim": 48,
    "initializer_range": 0.02,  # transformers' own default is 1e-10
}


def oracle(**vision: Any) -> transformers.SamModel:
    """Make a small SamModel of random weights that all have a say."""
    torch.manual_seed(0)
    sizes = TOY | vision
    config = transformers.SamConfig(
        vision_config=sizes,
        prompt_encoder_config={"hidden_size": 32, "image_size": sizes["image_size"], "mask_input_channels": 8},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 40, "num_attention_heads": 4, "iou_head_hidden_dim": 24},
        initializer_range=0.02,
    )
    model = transformers.SamModel(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.add_(torch.randn_like(value) * (0.5 if "rel_pos" in name or "pos_embed" in name else 0.05))
        # Its random positions have a deviation of hidden_size / 2, where trained ones have 1.
        model.shared_image_embedding.positional_embedding.normal_()
        model.prompt_encoder.shared_embedding.positional_embedding.copy_(
            model.shared_image_embedding.positional_embedding
        )
    return model


def ours(model: transformers.SamModel) -> SamNetwork:
    """Give our network the weights of a SamModel, by its own names."""
    network = SamNetwork(SamConfig.from_dict(model.config.to_dict()))
    network.load_state_dict(model.state_dict())
    return network.eval()
