"""The endpoints for programs, by real clients, and gradio's own endpoints in the hands of strangers."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sam_core import samples, to_rgb8

pytestmark = [
    pytest.mark.slow,
    # The clients of gradio and MCP leave sockets unclosed, and pycocotools asks numpy in an old manner.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
gradio_client = pytest.importorskip("gradio_client", reason="gradio is not installed: pip install 'sam-core[space]'")

CELLS = samples.cells(seed=1)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outside of any folder that the server serves."""
    path = tmp_path_factory.mktemp("pictures") / "cells.png"
    Image.fromarray(to_rgb8(CELLS.image)).save(path)
    return path


@pytest.fixture(scope="module")
def client(address: str) -> Any:
    return gradio_client.Client(address, verbose=False, analytics_enabled=False)


def decoded(code: dict[str, Any]) -> np.ndarray:
    return np.asarray(coco.decode(code)).astype(bool)


def middle() -> tuple[int, int, np.ndarray]:
    cell = CELLS.labels == np.bincount(CELLS.labels.ravel())[1:].argmax() + 1
    y, x = (round(float(v.mean())) for v in np.nonzero(cell))
    return y, x, cell


def test_segment_answers_as_documented(client: Any, picture: Path) -> None:
    y, x, cell = middle()
    answer = client.predict(gradio_client.handle_file(picture), f"[[{x}, {y}, 1]]", "[]", 3, api_name="/segment")
    assert (answer["width"], answer["height"], answer["model"], answer["shrunk"]) == (256, 256, "cell", 1)
    scores = [each["score"] for each in answer["masks"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3
    best = answer["masks"][0]
    mask = decoded(best["segmentation"])
    assert mask.sum() == best["area"]
    assert (mask & cell).sum() / (mask | cell).sum() > 0.7
    again = client.predict(
        gradio_client.handle_file(picture), "[]", f"[{x - 20}, {y - 20}, {x + 20}, {y + 20}]", 1, api_name="/segment"
    )
    assert again["encode_ms"] == 0
    assert len(again["masks"]) == 1


def test_what_was_sent_is_gone_soon_after_the_answer(
    client: Any, picture: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    client.predict(gradio_client.handle_file(picture), "[[5, 5, 1]]", "[]", 1, api_name="/segment")
    folders = list(tmp_path_factory.getbasetemp().glob("uploads*"))
    assert folders
    for _ in range(120):
        left = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        if not left:
            return
        time.sleep(0.5)
    raise AssertionError(left)


def test_places_and_masks_are_in_pixels_of_the_image_however_large(
    client: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One of more pixels than are worked on; its border is no whole number of those."""
    large = np.zeros((2301, 3001), np.uint8)
    truth = np.zeros(large.shape, bool)
    truth[900:1200, 2001:2401] = True
    large[truth] = 200
    path = tmp_path_factory.mktemp("large") / "large.png"
    Image.fromarray(large).save(path)
    answer = client.predict(gradio_client.handle_file(path), "[[2200, 1050, 1]]", "[]", 1, api_name="/segment")
    assert (answer["width"], answer["height"], answer["shrunk"]) == (3001, 2301, 2)
    mask = decoded(answer["masks"][0]["segmentation"])
    assert mask.shape == truth.shape
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9
    with pytest.raises(gradio_client.exceptions.AppError, match="expected 0 <="):
        client.predict(gradio_client.handle_file(path), "[[3001, 5, 1]]", "[]", 1, api_name="/segment")


def test_everything_answers_as_documented(client: Any, picture: Path) -> None:
    answer = client.predict(gradio_client.handle_file(picture), api_name="/everything")
    assert len(answer["masks"]) > 10
    assert set(answer["masks"][0]) == {"score", "area", "bbox", "segmentation"}


@pytest.mark.parametrize(
    ("points", "box", "candidates", "said"),
    [
        ("[]", "[]", 1, "empty prompt"),
        ("[[1, 2]]", "[]", 1, "3 finite numbers"),
        ("[[1, 2, 7]]", "[]", 1, "label"),
        ("[[999, 2, 1]]", "[]", 1, "expected 0 <="),
        ("nonsense", "[]", 1, "JSON list"),
        ("[[NaN, 2, 1]]", "[]", 1, "finite"),
        ("[[1, 2, 1]]", "[1]", 1, "4 finite numbers"),
        ("[[1, 2, 1]]", "[9, 9, 2, 2]", 1, "no area"),
        ("[[1, 2, 1]]", "[]", 2, "1 or 3"),
        ("[" + "[1, 2, 1]," * 100 + "[1, 2, 1]]", "[]", 1, "at most"),
        ("[" * 5000, "[]", 1, "JSON list"),
    ],
)
def test_what_makes_no_sense_is_said(
    client: Any, picture: Path, points: str, box: str, candidates: int, said: str
) -> None:
    with pytest.raises(gradio_client.exceptions.AppError, match=said):
        client.predict(gradio_client.handle_file(picture), points, box, candidates, api_name="/segment")


# -- files that nobody uploaded ---------------------------------------------------------------------------------------


def call(address: str, name: str, data: list[Any]) -> str:
    """Call an endpoint by hand, and return all that it says."""
    asked = httpx.post(f"{address}gradio_api/call/{name}", json={"data": data}, timeout=60)
    if asked.is_error:
        return f"error {asked.status_code} {asked.text}"
    answer = httpx.get(f"{address}gradio_api/call/{name}/{asked.json()['event_id']}", timeout=60)
    return f"error {answer.status_code} {answer.text}" if answer.is_error else answer.text


META = ({}, {"meta": {"_type": "gradio.FileData"}})


@pytest.mark.parametrize("meta", META, ids=["without meta", "with meta"])
@pytest.mark.parametrize("name", ["segment", "everything"])
def test_no_file_of_the_server_is_opened(address: str, picture: Path, name: str, meta: dict[str, Any]) -> None:
    """Gradio 6.31 opens any picture of the server for a payload without `meta`: ours does not, at any endpoint."""
    rest = ["[[5, 5, 1]]", "[]", 1] if name == "segment" else []
    for path in (str(picture), "/etc/passwd", f"/tmp/../{picture}", "/proc/self/environ", "app.py", "", None, 7, ["a"]):
        said = call(address, name, [{"path": path, **meta}, *rest])
        assert "error" in said
        assert "masks" not in said
        assert "root:" not in said
        assert "Traceback" not in said


def test_the_hole_is_there_in_gradio_itself(picture: Path) -> None:
    """So that what closes it is known to be needed, and is taken out when it is not any more."""
    gr = pytest.importorskip("gradio")
    from gradio.data_classes import ImageData

    from sam_space.api import safe_image

    payload = ImageData(path=str(picture))
    assert gr.Image(type="pil").preprocess(payload) is not None
    with pytest.raises(gr.Error, match="no upload"):
        safe_image(1 << 20).preprocess(payload)


@pytest.mark.parametrize("path", [
    "/etc/passwd", "app.py", "sam_space/desk.py", "../../README.md", "requirements.txt", "/proc/self/environ",
    "..%2f..%2fpyproject.toml", "%2fetc%2fpasswd",
])  # fmt: skip
@pytest.mark.parametrize("way", ["gradio_api/file=", "file=", "static/", "sam/static/", "assets/"])
def test_no_file_is_served_but_those_of_the_page(address: str, way: str, path: str) -> None:
    assert httpx.get(f"{address}{way}{path}").status_code in (403, 404, 405)


def test_a_file_that_is_too_large_is_turned_away_while_it_arrives(address: str) -> None:
    edge = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body = edge + b"\0" * (25 << 20) + b"\r\n--edge--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=edge"}
    try:
        answer = httpx.post(f"{address}gradio_api/upload", content=body, headers=headers)
    except httpx.TransportError:
        return  # cut off on the way
    assert answer.is_error


def test_a_data_address_is_read_like_an_upload(address: str, picture: Path) -> None:
    y, x, _ = middle()
    url = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
    assert '"masks": [{' in call(address, "segment", [{"url": url}, f"[[{x}, {y}, 1]]", "[]", 1])
    for bad in ("data:", "data:image/png;base64,####", "data:,", "file:///etc/passwd", "http://127.0.0.1:1/a.png"):
        assert "error" in call(address, "segment", [{"url": bad}, "[[5, 5, 1]]", "[]", 1])


def test_programs_may_use_it_as_tools(address: str, picture: Path) -> None:
    """MCP: both endpoints are tools that say what they take, and answer."""
    pytest.importorskip("mcp", reason="mcp is not installed: pip install 'gradio[mcp]'")
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    y, x, _ = middle()
    url = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()

    async def use() -> tuple[list[str], str]:
        async with (
            streamablehttp_client(f"{address}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            name = next(tool.name for tool in tools if tool.name.endswith("segment"))
            given = {"image": url, "points": f"[[{x}, {y}, 1]]", "box": "[]", "candidates": 1}
            answer = await session.call_tool(name, given)
            return [json.dumps(tool.inputSchema) for tool in tools], answer.content[0].text

    tools, answer = asyncio.run(use())
    assert len(tools) == 2
    assert "clicks [x, y, label] in pixels; label 1 is on the object, 0 beside it." in " ".join(tools)
    assert "segmentation" in answer
