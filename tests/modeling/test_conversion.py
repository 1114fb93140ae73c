import importlib
import importlib.util
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sam_core import Prompt, Sam
from sam_core.errors import CheckpointError
from sam_core.modeling.conversion import convert_original, is_original, load_strictly
from sam_core.modeling.prompt_encoder import BOTTOM_RIGHT, NOT_A_POINT, POSITIVE, TOP_LEFT
from sam_core.modeling.sam_config import config_from_state
from sam_core.modeling.sam_network import SamNetwork
from tests.modeling.oracle import oracle, ours

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def original(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Build a small SAM of the original code, without its package's own import of torchvision."""
    spec = importlib.util.find_spec("segment_anything")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("segment-anything is not installed")
    package = ModuleType("segment_anything")
    package.__path__ = list(spec.submodule_search_locations)
    monkeypatch.setitem(sys.modules, "segment_anything", package)
    modeling = importlib.import_module("segment_anything.modeling")
    torch.manual_seed(0)
    encoder = modeling.ImageEncoderViT(
        img_size=80,
        embed_dim=32,
        depth=3,
        num_heads=2,
        out_chans=32,
        qkv_bias=True,
        use_rel_pos=True,
        window_size=3,
        global_attn_indexes=[1],
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    prompts = modeling.PromptEncoder(
        embed_dim=32, image_embedding_size=(5, 5), input_image_size=(80, 80), mask_in_chans=8
    )
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=40, num_heads=8)
    decoder = modeling.MaskDecoder(
        transformer_dim=32, transformer=transformer, iou_head_depth=4, iou_head_hidden_dim=24
    )
    model = modeling.Sam(encoder, prompts, decoder).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return model


def network_of(state: dict[str, Tensor]) -> SamNetwork:
    converted = convert_original(state)
    network = SamNetwork(config_from_state(converted)).eval()
    load_strictly(network, converted)
    return network


def test_sizes_are_read_from_the_weights(original: Any) -> None:
    config = network_of(original.state_dict()).config
    vision, decoder = config.vision, config.decoder
    assert (vision.image_size, vision.window_size, vision.global_attn_indexes) == (80, 3, (1,))
    assert (vision.num_attention_heads, vision.mlp_dim, config.prompt.mask_input_channels) == (2, 128, 8)
    assert (decoder.mlp_dim, decoder.iou_head_depth, decoder.iou_head_hidden_dim) == (40, 4, 24)


@torch.inference_mode()
def test_converted_network_is_the_original(original: Any) -> None:
    network = network_of(original.state_dict())
    pixels = torch.randn(1, 3, 80, 80)
    image = original.image_encoder(pixels)
    torch.testing.assert_close(network.encode(pixels), image, rtol=1e-4, atol=1e-5)

    point, mask = torch.tensor([[[20.0, 31.0]]]), torch.randn(1, 1, 20, 20)
    box = torch.tensor([[[5.0, 6.0], [60.0, 70.0]]])
    sparse, dense = original.prompt_encoder((point, torch.ones(1, 1)), None, mask)
    boxed, none = original.prompt_encoder(None, box.flatten(1), None)
    asked = [
        (sparse, dense, torch.cat([point, point], 1), torch.tensor([[POSITIVE, NOT_A_POINT]]), mask),
        (boxed, none, box, torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]]), None),
    ]
    for sparse, dense, points, codes, previous in asked:
        masks, scores = original.mask_decoder(
            image_embeddings=image,
            image_pe=original.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        tokens, attended = network.attend(image, points, codes, previous)
        mine = network.mask_decoder.upscale(tokens, attended, slice(1, None))
        torch.testing.assert_close(mine, masks, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(network.mask_decoder.score(tokens)[:, 1:], scores, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_bare_checkpoint_describes_itself(original: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sam_vit_toy{suffix}"
    if suffix == ".pth":
        torch.save(original.state_dict(), path)
    else:
        save_file(original.state_dict(), path)
    (tmp_path / "config.json").write_text('{"model_type": "of something else"}')
    sam = Sam.from_pretrained(path, dtype="float32")
    embedding = sam.encode(np.zeros((40, 80, 3), np.uint8))
    assert len(sam.decode(embedding, [Prompt.of([(20, 20)])], candidates=3)) == 3
    sam.save_pretrained(tmp_path / "saved")
    again = Sam.from_pretrained(tmp_path / "saved", dtype="float32")
    np.testing.assert_array_equal(again.encode(np.zeros((40, 80, 3), np.uint8)).features[0], embedding.features[0])


def test_names_of_transformers_stay() -> None:
    state = oracle().state_dict()
    assert not is_original(state)
    assert convert_original(state).keys() == state.keys()


def test_all_that_does_not_fit_is_named() -> None:
    network = ours(oracle())
    state = network.state_dict()
    del state["mask_decoder.iou_token.weight"]
    state["surplus.weight"] = torch.zeros(1)
    state["prompt_encoder.no_mask_embed.weight"] = torch.zeros(1, 7)
    with pytest.raises(CheckpointError) as caught:
        load_strictly(network, state)
    message = str(caught.value)
    assert "1 missing: mask_decoder.iou_token.weight" in message
    assert "1 not expected: surplus.weight" in message
    assert "1 of another shape: prompt_encoder.no_mask_embed.weight (1, 7) for (1, 32)" in message


def test_of_very_many_only_some_are_named() -> None:
    network = ours(oracle())
    with pytest.raises(CheckpointError, match=rf"{len(network.state_dict())} missing: .* and \d+ more"):
        load_strictly(network, {})


def test_a_shared_weight_needs_one_name_only() -> None:
    network = ours(oracle())
    state = {k: v.clone() for k, v in network.state_dict().items()}
    for name in ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding"):
        load_strictly(network, {k: v for k, v in state.items() if k != name})


def test_half_of_a_sam_is_refused() -> None:
    with pytest.raises(CheckpointError, match="expected the weights of a whole SAM"):
        config_from_state({"vision_encoder.pos_embed": torch.zeros(1, 4, 4, 8)})
