"""SAM ViT-B against transformers, with the same random weights in the same process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from transformers import SamConfig, SamModel

from sam_core.families.vit import VitFamily
from sam_core.modeling import sam_config
from sam_core.modeling.sam_network import SamNetwork
from sam_core.prompt import Prompt
from tests.bench.measure import Row, product, seconds

SIDE, PROMPTS = 1024, 64


def oracle() -> SamModel:
    """Make transformers' ViT-B with random weights of a usable size (its own default is 1e-10)."""
    torch.manual_seed(0)
    config = SamConfig(initializer_range=0.02, vision_config={"initializer_range": 0.02})
    model = SamModel(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "rel_pos" in name or name.endswith("pos_embed"):
                value.normal_(0, 0.02)
    return model


def ours(model: SamModel, dtype: torch.dtype) -> VitFamily:
    """Give our network the same weights."""
    network = SamNetwork(sam_config.SamConfig.from_dict(model.config.to_dict()))
    network.load_state_dict(model.state_dict())
    return VitFamily(network.eval().to(dtype))


@torch.inference_mode()
def rows() -> Iterator[Row]:
    """Encode a square of 1024 pixels, decode 64 clicks, decode one."""
    theirs = oracle()
    exact, fast = ours(theirs, torch.float32), ours(theirs, torch.bfloat16)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    views = fast.views((SIDE, SIDE), (SIDE, SIDE))
    pixels = torch.from_numpy(((image - mean) / std).transpose(2, 0, 1)[None].astype(np.float32))

    # Encode.
    reference = theirs.get_image_embeddings(pixels)
    slow = seconds(lambda: theirs.get_image_embeddings(pixels), runs=2, warmup=0)
    quick = seconds(lambda: fast.encode(image, views), runs=3)
    cosine = float(torch.cosine_similarity(reference.flatten(), fast.encode(image, views)[0].float().flatten(), dim=0))
    note = f"{quick:.2f} s; bf16 products {product() / product(torch.bfloat16):.1f} x as fast as fp32 here"
    yield Row("ViT-B encode, 1024 x 1024, against transformers fp32", slow / quick, "x", 3, True, note)
    yield Row("... cosine of the embeddings", cosine, "", 0.999, True)

    # Decode 64 clicks.
    clicks = rng.uniform(0, SIDE - 1, (PROMPTS, 2)).astype(np.float32)
    points = torch.from_numpy(clicks[None, :, None, ::-1].copy())
    labels = torch.ones(points.shape[:-1], dtype=torch.long)
    prompts = [Prompt.of([click]) for click in clicks]

    def ask(count: int) -> torch.Tensor:
        found = theirs(input_points=points[:, :count], input_labels=labels[:, :count], image_embeddings=reference)
        return found.pred_masks[0]

    def answer(family: VitFamily, count: int) -> np.ndarray:
        parts = list(family.decode([reference[0]], (SIDE, SIDE), prompts[:count], 3, None))
        return np.concatenate([part.values for part in parts])

    expected = ask(PROMPTS).flatten(0, 1).numpy()
    slow, quick = seconds(lambda: ask(PROMPTS), runs=2, warmup=0), seconds(lambda: answer(fast, PROMPTS), runs=3)
    yield Row("ViT-B decode of 64 clicks, against transformers fp32", slow / quick, "x", 5, True, f"{quick:.2f} s")
    yield Row("... largest difference in fp32", float(np.abs(answer(exact, PROMPTS) - expected).max()), "", 1e-3, False)
    yield Row("... least IoU of a mask in bf16", _least_iou(answer(fast, PROMPTS), expected), "", 0.98, True)

    # One click.
    slow, quick = seconds(lambda: ask(1)), seconds(lambda: answer(fast, 1))
    yield Row(
        "ViT-B decode of one click, against transformers fp32", slow / quick, "x", 1, True, f"{1000 * quick:.0f} ms"
    )


def _least_iou(values: np.ndarray, expected: np.ndarray) -> float:
    mine, truth = values > 0, expected > 0
    union = (mine | truth).sum(axis=(1, 2))
    iou = (mine & truth).sum(axis=(1, 2)) / np.maximum(union, 1)
    return float(iou[union > 0].min(initial=1.0))
