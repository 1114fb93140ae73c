import numpy as np
import pytest
import torch

from sam_core import Prompt, Sam, SegmentAllOptions
from sam_core.families.vit import MEAN, STD, VitFamily
from sam_core.modeling.prompt_encoder import BOTTOM_RIGHT, NEGATIVE, NOT_A_POINT, POSITIVE, TOP_LEFT
from tests.modeling.oracle import oracle, ours

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

POINTS = torch.tensor([[[10.0, 20.0], [90.5, 33.0]], [[0.0, 159.0], [64.0, 64.0]]])
LABELS = torch.tensor([[1, 0], [1, -1]])
BOXES = torch.tensor([[[4.0, 8.0, 70.0, 90.0], [30.0, 20.0, 159.0, 99.0]]])


@torch.inference_mode()
def test_points_are_embedded_as_in_transformers() -> None:
    model = oracle()
    sparse, dense = model.prompt_encoder(POINTS[None], LABELS[None], None, None)
    # SAM ends a prompt without a box by a point that is none.
    points = torch.cat([POINTS, torch.zeros(2, 1, 2)], dim=1)
    codes = torch.cat([LABELS, torch.full((2, 1), NOT_A_POINT)], dim=1)
    mine, none = ours(model).prompt_encoder(points, codes)
    torch.testing.assert_close(mine, sparse[0])
    torch.testing.assert_close(none, dense)


@torch.inference_mode()
def test_boxes_are_embedded_as_in_transformers() -> None:
    model = oracle()
    sparse, _ = model.prompt_encoder(None, None, BOXES, None)
    codes = torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]] * 2)
    mine, _ = ours(model).prompt_encoder(BOXES.reshape(2, 2, 2), codes)
    torch.testing.assert_close(mine, sparse[0])


@torch.inference_mode()
def test_each_prompt_has_its_own_mask() -> None:
    model = oracle()
    network = ours(model)
    masks = torch.randn(3, 1, *network.mask_input_size)
    _, expected = model.prompt_encoder(None, None, BOXES[:, :1], masks)
    points, codes = torch.zeros(3, 1, 2), torch.full((3, 1), NOT_A_POINT)
    _, dense = network.prompt_encoder(points, codes, masks)
    torch.testing.assert_close(dense, expected)
    _, some = network.prompt_encoder(points, codes, masks, torch.tensor([True, False, True]))
    torch.testing.assert_close(some[[0, 2]], expected[[0, 2]])
    torch.testing.assert_close(some[1], network.prompt_encoder(points, codes)[1][0])


@torch.inference_mode()
@pytest.mark.parametrize("candidates", [1, 3])
def test_decoder_is_that_of_transformers(candidates: int) -> None:
    model = oracle()
    network = ours(model)
    image = torch.randn(1, 32, 10, 10)
    expected = model(
        input_points=POINTS[None],
        input_labels=LABELS[None],
        input_boxes=BOXES,
        image_embeddings=image,
        multimask_output=candidates == 3,
    )
    points = torch.cat([POINTS, BOXES.reshape(2, 2, 2)], dim=1)
    codes = torch.cat([LABELS, torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]] * 2)], dim=1)
    masks = slice(0, 1) if candidates == 1 else slice(1, None)
    tokens, attended = network.attend(image, points, codes)
    logits = network.mask_decoder.upscale(tokens, attended, masks)
    torch.testing.assert_close(logits, expected.pred_masks[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        network.mask_decoder.score(tokens)[:, masks], expected.iou_scores[0], rtol=1e-3, atol=1e-4
    )


@torch.inference_mode()
def test_sam_answers_as_transformers_does() -> None:
    model = oracle()
    sam = Sam(VitFamily(ours(model)), "toy", SegmentAllOptions())
    image = np.random.default_rng(0).integers(0, 255, (160, 160, 3), dtype=np.uint8)
    pixels = torch.from_numpy(((image - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)[None]).float()
    embedding = sam.encode(image)
    expected_features = model.get_image_embeddings(pixels)
    np.testing.assert_allclose(embedding.features[0], expected_features.numpy(), rtol=1e-3, atol=1e-4)

    click = Prompt.of([(20, 10)])
    box = Prompt.of([(33, 40)], [False], box=(8, 4, 91, 71))
    masks = sam.decode(embedding, [click, box], candidates=3)
    asked = [
        {"input_points": torch.tensor([[[[10.0, 20.0]]]]), "input_labels": torch.tensor([[[POSITIVE]]])},
        {
            "input_points": torch.tensor([[[[40.0, 33.0]]]]),
            "input_labels": torch.tensor([[[NEGATIVE]]]),
            "input_boxes": torch.tensor([[[4.0, 8.0, 70.0, 90.0]]]),
        },
    ]
    for i, inputs in enumerate(asked):
        expected = model(**inputs, image_embeddings=expected_features)
        mine = masks[masks.prompt == i]
        order = np.argsort(-mine.scores)
        theirs = np.argsort(-expected.iou_scores[0, 0].numpy())
        np.testing.assert_allclose(mine.scores[order], expected.iou_scores[0, 0].numpy()[theirs], rtol=1e-3, atol=1e-3)
        for a, b in zip(order, theirs, strict=True):
            logits = mine.logits[a]
            assert logits is not None
            np.testing.assert_allclose(logits.values, expected.pred_masks[0, 0, b].numpy(), rtol=1e-2, atol=1e-3)


def test_positions_follow_the_weights() -> None:
    network = ours(oracle())
    image = torch.randn(1, 32, 10, 10)
    codes = torch.tensor([[POSITIVE, NOT_A_POINT]])
    before, _ = network.attend(image, POINTS[:1], codes)
    state = network.state_dict()
    network.load_state_dict({k: -2 * v if "positional" in k else v for k, v in state.items()})
    after, _ = network.attend(image, POINTS[:1], codes)
    assert not torch.allclose(before, after)


def test_bfloat16_leaves_the_positions_exact() -> None:
    network = ours(oracle())
    exact = network.shared_image_embedding.positional_embedding.clone()
    network.to(torch.bfloat16)
    assert torch.equal(network.shared_image_embedding.positional_embedding, exact)
