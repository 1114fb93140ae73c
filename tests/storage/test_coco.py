"""COCO-RLE JSON, read by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco
from pycocotools.coco import COCO

from sam_core import Masks, samples
from sam_core.storage import save_coco
from sam_core.storage.rle import encode

SA_1B = {"segmentation", "bbox", "area", "predicted_iou", "stability_score", "crop_box", "point_coords", "id"}


def _decoded(code: dict[str, Any]) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about how pycocotools talks to numpy
        return np.asarray(coco.decode(code)).astype(bool)


@settings(max_examples=80, deadline=None)
@given(
    crop=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=7)),
    y=st.integers(0, 3),
    x=st.integers(0, 3),
)
def test_the_code_of_a_crop_is_that_of_its_plane(crop: np.ndarray, y: int, x: int) -> None:
    dense = np.zeros((10, 11), np.uint8)
    dense[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    code = encode(crop, (y, x), dense.shape)
    assert np.array_equal(_decoded(code), dense)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert code["counts"].encode() == coco.encode(np.asfortranarray(dense))["counts"]


def _saved(path: Path, planes: list[Masks], **options: str) -> dict[str, Any]:
    save_coco(path, planes, **options)
    return json.loads(path.read_text())


def test_a_plane_is_written_as_in_sa_1b(tmp_path: Path) -> None:
    labels = samples.cells((50, 60)).labels
    masks = Masks.from_labels(labels)
    saved = _saved(tmp_path / "a.json", [masks], file_name="a.png", made_by="sam-core 1")
    assert saved["image"].items() >= {"image_id": 1, "width": 60, "height": 50, "file_name": "a.png"}.items()
    assert saved["info"] == {"made_by": "sam-core 1"}
    assert len(saved["annotations"]) == len(masks)
    for one, dense, (y0, x0, y1, x1) in zip(saved["annotations"], masks.dense(), masks.boxes.tolist(), strict=True):
        assert set(one) >= SA_1B
        assert np.array_equal(_decoded(one["segmentation"]), dense)
        assert one["bbox"] == [x0, y0, x1 - x0, y1 - y0]
        assert one["area"] == dense.sum() == int(coco.area(one["segmentation"]))
        assert one["crop_box"] == [0, 0, 60, 50]
        assert (one["predicted_iou"], one["stability_score"]) == (1, 1)
        ((x, y),) = one["point_coords"]
        assert dense[y, x]


def test_the_point_is_the_deepest(tmp_path: Path) -> None:
    labels = np.zeros((20, 30), int)
    labels[3:12, 5:14] = 1
    (one,) = _saved(tmp_path / "a.json", [Masks.from_labels(labels)])["annotations"]
    assert one["point_coords"] == [[9, 7]]


def test_a_stack_has_an_image_for_each_plane(tmp_path: Path) -> None:
    planes = [Masks.from_labels(plane) for plane in samples.z_stack((4, 40, 50)).labels]
    saved = _saved(tmp_path / "a.json", planes)
    assert "image" not in saved
    assert [image["plane"] for image in saved["images"]] == [0, 1, 2, 3]
    counts = [sum(one["image_id"] == image["image_id"] for one in saved["annotations"]) for image in saved["images"]]
    assert counts == [len(masks) for masks in planes]


def test_coco_tools_read_it(tmp_path: Path) -> None:
    planes = [Masks.from_labels(plane) for plane in samples.z_stack((3, 40, 50)).labels]
    save_coco(tmp_path / "a.json", planes)
    with contextlib.redirect_stdout(io.StringIO()):
        tool = COCO(str(tmp_path / "a.json"))
    found = tool.loadAnns(tool.getAnnIds(imgIds=[2]))
    assert len(found) == len(planes[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(tool.annToMask(found[0]), planes[1].dense()[0])


def test_nothing_and_empty_masks_are_written(tmp_path: Path) -> None:
    assert _saved(tmp_path / "a.json", [Masks.empty((4, 5))])["annotations"] == []
    nothing = np.zeros((0, 0), bool)
    one = np.ones(1, np.float32)
    masks = Masks((4, 5), (nothing,), np.zeros((1, 2), np.int32), one, one, np.zeros(1, np.int32), (None,))
    (saved,) = _saved(tmp_path / "a.json", [masks])["annotations"]
    assert (saved["area"], saved["bbox"], saved["point_coords"]) == (0, [0, 0, 0, 0], [])
    assert not _decoded(saved["segmentation"]).any()


def test_an_interruption_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text("old")

    def interrupt(path: Path, *_: object, **__: object) -> None:
        with path.open("w") as file:
            file.write("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_coco(tmp_path / "a.json", [Masks.empty((4, 5))])
    assert (tmp_path / "a.json").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
