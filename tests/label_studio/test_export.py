"""What people annotated, as files that the rest of `sam_core` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from sam_core import ImageError, Masks, samples
from sam_core.evaluation import EvaluateOptions, evaluate, read_items
from sam_label_studio.export import Export, Page, chosen, file_name
from sam_label_studio.split import splits
from tests.fake import FakeSegmenter

Json = dict[str, Any]


def _task(number: int, *annotations: Json, image: str = "/data/upload/1/a.png") -> Json:
    return {"id": number, "data": {"image": image}, "annotations": list(annotations)}


def _page(seed: int = 0, number: int | None = None, image: np.ndarray | None = None) -> Page:
    sample = samples.cells((40, 50), count=3, diameter=12, seed=seed)
    masks = Masks.from_labels(sample.labels)
    names = tuple("Dirt" if i == 0 else "Cell" for i in range(len(masks)))
    return Page(number, (sample.image >> 8).astype(np.uint8) if image is None else image, masks, names)


def _export(folder: Path, *pages: list[Page], test: float = 0.0) -> Export:
    export = Export(folder, test=test)
    for number, of_task in enumerate(pages, start=1):
        result = export.task(_task(number, {"id": 100 + number}), lambda *_, found=of_task: found)
        assert not result.failed, result.why
    export.finish(["Cell", "Dirt", "Never"])
    return export


def test_images_and_labels_are_read_back_as_they_were(tmp_path: Path) -> None:
    pages = [_page(seed) for seed in range(3)]
    _export(tmp_path, *[[page] for page in pages])
    items = list(read_items(tmp_path, "train"))
    assert [item.name for item in items] == ["task1_a", "task2_a", "task3_a"]
    for item, page in zip(items, pages, strict=True):
        image, labels = item.read()
        assert np.array_equal(image, page.image)
        order = np.argsort(-page.masks.areas, kind="stable")
        assert np.array_equal(labels, page.masks[order].to_labels())


@pytest.mark.parametrize(
    "image",
    [
        np.arange(2000, dtype=np.uint16).reshape(40, 50),
        np.linspace(0, 1, 2000, dtype=np.float32).reshape(40, 50),
        np.arange(6000, dtype=np.uint16).reshape(40, 50, 3),
        np.arange(6000).reshape(40, 50, 3).astype(np.uint8),
        np.arange(4000, dtype=np.uint16).reshape(40, 50, 2),
    ],
    ids=lambda image: f"{image.dtype}{image.shape}",
)
def test_pixels_of_every_kind_are_kept(tmp_path: Path, image: np.ndarray) -> None:
    _export(tmp_path, [_page(image=image)])
    (item,) = read_items(tmp_path)
    read = item.read()[0]
    assert read.dtype == image.dtype
    assert np.array_equal(read, image)


def test_training_and_evaluation_take_the_folder_as_it_is(tmp_path: Path) -> None:
    from sam_core.training.examples import read_examples

    _export(tmp_path, *[[_page(seed)] for seed in range(12)], test=0.25)
    examples, items = read_examples(tmp_path), list(read_items(tmp_path))
    assert len(examples) + len(items) == 12
    results = list(evaluate(FakeSegmenter(), tmp_path, options=EvaluateOptions(clicks=1)))
    assert len(results) == len(items)
    assert all(len(result.clicks) for result in results)


def test_each_page_is_an_item(tmp_path: Path) -> None:
    _export(tmp_path, [_page(1, 0), _page(2, 3)])
    assert [item.name for item in read_items(tmp_path)] == ["task1_a_p0", "task1_a_p3"]
    assert [item["page"] for item in json.loads((tmp_path / "items.json").read_text())] == [0, 3]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
def test_coco_tells_all_objects_with_their_labels(tmp_path: Path) -> None:
    pages = [_page(1), _page(2)]
    _export(tmp_path, *[[page] for page in pages])
    coco = COCO(tmp_path / "coco.json")
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["Cell", "Dirt", "Never"]
    assert len(coco.getAnnIds(catIds=[2])) == 2
    for number, page in enumerate(pages, start=1):
        drawn = np.stack([coco.annToMask(one) for one in coco.loadAnns(coco.getAnnIds(imgIds=[number]))])
        assert np.array_equal(drawn.any(axis=0), page.masks.dense().any(axis=0))
        assert (tmp_path / coco.loadImgs([number])[0]["file_name"]).is_file()


def test_sa1b_has_one_file_an_image(tmp_path: Path) -> None:
    _export(tmp_path, [_page(1)])
    told = json.loads((tmp_path / "sa1b" / "task1_a.json").read_text())
    assert told["image"]["file_name"] == "task1_a.png"
    assert len(told["annotations"]) == len(_page(1).masks)


def test_a_small_object_on_a_large_one_is_kept(tmp_path: Path) -> None:
    cell, nucleus = np.zeros((2, 20, 20), np.int32)
    cell[2:18, 2:18] = 1
    nucleus[8:11, 8:11] = 1
    masks = Masks.merge([Masks.from_labels(nucleus), Masks.from_labels(cell)])
    _export(tmp_path, [Page(None, np.zeros((20, 20), np.uint8), masks, ("Nucleus", "Cell"))])
    (item,) = read_items(tmp_path)
    assert np.bincount(item.read()[1].ravel()).tolist() == [144, 247, 9]


def test_a_task_that_fails_is_told_and_left_out(tmp_path: Path) -> None:
    export = Export(tmp_path)

    def fail(*_: Json) -> list[Page]:
        msg = "got 404"
        raise ImageError(msg)

    result = export.task(_task(1, {"id": 5}), fail)
    assert (result.failed, result.why) == (True, "ImageError: got 404")
    export.finish()
    assert json.loads((tmp_path / "items.json").read_text()) == []


def test_a_task_without_an_annotation_or_an_object_is_no_failure(tmp_path: Path) -> None:
    export = Export(tmp_path)
    empty = Page(None, np.zeros((4, 4), np.uint8), Masks.empty((4, 4)), (), left_out=2)
    assert export.task(_task(1), lambda *_: []).why == "it has no annotation"
    result = export.task(_task(2, {"id": 5}), lambda *_: [empty])
    assert (result.failed, result.why, result.left_out) == (False, "its annotation shows no object", 2)


def test_the_annotation_that_counts() -> None:
    early, late = {"id": 9, "updated_at": "2026-01-01"}, {"id": 2, "updated_at": "2026-02-01"}
    assert chosen(_task(1, early, late)) == late
    assert chosen(_task(1, {**early, "ground_truth": True}, late)) == {**early, "ground_truth": True}
    assert chosen(_task(1, {**late, "was_cancelled": True})) is None


@given(tasks=st.sets(st.integers(1, 10**6), min_size=2, max_size=60), test=st.floats(0.01, 0.99))
def test_each_split_has_a_task(tasks: set[int], test: float) -> None:
    assert set(splits(tasks, test).values()) == {"train", "test"}


@given(tasks=st.sets(st.integers(1, 10**6), min_size=60, max_size=90), more=st.sets(st.integers(1, 10**6), max_size=60))
def test_more_tasks_leave_the_splits_of_the_others(tasks: set[int], more: set[int]) -> None:
    before, after = splits(tasks, 0.3), splits(tasks | more, 0.3)
    assert all(after[task] == split for task, split in before.items())


def test_a_part_of_the_tasks_is_kept_for_testing(tmp_path: Path) -> None:
    _export(tmp_path, *[[_page(seed)] for seed in range(12)], test=0.25)
    train, test = ([item.name for item in read_items(tmp_path, split)] for split in ("train", "test"))
    assert len(train) + len(test) == 12
    assert not set(train) & set(test)
    assert test


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("/data/local-files/?d=sub/a%20b.png", "task7_a_b"),
        ("s3://bucket/plate 1/ÄÖ.tif", "task7"),
        ("data:image/png;base64,AAAA.", "task7"),
        ("../../etc/passwd.png", "task7_passwd"),
        ("x" * 300 + ".png", f"task7_{'x' * 80}"),
    ],
)
def test_files_have_names_that_every_system_takes(image: str, name: str) -> None:
    assert file_name(_task(7, image=image)) == name
