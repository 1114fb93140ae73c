"""What makes the page quick to come: the first example with the greeting, files that are named early and kept."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam_space.desk import Desk
from sam_space.examples import EXAMPLES
from sam_space.hints import Hints, links
from sam_space.server import STATIC
from tests.fake import FakeSegmenter
from tests.space.drive import EASY, Page, desk, opened, png, squares


def test_the_greeting_brings_the_example_that_is_open_first() -> None:
    page = Page(desk())
    page.desk.prepare()
    about = page.http.post("/visit").json()
    page.key = about["visitor"]
    first = about["first"]
    picture = page.post("/picture", {"plane": 0})
    assert base64.b64decode(first["png"]) == picture.content
    assert first["encoded"] == page.lines("/encode", {"plane": 0})[-1]
    page.act("click", x=160, y=160)  # it is the visitor's picture already
    assert first["opened"] == page.post("/example", {"name": EXAMPLES[0].name}).json()


def test_before_there_are_examples_the_greeting_brings_none() -> None:
    assert Page(desk()).http.post("/visit").json()["first"] is None


@pytest.mark.parametrize("colour", [False, True])
def test_a_picture_is_sent_as_it_looks(colour: bool) -> None:
    image = squares()
    if colour:
        image = np.stack([image, image // 2, 255 - image], axis=-1)
    page = Page(desk())
    page.open(png(image))
    shown = Image.open(io.BytesIO(page.post("/picture", {"plane": 0}).content))
    assert shown.mode == ("RGB" if colour else "L")
    np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), np.asarray(Image.fromarray(image).convert("RGB")))


def test_a_file_that_did_not_change_is_not_sent_again() -> None:
    http = opened().http
    for file in STATIC.glob("*.js"):
        first = http.get(f"/static/{file.name}")
        tag = {"if-none-match": first.headers["etag"]}
        assert first.content == file.read_bytes()
        assert http.get(f"/static/{file.name}", headers=tag).status_code == 304
        assert http.get(f"/static/{file.name}", headers={"if-none-match": '"another"'}).content == first.content


@pytest.mark.parametrize(
    ("kind", "root", "path", "status", "told"),
    [
        ("http", "", "/", 200, True),
        ("http", "/behind/a/proxy", "/", 200, True),
        ("http", "/behind/a/proxy", "/behind/a/proxy/", 200, True),
        ("http", "", "/sam/visit", 200, False),
        ("http", "/behind", "/behind/sam/static/main.js", 200, False),
        ("http", "", "/", 404, False),
        ("websocket", "", "/", 200, False),
    ],
)
def test_the_page_alone_tells_what_it_will_need(kind: str, root: str, path: str, status: int, told: bool) -> None:
    said: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"server", b"a")]})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        said.append(message)

    link = links(["main.js"], "sam/static/")
    scope = {"type": kind, "path": path, "root_path": root}
    asyncio.run(Hints(app, link)(scope, lambda: None, send))  # type: ignore[arg-type]
    assert said[0]["headers"] == [(b"server", b"a"), *([(b"link", link.encode())] if told else [])]
    assert len(said) == 2


def test_the_model_is_run_by_the_same_threads_whoever_asks() -> None:
    """Each thread that runs a network costs memory and helpers for good."""
    threads: set[str] = set()

    class Watched(FakeSegmenter):
        def encode(self, *given: Any, **named: Any) -> Any:
            threads.add(threading.current_thread().name)
            return super().encode(*given, **named)

        def decode(self, *given: Any, **named: Any) -> Any:
            threads.add(threading.current_thread().name)
            return super().decode(*given, **named)

    shared = Desk(Watched(), EASY)
    pages = [Page(shared) for _ in range(4)]
    for i, page in enumerate(pages):
        page.open(png(np.roll(squares(), i, axis=1)))
        page.post("/preview", {"plane": 0, "x": 40, "y": 25})
        page.act("click", x=40, y=25)
        page.lines("/everything", {"plane": 0})
    assert threads == {"encoding_0", "answering_0"}
