"""Weights under other names: those of the original `segment_anything` become those of transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from sam_core.errors import CheckpointError

SHOWN = 8  # keys named in a message before the rest is counted

SHARED = "shared_image_embedding.positional_embedding"

_DROPPED = {"pixel_mean", "pixel_std"}

# In this order; the pattern of a whole key, and what it becomes.
_RULES = [
    (r"^image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.", "vision_encoder."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", SHARED),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
]

_HEAD = re.compile(r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.(\d+)\.(.*)$")


def is_original(state: Mapping[str, Tensor]) -> bool:
    """Tell whether the keys are those of the original code."""
    return any(key.startswith("image_encoder.") for key in state)


def convert_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of an original `segment_anything` checkpoint.

    Parameters
    ----------
    state
        With keys such as `image_encoder.blocks.0.norm1.weight`; a state that is in transformers' names already comes
        back as it is.

    Returns
    -------
    dict
        With keys such as `vision_encoder.layers.0.layer_norm1.weight`.

    Examples
    --------
    >>> import torch
    >>> list(convert_original({"image_encoder.blocks.3.norm1.bias": torch.zeros(4)}))
    ['vision_encoder.layers.3.layer_norm1.bias']
    """
    if not is_original(state):
        return dict(state)
    lasts: dict[str, int] = {}
    for key in state:
        if found := _HEAD.match(key):
            lasts[found[1]] = max(lasts.get(found[1], 0), int(found[2]))
    return {_renamed(key, lasts): value for key, value in state.items() if key not in _DROPPED}


def _renamed(key: str, lasts: Mapping[str, int]) -> str:
    if found := _HEAD.match(key):
        head, index, rest = found[1], int(found[2]), found[3]
        places = {0: "proj_in", lasts[head]: "proj_out"}
        return f"{head}.{places.get(index, f'layers.{index - 1}')}.{rest}"
    for pattern, new in _RULES:
        key = re.sub(pattern, new, key)
    return key


def load_strictly(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fill a network with weights that fit it exactly; they take the dtype of the network.

    A weight that the network uses under several names may be given under any one of them.

    Raises
    ------
    CheckpointError
        Weights are missing, of another shape, or not of this network; all of them are named.
    """
    expected = network.state_dict()
    state = dict(state)
    for names in _shared_names(expected).values():
        given = next((name for name in names if name in state), None)
        if given is not None:
            state |= {name: state[given] for name in names if name not in state}
    missing = [key for key in expected if key not in state]
    extra = [key for key in state if key not in expected]
    misshapen = [
        f"{key} {tuple(value.shape)} for {tuple(expected[key].shape)}"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    if missing or extra or misshapen:
        faults = [("missing", missing), ("not expected", extra), ("of another shape", misshapen)]
        got = "; ".join(f"{len(keys)} {what}: {_listed(keys)}" for what, keys in faults if keys)
        msg = (
            f"got weights that do not fit the network: {got}; expected exactly those that its config describes; "
            "do check that config.json and the weights belong together"
        )
        raise CheckpointError(msg)
    network.load_state_dict(state)


def _shared_names(state: Mapping[str, Tensor]) -> dict[int, list[str]]:
    names: dict[int, list[str]] = {}
    for key, value in state.items():
        if value.numel():
            names.setdefault(value.data_ptr(), []).append(key)
    return {pointer: keys for pointer, keys in names.items() if len(keys) > 1}


def _listed(keys: list[str]) -> str:
    rest = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + rest
