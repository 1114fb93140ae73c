"""What is measured, with masks whose IoU is known and a fake model whose answers are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sam_core import Embedding, ImageError, Masks, Prompt, samples
from sam_core.evaluation import EvaluateOptions, Item, evaluate, evaluate_items, read_items, summarise
from sam_core.evaluation.clicker import deepest, next_click
from sam_core.evaluation.metrics import THRESHOLDS, iou_of_crops, iou_table, msa, precision, true_positives
from sam_core.overlap import mask_iou
from tests.fake import FakeSegmenter

Drawn = tuple[int, int, int, int]


def draw(*boxes: Drawn, shape: tuple[int, int] = (20, 30)) -> np.ndarray:
    """Draw a label image with one rectangle a label."""
    labels = np.zeros(shape, np.int32)
    for index, (y0, x0, y1, x1) in enumerate(boxes, start=1):
        labels[y0:y1, x0:x1] = index
    return labels


def item(labels: np.ndarray, image: np.ndarray | None = None, *, set: str = "made up", modality: str = "") -> Item:
    pixels = (labels > 0) * np.uint8(200) if image is None else image
    return Item("a", set, modality, modality, lambda: (pixels, labels))


# -- where a user clicks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 20, 30), (9, 9)),  # the border of the crop counts as an edge of the object
        ((5, 5, 10, 10), (7, 7)),
        ((3, 4, 4, 5), (3, 4)),
    ],
)
def test_the_deepest_point_is_in_the_middle(box: Drawn, expected: tuple[int, int]) -> None:
    assert deepest(draw(box) > 0) == expected


@pytest.mark.parametrize(
    ("truth", "answer", "point", "positive"),
    [
        ((2, 2, 13, 13), None, (7, 7), True),  # nothing found
        ((2, 2, 7, 7), (2, 2, 7, 25), (4, 9), False),  # far too much
        ((2, 2, 7, 25), (2, 2, 7, 7), (4, 9), True),  # far too little
        ((0, 0, 9, 9), (0, 9, 9, 30), (4, 13), False),  # all of it beside: the larger error, not the seam of both
    ],
)
def test_a_click_goes_deepest_into_the_largest_error(
    truth: Drawn, answer: Drawn | None, point: tuple[int, int], positive: bool
) -> None:
    found = draw(answer) > 0 if answer else np.zeros((20, 30), bool)
    assert next_click(draw(truth) > 0, found) == (point, positive)


def test_nothing_to_correct_is_no_click() -> None:
    truth = draw((2, 2, 7, 7)) > 0
    assert next_click(truth, truth) is None


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_click_says_what_is_wrong_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, answer = rng.random((2, 12, 12)) > 0.6
    truth[4:7, 4:7], answer[5, 5] = True, False
    click = next_click(truth, answer)
    assert click is not None
    (y, x), positive = click
    assert truth[y, x] == positive
    assert answer[y, x] != positive


# -- how answers are counted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "found", "expected_msa", "expected_ap50"),
    [
        ([(0, 0, 4, 10)], [(0, 0, 4, 10)], 1.0, 1.0),
        ([(0, 0, 4, 10)], [(0, 0, 4, 8)], 0.7, 1.0),  # IoU 0.8 passes .50 to .80: 7 of 10
        ([(0, 0, 4, 10)], [(0, 0, 4, 5)], 0.1, 1.0),  # IoU 0.5 passes at .50
        ([(0, 0, 4, 10)], [(0, 0, 4, 4)], 0.0, 0.0),
        ([(0, 0, 4, 10), (8, 0, 12, 10)], [(0, 0, 4, 10)], 0.5, 0.5),  # one missed
        ([(0, 0, 4, 10)], [(0, 0, 4, 10), (8, 0, 12, 10)], 0.5, 0.5),  # one too many
        ([], [(0, 0, 4, 10)], 0.0, 0.0),
        ([(0, 0, 4, 10)], [], 0.0, 0.0),
        ([], [], 1.0, 1.0),
    ],
)
def test_accuracy_by_hand(truth: list[Drawn], found: list[Drawn], expected_msa: float, expected_ap50: float) -> None:
    iou = iou_table(draw(*truth), draw(*found))
    assert iou.shape == (len(truth), len(found))
    assert msa(iou) == pytest.approx(expected_msa)
    assert precision(iou, 0.5) == pytest.approx(expected_ap50)


def test_an_answer_counts_for_one_object() -> None:
    assert true_positives(np.array([[0.9], [0.9]]), 0.5) == 1
    assert true_positives(np.array([[0.5, 0.6], [0.5, 0.0]]), 0.5) == 2


def test_the_thresholds_are_those_of_the_field() -> None:
    assert np.allclose(THRESHOLDS, [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_all_ways_to_an_iou_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, found = rng.integers(0, 4, (2, 9, 9)).astype(np.int32)
    table = iou_table(truth, found)
    ours, theirs = Masks.from_labels(truth), Masks.from_labels(found)
    assert np.allclose(table, mask_iou(ours, theirs))
    for i, j in np.ndindex(table.shape):
        crops = ours.crops[i], tuple(ours.offsets[i]), theirs.crops[j], tuple(theirs.offsets[j])
        assert iou_of_crops(*crops) == pytest.approx(table[i, j])


# -- what is asked of a model --------------------------------------------------------------------------------------


def test_a_perfect_model_is_perfect() -> None:
    labels = draw((2, 2, 8, 9), (12, 4, 18, 11), (4, 16, 16, 28))
    (result,) = evaluate_items(FakeSegmenter(), [item(labels)], EvaluateOptions(segment_all=None))
    assert result.clicks.shape == (3, 8)
    assert (result.clicks == 1).all()
    assert (result.oracle == 1).all()
    assert (result.box == 1).all()
    assert (result.click_edges == 1).all()
    assert (result.box_edges == 1).all()
    assert (result.matched == 1).all()
    assert result.accuracy.keys() == {"1 click", "3 clicks", "box", "automatic", "baseline"}
    assert {result.accuracy[name] for name in ("1 click", "3 clicks", "box")} == {(1.0, 1.0)}
    assert (result.msa, result.ap50, result.found) == (1.0, 1.0, 3)
    assert result.sizes.tolist() == [42, 49 - 7, 144]


def test_a_model_that_joins_what_touches_is_not() -> None:
    labels = draw((2, 2, 8, 8), (2, 8, 8, 20))
    (result,) = evaluate_items(FakeSegmenter(), [item(labels)])
    assert np.allclose(result.clicks[:, 0], [1 / 3, 2 / 3])
    assert np.allclose(result.box, [1 / 3, 2 / 3])
    assert result.ap50 == 0.5  # the joined answer is a match of the larger one


def test_what_is_not_found_counts_as_nothing() -> None:
    labels = draw((2, 2, 8, 8), (12, 12, 18, 18))
    image = np.where(labels == 1, 200, 0).astype(np.uint8)
    (result,) = evaluate_items(FakeSegmenter(), [item(labels, image)])
    assert result.clicks.mean(axis=0).tolist() == [0.5] * 8
    assert (result.oracle.tolist(), result.box.tolist()) == ([1, 0], [1, 0])


def test_an_image_without_objects_is_measured_automatically() -> None:
    empty = np.zeros((20, 30), np.int32)
    results = list(evaluate_items(FakeSegmenter(), [item(empty), item(draw((2, 2, 8, 8)))]))
    assert (results[0].clicks.shape, results[0].msa) == ((0, 8), 1.0)
    (row,) = summarise(results)
    assert (row["images"], row["objects"], row["1 click"], row["mSA"]) == (2, 1, 1.0, 1.0)


def test_objects_are_limited_and_the_same_each_time() -> None:
    boxes = [(1 + 4 * i, 1 + 4 * j, 3 + 4 * i, 3 + 4 * j) for i in range(4) for j in range(7)]
    runs = [
        list(evaluate_items(FakeSegmenter(), [item(draw(*boxes))], EvaluateOptions(clicks=1, max_objects=5)))
        for _ in range(2)
    ]
    assert [len(run[0].clicks) for run in runs] == [5, 5]
    assert runs[0][0].found == len(boxes)


def calls_of(model: FakeSegmenter, labels: np.ndarray) -> list[int]:
    """Return how many prompts each call to decode had."""
    calls: list[int] = []
    decode = model.decode

    def counted(embedding: Embedding, prompts: Sequence[Prompt], **options: Any) -> Masks:
        calls.append(len(prompts))
        return decode(embedding, prompts, **options)

    model.decode = counted  # type: ignore[method-assign]
    list(evaluate_items(model, [item(labels)], EvaluateOptions(automatic=False)))
    return calls


def test_all_objects_are_asked_together_and_no_more_when_perfect() -> None:
    apart = draw(*[(1 + 4 * i, 1, 3 + 4 * i, 20) for i in range(4)])
    assert calls_of(FakeSegmenter(), apart) == [4, 4]  # a box and a click each


def test_what_is_wrong_is_corrected_until_the_last_click() -> None:
    touching = draw((2, 2, 8, 8), (2, 8, 8, 20), (12, 2, 18, 8))
    assert calls_of(FakeSegmenter(), touching) == [3, 3, *[2] * 7]


# -- rows ----------------------------------------------------------------------------------------------------------


def test_rows_are_by_set_by_modality_and_overall() -> None:
    labels = draw((2, 2, 8, 8))
    blank = np.zeros((20, 30), np.uint8)
    items = [item(labels, modality="seen"), item(labels, blank, modality="dark"), item(labels, set="another")]
    rows = summarise(list(evaluate_items(FakeSegmenter(), items)))
    named = {(row["set"], row["modality"]): row for row in rows}
    assert list(named) == [
        ("made up", "all"),
        ("made up", "seen"),
        ("made up", "dark"),
        ("another", "all"),
        ("all", "all"),
    ]
    assert [row["box"] for row in rows] == pytest.approx([0.5, 1, 0, 1, 2 / 3])
    assert named["all", "all"]["images"] == 3
    assert json.loads(json.dumps(rows)) == rows


def test_nothing_measured_makes_no_rows() -> None:
    assert summarise([]) == []


# -- folders -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a set of two images and a stack of three planes, one of them without objects."""
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    for name in ("a", "b"):
        sample = samples.cells((40, 50), count=3, diameter=10, seed=ord(name))
        Image.fromarray((sample.image // 16).clip(0, 255).astype(np.uint8)).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(sample.labels.astype(np.uint16)).save(tmp_path / "labels" / f"{name}.png")
    stack = np.stack([draw((2, 2, 8, 8)), draw(), draw((4, 4, 9, 9))])
    np.savez(tmp_path / "c.npz", image=(stack * 1000).astype(np.uint16), label=stack.astype(np.uint16), axes="ZYX")
    records = [
        {"name": "a", "split": "test", "modality": "made up"},
        {"name": "b", "split": "train"},
        {"name": "c", "split": "test", "modality": "stack", "subject": 3},
    ]
    (tmp_path / "items.json").write_text(json.dumps(records))
    return tmp_path


def test_a_split_of_a_folder_is_read(folder: Path) -> None:
    items = list(read_items(folder))
    assert [(one.name, one.modality, one.group) for one in items] == [
        ("a", "made up", "made up"),
        ("c[0]", "stack", "stack/3"),
        ("c[2]", "stack", "stack/3"),
    ]
    assert {one.set for one in items} == {folder.name}
    shapes = [tuple(array.shape[:2] for array in one.read()) for one in items]
    assert shapes == [((40, 50), (40, 50)), ((20, 30), (20, 30)), ((20, 30), (20, 30))]
    assert all(one.read()[1].dtype == np.int32 for one in items)


def test_a_folder_without_a_list_belongs_to_every_split(folder: Path) -> None:
    (folder / "items.json").unlink()
    assert [one.name for one in read_items(folder, "val")] == ["a", "b", "c[0]", "c[2]"]
    assert [one.name for one in read_items(folder, None)] == ["a", "b", "c[0]", "c[2]"]


def test_a_folder_is_measured(folder: Path) -> None:
    results = list(evaluate(FakeSegmenter(), folder))
    assert [result.name for result in results] == ["a", "c[0]", "c[2]"]
    assert results[1].msa == 1.0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda home: (home / "labels" / "a.png").unlink(), "got no image file named a"),
        (lambda home: Image.new("I;16", (9, 9)).save(home / "labels" / "a.png"), "labels of shape"),
        (lambda home: (home / "items.json").write_text("[]"), "no labelled images"),
        (lambda home: (home / "items.json").write_text("{half a fi"), "items.json"),
        (lambda home: (home / "items.json").write_text('[{"split": "test"}]'), "items.json"),
        (lambda home: (home / "images" / "a.png").write_bytes(b"\x89PNG no more"), "a.png"),
    ],
)
def test_a_broken_set_is_told(folder: Path, spoil: object, said: str) -> None:
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(ImageError, match=said):
        [one.read() for one in read_items(folder)]
