"""The endpoints for programs: an image and a prompt in, JSON out."""

from __future__ import annotations

import base64
import binascii
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder

from sam_core import Masks, Prompt, SamError, save_coco
from sam_space.desk import Desk
from sam_space.engine import Stopped
from sam_space.export import MADE_BY
from sam_space.picture import Picture, inside, read_upload
from sam_space.refusal import Refusal
from sam_space.server import address_of
from sam_space.size import enlarged_masks, shrunk_prompt
from sam_space.uploads import Uploads

MOST_TEXT = 20_000  # characters of JSON


def safe_image(most: int) -> gr.Image:
    """Make an image input of which the file must have been uploaded; its value is a path, and nothing is decoded.

    Gradio takes the path of any file of the server for an upload where a program leaves out `meta`. It is the one input
    that is changed, and not its class: gradio writes a file beside the source of each class of components.
    """

    def uploaded(payload: Any) -> str | None:
        try:
            if payload is None:
                return None
            url = str(payload.url or "")
            if not payload.path and url.startswith("data:"):
                return _kept(url, most)
            return str(inside(str(payload.path or ""), get_upload_folder()))
        except Refusal as refusal:
            raise gr.Error(refusal.message, print_exception=False) from None

    image = gr.Image(type="filepath", label="image")
    image.preprocess = uploaded
    return image


def _kept(url: str, most: int) -> str:
    if len(url) > most * 4 // 3 + 200:
        msg = f"got an image of more than {most >> 20} MiB, expected a smaller one"
        raise Refusal(msg)
    try:
        content = base64.b64decode(url.split(",", 1)[1], validate=True)
    except (IndexError, binascii.Error, ValueError):
        msg = "got a data: address that holds no base64, expected an image"
        raise Refusal(msg) from None
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(content)
    return file.name


