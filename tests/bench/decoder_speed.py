"""Hover previews in a real browser: how many a second, and what a page loads and a picture costs before them."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from sam_core import Sam, samples
from sam_space.decoder.export import decoder_meta, export_decoder
from sam_space.decoder.features import features_of
from tests.bench.measure import Row
from tests.space.decoder.site import FLAGS, ISOLATED, LOAD, Visitor, fill_ort_cache, serving

SECONDS = 8
BAR = 15  # previews a second
# A pointer goes over the picture in a figure of eight and tells its place sixty times a second. A preview is shown when
# its mask is drawn at the resolution of the picture.
HOVER = """async ({seconds}) => {
    const {width, height} = picture;
    const place = (t) => [width * (0.5 + 0.45 * Math.sin(t / 3)), height * (0.5 + 0.45 * Math.sin(t / 2)), 1];
    const show = (answer) => { if (answer.best >= 0) draw(answer.masks[answer.best], picture); };
    let shown = 0, complete = 0;
    const start = performance.now();
    await new Promise((done) => {
        const timer = setInterval(() => {
            const t = (performance.now() - start) / 1000;
            if (t > seconds) { clearInterval(timer); done(); return; }
            decoder.preview({points: [place(t)]}).then((answer) => {
                if (!answer) return;
                show(answer);
                shown++;
                complete += answer.complete;
            });
        }, 1000 / 60);
    });
    const rate = shown / ((performance.now() - start) / 1000);
    const rests = [];
    for (let i = 0; i < 40; i++) {
        const began = performance.now();
        show(await decoder.decode({points: [place(i * 0.37)]}));
        rests.push(performance.now() - began);
    }
    return {rate, complete: complete / shown, rests};
}"""
SET = """async ({name, meta}) => {
    const features = await (await fetch("/features/" + name)).arrayBuffer();
    const start = performance.now();
    await decoder.setEmbedding(features, meta);
    window.picture = {width: meta.shape[1], height: meta.shape[0]};
    const point = [picture.width / 2, picture.height / 2, 1];
    await decoder.preview({points: [point]});
    return performance.now() - start;
}"""


def rows() -> Iterator[Row]:
    """Measure on one thread, as on a page without the headers that threads need, and on several."""
    sam = Sam.from_pretrained("cell", device="cpu", dtype="float32")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        onnx = Path(folder) / "decoder.onnx"
        export_decoder(sam, onnx)
        path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
        for kind, headers in (("1 thread", {}), ("threads", ISOLATED)):
            browser = driver.chromium.launch(executable_path=path, headless=True, args=FLAGS)
            with serving(onnx, fill_ort_cache(), headers) as site:
                yield from _page(Visitor(browser, site), sam, kind)
            browser.close()


def _page(visitor: Visitor, sam: Sam, kind: str) -> Iterator[Row]:
    given = {"meta": decoder_meta(sam), "options": {}}
    timed = f"async (given) => {{ const t = performance.now(); await ({LOAD})(given); return performance.now() - t; }}"
    loaded = visitor.page.evaluate(timed, given)
    for side, count in ((256, 24), (512, 60), (1024, 200)):
        embedding = sam.encode(samples.cells((side, side), count=count, diameter=30.0, seed=7).image)
        name = str(side)
        visitor.site.features[name], meta = features_of(embedding)
        first = visitor.page.evaluate(SET, {"name": name, "meta": meta})
        found: dict[str, Any] = visitor.page.evaluate(HOVER, {"seconds": SECONDS})
        note = (
            f"{found['complete']:.0%} complete; a pointer at rest waits {statistics.median(found['rests']):.0f} ms; "
            f"features {meta['bytes'] / 1e6:.1f} MB in 16 bits, first preview {first:.0f} ms after them; "
            f"loaded in {loaded:.0f} ms"
        )
        yield Row(f"hover previews a second in the browser, {side}², {kind}", found["rate"], "", BAR, True, note)
