"""The pointer answered in a real browser: by the decoder there, and by the server where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from sam_core import samples
from sam_space.engine import DOUBT
from tests.space.drive import drawn
from tests.space.visit import CELLS, MIDDLES, Visit, iou

pytestmark = pytest.mark.slow

PATIENCE = 300  # seconds in which a server has exported the decoder, and a page has loaded it, on a busy machine
# A visit without the page: one previewer of each kind, and clicks, at the same places.
ASK = """async ({base, places}) => {
    const module = (name) => import(new URL("static/" + name, base));
    const { Desk } = await module("desk.js");
    const { previewerFor } = await module("previewer.js");
    const desk = new Desk(new URL(base));
    const about = await desk.visit();
    await desk.post("example", { name: "cells" });
    const browser = previewerFor(desk, about);
    browser.ready(0);
    while (browser.plane === null && !browser.why) await new Promise((done) => setTimeout(done, 50));
    const found = [];
    for (const [x, y] of places) {
        const where = { plane: 0, x, y, positive: true, fresh: true, sure: true };
        const shown = await browser.ask(where);
        const told = await browser.server.ask(where);
        const { drawn, objects } = await desk.post("act", { action: "click", plane: 0, x, y, fresh: true })
            .catch(() => ({ drawn: {}, objects: [] }));
        found.push({ shown, told, taken: Object.values(drawn)[0] ?? null, score: objects.at(-1)?.score });
    }
    await desk.post("act", { action: "clear", plane: 0 });
    return { found, why: browser.why };
}"""


@pytest.fixture(scope="module")
def able(address: str) -> str:
    """Where the server listens, when it has all that browsers need."""
    for _ in range(PATIENCE):
        previewer = httpx.post(f"{address}sam/visit").json()["previewer"]
        if previewer == "server":
            pytest.skip("the server has no decoder for browsers: onnxruntime-web, onnx or onnxscript is not at hand")
        if previewer == "browser":
            return address
        time.sleep(1)
    pytest.fail(f"the decoder was not exported in {PATIENCE} s")


@pytest.fixture(scope="module")
def context(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1360, "height": 820}, accept_downloads=True)
    yield context
    context.close()


@pytest.fixture
def visit(context: Any, able: str) -> Iterator[Visit]:
    visit = Visit(context, able)
    yield visit
    assert visit.said == []
    assert [url for url in visit.asked if not url.startswith((able, "data:", f"blob:{able}"))] == []
    visit.page.close()


def hover(visit: Visit, place: tuple[int, int], where: str, seconds: float = PATIENCE) -> None:
    """Move about a place until a preview comes from there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for shift in (0, 1):
            visit.page.mouse.move(*visit.at(place[0], place[1] + shift))
            visit.page.wait_for_timeout(250)
        if visit.data("where") == where and visit.data("score"):
            return
    pytest.fail(f"got previews from {visit.data('where')!r}, expected {where!r}: {title(visit)}")


def title(visit: Visit) -> str:
    return str(visit.find(".facts").get_attribute("title"))


def test_what_is_shown_is_what_the_server_would_show_and_what_a_click_takes(visit: Visit) -> None:
    random = np.random.default_rng(1)
    height, width = CELLS.image.shape
    places = [(x + 0.5, y + 0.5) for y, x in MIDDLES[:12]]
    places += random.uniform((0, 0), (width, height), (24, 2)).tolist()
    places += [(0.0, 0.0), (width - 0.01, height - 0.01)]
    answer = visit.page.evaluate(ASK, {"base": visit.address + "sam/", "places": places})
    assert answer["why"] == ""
    alike, trusted = [], []
    for place, each in zip(places, answer["found"], strict=True):
        shown, told, taken = each["shown"], each["told"], each["taken"]
        assert (shown["where"], told["where"]) == ("browser", "cpu")
        assert (shown["mask"] is None) == (told["mask"] is None) == (taken is None), place
        if taken is not None:
            masks = [drawn(mask, (height, width)) for mask in (shown["mask"], told["mask"], taken)]
            np.testing.assert_array_equal(masks[1], masks[2])
            alike.append(iou(masks[0], masks[2]))
            trusted.append(each["score"] >= DOUBT)
            assert shown["score"] == pytest.approx(each["score"], abs=0.02), place
    assert len(alike) > 20
    # Features are sent in eight bits, which moves a pixel of an edge, and more where there is no edge: what the model
    # answers on the ground, and doubts itself.
    assert np.min(alike, where=trusted, initial=1) > 0.99
    assert min(alike) > 0.9
    assert np.mean(alike) > 0.99


