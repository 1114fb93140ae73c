"""From a task to a prediction, with a fake model."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from sam_core import EmbeddingCache, ImageError, PromptError
from sam_label_studio import bitmask, rle
from sam_label_studio.config import Controls
from sam_label_studio.embeddings import Embeddings
from sam_label_studio.errors import ConfigError, FetchError
from sam_label_studio.frame import to_pixels
from sam_label_studio.polygon import polygon_mask
from sam_label_studio.predict import Options, predict_task
from tests.fake import FakeSegmenter
from tests.label_studio.server import config, controls, keypoint, memory, png, rectangle, source, squares, task, uri

SHAPE = (48, 64)


def _predict(given: dict[str, Any], *, output: str = "brush", xml: str | None = None, **options: Any) -> dict:
    found = Controls.of(xml) if xml else controls(output)
    return predict_task(given, found, FakeSegmenter(), memory(), source(), **options)


def _click(*regions: dict, output: str = "brush", **more: Any) -> list[dict]:
    return _predict(task(), output=output, context={"result": list(regions)}, **more)["result"]


def _mask(region: dict, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    value = region["value"]
    if region["type"].startswith("brush"):
        return rle.decode(value["rle"], shape)
    if region["type"].startswith("bitmask"):
        return bitmask.decode(value["imageDataURL"], shape)
    if region["type"].startswith("polygon"):
        return polygon_mask([to_pixels(value["points"], shape)], shape)
    rows, cols = (value["y"], value["height"], shape[0]), (value["x"], value["width"], shape[1])
    (y0, y1), (x0, x1) = ((round(a * n / 100), round((a + b) * n / 100)) for a, b, n in (rows, cols))
    return np.pad(np.ones((y1 - y0, x1 - x0), bool), ((y0, shape[0] - y1), (x0, shape[1] - x1)))


def _square(i: int) -> np.ndarray:
    return squares() == 200 + 20 * i


@pytest.mark.parametrize("output", ["brush", "polygon", "bitmask"])
def test_a_click_is_answered_with_the_object_under_it(output: str) -> None:
    (region,) = _click(keypoint(6, 10), output=output)
    assert (region["from_name"], region["to_name"], region["type"]) == ("out", "image", f"{output}labels")
    assert region["value"][f"{output}labels"] == ["Dog"]
    assert (region["original_width"], region["original_height"], region["image_rotation"]) == (64, 48, 0)
    assert region["score"] == 0.95
    assert type(region["score"]) is float
    assert np.array_equal(_mask(region), _square(0))


def test_a_config_that_only_has_boxes_is_answered_with_boxes() -> None:
    xml = config().replace("BrushLabels", "RectangleLabels").replace('smart="true"', 'smart="true" smartOnly="true"')
    (region,) = _predict(task(), xml=xml, context={"result": [keypoint(20, 20)]})["result"]
    assert region["type"] == "rectanglelabels"
    assert region["from_name"] == "out"
    assert np.array_equal(_mask(region), _square(1))


def test_an_ellipse_has_the_middle_and_the_size_of_its_mask() -> None:
    y, x = np.mgrid[:60, :80]
    turned = np.hypot((x - 40 + y - 30) / np.sqrt(2) / 20, (y - 30 - (x - 40)) / np.sqrt(2) / 8) < 1
    given = task(uri(png((turned * 255).astype(np.uint8))))
    xml = '<View><Image name="image" value="$image"/><EllipseLabels name="e" toName="image"/></View>'
    (region,) = _predict(given, xml=xml)["result"]
    value = region["value"]
    found = [value["x"] * 0.8 - 0.5, value["y"] * 0.6 - 0.5, value["radiusX"] * 0.8, value["radiusY"] * 0.6]
    assert found == pytest.approx([40, 30, 20, 8], abs=0.3)
    assert value["rotation"] == pytest.approx(45, abs=1)


def test_the_kind_of_answer_can_be_chosen() -> None:
    (region,) = _click(keypoint(6, 10), options=Options(kind="rectangle"))
    assert region["from_name"] == "rect"


def test_points_of_one_label_are_one_question() -> None:
    seen: list[Any] = []

    class Listening(FakeSegmenter):
        def decode(self, embedding: Any, prompts: Any, **options: Any) -> Any:
            seen.extend(prompts)
            return super().decode(embedding, prompts, **options)

    regions = [keypoint(6, 10), keypoint(8, 12), keypoint(40, 60, positive=False)]
    regions[1]["value"]["positive"] = True
    predict_task(task(), controls(), Listening(), memory(), source(), context={"result": regions})
    (prompt,) = seen
    assert prompt.points.tolist() == [[6, 10], [8, 12], [40, 60]]
    assert prompt.positive.tolist() == [True, True, False]


@pytest.mark.parametrize("sign", [{"is_positive": False}, {"value": {"x": 1, "y": 1, "positive": False}}])
def test_a_negative_click_alone_asks_for_nothing(sign: dict) -> None:
    click = keypoint(6, 10)
    del click["is_positive"]
    with pytest.raises(PromptError, match="at least one on the object"):
        _click({**click, **sign})


def test_every_box_has_its_mask_and_its_label() -> None:
    boxes = [rectangle(3, 5, 13, 21), rectangle(17, 15, 27, 31), rectangle(31, 25, 41, 41, label="Cell")]
    regions = _click(*boxes)
    assert [region["value"]["brushlabels"] for region in regions] == [["Dog"], ["Dog"], ["Cell"]]
    for i, region in enumerate(regions):
        assert np.array_equal(_mask(region), _square(i))
    assert len({region["id"] for region in regions}) == 3


def test_a_turned_box_and_an_ellipse_are_boxes_too() -> None:
    box = rectangle(4, 20, 20, 28)
    box["value"]["rotation"] = 90  # about its upper left corner: it now covers rows 4..11, columns 4..19
    ellipse = {**box, "type": "ellipselabels", "id": "e", "from_name": "ellipse"}
    ellipse["value"] = {"x": 36 / 64 * 100, "y": 35 / 48 * 100, "radiusX": 10, "radiusY": 10, "rotation": 0}
    first, second = _click(box, ellipse)
    assert np.array_equal(_mask(first), _square(0))
    assert np.array_equal(_mask(second), _square(2))


def test_a_stroke_is_a_first_answer() -> None:
    stroke = np.zeros(SHAPE, bool)
    stroke[6:9, 8:14] = True
    region = {**keypoint(0, 0), "type": "brushlabels", "value": {"format": "rle", "rle": rle.encode(stroke)}}
    (found,) = _click(region)
    assert np.array_equal(_mask(found), _square(0))


def test_ids_are_those_of_the_question() -> None:
    first, again, other = (_click(keypoint(6, x))[0]["id"] for x in (10, 10, 11))
    assert first == again
    assert first != other
    more = _click(keypoint(6, 10), keypoint(7, 11))[0]["id"]
    assert more == first


def test_nothing_drawn_is_nothing_answered() -> None:
    for context in ({"result": []}, {}, {"result": None}):
        assert _predict(task(), context=context) == {"result": [], "score": 0.0, "model_version": "sam-core"}


def test_a_click_on_nothing_is_answered_with_nothing() -> None:
    assert _click(keypoint(0, 60)) == []


@pytest.mark.parametrize(
    ("region", "told"),
    [
        (keypoint(6, 10) | {"value": {"x": 120, "y": 5}}, "got a point"),
        (keypoint(6, 10) | {"value": {"x": None, "y": 5}}, "finite numbers"),
        (keypoint(6, 10) | {"value": {"x": "a", "y": 5}}, "finite numbers"),
        (keypoint(6, 10) | {"value": {"x": float("nan"), "y": 5}}, "finite numbers"),
        (keypoint(6, 10) | {"original_width": 640}, "drawn on"),
        (keypoint(6, 10) | {"image_rotation": 90}, "turn it back"),
        (rectangle(4, 4, 4, 20), "no area"),
        (rectangle(4, 20, 9, 20), "no area"),
        (rectangle(60, 60, 70, 70), "outside the plane"),
        (rectangle(4, 4, 9, 9) | {"value": {"x": 1}}, "finite numbers"),
        (keypoint(6, 10) | {"type": "brushlabels", "value": {"rle": [1, 2]}}, "ends too early"),
        (keypoint(6, 10) | {"type": "brushlabels", "value": {"rle": rle.encode(np.ones((4, 4), bool))}}, "words"),
        (keypoint(6, 10) | {"type": "brushlabels", "value": {"rle": rle.encode(np.zeros(SHAPE, bool))}}, "nothing"),
        (keypoint(6, 10) | {"type": "bitmasklabels", "value": {"imageDataURL": "http://x"}}, "expected 'data:"),
        (keypoint(6, 10) | {"type": "polygonlabels", "value": {"points": [[1, 1], [2, 2]]}}, "at least three"),
        (keypoint(6, 10) | {"type": "polygonlabels", "value": {"points": "abc"}}, "points x, y"),
    ],
)
def test_a_prompt_that_makes_no_sense_is_told_and_the_others_are_answered(
    region: dict, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(PromptError, match=told):
        _click(region)
    with caplog.at_level(logging.WARNING):
        (found,) = _click(region, rectangle(17, 15, 27, 31, label="Cell"))
    assert np.array_equal(_mask(found), _square(1))
    assert told.replace("\\", "") in caplog.text


def test_what_draws_nothing_is_passed_over() -> None:
    choice = {"type": "choices", "from_name": "c", "to_name": "image", "value": {"choices": ["Good"]}}
    (found,) = _click(choice, keypoint(6, 10))
    assert np.array_equal(_mask(found), _square(0))


def test_a_label_that_is_not_in_the_config_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        (region,) = _click(rectangle(3, 5, 13, 21, label="Cat"))
    assert "brushlabels" not in region["value"]
    assert "'Cat'" in caplog.text


@pytest.mark.parametrize(
    ("xml", "told"),
    [
        ("<View>", "no XML"),
        ("", "no labelling config"),
        ('<View><Image name="image" value="$image"/><Choices name="c" toName="image"/></View>', "tag that can show"),
        ('<View><Text name="text" value="$text"/></View>', "without an Image tag"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>', "entities"),
    ],
)
@pytest.mark.parametrize("context", [None, {"result": [keypoint(6, 10)]}])
def test_a_config_that_nothing_can_be_answered_with_is_told(xml: str, told: str, context: Any) -> None:
    with pytest.raises(ConfigError, match=told):
        predict_task(task(), Controls.of(xml), FakeSegmenter(), memory(), source(), context=context)


@pytest.mark.parametrize("data", [{}, {"image": ""}, {"image": None}, {"image": 7}, {"image": {}}, None, "text"])
def test_a_task_without_an_image_is_told(data: Any) -> None:
    for context in (None, {"result": [keypoint(6, 10)]}):
        with pytest.raises(FetchError, match=r"expected its address|without an image"):
            _predict(task() | {"data": data}, context=context)


def test_a_damaged_image_is_told() -> None:
    with pytest.raises(ImageError, match="damaged"):
        _predict(task(uri(png(squares())[:-40])), context={"result": [keypoint(6, 10)]})


# -- whole tasks -----------------------------------------------------------------------------------------------------


def test_everything_is_found() -> None:
    answer = _predict(task())
    assert [region["value"]["brushlabels"] for region in answer["result"]] == [["Cell"]] * 3
    masks = [_mask(region) for region in answer["result"]]
    assert all(any(np.array_equal(mask, _square(i)) for mask in masks) for i in range(3))
    assert answer["score"] == pytest.approx(0.95)
    assert _predict(task()) == answer


def test_the_label_of_everything_can_be_chosen() -> None:
    answer = _predict(task(), options=Options(label="Dog", version="v1"))
    assert {region["value"]["brushlabels"][0] for region in answer["result"]} == {"Dog"}
    assert answer["model_version"] == "v1"


def _annotation(number: int, *regions: dict, **more: Any) -> dict:
    return {"id": number, "result": list(regions), "updated_at": f"2026-01-{number:02}T00:00:00Z", **more}


def test_boxes_of_the_latest_annotation_become_masks() -> None:
    given = task(
        annotations=[
            _annotation(1, rectangle(3, 5, 13, 21)),
            _annotation(2, rectangle(17, 15, 27, 31)),
            _annotation(3, rectangle(31, 25, 41, 41), was_cancelled=True),
        ],
        predictions=[_annotation(9, rectangle(3, 5, 13, 21), model_version="detector")],
    )
    (region,) = _predict(given, mode="boxes")["result"]
    assert np.array_equal(_mask(region), _square(1))


def test_boxes_of_a_detector_become_masks_but_not_our_own() -> None:
    detected = _annotation(1, rectangle(3, 5, 13, 21), model_version="yolo")
    ours = _annotation(2, rectangle(17, 15, 27, 31), model_version="sam-core 0.1")
    (region,) = _predict(task(predictions=[detected, ours]), mode="boxes")["result"]
    assert np.array_equal(_mask(region), _square(0))
    assert region["value"]["brushlabels"] == ["Dog"]
    assert _predict(task(predictions=[ours]), mode="boxes")["result"] == []


@pytest.mark.parametrize("kind", ["brush", "polygon", "bitmask"])
def test_masks_are_refined(kind: str) -> None:
    rough = np.zeros(SHAPE, bool)
    rough[5:11, 7:18] = True
    values = {
        "brush": {"format": "rle", "rle": rle.encode(rough), "brushlabels": ["Dog"]},
        "bitmask": {"imageDataURL": bitmask.encode(rough), "bitmasklabels": ["Dog"]},
        "polygon": {"points": [[11, 11], [28, 11], [28, 22], [11, 22]], "polygonlabels": ["Dog"]},
    }
    drawn = {**rectangle(0, 0, 1, 1), "type": f"{kind}labels", "value": values[kind]}
    (region,) = _predict(task(annotations=[_annotation(1, drawn)]), mode="refine")["result"]
    assert np.array_equal(_mask(region), _square(0))
    assert region["value"]["brushlabels"] == ["Dog"]


def test_off_is_off() -> None:
    assert _predict(task("file:///nothing"), mode="off")["result"] == []


# -- pages and frames ------------------------------------------------------------------------------------------------


def _stack() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.stack([squares(1), squares(2), squares(3)]), photometric="minisblack")
    return file.getvalue()


def test_each_page_of_a_tiff_has_its_own_answers() -> None:
    given = task(uri(_stack(), "tiff"))
    found = _predict(given)["result"]
    assert [region["item_index"] for region in found] == [0, 1, 1, 2, 2, 2]
    clicked = _predict(given, context={"result": [keypoint(20, 20, item_index=1), keypoint(36, 30, item_index=2)]})
    assert [region["item_index"] for region in clicked["result"]] == [1, 2]
    assert np.array_equal(_mask(clicked["result"][1]), _square(2))
    assert _predict(given, context={"result": [keypoint(20, 20)]})["result"] == []
    with pytest.raises(FetchError, match="page 3"):
        _predict(given, context={"result": [keypoint(20, 20, item_index=3)]})


def test_each_image_of_a_list_has_its_own_answers() -> None:
    xml = config().replace('value="$image"', 'valueList="$pages"')
    given = task() | {"data": {"pages": [uri(png(squares(n))) for n in (1, 3)]}}
    assert [region["item_index"] for region in _predict(given, xml=xml)["result"]] == [0, 1, 1, 1]
    for item, count in ((0, 0), (1, 1)):
        found = _predict(given, xml=xml, context={"result": [keypoint(20, 20, item_index=item)]})["result"]
        assert [region["item_index"] for region in found] == [item] * count


REPEATER = """<View><Repeater on="$pages" indexFlag="{{idx}}"><Image name="page_{{idx}}" value="$pages[{{idx}}].url"/>
<KeyPointLabels name="kp_{{idx}}" toName="page_{{idx}}" smart="true"><Label value="Dog"/></KeyPointLabels>
<BrushLabels name="out_{{idx}}" toName="page_{{idx}}"><Label value="Dog"/></BrushLabels></Repeater></View>"""


def test_pages_of_a_repeater_are_images_with_tags_of_their_own() -> None:
    given = task(data={"pages": [{"url": uri(png(squares(count)))} for count in (1, 3)]})
    everything = _predict(given, xml=REPEATER)["result"]
    assert [(r["from_name"], r["to_name"]) for r in everything] == [("out_0", "page_0"), *[("out_1", "page_1")] * 3]
    assert not any("item_index" in region for region in everything)
    assert len({region["id"] for region in everything}) == 4
    click = keypoint(20, 20, from_name="kp_1", to_name="page_1")
    (clicked,) = _predict(given, xml=REPEATER, context={"result": [click]})["result"]
    assert (clicked["from_name"], clicked["to_name"], clicked["value"]["brushlabels"]) == ("out_1", "page_1", ["Dog"])
    with pytest.raises(ConfigError, match="no image of the config"):
        _predict(given, xml=REPEATER, context={"result": [{**click, "to_name": "page_2"}]})


@pytest.mark.parametrize("data", [{}, {"pages": []}, {"pages": "a.png"}])
def test_a_repeater_without_pages_is_told(data: dict) -> None:
    with pytest.raises(ConfigError, match="a task without an image to show"):
        _predict(task(data=data), xml=REPEATER)


def test_a_photo_is_turned_as_its_exif_data_says() -> None:
    """A 64 x 48 JPEG with orientation 6 is shown as 48 wide and 64 high; masks fit what is shown."""
    upright = np.zeros((64, 48), np.uint8)
    upright[6:20, 30:44] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = png(np.rot90(upright).copy(), "JPEG", exif=exif, quality=95)
    given = task(uri(photo, "jpeg"))
    (region,) = _predict(given, context={"result": [keypoint(10, 36, shape=(64, 48))]})["result"]
    assert (region["original_width"], region["original_height"]) == (48, 64)
    mask = _mask(region, (64, 48))
    assert (mask & (upright > 0)).sum() / (mask | (upright > 0)).sum() > 0.9


# -- embeddings ------------------------------------------------------------------------------------------------------


def test_the_second_click_encodes_and_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, cache, images = FakeSegmenter(), memory(), source()
    click: dict[str, Any] = {"context": {"result": [keypoint(6, 10)]}}
    first = predict_task(task(), controls(), model, cache, images, **click)
    monkeypatch.setattr(type(images), "open", lambda *_, **__: pytest.fail("fetched once more"))
    assert predict_task(task(), controls(), model, cache, images, **click) == first
    assert model.encoded == cache.counts.encoded == 1
    assert (cache.counts.hits, cache.counts.misses) == (1, 1)


def test_memory_is_bounded_and_the_latest_stay() -> None:
    model, images = FakeSegmenter(), source()
    cache = Embeddings(None, memory=3 * 48 * 64 * 2)
    pictures = [task(uri(png(np.roll(squares(), i, axis=1))), i) for i in range(40)]
    for each in pictures:
        predict_task(each, controls(), model, cache, images, context={"result": [keypoint(6, 10)]})
        assert cache.nbytes <= cache.memory
    predict_task(pictures[-1], controls(), model, cache, images, context={"result": [keypoint(6, 10)]})
    assert model.encoded == 40
    assert not cache._making


def test_what_was_encoded_is_on_disk_for_the_next_server(tmp_path: Path) -> None:
    click: dict[str, Any] = {"context": {"result": [keypoint(6, 10)]}}
    first, second = FakeSegmenter(), FakeSegmenter()
    kept = Embeddings.at(tmp_path)
    answer = predict_task(task(), controls(), first, kept, source(), **click)
    kept.flush()
    assert predict_task(task(), controls(), second, Embeddings.at(tmp_path), source(), **click) == answer
    assert (first.encoded, second.encoded) == (1, 0)
    assert EmbeddingCache(tmp_path).encode(second, squares()).image_shape == (48, 64)
    assert second.encoded == 0


def test_an_address_is_looked_at_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is behind an address may change."""
    (tmp_path / "a.png").write_bytes(png(squares(1)))
    images, model, cache = source(roots=(tmp_path,)), FakeSegmenter(), memory()
    monkeypatch.setattr(type(images), "key", lambda _, reference: reference)
    given = task("/data/local-files/?d=a.png")
    click: dict[str, Any] = {"context": {"result": [keypoint(20, 20)]}}
    assert predict_task(given, controls(), model, cache, images, **click)["result"] == []
    (tmp_path / "a.png").write_bytes(png(squares(2)))
    assert predict_task(given, controls(), model, cache, images, **click)["result"] == []
    monkeypatch.setattr("sam_label_studio.memory.FRESH", 0.0)
    assert len(predict_task(given, controls(), model, cache, images, **click)["result"]) == 1
