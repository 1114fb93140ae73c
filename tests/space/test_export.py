"""What is taken away is opened again and compared with what was shown."""

from __future__ import annotations

import csv
import io
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools import mask as coco
from skimage.draw import polygon2mask

from sam_core import Masks, Sam, samples
from sam_space.desk import Desk
from sam_space.export import KINDS
from tests.space.drive import EASY, SQUARES, Page, desk, opened, png, squares

NAMES = ("=1+1", "<script>alert(1)</script>")


@pytest.fixture(scope="module")
def page() -> Page:
    page = opened()
    page.act("click", x=10, y=10)
    page.act("click", x=40, y=25, fresh=True)
    for number, name in enumerate(NAMES, start=1):
        page.act("rename", number=number, name=name)
    return page


def truth() -> np.ndarray:
    labels = np.zeros((40, 60), np.int32)
    for number, (y0, x0, y1, x1) in enumerate(SQUARES, start=1):
        labels[y0:y1, x0:x1] = number
    return labels


def decoded(code: dict[str, Any]) -> np.ndarray:
    """pycocotools makes an array in a manner that numpy finds old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return np.asarray(coco.decode(code)).astype(bool)


def test_every_kind_has_a_test() -> None:
    here = " ".join(name for name in globals() if name.startswith("test_"))
    assert all(kind in here for kind in KINDS)


def test_cutout_is_transparent_around_the_objects(page: Page) -> None:
    image = np.asarray(Image.open(io.BytesIO(page.take("cutout"))))
    part = truth()[5:34, 5:50] > 0
    np.testing.assert_array_equal(image[..., 3] > 0, part)
    assert (image[part][:, :3] == 200).all()
    assert not image[~part].any()


def test_binary_and_index_show_the_labels(page: Page) -> None:
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(page.take("binary")))) == 255, truth() > 0)
    index = Image.open(io.BytesIO(page.take("index")))
    np.testing.assert_array_equal(np.asarray(index), truth())
    assert index.getpalette()[3:6] == [0xFF, 0x4D, 0x6D]  # type: ignore[index]


def test_tiff_holds_the_labels(page: Page) -> None:
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(page.take("tiff"))), truth())


def test_coco_decodes_to_the_masks(page: Page) -> None:
    about = json.loads(page.take("coco"))
    for number, each in enumerate(about["annotations"], start=1):
        np.testing.assert_array_equal(decoded(each["segmentation"]), truth() == number)
    assert [each["name"] for each in about["annotations"]] == list(NAMES)
    assert about["image"]["file_name"] == "squares.png"


def test_geojson_and_svg_outline_the_objects(page: Page) -> None:
    for number, feature in enumerate(json.loads(page.take("geojson"))["features"], start=1):
        (ring,) = feature["geometry"]["coordinates"]
        inside = polygon2mask((40, 60), np.array(ring)[:, ::-1] - 0.5 + 1e-6)
        np.testing.assert_array_equal(inside, truth() == number)
        assert feature["properties"]["name"] == NAMES[number - 1]
    paths = list(ElementTree.fromstring(page.take("svg")).iter("{http://www.w3.org/2000/svg}path"))
    assert [path[0].text for path in paths] == list(NAMES)
    assert paths[0].get("d") == "M5 5 L15 5 L15 15 L5 15 Z"


def test_csv_measures_and_is_no_formula(page: Page) -> None:
    rows = list(csv.DictReader(io.StringIO(page.take("csv").decode())))
    assert [(row["name"], row["area_px"], row["intensity_mean"]) for row in rows] == [
        ("'=1+1", "100", "200"),
        (NAMES[1], "280", "200"),
    ]


def test_some_objects_alone(page: Page) -> None:
    labels = tifffile.imread(io.BytesIO(page.take("tiff", numbers=[2])))
    np.testing.assert_array_equal(labels, (truth() == 2).astype(int))


def test_what_was_shrunk_is_taken_away_at_its_own_size() -> None:
    """Edges of the image are no whole number of the pixels that were worked on."""
    limits = replace(EASY, work_pixels=3000)
    page = Page(desk(limits))
    image = np.repeat(np.repeat(squares(), 2, axis=0), 2, axis=1)[:79, :119]
    about = page.open(png(image)).json()["picture"]
    assert (about["shrunk"], about["width"], about["height"]) == (2, 60, 40)
    assert (about["own_width"], about["own_height"]) == (119, 79)
    page.act("click", x=10, y=10)
    view = page.act("click", x=40, y=25, fresh=True)
    page.act("select", number=None)
    corner = page.act("stroke", points=[[59.5, 39.5]], radius=0.5, add=True)
    assert [each["area"] for each in view["objects"]] == [400, 1120]
    assert corner["objects"][-1]["area"] == 1  # of two by two pixels the image has one
    labels = np.repeat(np.repeat(truth(), 2, axis=0), 2, axis=1)[:79, :119]
    labels[78, 118] = 3
    taken = tifffile.imread(io.BytesIO(page.take("tiff")))
    np.testing.assert_array_equal(taken, labels)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(page.take("index")))), taken)
    cutout = np.asarray(Image.open(io.BytesIO(page.take("cutout"))))
    assert (cutout[cutout[..., 3] > 0][:-1, 0] == 200).all()
    for each in json.loads(page.take("coco"))["annotations"]:
        np.testing.assert_array_equal(decoded(each["segmentation"]), labels == each["id"])
    rows = list(csv.DictReader(io.StringIO(page.take("csv").decode())))
    assert [row["area_px"] for row in rows[:2]] == ["400", "1120"]
    lines = page.post("/python", {"plane": 0}).json()["python"]
    assert "repeat(2, 0).repeat(2, 1)[:79, :119]" in lines


@pytest.mark.slow
def test_copied_python_gives_the_size_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = samples.cells((320, 384), count=60, diameter=28.0, seed=3).image
    large = np.repeat(np.repeat(large, 3, axis=0), 3, axis=1)[:-1, :-1]
    out = io.BytesIO()
    tifffile.imwrite(out, large)
    (tmp_path / "large.tif").write_bytes(out.getvalue())
    page = Page(Desk(Sam.from_pretrained("cell"), replace(EASY, work_pixels=150_000)))
    assert page.open(out.getvalue(), "large.tif").json()["picture"]["shrunk"] == 3
    page.act("click", x=100, y=100)
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(compile(page.post("/python", {"plane": 0}).json()["python"], "copied", "exec"), made)
    labels = tifffile.imread(io.BytesIO(page.take("tiff")))
    assert labels.shape == large.shape
    np.testing.assert_array_equal(made["own_size"][1, 0], labels > 0)


@pytest.mark.parametrize("kind", ["exe", "", "../cutout", None])
def test_no_other_kind(page: Page, kind: Any) -> None:
    assert page.post("/take", {"kind": kind, "plane": 0}).status_code == 400


def test_nothing_to_take() -> None:
    assert "nothing to take" in opened().post("/take", {"kind": "tiff"}).json()["refused"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cells", "stack"])
def test_copied_python_makes_the_same_objects(name: str) -> None:
    """Clicks, a correction, a box, a candidate, the brush, everything and what was followed."""
    from sam_space.examples import EXAMPLES

    server = Desk(Sam.from_pretrained("cell"), EASY)
    example = next(each for each in EXAMPLES if each.name == name)
    server.examples[name] = example.picture()
    truth = example.make().labels
    plane = 8 if truth.ndim == 3 else 0
    labels = truth[plane] if truth.ndim == 3 else truth
    cells = Masks.from_labels(labels)
    cells = cells[np.argsort(-cells.areas)[:4]]
    middles = [((y0 + y1) / 2, (x0 + x1) / 2) for y0, x0, y1, x1 in cells.boxes.tolist()]
    page = Page(server)
    page.post("/example", {"name": name})
    (ay, ax), (by, bx), *_ = middles
    page.act("click", plane=plane, x=ax, y=ay)
    page.act("choose", plane=plane, index=1)
    page.act("click", plane=plane, x=bx, y=by, fresh=True)
    page.act("click", plane=plane, x=bx + 3, y=by + 2)
    page.act("stroke", plane=plane, points=[[bx, by], [bx + 20, by + 3]], radius=2.5, add=True)
    y0, x0, y1, x1 = cells.boxes[2].tolist()
    page.act("box", plane=plane, box=[x0, y0, x1, y1], fresh=True)
    if truth.ndim == 3:
        assert page.lines("/follow", {"plane": plane})[-1]["found"] > 2
        # What it was followed from changes, and so does a plane that it was followed to; a second run begins at both.
        page.act("stroke", plane=plane, points=[[ax, ay], [ax + 9, ay]], radius=3.5, add=True)
        page.act("select", number=1)
        page.act("click", plane=plane, x=ax, y=ay)
        page.act("select", number=3)
        page.act("stroke", plane=plane + 1, points=[[bx, by]], radius=4.0, add=True)
        page.act("select", number=2)
        assert page.lines("/follow", {"plane": plane})[-1]["found"] > 2
        page.act("stroke", plane=plane, points=[[bx, by]], radius=6.0, add=True)
        page.act("select", number=3)
        assert page.lines("/follow", {"plane": plane})[-1]["found"] > 2
    assert page.lines("/everything", {"plane": plane})[-1]["found"] > 5
    result = server._result(server.visitors.find(page.key), {"plane": plane})
    lines = page.post("/python", {"plane": plane}).json()["python"]
    made: dict[str, Any] = {}
    exec(compile(lines, "copied", "exec"), made)
    assert len(made["objects"]) == sum(len(each.drawn) for each in result.objects)
    for (number, at), mask in made["objects"].items():
        shown = next(each for each in result.objects if each.number == number).drawn[at].mask
        np.testing.assert_array_equal(mask.dense(), shown.dense())
