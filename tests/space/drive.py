"""A desk with a fake model, and a visitor who asks it over HTTP."""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from sam_space.desk import Desk
from sam_space.limits import Limits
from sam_space.server import create_app
from tests.fake import FakeSegmenter

SHAPE = (40, 60)
SQUARES = ((5, 5, 15, 15), (20, 30, 34, 50))
EASY = Limits(actions_per_second=1e6, previews_per_second=1e6, opens_per_minute=1e6, visits_per_minute=1e6)


def squares() -> np.ndarray:
    """Two bright squares, which the fake model takes for objects."""
    image = np.zeros(SHAPE, np.uint8)
    for y0, x0, y1, x1 in SQUARES:
        image[y0:y1, x0:x1] = 200
    return image


def png(image: np.ndarray) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def desk(limits: Limits = EASY) -> Desk:
    """A desk without examples."""
    return Desk(FakeSegmenter(), limits)


class Page:
    """What a page does, without a page."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.http = TestClient(create_app(desk))
        self.key = self.http.post("/visit").json()["visitor"]

    def post(self, path: str, content: Any = None, **headers: str) -> Any:
        body = content if isinstance(content, bytes | str) else json.dumps(content or {})
        return self.http.post(path, content=body, headers={"x-visitor": self.key, **headers})

    def open(self, content: bytes, name: str = "squares.png") -> Any:
        return self.post("/open", content, **{"x-name": quote(name)})

    def act(self, action: str, **given: Any) -> Any:
        answer = self.post("/act", {"action": action, "plane": 0, **given})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def lines(self, path: str, content: Any = None) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.post(path, content).text.splitlines()]

    def take(self, kind: str, **given: Any) -> bytes:
        answer = self.post("/take", {"kind": kind, "plane": 0, **given})
        assert answer.status_code == 200, answer.text
        return answer.content


def opened(limits: Limits = EASY) -> Page:
    """A page with the two squares on it."""
    page = Page(desk(limits))
    assert page.open(png(squares())).status_code == 200
    return page


def drawn(sent: dict[str, Any], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Draw a mask as the page does."""
    values = np.zeros(sent["w"] * sent["h"], bool)
    at, on = 0, False
    for run in sent["runs"]:
        values[at : at + run] = on
        at, on = at + run, not on
    mask = np.zeros(shape, bool)
    mask[sent["y"] : sent["y"] + sent["h"], sent["x"] : sent["x"] + sent["w"]] = values.reshape(sent["h"], sent["w"])
    return mask
