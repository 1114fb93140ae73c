"""Images are fetched, and nothing else is."""

from __future__ import annotations

import base64
import gzip
import http.server
import io
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam_core import ImageError
from sam_label_studio.addresses import Rules, is_public
from sam_label_studio.errors import AccessError, FetchError
from sam_label_studio.images import ImageSource, Limits
from sam_label_studio.tokens import Credentials
from tests.label_studio.server import png, squares, uri

KEY = "0123456789abcdef"
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@dataclass
class Site:
    """A web server on this machine, and what it was asked."""

    url: str
    pages: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def sites() -> Iterator[list[Site]]:
    """Two servers: Label Studio, and somebody else."""
    found, servers = [], []
    for _ in range(2):
        site = Site("")

        class Handler(http.server.BaseHTTPRequestHandler):
            here = site

            def do_GET(self) -> None:
                path = urllib.parse.urlsplit(self.path).path
                self.here.asked.append((self.path, self.headers.get("Authorization")))
                self.here.pages.get(path, _status(404))(self)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        found.append(site)
        servers.append(server)
    yield found
    for server in servers:
        server.shutdown()
        server.server_close()


def _send(data: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"content_length": str(len(data)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def _status(status: int) -> Answer:
    return _send(b"<html>", status)


def _redirect(to: str, status: int = 302) -> Answer:
    return _send(b"", status, location=to)


def _source(
    site: Site, *, key: str = KEY, hosts: tuple[str, ...] = (), private: tuple[str, ...] = (), **more: Any
) -> Any:
    studio = Credentials(site.url, key)
    return ImageSource(studio, Rules(studio, hosts, private), **more)


def _open(images: ImageSource, reference: object, task: Any = 7) -> np.ndarray:
    with images.open(reference, task=task) as planes:
        return planes[0]


PICTURE = png(squares())

# -- what is fetched -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["/data/upload/1/a%20b.png", "{studio}/data/upload/1/a%20b.png"])
def test_uploads_are_fetched_with_the_key(sites: list[Site], reference: str) -> None:
    studio = sites[0]
    studio.pages["/data/upload/1/a%20b.png"] = _send(PICTURE)
    assert np.array_equal(_open(_source(studio), reference.format(studio=studio.url)), squares())
    assert studio.asked == [("/data/upload/1/a%20b.png", f"Token {KEY}")]


@pytest.mark.parametrize("path", ["/data/upload/a.png", "/sub/data/upload/a.png"])
def test_a_sub_path_is_there_once(sites: list[Site], path: str) -> None:
    studio = Site(sites[0].url + "/sub")
    sites[0].pages["/sub/data/upload/a.png"] = _send(PICTURE)
    assert _open(_source(studio), path).shape == (48, 64)


@pytest.mark.parametrize("cloud", ["s3://bucket/a.png", "gs://bucket/a b.png", "azure-blob://c/ä.png"])
def test_clouds_are_opened_through_label_studio_and_without_its_key(sites: list[Site], cloud: str) -> None:
    studio, other = sites
    studio.pages["/tasks/7/presign/"] = _redirect(f"{other.url}/bucket/a.png?signature=x")
    other.pages["/bucket/a.png"] = _send(PICTURE)
    host = other.url.removeprefix("http://")
    assert _open(_source(studio, private=(host,)), cloud).shape == (48, 64)
    coded = studio.asked[0][0].partition("fileuri=")[2]
    assert base64.urlsafe_b64decode(coded).decode() == cloud
    assert other.asked == [("/bucket/a.png?signature=x", None)]


def test_label_studio_may_send_a_data_uri_and_others_may_not(sites: list[Site]) -> None:
    studio, other = sites
    studio.pages["/tasks/7/presign/"] = other.pages["/a.png"] = _redirect(uri(PICTURE))
    assert _open(_source(studio), "s3://bucket/a.png").shape == (48, 64)
    host = other.url.removeprefix("http://")
    with pytest.raises(FetchError, match="only http and https"):
        _open(_source(studio, private=(host,)), f"{other.url}/a.png")


def test_a_key_that_was_refused_is_exchanged_once_more(sites: list[Site], monkeypatch: pytest.MonkeyPatch) -> None:
    studio = sites[0]
    keys = iter(["old", "new"])
    monkeypatch.setattr(Credentials, "headers", lambda *_: {"Authorization": next(keys)})
    good, bad = _send(PICTURE), _status(401)
    studio.pages["/a.png"] = lambda handler: (good if handler.headers["Authorization"] == "new" else bad)(handler)
    assert _open(_source(studio), "/a.png").shape == (48, 64)


@pytest.mark.parametrize(("key", "told"), [(KEY, "does not take the key"), ("", "wants a key")])
def test_a_key_that_is_refused_is_told(sites: list[Site], key: str, told: str) -> None:
    sites[0].pages["/a.png"] = _status(401)
    with pytest.raises(AccessError, match=told):
        _open(_source(sites[0], key=key), "/a.png")


@pytest.mark.parametrize("status", [400, 403, 404, 410, 500, 503, 204, 206])
def test_a_failure_is_told(sites: list[Site], status: int) -> None:
    sites[0].pages["/a.png"] = _status(status)
    with pytest.raises(FetchError, match=f"HTTP {status}"):
        _open(_source(sites[0]), "/a.png")


def test_data_uris_are_opened_without_a_network() -> None:
    images = ImageSource(Credentials("http://localhost:1"))
    assert np.array_equal(_open(images, uri(PICTURE)), squares())
    quoted = "data:image/png," + urllib.parse.quote_from_bytes(PICTURE)
    assert np.array_equal(_open(images, quoted), squares())


def test_what_was_fetched_is_removed(sites: list[Site]) -> None:
    sites[0].pages["/a.png"] = _send(PICTURE)
    with _source(sites[0]).open("/a.png", task=1) as planes:
        assert planes.path.exists()
    assert not planes.path.exists()


# -- who is not asked ------------------------------------------------------------------------------------------------

PRIVATE = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f000001",
    "0x7f.1",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "0.0.0.0",
    "0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "10.0.0.1",
    "10.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "169.254.169.254",
    "0xa9fea9fe",
    "100.64.0.1",
    "192.0.0.8",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "[fc00::1]",
    "[fd12::1]",
    "[fe80::1]",
    "[ff02::1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[2002:c0a8:1::1]",
    "[2001:db8::1]",
    "[::ffff:0:127.0.0.1]",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_not_asked_in_any_spelling(sites: list[Site], host: str) -> None:
    """Though any host is allowed; the port is that of a server which would answer."""
    port = sites[1].url.rpartition(":")[2]
    sites[1].pages["/a.png"] = _send(PICTURE)
    images = _source(sites[0], hosts=("*",), limits=Limits(seconds=5))
    with pytest.raises(FetchError, match=r"not public|not known|only http|Invalid"):
        _open(images, f"http://{host}:{port}/a.png")
    assert sites[1].asked == []


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "1.1.1.1"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)
    assert not is_public(address + "x")


STRANGE = [
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "ftp://127.0.0.1/a.png",
    "gopher://127.0.0.1:25/",
    "jar:http://127.0.0.1!/a.png",
    "javascript:alert(1)",
    "//{other}/a.png",
    "http:///a.png",
    "http://",
    "http:a.png",
    "{other}",
    "http://{other}/a.png",
    "http://{studio}@{other}/a.png",
    "http://user:word@{studio}/a.png",
    "http://{studio}\\@{other}/a.png",
    "http://{other}\\.{studio}/a.png",
    "http://{studio}.evil.example.org/a.png",
    "http://{other}#@{studio}/a.png",
    "http://{other}?@{studio}/a.png",
    "http://{studio} {other}/a.png",
    "http://{studio}\t/a.png",
    "http://{studio}\r\nHost: x/a.png",
    "https://{studio}:99999/a.png",
    "http://[::1/a.png",
    "../../etc/passwd",
    "etc/passwd",
    "C:\\a.png",
    "\\\\host\\share\\a.png",
    "unix:///var/run/docker.sock",
    "s3:/bucket/a.png",
    "data:",
    "data:image/png",
    "data:image/png;base64,???",
    "data:text/html,<html>",
    " ",
    "",
]


@pytest.mark.parametrize("reference", STRANGE)
def test_strange_addresses_are_not_asked(sites: list[Site], reference: str) -> None:
    studio, other = sites
    for site in sites:
        site.pages["/a.png"] = _send(PICTURE)
    named = {"studio": studio.url.removeprefix("http://"), "other": other.url.removeprefix("http://")}
    with pytest.raises((FetchError, ImageError)):
        _open(_source(studio), reference.format(**named))
    assert other.asked == []
    assert [path for path, _ in studio.asked if path == "/a.png"] == []


@pytest.mark.parametrize("reference", [None, 7, b"x", [], {}, True])
def test_what_is_no_address_is_told(reference: object) -> None:
    with pytest.raises(FetchError, match="expected its address"):
        _open(ImageSource(Credentials("http://localhost:1")), reference)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "to", ["{other}/a.png", "//{host}/a.png", "http://169.254.169.254/latest/", "file:///etc/passwd", "gopher://x/"]
)
def test_redirects_are_checked(sites: list[Site], status: int, to: str) -> None:
    studio, other = sites
    other.pages["/a.png"] = _send(PICTURE)
    host = other.url.removeprefix("http://")
    studio.pages["/a.png"] = _redirect(to.format(other=other.url, host=host), status)
    with pytest.raises(FetchError, match=r"not public|only http"):
        _open(_source(studio), "/a.png")
    assert other.asked == []


