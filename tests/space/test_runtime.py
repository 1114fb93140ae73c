"""What a browser is sent to answer the pointer itself; and that all goes on where it cannot be had."""

from __future__ import annotations

import gzip
import json
import logging
import struct
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam_core import Sam
from sam_space import runtime
from sam_space.decoder import ort
from sam_space.desk import Desk
from sam_space.engine import packed
from sam_space.limits import Limits
from sam_space.runtime import MODULES, Preparing, Runtime, prepare
from tests.fake import FakeSegmenter
from tests.space.drive import EASY, Page, png, squares

META = {"model": "fake", "rules": {}, "inputs": {}}
ONNX = b"\x08\x0a" + bytes(range(256)) * 8


@pytest.fixture
def ort_files(tmp_path: Path) -> Path:
    """A folder with files that are called like those of onnxruntime-web."""
    for name in ort.FILES:
        (tmp_path / name).write_bytes(f"// {name}\n".encode() * 500)
    return tmp_path


@pytest.fixture
def made(ort_files: Path) -> Runtime:
    return Runtime.of(ONNX, ort_files, META)


def page_with(made: Runtime | None, limits: Limits = EASY, fingerprint: str = "fake") -> Page:
    preparing = Preparing(None if made is None else lambda: made)
    preparing.wait(10)
    page = Page(Desk(FakeSegmenter(fingerprint), limits, runtime=preparing))
    assert page.open(png(squares())).status_code == 200
    return page


