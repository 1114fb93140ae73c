"""The page in a real browser, on the server as the Hub starts it, with the embedded model."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from sam_core import samples
from tests.space.visit import MIDDLES, Visit, iou, truth

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def context(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1360, "height": 820}, accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context
    context.close()


@pytest.fixture
def visit(context: Any, address: str) -> Iterator[Visit]:
    visit = Visit(context, address)
    yield visit
    assert visit.said == []
    outside = [url for url in visit.asked if not url.startswith((address, "data:", f"blob:{address}"))]
    assert outside == []
    visit.page.close()


def test_it_is_ready_with_an_example_that_is_encoded(visit: Visit) -> None:
    assert "cells.tif: 384" in visit.told
    assert visit.find("[data-example]").count() == 4
    visit.page.wait_for_selector(".sam[data-encoded='cells.tif:0']")
    assert "encoded before" in visit.find(".facts").inner_text()


def test_hovering_previews_and_takes_nothing(visit: Visit) -> None:
    visit.page.mouse.move(*visit.at(*MIDDLES[0]))
    visit.page.wait_for_function("document.querySelector('.sam').dataset.score > 0.5")
    for step in range(60):
        visit.page.mouse.move(*visit.at(160 + 100 * math.sin(step / 9), 192 + 120 * math.cos(step / 9)))
    assert int(visit.data("previews")) >= 5
    assert visit.count == 0


def test_a_click_takes_a_cell_and_candidates_are_offered(visit: Visit) -> None:
    visit.click(MIDDLES[0])
    assert visit.count == 1
    assert iou(visit.labels() > 0, truth(MIDDLES[0])) > 0.7
    candidates = visit.find(".candidates [role=radio]")
    assert candidates.count() == 3
    scores = [float(text) for text in candidates.all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    before = visit.labels()
    visit.done(lambda: visit.page.keyboard.press("3"))
    assert candidates.nth(2).get_attribute("aria-checked") == "true"
    assert (visit.labels() != before).any()
    visit.done(lambda: visit.page.keyboard.press("Control+z"))
    np.testing.assert_array_equal(visit.labels(), before)


@pytest.mark.parametrize("how", [{"button": "right"}, {"modifiers": "Shift"}])
def test_a_right_or_shifted_click_cuts_away(visit: Visit, how: dict[str, str]) -> None:
    place = MIDDLES[1]
    visit.click(place)
    before = visit.labels() > 0
    beside = (place[0], place[1] + 6)
    if "modifiers" in how:
        visit.page.keyboard.down("Shift")
        visit.click(beside)
        visit.page.keyboard.up("Shift")
    else:
        visit.click(beside, button="right")
    after = visit.labels() > 0
    assert not after[beside]
    assert after.sum() < before.sum()
    assert not (after & ~before).any()
    assert visit.count == 1


def test_a_drag_is_a_box(visit: Visit) -> None:
    rows, columns = np.nonzero(truth(MIDDLES[2]))
    visit.page.mouse.move(*visit.at(rows.min() - 2, columns.min() - 2))
    visit.page.mouse.down()
    visit.page.mouse.move(*visit.at(MIDDLES[2][0], MIDDLES[2][1]), steps=4)
    visit.page.mouse.move(*visit.at(rows.max() + 2, columns.max() + 2), steps=4)
    visit.done(lambda: visit.page.mouse.up())
    assert iou(visit.labels() > 0, truth(MIDDLES[2])) > 0.75


def test_objects_have_names_and_undo_redo_clear_work(visit: Visit) -> None:
    visit.find("[data-do=each]").check()
    for place in MIDDLES[:3]:
        visit.click(place)
    assert visit.count == 3
    name = visit.find("li[data-number='2'] input[type=text]")
    name.fill("<b>nucleus</b>")
    visit.done(lambda: name.press("Enter"))
    visit.page.wait_for_function(
        "document.querySelector('li[data-number=\"2\"] input[type=text]').value === '<b>nucleus</b>'"
    )
    visit.page.wait_for_timeout(300)
    for do, count in (("undo", 3), ("clear", 0), ("undo", 3), ("undo", 2), ("redo", 3)):
        visit.done(lambda do=do: visit.find(f"[data-do={do}]").click())
        assert visit.count == count, do
    table = visit.take("csv").decode().splitlines()
    assert len(table) == 4


def test_everything_and_its_exports_agree(visit: Visit) -> None:
    visit.find("[data-do=everything]").click()
    visit.page.wait_for_function("+document.querySelector('.sam').dataset.objects > 10")
    count = visit.count
    labels = visit.labels()
    assert len(np.unique(labels)) - 1 <= count
    index = np.asarray(Image.open(io.BytesIO(visit.take("index"))))
    np.testing.assert_array_equal(index, labels)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(visit.take("binary")))) > 0, labels > 0)
    rows, columns = np.nonzero(labels)
    alpha = np.asarray(Image.open(io.BytesIO(visit.take("cutout"))))[..., 3] > 0
    np.testing.assert_array_equal(alpha, (labels > 0)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    assert len(json.loads(visit.take("coco"))["annotations"]) == count
    assert len(json.loads(visit.take("geojson"))["features"]) == len(np.unique(labels)) - 1
    assert visit.take("svg").decode().count("<path") == len(np.unique(labels)) - 1
    assert re.search(r"\d+ objects found in \d", visit.told) or "KiB" in visit.told


def test_everything_can_be_stopped(visit: Visit, context: Any) -> None:
    big = samples.cells((1400, 1400), count=900, diameter=30.0, seed=1).image
    out = io.BytesIO()
    tifffile.imwrite(out, big)
    visit.find("#sam-file").set_input_files({"name": "big.tif", "mimeType": "image/tiff", "buffer": out.getvalue()})
    visit.page.wait_for_selector(".sam[data-encoded='big.tif:0']", timeout=120_000)
    visit.find("[data-do=everything]").click()
    visit.page.wait_for_selector(".busy progress[value]")
    visit.find("[data-do=stop]").click()
    visit.page.wait_for_selector(".sam:not([data-busy])")
    assert "Stopped" in visit.told
    assert visit.count == 0


def test_a_stack_is_browsed_and_an_object_followed(visit: Visit) -> None:
    visit.find("[data-example=stack]").click()
    visit.page.wait_for_selector(".sam[data-encoded^='stack.tif']")
    stack = samples.z_stack((16, 240, 288), count=60, diameter=34.0, seed=2).labels
    plane = 8
    sizes = np.bincount(stack[plane].ravel())[1:]
    cell = stack[plane] == sizes.argmax() + 1
    y, x = (round(float(v.mean())) for v in np.nonzero(cell))
    visit.done(lambda: visit.page.mouse.click(*visit.at(y, x)))
    visit.find("[data-do=follow]").click()
    visit.page.wait_for_function("document.querySelector('.told').textContent.startsWith('followed')")
    labels = visit.labels()
    assert labels.shape == (16, 240, 288)
    assert 3 <= labels.any(axis=(1, 2)).sum() <= 16
    visit.page.keyboard.press(".")
    visit.page.wait_for_selector(".sam[data-encoded='stack.tif:9']")
    assert visit.find(".planes output").inner_text() == "10 / 16"


def test_the_brush_and_the_eraser(visit: Visit) -> None:
    visit.page.keyboard.press("b")
    visit.page.mouse.move(*visit.at(40, 40))
    visit.page.mouse.down()
    visit.page.mouse.move(*visit.at(40, 80), steps=6)
    visit.done(lambda: visit.page.mouse.up())
    painted = visit.labels() > 0
    assert painted[40, 38:82].all()
    assert not painted[60].any()
    visit.page.keyboard.press("x")
    visit.click((40, 60))
    assert not (visit.labels() > 0)[40, 60]


def test_the_keyboard_alone_is_enough(visit: Visit) -> None:
    visit.find(".canvas").focus()
    for _ in range(5):
        visit.page.keyboard.press("ArrowLeft")
    visit.done(lambda: visit.page.keyboard.press("Enter"))
    visit.page.keyboard.press("?")
    assert visit.find("dialog.help").is_visible()
    visit.page.keyboard.press("Escape")


def test_copied_python_is_python(visit: Visit) -> None:
    visit.click(MIDDLES[0])
    visit.find("[data-do=python]").click()
    visit.page.wait_for_function("document.querySelector('.told').textContent.startsWith('Copied')")
    copied = visit.page.evaluate("navigator.clipboard.readText()")
    made: dict[str, Any] = {}
    exec(compile(copied, "copied", "exec"), made)
    np.testing.assert_array_equal(made["objects"][1, 0].dense()[0], visit.labels() > 0)


def test_errors_are_sentences(context: Any, address: str) -> None:
    """Not with `visit`: a browser writes to its console that a file was refused."""
    visit = Visit(context, address)
    file = {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    visit.find("#sam-file").set_input_files(file)
    visit.page.wait_for_selector(".told.no")
    assert "a.png" in visit.told
    assert "expected" in visit.told
    visit.click(MIDDLES[0])
    assert visit.count == 1
    visit.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_in_the_light_and_in_the_dark(chromium: Any, address: str, scheme: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    context = chromium.new_context(**phone, color_scheme=scheme)
    visit = Visit(context, address)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    visit.done(lambda: visit.page.touchscreen.tap(*visit.at(*MIDDLES[0])))
    assert visit.count == 1
    ground = visit.page.evaluate("getComputedStyle(document.querySelector('.sam')).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) > 384) == (scheme == "light")
    assert visit.said == []
    context.close()


def test_everything_that_can_be_pressed_has_a_name(visit: Visit) -> None:
    nameless = visit.page.evaluate(
        """[...document.querySelectorAll('.sam button, .sam input, .sam canvas[tabindex]')].filter(
        (e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.querySelector('img')?.alt)).length"""
    )
    assert nameless == 0
