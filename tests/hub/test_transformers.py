"""A repository that sam-core writes loads with plain transformers, and answers as sam-core does."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from safetensors.torch import load_file
from transformers import AutoModelForMaskGeneration, AutoProcessor

from sam_core import Masks, Prompt, Sam, SegmentAllOptions, Tiling, samples, segment_all, to_rgb8
from sam_core.contrast import stretch
from sam_core.errors import CheckpointError
from sam_core.families.vit import VitFamily
from sam_core.remote.image_processing_cell import CellImageProcessor
from sam_core.remote.modeling_cell import prompts_in
from sam_core.remote.pipeline_cell import rle
from sam_core.remote_code import make_loadable, remote_code
from tests.modeling.oracle import oracle, ours

STRICT = 0.88  # what `plain.py` asks for as transformers' pred_iou_thresh
SHA = "0123456789abcdef0123456789abcdef01234567"
Answers = dict[str, NDArray[Any]]

FIRST = samples.cells(seed=1).image
SECOND = samples.cells(seed=2).image[:300, :200]
POINTS = [[(30, 40), (90, 80)], [(100, 120), (60, 10)], [(64, 64), (0, 0)]]  # x, y
LABELS = [[1, 0], [1, 1], [1, -10]]  # the last prompt is a lone click, padded
BOXES = [[20, 30, 60, 70], [80, 90, 140, 170], [5, 5, 30, 40]]  # x, y of the first and the last pixel


@pytest.fixture(scope="module")
def sam() -> Sam:
    return Sam.from_pretrained("cell", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def answers(sam: Sam, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Load a repository by its name from an offline cache in a process without sam-core, and ask it."""
    home = tmp_path_factory.mktemp("home")
    repository = home / "hub" / "models--acme--cell"
    sam.save_pretrained(repository / "snapshots" / SHA, transformers=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(SHA)
    np.savez(
        home / "given.npz",
        first=FIRST,
        second=SECOND,
        points=np.array(POINTS, np.float32),
        labels=np.array(LABELS),
        boxes=np.array(BOXES, np.float32),
    )
    script = Path(__file__).with_name("plain.py")
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    for name in ("PYTHONPATH", "HF_HUB_CACHE", "HF_MODULES_CACHE"):
        environment.pop(name, None)
    command = [sys.executable, str(script), "acme/cell", str(home)]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(home / "answers.npz") as file:
        return dict(file)


def prompts() -> list[Prompt]:
    return [
        Prompt.of(
            [(y, x) for (x, y), sign in zip(points, signs, strict=True) if sign >= 0], [s > 0 for s in signs if s >= 0]
        )
        for points, signs in zip(POINTS, LABELS, strict=True)
    ]


def boxed() -> list[Prompt]:
    return [Prompt.of(box=(y0, x0, y1 + 1, x1 + 1)) for x0, y0, x1, y1 in BOXES]


def assert_equal(answers: Answers, key: str, ours: Masks, candidates: int, row: int = 0) -> None:
    height, width = ours.shape
    theirs = answers[f"{key}_masks"][row, ..., :height, :width].reshape(-1, height, width)
    np.testing.assert_array_equal(theirs > 0, ours.dense())
    logits = [one.sample((0, 0, height, width)) for one in ours.logits if one is not None]
    np.testing.assert_allclose(theirs, np.stack(logits), rtol=1e-5, atol=1e-5)
    scores = answers[f"{key}_scores"][row]
    assert scores.shape[1] == candidates
    np.testing.assert_allclose(scores.reshape(-1), ours.scores, rtol=1e-5)


def test_clicks_are_answered_as_by_sam_core(sam: Sam, answers: Answers) -> None:
    assert_equal(answers, "clicks", sam.decode(sam.encode(FIRST), prompts(), candidates=3), 3)


def test_boxes_are_answered_as_by_sam_core(sam: Sam, answers: Answers) -> None:
    assert_equal(answers, "boxes", sam.decode(sam.encode(FIRST), boxed()), 1)


def test_answers_are_corrected_as_by_sam_core(sam: Sam, answers: Answers) -> None:
    embedding = sam.encode(FIRST)
    shape = embedding.image_shape
    drawn = [one.sample((0, 0, *shape)) for one in sam.decode(embedding, boxed()).logits if one is not None]
    again = [Prompt.of([(y, x)], previous=mask) for ((x, y), _), mask in zip(POINTS, drawn, strict=True)]
    assert_equal(answers, "previous", sam.decode(embedding, again, candidates=3), 3)


@pytest.mark.parametrize(("row", "image"), [(0, FIRST), (1, SECOND)])
def test_in_a_batch_each_picture_is_answered_as_alone(
    sam: Sam, answers: Answers, row: int, image: NDArray[np.generic]
) -> None:
    found = sam.decode(sam.encode(image), prompts(), candidates=3)
    assert_equal(answers, "batch", found, 3, row)
    if row == 1:
        assert (answers["batch_masks"][1, ..., SECOND.shape[0] :, :] < 0).all()
        np.testing.assert_array_equal(answers["second_drawn"].reshape(-1, *found.shape), found.dense())


def test_the_pipeline_finds_everything_that_sam_core_finds(sam: Sam, answers: Answers) -> None:
    embedding = sam.encode(FIRST)
    found = Masks.merge(list(segment_all(sam, embedding)))
    assert len(found) > 5
    np.testing.assert_array_equal(answers["all_masks"], found.dense())
    np.testing.assert_allclose(answers["all_scores"], found.scores, rtol=1e-5)
    np.testing.assert_array_equal(answers["all_labels"], found.to_labels())
    np.testing.assert_array_equal(answers["all_boxes"], found.boxes[:, [1, 0, 3, 2]] - [0, 0, 1, 1])
    assert 0 < len(answers["strict_scores"]) < len(found)
    assert answers["strict_scores"].min() >= STRICT


def test_the_pipeline_tiles(sam: Sam, answers: Answers) -> None:
    embedding = sam.encode(FIRST, tiling=Tiling(tile=(256, 256), halo=(32, 32)))
    found = Masks.merge(list(segment_all(sam, embedding)))
    np.testing.assert_array_equal(answers["tiled_masks"], found.dense())


def test_it_computes_in_float32_unless_told_otherwise(answers: Answers) -> None:
    assert str(answers["dtype"]) == "torch.float32"


def test_in_bfloat16_it_answers_as_sam_core_in_bfloat16(answers: Answers) -> None:
    sam = Sam.from_pretrained("cell", device="cpu", dtype="bfloat16")
    assert_equal(answers, "half", sam.decode(sam.encode(FIRST), prompts(), candidates=3), 3)


def test_code_is_not_run_without_being_trusted(sam: Sam, tmp_path: Path) -> None:
    sam.save_pretrained(tmp_path, transformers=True)
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoModelForMaskGeneration.from_pretrained(tmp_path, trust_remote_code=False)


def test_the_written_code_needs_nothing_of_the_package() -> None:
    files = remote_code()
    for name, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert f"{node.module}.py" in files, f"{name} imports {node.module}"
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] != "sam_core", name
            elif isinstance(node, ast.Import):
                assert "sam_core" not in {alias.name.split(".")[0] for alias in node.names}, name