def read(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Read features as the page does."""
    (size,) = struct.unpack("<I", content[:4])
    return json.loads(content[4 : 4 + size]), content[4 + size :]


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_page_is_told_who_previews_and_where_the_files_are(made: Runtime) -> None:
    about = page_with(made).http.post("/visit").json()
    assert about["previewer"] == "browser"
    assert about["decoder"] == {"folder": f"decoder/{made.stamp}/", "meta": META}
    about = page_with(None).http.post("/visit").json()
    assert (about["previewer"], about["decoder"]) == ("server", None)


def test_each_file_is_served_as_what_it_is_and_may_be_kept_for_ever(made: Runtime) -> None:
    http = page_with(made).http
    names = {file.name for file in MODULES.glob("*.js")} | set(ort.FILES) | {"decoder.onnx"}
    assert set(made.files) == names
    kinds = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
    for name in names:
        plain = http.get(f"/decoder/{made.stamp}/{name}", headers={"accept-encoding": "identity"})
        small = http.get(f"/decoder/{made.stamp}/{name}", headers={"accept-encoding": "gzip, br"})
        assert plain.status_code == small.status_code == 200
        assert plain.content == small.content == made.files[name].content
        assert plain.headers["content-type"].split(";")[0] == kinds.get(Path(name).suffix, "application/octet-stream")
        assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert plain.headers["x-content-type-options"] == "nosniff"
        assert plain.headers["vary"] == "Accept-Encoding"
        assert "content-encoding" not in plain.headers
    wasm = "ort-wasm-simd-threaded.wasm"
    packed_ = http.get(f"/decoder/{made.stamp}/{wasm}", headers={"accept-encoding": "gzip"})
    assert packed_.headers["content-encoding"] == "gzip"
    assert int(packed_.headers["content-length"]) < len(made.files[wasm].content) / 5


def test_only_the_worker_may_do_anything_and_only_with_this_server(made: Runtime) -> None:
    http = page_with(made).http
    for name in made.files:
        policy = http.get(f"/decoder/{made.stamp}/{name}").headers["content-security-policy"]
        if name == "worker.js":
            assert policy == "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"
        else:
            assert policy == "default-src 'none'"
    assert http.get("/static/main.js").headers["content-security-policy"] == "default-src 'none'"


def test_the_address_changes_with_any_byte(ort_files: Path, made: Runtime) -> None:
    assert Runtime.of(ONNX, ort_files, META).stamp == made.stamp
    assert Runtime.of(ONNX + b"\0", ort_files, META).stamp != made.stamp
    (ort_files / ort.ENTRY).write_bytes(b"// another\n")
    assert Runtime.of(ONNX, ort_files, META).stamp != made.stamp


@pytest.mark.parametrize(
    "path",
    [
        "decoder.onnx", "0/decoder.onnx", "{stamp}/", "{stamp}/export.py", "{stamp}/../../desk.py", "{stamp}/ort.py",
        "{stamp}/%2e%2e%2fort.py", "{stamp}/WORKER.JS", "{stamp}/worker.js/", "{stamp}/main.js", "{stamp}/decoder.json",
        "{stamp}x/worker.js", "/{stamp}/worker.js", "{stamp}//worker.js",
    ],
)  # fmt: skip
def test_no_other_file_is_served(made: Runtime, path: str) -> None:
    answer = page_with(made).http.get("/decoder/" + path.format(stamp=made.stamp))
    assert answer.status_code in (404, 405)
    assert b"import" not in answer.content


def test_without_a_runtime_there_are_no_files(made: Runtime) -> None:
    assert page_with(None).http.get(f"/decoder/{made.stamp}/worker.js").status_code == 404


# -- features ---------------------------------------------------------------------------------------------------------


def test_features_are_those_of_the_plane_encoded_once(made: Runtime) -> None:
    page = page_with(made)
    answer = page.post("/features", {"plane": 0})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["cache-control"] == "no-store"
    meta, content = read(answer.content)
    assert (meta["model"], meta["shape"], meta["bits"], meta["bytes"]) == ("fake", [40, 60], 8, len(content))
    (level,) = meta["levels"]
    assert level["shape"] == [40, 60, 1]
    shown = np.array(level["low"]) + np.array(level["step"]) * np.frombuffer(content, np.uint8)
    np.testing.assert_allclose(shown.reshape(40, 60), squares(), atol=0.51 * level["step"][0])
    assert page.post("/features", {"plane": 0}).content == answer.content
    page.act("click", x=10, y=10)
    assert page.desk.engine.model.encoded == 1  # type: ignore[attr-defined]


def test_the_bytes_that_follow_are_aligned(made: Runtime) -> None:
    embedding = FakeSegmenter().encode(squares())
    for name in ("a", "ab", "abc", "abcd", "abcdefgh"):
        (size,) = struct.unpack("<I", packed(replace(embedding, model=name))[:4])
        assert (4 + size) % 8 == 0


def test_features_of_an_example_are_written_once(made: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_with(made)
    page.desk.prepare()
    written: list[Any] = []
    monkeypatch.setattr("sam_space.engine.packed", lambda embedding: written.append(embedding) or packed(embedding))
    page.post("/example", {"name": "cells"})
    first, second = (page.post("/features", {"plane": 0}).content for _ in range(2))
    assert first == second
    assert len(written) == 1
    page.open(png(squares()))
    page.post("/features", {"plane": 0})
    page.post("/features", {"plane": 0})
    assert len(written) == 3  # those of visitors are not kept


@pytest.mark.parametrize("why", ["too large", "another model", "no runtime"])
def test_what_the_browser_cannot_answer_is_said_without_an_error_and_the_server_answers(
    made: Runtime, why: str
) -> None:
    limits = replace(EASY, features_bytes=500) if why == "too large" else EASY
    page = page_with(
        None if why == "no runtime" else made, limits, fingerprint="other" if why == "another model" else "fake"
    )
    answer = page.post("/features", {"plane": 0})
    assert answer.status_code == 200  # a browser would write an error to its console
    assert "refused" in answer.json()
    assert page.post("/preview", {"plane": 0, "x": 10, "y": 10}).json()["mask"]


@pytest.mark.parametrize("plane", [1, -1, True, "0", 0.5, [0], 2**70], ids=repr)
def test_features_of_no_plane(made: Runtime, plane: Any) -> None:
    answer = page_with(made).post("/features", {"plane": plane})
    assert answer.status_code == 400
    assert "plane" in answer.json()["refused"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff", b" " * (200 << 10)], ids=range(5))
def test_features_of_a_request_that_is_none(made: Runtime, body: bytes) -> None:
    assert page_with(made).post("/features", body).status_code in (400, 413)


def test_a_stranger_gets_no_features_and_a_visitor_only_their_own(made: Runtime) -> None:
    one = page_with(made)
    other = Page(one.desk)
    assert other.post("/features", {"plane": 0}).status_code == 404  # has opened nothing
    assert one.http.post("/features", content="{}", headers={"x-visitor": "nobody"}).status_code == 404
    assert one.http.post("/features", content="{}").status_code == 404
    assert one.http.get("/features").status_code == 405
    other.open(png(255 - squares()))
    assert read(other.post("/features", {}).content)[1] != read(one.post("/features", {}).content)[1]
    one.http.post("/leave", content=one.key)
    assert one.post("/features", {}).status_code == 404


def test_a_flood_of_requests_for_features_is_stopped(made: Runtime) -> None:
    page = page_with(made, replace(EASY, features_per_minute=6))
    codes = [page.post("/features", {"plane": 0}).status_code for _ in range(20)]
    assert codes[:3] == [200] * 3
    assert codes[4:] == [429] * 16
    assert page.post("/preview", {"plane": 0, "x": 10, "y": 10}).json()["mask"]


# -- making it --------------------------------------------------------------------------------------------------------


def test_nobody_waits_while_it_is_made_and_a_page_may_ask_again(made: Runtime) -> None:
    go_on = threading.Event()

    def slowly() -> Runtime:
        go_on.wait(20)
        return made

    preparing = Preparing(slowly)
    page = Page(Desk(FakeSegmenter(), EASY, runtime=preparing))
    assert page.post("/later").json() == {"previewer": "later", "decoder": None}
    go_on.set()
    preparing.wait(20)
    assert page.post("/later").json()["previewer"] == "browser"
    assert page.http.post("/later").status_code == 404  # without a key


@pytest.mark.parametrize(
    "error", [ort.RuntimeUnavailableError("no npm here"), RuntimeError("whatever"), MemoryError("no room")]
)
def test_what_cannot_be_made_is_written_down_once_and_the_server_previews(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Runtime:
        raise error

    with caplog.at_level(logging.WARNING):
        preparing = Preparing(fail)
        assert preparing.wait(20) is None
        page = Page(Desk(FakeSegmenter(), EASY, runtime=preparing))
        for _ in range(3):
            assert page.http.post("/visit").json()["previewer"] == "server"
    (said,) = caplog.records
    assert "the server answers the pointer" in said.getMessage()
    page.open(png(squares()))
    assert page.post("/preview", {"plane": 0, "x": 10, "y": 10}).json()["mask"]


def test_other_models_are_left_to_the_server() -> None:
    assert prepare(FakeSegmenter()).previewer == "server"


def test_where_onnxruntime_web_is_missing_nothing_is_exported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ort, "cache_folder", lambda: tmp_path / "none")
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1")
    monkeypatch.setattr(runtime, "_exported", lambda model: pytest.fail("it was exported"))
    with pytest.raises(ort.RuntimeUnavailableError, match="expected the archive"):
        runtime.make(Sam.from_pretrained("cell", device="cpu", dtype="float32"))


def test_a_decoder_is_exported_once_for_the_same_weights_and_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sam = Sam.from_pretrained("cell", device="cpu", dtype="float32")
    monkeypatch.setattr(ort, "cache_folder", lambda: tmp_path / "web" / "ort")
    made: list[Sam] = []
    monkeypatch.setattr(runtime, "_exported", lambda model: made.append(model) or ONNX)
    assert runtime._cached(sam) == runtime._cached(sam) == ONNX
    assert len(made) == 1
    (kept,) = (tmp_path / "web").iterdir()
    assert kept.name == f"decoder-{runtime._digest(sam)}.onnx"
    rounded = Sam.from_pretrained("cell", device="cpu", dtype="bfloat16")
    assert runtime._digest(rounded) != runtime._digest(sam)


def test_a_published_folder_is_taken_where_it_is_of_the_model(
    monkeypatch: pytest.MonkeyPatch, ort_files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sam = Sam.from_pretrained("cell", device="cpu", dtype="float32")
    monkeypatch.setattr(ort, "ort_folder", lambda given=None: ort_files)
    monkeypatch.setattr(runtime, "_cached", lambda model: ONNX)
    published = tmp_path / "published"
    runtime.save(sam, published)
    assert {file.name for file in published.iterdir()} == {*ort.FILES, "decoder.onnx", "decoder.json"}
    monkeypatch.setattr(runtime, "_cached", lambda model: pytest.fail("it was exported"))
    assert runtime.make(sam, published).files["decoder.onnx"].content == ONNX
    monkeypatch.setattr(runtime, "_cached", lambda model: b"anew")
    for other in ("{}", "no json", json.dumps(META)):
        (published / "decoder.json").write_text(other)
        assert runtime.make(sam, published).files["decoder.onnx"].content == b"anew"
    assert all("of another model" in record.getMessage() for record in caplog.records)


@pytest.mark.slow
def test_an_export_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    sam = Sam.from_pretrained("cell", device="cpu", dtype="float32")
    monkeypatch.setattr(Sam, "save_pretrained", lambda self, folder: None)
    with pytest.raises(ort.RuntimeUnavailableError, match=r"got no decoder from the exporter: .*CheckpointError"):
        runtime._exported(sam)


def test_packing_saves_or_is_left_out() -> None:
    assert gzip.decompress(runtime.Served.of("a.js", b"x" * 999).packed or b"") == b"x" * 999
    noise = np.random.default_rng(0).integers(0, 256, 999, np.uint8).tobytes()
    assert runtime.Served.of("a.onnx", noise).packed is None