def test_an_allowed_host_may_not_send_us_elsewhere(sites: list[Site]) -> None:
    studio, other = sites
    other.pages["/a.png"] = _redirect("http://third.example.org/a.png")
    host = other.url.removeprefix("http://")
    with pytest.raises(FetchError, match=r"third\.example\.org is neither"):
        _open(_source(studio, private=(host,)), f"{other.url}/a.png")


def test_the_key_stays_at_home_on_a_redirect_away_and_is_there_on_the_way_back(sites: list[Site]) -> None:
    studio, other = sites
    host = other.url.removeprefix("http://")
    studio.pages["/a.png"] = _redirect(f"{other.url}/b.png")
    other.pages["/b.png"] = _redirect(f"{studio.url}/c.png")
    studio.pages["/c.png"] = _send(PICTURE)
    _open(_source(studio, private=(host,)), "/a.png")
    assert [key for _, key in studio.asked] == [f"Token {KEY}"] * 2
    assert other.asked == [("/b.png", None)]


def test_redirects_come_to_an_end(sites: list[Site]) -> None:
    sites[0].pages["/a.png"] = _redirect("/a.png")
    with pytest.raises(FetchError, match="more than 5 redirects"):
        _open(_source(sites[0]), "/a.png")
    assert len(sites[0].asked) == 6