def test_what_is_saved_loads_with_sam_core_too(sam: Sam, tmp_path: Path) -> None:
    sam.save_pretrained(tmp_path, transformers=True)
    back = Sam.from_pretrained(tmp_path, device="cpu", dtype="float32")
    assert back.segment_all_options == sam.segment_all_options
    ours, theirs = (model.decode(model.encode(FIRST), prompts()) for model in (sam, back))
    np.testing.assert_array_equal(ours.dense(), theirs.dense())
    # The weights are those of the embedded model, in half precision as they were.
    weights = load_file(tmp_path / "model.safetensors")
    assert {str(t.dtype) for name, t in weights.items() if "embedding" not in name} == {"torch.float16"}


def test_a_sam_loads_with_plain_transformers(tmp_path: Path) -> None:
    network = ours(oracle())
    sam = Sam(VitFamily(network), "new", SegmentAllOptions())
    sam.save_pretrained(tmp_path, transformers=True)
    model = AutoModelForMaskGeneration.from_pretrained(tmp_path)
    side = network.image_size
    image = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    processor = AutoProcessor.from_pretrained(tmp_path)
    inputs = processor(Image.fromarray(image), input_points=[[[[10.0, 12.0]]]], return_tensors="pt")
    assert inputs["pixel_values"].shape[-1] == side
    inputs["input_points"] = inputs["input_points"].float()
    with torch.inference_mode():
        theirs = model(**inputs)
    found = sam.decode(sam.encode(image), [Prompt.of([(12, 10)])], candidates=3)
    np.testing.assert_allclose(theirs.iou_scores.reshape(-1), found.scores, rtol=1e-3, atol=1e-4)


