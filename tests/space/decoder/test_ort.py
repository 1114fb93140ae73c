"""What the browser runs is the pinned version, whole or not at all. The registry here is a server on this machine."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sam_space.decoder import ort

CONTENT = {name: f"the true {name}\n".encode() * 50 for name in ort.FILES}


def _archive(content: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as package:
        for name, data in {**content, "../../outside.txt": b"x", "ort.webgpu.mjs": b"not wanted"}.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            package.addfile(member, io.BytesIO(data))
    return packed.getvalue()


ARCHIVE = _archive(CONTENT)


class Registry:
    """Answers what a test tells it to; remembers what was asked for."""

    def __init__(self) -> None:
        self.status, self.body, self.announced, self.asked = 200, ARCHIVE, len(ARCHIVE), list[str]()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                self.send_response(registry.status)
                self.send_header("Content-Length", str(registry.announced))
                self.end_headers()
                self.wfile.write(registry.body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Registry]:
    """Pin the small archive instead of the true one, and start with an empty cache."""
    monkeypatch.setattr(ort, "FILES", {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()})
    monkeypatch.setattr(ort, "INTEGRITY", base64.b64encode(hashlib.sha512(ARCHIVE).digest()).decode())
    monkeypatch.setattr(ort, "cache_folder", lambda: tmp_path / "cache" / "web")
    registry = Registry()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", registry.address + "/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=registry.server.serve_forever)
    thread.start()
    yield registry
    registry.server.shutdown()
    registry.server.server_close()
    thread.join()


def test_it_is_fetched_once_and_only_what_is_needed_is_kept(registry: Registry, tmp_path: Path) -> None:
    folder = ort.ort_folder()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert ort.ort_folder() == folder
    assert registry.asked == [f"/onnxruntime-web/-/onnxruntime-web-{ort.VERSION}.tgz"]


def test_once_fetched_it_works_without_a_connection(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ort.ort_folder()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1")
    assert ort.ort_folder() == ort.ort_folder(download=False) == folder


def test_a_file_that_was_damaged_is_replaced(registry: Registry) -> None:
    damaged = ort.ort_folder() / ort.ENTRY
    damaged.write_bytes(b"half of i")
    assert (ort.ort_folder() / ort.ENTRY).read_bytes() == CONTENT[ort.ENTRY]
    assert len(registry.asked) == 2


@pytest.mark.parametrize(
    ("status", "body", "announced", "reason"),
    [
        (404, b"", 0, "404"),
        (500, b"", 0, "500"),
        (200, b"", 0, "0 bytes"),
        (200, ARCHIVE[:-7], len(ARCHIVE) - 7, "cut off or altered"),
        (200, ARCHIVE[:-7], len(ARCHIVE), "cut off|IncompleteRead"),
        (200, _archive({**CONTENT, ort.ENTRY: b"evil"}), None, "cut off or altered"),
    ],
    ids=["absent", "broken", "empty", "short", "cut", "altered"],
)
def test_what_is_not_the_pinned_archive_is_refused(
    registry: Registry, status: int, body: bytes, announced: int | None, reason: str
) -> None:
    registry.status, registry.body = status, body
    registry.announced = len(body) if announced is None else announced
    with pytest.raises(ort.RuntimeUnavailableError, match=reason):
        ort.ort_folder()
    assert not ort.cache_folder().exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "file:///etc", "nonsense"])
def test_a_registry_that_cannot_be_reached_is_said(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", address)
    with pytest.raises(ort.RuntimeUnavailableError, match=r"expected the archive of onnxruntime-web .* check the conn"):
        ort.ort_folder()


def test_without_leave_to_download_nothing_is_asked(registry: Registry) -> None:
    with pytest.raises(ort.RuntimeUnavailableError, match="was not to download"):
        ort.ort_folder(download=False)
    assert not registry.asked


def test_a_folder_that_is_given_is_taken_or_refused_but_not_changed(registry: Registry, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for name, data in CONTENT.items():
        (given / name).write_bytes(data)
    assert ort.ort_folder(given) == given
    (given / ort.ENTRY).write_bytes(b"another version")
    with pytest.raises(ort.RuntimeUnavailableError, match=ort.ENTRY):
        ort.ort_folder(given)
    assert (given / ort.ENTRY).read_bytes() == b"another version"
    assert not registry.asked


def test_a_cache_that_cannot_be_written_is_said(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(ort.RuntimeUnavailableError, match="expected to keep 14 MB"):
        ort.ort_folder()


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "chosen/sam-core-web"),
        ("win32", "LOCALAPPDATA", "chosen/sam-core-web"),
        ("darwin", "HOME", "chosen/Library/Caches/sam-core-web"),
    ],
)
def test_the_cache_lies_where_the_system_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, variable: str, expected: str
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv(variable, str(tmp_path / "chosen"))
    assert ort.cache_folder().parent == tmp_path / expected