def test_a_pointer_is_answered_in_the_browser_and_corrections_on_the_server(visit: Visit) -> None:
    hover(visit, MIDDLES[0], "browser")
    assert "in this browser" in visit.find(".facts").inner_text()
    before = sum(url.endswith("/preview") for url in visit.asked)
    for place in MIDDLES[:4]:
        hover(visit, place, "browser")
    assert sum(url.endswith("/preview") for url in visit.asked) == before
    assert sum(url.endswith("/features") for url in visit.asked) == 1
    visit.click(MIDDLES[0])
    hover(visit, (MIDDLES[0][0], MIDDLES[0][1] + 4), "cpu")
    visit.page.keyboard.press("n")
    hover(visit, MIDDLES[1], "browser")


def test_a_pointer_that_never_rests_sees_previews(visit: Visit) -> None:
    hover(visit, MIDDLES[0], "browser")
    before = int(visit.data("previews"))
    end = time.monotonic() + 60
    for step in range(10_000):
        y, x = MIDDLES[step % len(MIDDLES)]
        visit.page.mouse.move(*visit.at(y, x))
        if int(visit.data("previews")) >= before + 10 or time.monotonic() > end:
            break
    assert int(visit.data("previews")) >= before + 10
    assert visit.count == 0


def test_another_plane_and_another_picture_are_sent_anew(visit: Visit) -> None:
    visit.find("[data-example=stack]").click()
    visit.page.wait_for_selector(".sam[data-encoded='stack.tif:8']")
    stack = samples.z_stack((16, 240, 288), count=60, diameter=34.0, seed=2).labels
    for plane in (8, 9):
        visit.page.wait_for_selector(f".sam[data-encoded='stack.tif:{plane}']")
        cell = stack[plane] == np.bincount(stack[plane].ravel())[1:].argmax() + 1
        y, x = (round(float(v.mean())) for v in np.nonzero(cell))
        hover(visit, (y, x), "browser")
        visit.page.keyboard.press(".")
    assert sum(url.endswith("/features") for url in visit.asked) >= 2


def test_the_first_previews_wait_for_no_download(context: Any, able: str) -> None:
    fresh = context.browser.new_context(viewport={"width": 1360, "height": 820})
    held: list[Any] = []
    fresh.route("**/*.wasm", lambda route: held.append(route))
    visit = Visit(fresh, able)
    hover(visit, MIDDLES[0], "cpu")
    while not held:
        visit.page.wait_for_timeout(100)
    hover(visit, MIDDLES[1], "cpu")
    held[0].continue_()
    hover(visit, MIDDLES[2], "browser")
    assert visit.said == []
    fresh.close()


@pytest.mark.parametrize("broken", ["**/*.wasm", "**/decoder.onnx", "**/worker.js", "**/decoder.js"])
def test_where_the_browser_is_not_able_the_server_answers(context: Any, able: str, broken: str) -> None:
    fresh = context.browser.new_context(viewport={"width": 1360, "height": 820})
    fresh.route(broken, lambda route: route.abort())
    visit = Visit(fresh, able)
    end = time.monotonic() + PATIENCE
    while "The browser cannot preview" not in title(visit) and time.monotonic() < end:
        hover(visit, MIDDLES[0], "cpu")
    assert "The server does" in title(visit)
    visit.click(MIDDLES[0])
    assert visit.count == 1
    assert not visit.find(".told.no").count()
    # That a file did not come is written to the console by the browser and by onnxruntime-web; by us nothing is.
    theirs = ("Failed to load resource", "wasm", "ArrayBuffer")
    assert [said for said in visit.said if not any(part in said for part in theirs)] == []
    fresh.close()


def test_a_plane_that_is_not_sent_is_left_to_the_server(context: Any, able: str) -> None:
    fresh = context.browser.new_context(viewport={"width": 1360, "height": 820})
    asked: list[Any] = []

    def refuse(route: Any) -> None:
        asked.append(route)
        if len(asked) == 1:
            route.fulfill(status=200, content_type="application/json", body='{"refused": "too large"}')
        else:
            route.continue_()

    fresh.route("**/features", refuse)
    visit = Visit(fresh, able)
    while not asked:
        visit.page.wait_for_timeout(100)
    hover(visit, MIDDLES[0], "cpu")
    visit.find("[data-example=cells]").click()
    hover(visit, MIDDLES[1], "browser")
    assert visit.said == []
    fresh.close()


def test_a_worker_that_dies_is_no_fault_of_the_visitor(context: Any, able: str) -> None:
    fresh = context.browser.new_context(viewport={"width": 1360, "height": 820})
    # What comes to a standstill is as good as dead; the page waits five seconds for it.
    fresh.add_init_script(
        "const post = Worker.prototype.postMessage;"
        "Worker.prototype.postMessage = function (data, ...rest) {"
        "  if (window.dead && data?.task === 'decode') return;"
        "  return post.call(this, data, ...rest);"
        "};"
    )
    visit = Visit(fresh, able)
    hover(visit, MIDDLES[0], "browser")
    visit.page.evaluate("window.dead = true")
    hover(visit, MIDDLES[1], "cpu")
    assert "no answer in" in title(visit)
    assert visit.said == []
    fresh.close()
