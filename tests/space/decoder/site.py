"""A page with the decoder on it: a server on this machine, what it serves, and how a test talks to the page."""

from __future__ import annotations

import base64
import json
import mimetypes
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sam_core import Embedding, Prompt
from sam_space.decoder import ort
from sam_space.decoder.features import features_of

STATIC = Path(ort.__file__).parent / "static"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
PAGE = b"<!doctype html><html><head><link rel=icon href=data:,></head><body></body></html>"

LOAD = """async ({meta, options}) => {
    const module = await import("/static/decoder.js");
    Object.assign(window, module);
    window.decoder = await module.Decoder.load({onnxUrl: "decoder.onnx", ortUrl: "/ort", meta, ...options});
}"""

SHOW = """async ({name, meta}) => {
    window.picture = {width: meta.shape[1], height: meta.shape[0]};
    await decoder.setEmbedding(await (await fetch("/features/" + name)).arrayBuffer(), meta);
}"""

# A mask is 16384 floats and up to a million pixels: they travel as base64.
DECODE = """async ({asked, options}) => {
    const base64 = (array) => {
        let text = "";
        const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
        for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
        return btoa(text);
    };
    if (asked.previous?.logits) asked.previous.logits = Float32Array.from(asked.previous.logits);
    const answer = await decoder.decode(asked, options);
    const masks = answer.masks.map((mask) => {
        const bitmap = draw(mask, picture);
        return {...mask, logits: base64(mask.logits), bitmap: {...bitmap, data: base64(bitmap.data)}};
    });
    return {...answer, masks};
}"""


def fill_ort_cache() -> Path:
    """Return the files of onnxruntime-web, fetched where they are not in the user's cache yet; through npm if there."""
    try:
        return ort.ort_folder(download=shutil.which("npm") is None)
    except ort.RuntimeUnavailableError:
        if shutil.which("npm") is None:
            raise
        with tempfile.TemporaryDirectory() as folder:
            command = ["npm", "pack", "--silent", f"onnxruntime-web@{ort.VERSION}"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
            (archive,) = Path(folder).glob("*.tgz")
            ort.install(archive.read_bytes(), ort.cache_folder())
        return ort.ort_folder(download=False)


class Site:
    """Serves the page, the module, the runtime, the decoder and the features of pictures."""

    def __init__(self, onnx: Path, runtime: Path, headers: dict[str, str]) -> None:
        self.features: dict[str, bytes] = {}
        self.folders = {"static": STATIC, "ort": runtime}
        self.onnx = onnx
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body, kind = site.answer(self.path)
                self.send_response(404 if body is None else 200)
                for name, value in {**headers, "Content-Type": kind, "Content-Length": len(body or b"")}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def answer(self, path: str) -> tuple[bytes | None, str]:
        """Return content and type of what is asked for; None where there is no such thing."""
        match path.split("/")[1:]:
            case [""]:
                return PAGE, "text/html"
            case ["decoder.onnx"]:
                return self.onnx.read_bytes(), "application/octet-stream"
            case ["features", name] if name in self.features:
                return self.features[name], "application/octet-stream"
            case [folder, name] if folder in self.folders and (self.folders[folder] / name).is_file():
                kind = "text/javascript" if name.endswith("js") else mimetypes.guess_type(name)[0]
                return (self.folders[folder] / name).read_bytes(), kind or "application/octet-stream"
        return None, "text/plain"


@contextmanager
def serving(onnx: Path, runtime: Path, headers: dict[str, str]) -> Iterator[Site]:
    """Serve for a while."""
    site = Site(onnx, runtime, headers)
    thread = threading.Thread(target=site.server.serve_forever)
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join()


class Visitor:
    """A browser's page on a site; remembers all requests and whatever went wrong."""

    def __init__(self, browser: Any, site: Site) -> None:
        self.site = site
        self.context = browser.new_context()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.context.on("weberror", lambda error: self.errors.append(str(error.error)))
        self.page = self.context.new_page()
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type != "log" else None)
        self.page.goto(site.url)

    def load(self, meta: dict[str, Any], **options: Any) -> None:
        """Load the decoder."""
        self.page.evaluate(LOAD, {"meta": meta, "options": options})

    def show(self, name: str, embedding: Embedding, bits: Literal[8, 16] = 16) -> None:
        """Put a picture before it."""
        self.site.features[name], meta = features_of(embedding, bits=bits)
        self.page.evaluate(SHOW, {"name": name, "meta": meta})

    def decode(self, prompt: Prompt, candidates: int = 1) -> dict[str, Any]:
        """Ask; masks come back as arrays, the bitmap as (H, W) bool of the picture."""
        given = {"asked": asked_of(prompt), "options": {"candidates": candidates}}
        answer: dict[str, Any] = self.page.evaluate(DECODE, given)
        for mask in answer["masks"]:
            mask["logits"] = _read(mask["logits"], "<f4").reshape(mask["height"], mask["width"])
            bitmap = mask["bitmap"]
            bitmap["data"] = _read(bitmap["data"], "u1").reshape(bitmap["height"], bitmap["width"])
        return answer


def asked_of(prompt: Prompt) -> dict[str, Any]:
    """Write a prompt, y before x, as the browser has it, x before y."""
    points = [[float(x), float(y), int(sign)] for (y, x), sign in zip(prompt.points, prompt.positive, strict=True)]
    asked: dict[str, Any] = {"points": points}
    if prompt.box is not None:
        asked["box"] = _turned(tuple(prompt.box))
    if prompt.previous is not None:
        height, width = prompt.previous.values.shape
        values = prompt.previous.values.astype(float).ravel().tolist()
        asked["previous"] = {"logits": values, "width": width, "height": height, "box": _turned(prompt.previous.box)}
    return json.loads(json.dumps(asked))  # type: ignore[no-any-return]


def drawn(bitmap: dict[str, Any], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw a bitmap into a picture of this height and width."""
    out = np.zeros(shape, bool)
    y, x = bitmap["y"], bitmap["x"]
    out[y : y + bitmap["height"], x : x + bitmap["width"]] = bitmap["data"]
    return out


def _turned(box: tuple[float, ...]) -> list[float]:
    y0, x0, y1, x1 = (float(v) for v in box)
    return [x0, y0, x1, y1]


def _read(text: str, kind: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), kind)