class Api:
    """What programs may ask, each in plain types.

    Parameters
    ----------
    desk
        Whom to ask.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._uploads = Uploads(Path(get_upload_folder()), desk.limits.upload_seconds)

    def segment(
        self, image: str | None, points: str = "[]", box: str = "[]", candidates: float = 1, request: gr.Request = None
    ) -> dict[str, Any]:
        """Segment the one object that clicks or a box on an image point at.

        Args:
            image: The image: PNG, JPEG, TIFF, WebP, BMP or GIF. Of a stack the first plane is taken.
            points: JSON list of clicks [x, y, label] in pixels; label 1 is on the object, 0 beside it.
            box: JSON list [x0, y0, x1, y1] in pixels, half-open, around the object; [] for none.
            candidates: 1 for the best answer, 3 for all that a single click may mean.

        Returns:
            JSON with the size of the image, the model, milliseconds, and `masks`: score, area, bbox, COCO RLE of each.
        """
        return self._safely(request, lambda: self._segment(image, points, box, candidates))

    def everything(self, image: str | None, request: gr.Request = None) -> dict[str, Any]:
        """Segment all objects on an image.

        Args:
            image: The image: PNG, JPEG, TIFF, WebP, BMP or GIF. Of a stack the first plane is taken.

        Returns:
            JSON as of `segment`, with one entry in `masks` for each object.
        """
        return self._safely(request, lambda: self._everything(image))

    def _safely(self, request: Any, answer: Any) -> dict[str, Any]:
        try:
            self._desk.api_rate.spend(address_of(request) if request is not None else "", "requests")
            found: dict[str, Any] = answer()
        except Refusal as refusal:
            raise gr.Error(refusal.message, print_exception=False) from None
        except SamError as error:
            raise gr.Error(str(error), print_exception=False) from None
        except Stopped:
            msg = "it took too long; try a smaller image"
            raise gr.Error(msg, print_exception=False) from None
        return found

    def _picture(self, image: str | None) -> Picture:
        if image is None:
            msg = "got no image, expected one"
            raise Refusal(msg)
        try:
            return read_upload(Path(image), Path(image).name, self._desk.limits)
        finally:
            self._uploads.answered(Path(image))

    def _segment(self, image: str | None, points: str, box: str, candidates: float) -> dict[str, Any]:
        if candidates not in (1, 3):
            msg = f"got candidates={candidates}, expected 1 or 3"
            raise Refusal(msg)
        clicks, signs = _clicks(points, self._desk.limits.clicks)
        around = _numbers(_json(box, "box"), 4, "box") if _json(box, "box") else None
        region = None if around is None else (around[1], around[0], around[3], around[2])
        picture = self._picture(image)
        Prompt.of(clicks, signs, box=region).check(picture.own_shape)
        prompt = shrunk_prompt(clicks, signs, region, picture.shrunk)
        embedding, encode_ms = self._desk.engine.embed(picture, 0)
        start = time.perf_counter()
        masks = self._desk.engine.ask(embedding, prompt, 3 if candidates == 3 else 1)
        return self._answer(picture, masks, encode_ms, start)

    def _everything(self, image: str | None) -> dict[str, Any]:
        picture = self._picture(image)
        embedding, encode_ms = self._desk.engine.embed(picture, 0)
        start = time.perf_counter()
        end = time.monotonic() + self._desk.limits.everything_seconds
        masks = self._desk.engine.everything(embedding, lambda done, total: None, lambda: time.monotonic() > end)
        return self._answer(picture, masks, encode_ms, start)

    def _answer(self, picture: Picture, masks: Masks, encode_ms: float, start: float) -> dict[str, Any]:
        ms = 1000 * (time.perf_counter() - start)
        height, width = picture.own_shape
        masks = enlarged_masks(masks, picture.shrunk, picture.own_shape)
        return {
            "width": width,
            "height": height,
            "shrunk": picture.shrunk,
            "model": self._desk.source,
            "encode_ms": round(encode_ms, 1),
            "decode_ms": round(ms, 1),
            "masks": _described(masks[np.argsort(-masks.scores, kind="stable")]),
        }


def _described(masks: Masks) -> list[dict[str, Any]]:
    """Describe masks as the writer of COCO files of the core does."""
    with tempfile.TemporaryDirectory(prefix="sam-space-") as folder:
        path = Path(folder) / "masks.json"
        save_coco(path, [masks], made_by=MADE_BY)
        annotations = json.loads(path.read_text("utf-8"))["annotations"]
    return [
        {"score": each["predicted_iou"]} | {name: each[name] for name in ("area", "bbox", "segmentation")}
        for each in annotations
    ]


def _json(text: Any, what: str) -> list[Any]:
    try:
        value = json.loads(text or "[]") if isinstance(text, str) and len(text) <= MOST_TEXT else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list):
        msg = f"got {what} that are no JSON list, expected one such as [[120, 64, 1]] or [10, 20, 50, 60]"
        raise Refusal(msg)
    return value


def _clicks(points: str, most: int) -> tuple[list[tuple[float, float]], list[bool]]:
    given = _json(points, "points")
    if len(given) > most:
        msg = f"got {len(given)} points, expected at most {most}"
        raise Refusal(msg)
    triples = [_numbers(each, 3, "a point") for each in given]
    if any(label not in (0, 1) for _, _, label in triples):
        msg = "got a label other than 1 (on the object) and 0 (beside it)"
        raise Refusal(msg)
    return [(y, x) for x, y, _ in triples], [label == 1 for _, _, label in triples]


def _numbers(given: Any, count: int, what: str) -> list[float]:
    good = isinstance(given, list) and len(given) == count
    if not good or not all(type(v) in (int, float) and abs(v) < 1e6 and math.isfinite(v) for v in given):
        msg = f"got {what} that is not {count} finite numbers, expected [x, y, label] or [x0, y0, x1, y1]"
        raise Refusal(msg)
    return [float(value) for value in given]