def test_only_models_that_transformers_can_load_are_made_loadable(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="expected 'cell' or 'sam'"):
        make_loadable(tmp_path)


# -- pictures --------------------------------------------------------------------------------------------------------


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3))))
def test_contrast_that_was_stretched_stays(image: NDArray[np.uint8]) -> None:
    """The image processor stretches, and `Sam.encode` does again."""
    once = stretch(image)
    np.testing.assert_array_equal(stretch(once), once)


DEEP = (np.arange(20 * 30).reshape(20, 30) * 100).astype(np.uint16)
COLOUR = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)


def palette() -> Image.Image:
    return Image.fromarray(COLOUR).quantize(16)


@pytest.mark.parametrize(
    ("picture", "same_as"),
    [
        (Image.fromarray(COLOUR), COLOUR),
        (Image.fromarray(DEEP), DEEP),
        (palette(), np.asarray(palette().convert("RGB"))),
        (Image.fromarray(COLOUR).convert("LA"), np.asarray(Image.fromarray(COLOUR).convert("L"))),
        (Image.fromarray(COLOUR[..., 0] > 99), COLOUR[..., 0] > 99),
        (torch.from_numpy(COLOUR).permute(2, 0, 1), COLOUR),
        (DEEP.astype(np.float32), DEEP.astype(np.float32)),
    ],
    ids=["rgb", "16 bit", "palette", "gray and alpha", "bool", "tensor", "float"],
)
def test_any_picture_is_read_as_by_sam_core(picture: Any, same_as: NDArray[np.generic]) -> None:
    values = CellImageProcessor()(picture)["pixel_values"]
    np.testing.assert_array_equal((values[0].permute(1, 2, 0) * 255).round().numpy(), stretch(to_rgb8(same_as)))


def test_a_16_bit_file_keeps_its_depth(tmp_path: Path) -> None:
    Image.fromarray(DEEP).save(tmp_path / "deep.png")
    values = CellImageProcessor()(str(tmp_path / "deep.png"))["pixel_values"]
    assert len(values.unique()) > 200


# -- prompts ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(*[st.integers(0, 99)] * 4), min_size=1, max_size=4))
def test_a_box_holds_its_first_and_its_last_pixel(corners: list[tuple[int, int, int, int]]) -> None:
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    given_boxes = torch.tensor(boxes, dtype=torch.float32)
    for prompt, (x0, y0, x1, y1) in zip(
        prompts_in(None, None, given_boxes, None, shape=(100, 100)), boxes, strict=True
    ):
        assert prompt.box is not None
        assert prompt.box.tolist() == [y0, x0, y1 + 1, x1 + 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"points": torch.zeros(2, 2)},
        {"points": torch.zeros(2, 1, 2), "boxes": torch.ones(3, 4)},
        {"points": torch.zeros(0, 1, 2)},
        {"boxes": torch.tensor([[5.0, 5.0, 1.0, 1.0]])},
    ],
)
def test_prompts_that_make_no_sense_are_refused(wrong: dict[str, torch.Tensor]) -> None:
    asked = {"points": None, "labels": None, "boxes": None, "masks": None, **wrong}
    with pytest.raises(ValueError, match="expected"):
        prompts_in(**asked, shape=(10, 10))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_are_those_of_coco(mask: NDArray[np.bool_]) -> None:
    encoded = rle(mask)
    packed = coco.frPyObjects(encoded, *mask.shape)
    np.testing.assert_array_equal(coco.decode(packed).astype(bool), mask)