def test_a_name_cannot_mean_something_else_the_second_time(sites: list[Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is looked up once; the connection goes to the address that was checked, whatever the name means now."""
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    gone_to: list[Any] = []

    def connect(address: Any, *_: object, **__: object) -> Any:
        gone_to.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    images = _source(sites[0], hosts=("rebinding.example.org",), resolve=lambda *_: next(answers))
    with pytest.raises(FetchError, match="could not fetch"):
        _open(images, "http://rebinding.example.org/a.png")
    assert gone_to == [("93.184.215.14", 80)]
    with pytest.raises(FetchError, match="not public"):
        _open(images, "http://rebinding.example.org/a.png")
    assert len(gone_to) == 1


def test_one_private_address_among_public_ones_is_enough(sites: list[Site]) -> None:
    images = _source(sites[0], hosts=("*",), resolve=lambda *_: ["93.184.215.14", "10.0.0.1"])
    with pytest.raises(FetchError, match=r"10\.0\.0\.1, which is not public"):
        _open(images, "http://both.example.org/a.png")


@pytest.mark.parametrize(
    ("hosts", "host", "allowed"),
    [
        ((), "images.example.org", False),
        (("images.example.org",), "images.example.org", True),
        (("images.example.org",), "IMAGES.example.org.", True),
        (("example.org",), "images.example.org", False),
        (("*.example.org",), "images.example.org", True),
        (("*.example.org",), "example.org", False),
        (("*.example.org",), "evilexample.org", False),
        (("*",), "anything.example.com", True),
    ],
)
def test_hosts_are_allowed_by_name(hosts: tuple[str, ...], host: str, allowed: bool) -> None:
    rules = Rules(Credentials("http://localhost:8080"), hosts)
    assert (rules.refusal(f"http://{host}/a.png") == "") == allowed


def test_the_other_port_of_label_studios_machine_is_somebody_else(sites: list[Site]) -> None:
    studio, other = sites
    other.pages["/a.png"] = _send(PICTURE)
    with pytest.raises(FetchError, match="neither Label Studio nor an allowed host"):
        _open(_source(studio), f"{other.url}/a.png")


def test_no_proxy_stands_between(sites: list[Site], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, sites[1].url)
    sites[0].pages["/a.png"] = _send(PICTURE)
    _open(_source(sites[0]), "/a.png")
    assert sites[1].asked == []


# -- what is too much ------------------------------------------------------------------------------------------------


def test_a_file_that_says_it_is_too_large_is_not_read(sites: list[Site]) -> None:
    sites[0].pages["/a.png"] = _send(PICTURE, content_length=str(10**12))
    with pytest.raises(FetchError, match="more than 5000 bytes"):
        _open(_source(sites[0], limits=Limits(bytes=5000)), "/a.png")


@pytest.mark.parametrize("length", ["", "-1", "x"])
def test_a_file_that_is_too_large_and_does_not_say_so_is_cut(sites: list[Site], length: str) -> None:
    def pour(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 10_000)
        except OSError:
            pass

    sites[0].pages["/a.png"] = pour
    with pytest.raises(FetchError, match="more than 50000 bytes"):
        _open(_source(sites[0], limits=Limits(bytes=50_000)), "/a.png")


@pytest.mark.parametrize("part", ["head", "body"])
def test_who_speaks_slowly_is_not_heard_to_the_end(sites: list[Site], part: str) -> None:
    def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
        start = b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if part == "body" else b"X: ")
        handler.wfile.write(start)
        try:
            for _ in range(200):
                handler.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            pass

    sites[0].pages["/a.png"] = drip
    started = time.monotonic()
    with pytest.raises(FetchError, match="took too long"):
        _open(_source(sites[0], limits=Limits(seconds=0.6)), "/a.png")
    assert time.monotonic() - started < 5


def test_compressed_bodies_are_not_unpacked(sites: list[Site]) -> None:
    sites[0].pages["/a.png"] = _send(gzip.compress(bytes(10**7)), content_encoding="gzip")
    with pytest.raises(FetchError, match="compressed"):
        _open(_source(sites[0]), "/a.png")


def _bomb() -> bytes:
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"<!DOCTYPE html><html>Log in</html>", "may ask to log in"),
        (b'{"detail": "no"}', "page of text"),
        (b"", "no image"),
        (b"%PDF-1.7", "no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no image"),
        (b"\x93NUMPY\x01\x00", "no image"),
        (b"PK\x03\x04", "no image"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\xff\xd8\xff", "damaged"),
        (b"II*\0", "damaged"),
        (b"GIF89a", "damaged"),
        (b"BM", "damaged"),
        (b"RIFF1234WEBP", "damaged"),
        (PICTURE[:-30], "damaged"),
        (png(np.zeros((90, 90), np.uint8), "JPEG")[:-20], "damaged"),
        (png(np.zeros((101, 100), np.uint8)), "at most 1000 of 10000 pixels"),
        (png(np.zeros((101, 100), np.uint8), "TIFF"), "at most 1000 of 10000 pixels"),
        (_bomb(), "fewer"),
    ],
    ids=range(18),
)
def test_what_is_no_image_or_too_large_is_told(data: bytes, told: str) -> None:
    images = ImageSource(Credentials("http://localhost:1"), limits=Limits(pixels=10_000))
    with pytest.raises(ImageError, match=told) as caught:
        _open(images, uri(data))
    assert "/tmp" not in str(caught.value)


def test_too_many_pages_are_told() -> None:
    file = io.BytesIO()
    frames = [Image.new("L", (4, 4), i) for i in range(20)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    images = ImageSource(Credentials("http://localhost:1"), limits=Limits(pages=10))
    with pytest.raises(ImageError, match="20 pages"):
        _open(images, uri(file.getvalue(), "gif"))


# -- local files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    inside = tmp_path / "shown"
    (inside / "sub").mkdir(parents=True)
    (inside / "sub" / "a b.png").write_bytes(PICTURE)
    (tmp_path / "secret.png").write_bytes(PICTURE)
    (tmp_path / "shown2").mkdir()
    (tmp_path / "shown2" / "a.png").write_bytes(PICTURE)
    (inside / "out.png").symlink_to(tmp_path / "secret.png")
    (inside / "folder").symlink_to(tmp_path)
    (inside / "in.png").symlink_to(inside / "sub" / "a b.png")
    return inside


@pytest.mark.parametrize("inside", ["sub/a%20b.png", "/sub/a%20b.png", "in.png", "sub//a+b.png", "./sub/a%20b.png"])
def test_local_files_are_opened(root: Path, inside: str) -> None:
    images = ImageSource(Credentials("http://localhost:1/studio"), roots=(root,))
    assert _open(images, f"/data/local-files/?d={inside}").shape == (48, 64)
    assert _open(images, f"http://localhost:1/studio/data/local-files/?d={inside}").shape == (48, 64)
    assert images.key(f"/data/local-files/?d={inside}") == images.key(f"/data/local-files/?d={inside}")


@pytest.mark.parametrize(
    "inside",
    [
        "../secret.png",
        "%2e%2e/secret.png",
        "..%2fsecret.png",
        "sub/../../secret.png",
        "sub/../sub/a%20b.png",
        "..\\secret.png",
        "..%5csecret.png",
        "out.png",
        "folder/secret.png",
        "folder/shown/sub/a%20b.png/..",
        "../shown2/a.png",
        "{tmp}/secret.png",
        "/etc/passwd",
        "//etc/passwd",
        "sub",
        "",
        "sub/a%20b.png%00.txt",
        "missing.png",
        "~/a.png",
        "file:///etc/passwd",
    ],
)
def test_nothing_outside_the_roots_is_opened(root: Path, inside: str) -> None:
    images = ImageSource(Credentials("http://localhost:1"), roots=(root,))
    with pytest.raises(FetchError, match="expected one in"):
        _open(images, "/data/local-files/?d=" + inside.replace("{tmp}", str(root.parent)))


def test_without_roots_label_studio_is_asked_for_local_files(sites: list[Site]) -> None:
    sites[0].pages["/data/local-files/"] = _send(PICTURE)
    assert _open(_source(sites[0]), "/data/local-files/?d=sub/a%20b.png").shape == (48, 64)
    assert sites[0].asked == [("/data/local-files/?d=sub/a%20b.png", f"Token {KEY}")]


def test_a_file_that_changed_is_another_image(root: Path) -> None:
    images = ImageSource(Credentials("http://localhost:1"), roots=(root,))
    before = images.key("/data/local-files/?d=sub/a b.png")
    (root / "sub" / "a b.png").write_bytes(PICTURE + b" ")
    assert images.key("/data/local-files/?d=sub/a b.png") != before
