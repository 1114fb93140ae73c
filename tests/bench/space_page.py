"""The page of the Space in a real browser: how soon it can be used, and how smoothly it follows the pointer."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import sync_playwright

from tests.bench.measure import Row, product
from tests.bench.space_guest import Server, busy, picture, serving
from tests.space.decoder.site import FLAGS

VISITS, IMAGES = 7, 5
SECONDS = 8
VIEW = {"width": 1360, "height": 820}
USABLE = ".sam[data-state=ready]"
# When the page could be used, in milliseconds since the navigation began: noted by the page itself, since whoever asks
# from outside waits for its turn.
USED = """new MutationObserver((changes, observer) => {
    if (!document.querySelector(".sam[data-state=ready]")) return;
    window.used = performance.now();
    observer.disconnect();
}).observe(document, { subtree: true, childList: true, attributeFilter: ["data-state"] });"""
# A pointer goes over the picture in a figure of eight and tells its place sixty times a second, all the while.
POINT = """() => {
    const canvas = document.querySelector(".canvas");
    const began = performance.now();
    clearInterval(window.pointing);
    window.pointing = setInterval(() => {
        const t = (performance.now() - began) / 1000;
        const box = canvas.getBoundingClientRect();
        const [zoom, left, top] = (canvas.dataset.view ?? "1 0 0").split(" ").map(Number);
        const { width, height } = window.picture ?? { width: 300, height: 300 };
        const x = box.left + left + zoom * width * (0.5 + 0.45 * Math.sin(t / 3));
        const y = box.top + top + zoom * height * (0.5 + 0.45 * Math.sin(t / 2));
        const init = { clientX: x, clientY: y, bubbles: true, pointerType: "mouse" };
        canvas.dispatchEvent(new PointerEvent("pointermove", init));
    }, 1000 / 60);
}"""
# Frames that the browser painted with a preview that the frame before did not have.
COUNT = """(seconds) => new Promise((done) => {
    const root = document.querySelector(".sam");
    const began = performance.now();
    let [seen, frames, drawn, masks] = [root.dataset.previews, 0, 0, 0];
    const look = () => {
        const took = (performance.now() - began) / 1000;
        if (took > seconds) return done({ rate: drawn / took, masks: masks / drawn, frames: frames / took });
        frames += 1;
        if (root.dataset.previews !== seen) {
            seen = root.dataset.previews;
            drawn += 1;
            masks += root.dataset.score !== "";
        }
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})"""
# Milliseconds from when a file was chosen to the first preview of an object on it that was painted.
FIRST = """(name) => new Promise((done) => {
    const root = document.querySelector(".sam");
    const look = () => {
        // Previews of the picture before do not count.
        if (root.dataset.picture !== name) window.before = root.dataset.previews;
        else if (root.dataset.previews !== window.before && root.dataset.score) {
            return requestAnimationFrame(() => done(performance.now() - window.chosen));
        }
        requestAnimationFrame(look);
    };
    look();
})"""
CHOSEN = """() => {
    const note = () => { window.chosen = performance.now(); };
    document.querySelector("#sam-file").addEventListener("change", note, { capture: true });
}"""


def rows() -> Iterator[Row]:
    """Measure one after the other, on a server that is warm."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with serving() as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield _usable(browser, server)
        yield _first(browser, server)
        yield from _hover(browser, server)
        browser.close()


def _page(browser: Any, server: Server, *, able: bool = True) -> Any:
    page = browser.new_context(viewport=VIEW).new_page()
    page.add_init_script(USED)
    if not able:
        page.add_init_script("delete window.Worker")
    page.goto(server.url)
    page.wait_for_selector(USABLE)
    return page


def _usable(browser: Any, server: Server) -> Row:
    """Come for the first time, with nothing in the cache of the browser; the first one warms the server."""
    times, again = [], []
    for _ in range(VISITS + 1):
        page = _page(browser, server)
        times.append(page.evaluate("window.used") / 1000)
        page.reload()
        page.wait_for_selector(USABLE)
        again.append(page.evaluate("window.used") / 1000)
        page.context.close()
    took = statistics.median(times[1:])
    note = f"median of {VISITS} first visits, longest {max(times[1:]):.2f} s; "
    note += f"loaded again {statistics.median(again[1:]):.2f} s; {busy()}"
    return Row("page usable after navigation", took, "s", 1.5, False, note)


def _first(browser: Any, server: Server) -> Row:
    """Open images that nobody has opened before, with the pointer moving over them."""
    p = product()  # while nobody points at anything: a browser that follows the pointer would make P longer
    page = _page(browser, server)
    page.evaluate(CHOSEN)
    page.evaluate("window.picture = {width: 1024, height: 1024}")
    page.evaluate(POINT)
    times = []
    for seed in range(IMAGES + 1):
        each = picture(seed)
        file = {"name": each.name, "mimeType": "image/png", "buffer": each.content}
        page.locator("#sam-file").set_input_files(file)
        times.append(page.evaluate(FIRST, each.name))
        page.wait_for_selector(f".sam[data-encoded='{each.name}:0']", timeout=120_000)
        page.wait_for_timeout(3000)
    page.context.close()
    took = statistics.median(times[1:])
    note = f"median of {IMAGES}: {took:.0f} ms, longest {max(times[1:]):.0f} ms; P = {1000 * p:.0f} ms; {busy()}"
    what = "new image of 1024 x 1024 to its first preview"
    return Row(what, took / (1000 * p), "P", 8, False, note)


def _hover(browser: Any, server: Server) -> Iterator[Row]:
    for able, where, bar in ((True, "browser", 15), (False, "server", 8)):
        for name, side in (("the example, 384 x 320", None), ("1024 x 1024", 1024)):
            page = _page(browser, server, able=able)
            shape = {"width": 384, "height": 320}
            if side is not None:
                each, shape = picture(77, side), {"width": side, "height": side}
                file = {"name": each.name, "mimeType": "image/png", "buffer": each.content}
                page.locator("#sam-file").set_input_files(file)
                page.wait_for_selector(f".sam[data-encoded='{each.name}:0']", timeout=120_000)
            page.evaluate("(shape) => { window.picture = shape; }", shape)
            page.evaluate(POINT)
            page.wait_for_selector(f".sam[data-where={'browser' if able else 'cpu'}]", timeout=120_000)
            page.wait_for_timeout(1000)
            found = page.evaluate(COUNT, SECONDS)
            facts = page.locator(".facts").inner_text()
            page.context.close()
            note = (
                f"{found['masks']:.0%} of them show an object; {found['frames']:.0f} frames a second; {facts}; {busy()}"
            )
            yield Row(f"previews a second from the {where}, {name}", found["rate"], "", bar, True, note)
