"""What the tests of the Label Studio plugin share: configs, pictures, requests as a real server sends them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from sam_label_studio.config import Controls
from sam_label_studio.embeddings import Embeddings
from sam_label_studio.images import ImageSource
from sam_label_studio.tokens import Credentials

SMART = """<View>
  <Image name="image" value="$image"/>
  <KeyPointLabels name="kp" toName="image" smart="true"><Label value="Cell"/><Label value="Dog"/></KeyPointLabels>
  <RectangleLabels name="rect" toName="image" smart="true"><Label value="Cell"/><Label value="Dog"/></RectangleLabels>
  <EllipseLabels name="ellipse" toName="image" smart="true"><Label value="Cell"/><Label value="Dog"/></EllipseLabels>
  {output}
</View>"""
OUTPUTS = {
    "brush": '<BrushLabels name="out" toName="image"><Label value="Cell"/><Label value="Dog"/></BrushLabels>',
    "polygon": '<PolygonLabels name="out" toName="image"><Label value="Cell"/><Label value="Dog"/></PolygonLabels>',
    "bitmask": '<BitmaskLabels name="out" toName="image"><Label value="Cell"/><Label value="Dog"/></BitmaskLabels>',
}


def config(output: str = "brush") -> str:
    """Write a labelling config that takes prompts of all kinds and answers with one kind."""
    return SMART.format(output=OUTPUTS[output])


def squares(count: int = 3, shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Draw some bright squares on black: rows 4..11 + 14 i, columns 6..19 + 10 i."""
    plane = np.zeros(shape, np.uint8)
    for i in range(count):
        plane[4 + 14 * i : 12 + 14 * i, 6 + 10 * i : 20 + 10 * i] = 200 + 20 * i
    return plane


def png(plane: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(plane).save(file, kind, **options)
    return file.getvalue()


def uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def source(**options: Any) -> ImageSource:
    return ImageSource(Credentials("http://localhost:8080"), **options)


def memory() -> Embeddings:
    return Embeddings(None)


def controls(output: str = "brush") -> Controls:
    return Controls.of(config(output))


def task(image: object = None, number: int = 1, **more: Any) -> dict[str, Any]:
    """Make a task as Label Studio 1.23.2 sends it."""
    return {
        "id": number,
        "data": {"image": uri(png(squares())) if image is None else image},
        "meta": {},
        "is_labeled": False,
        "overlap": 1,
        "inner_id": number,
        "total_annotations": 0,
        "total_predictions": 0,
        "project": 1,
        "file_upload": 1,
        "annotations": [],
        "predictions": [],
        **more,
    }


def keypoint(y: float, x: float, positive: bool = True, *, shape: Sequence[int] = (48, 64), **more: Any) -> dict:
    """Make a smart click on the centre of a pixel, as Chromium sent it."""
    height, width = shape
    value = {"x": (x + 0.5) / width * 100, "y": (y + 0.5) / height * 100, "width": 0.23014959723820483}
    return {
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, "labels": ["Dog"], "keypointlabels": ["Dog"]},
        "is_positive": positive,
        "id": f"p{y:g}-{x:g}",
        "from_name": "kp",
        "to_name": "image",
        "type": "keypointlabels",
        "origin": "manual",
        **more,
    }


def rectangle(y0: float, x0: float, y1: float, x1: float, *, label: str = "Dog", **more: Any) -> dict:
    """Make a rectangle around the pixels y0..y1-1, x0..x1-1 of an image of 48 x 64."""
    value = {"x": x0 / 64 * 100, "y": y0 / 48 * 100, "width": (x1 - x0) / 64 * 100, "height": (y1 - y0) / 48 * 100}
    return {
        "original_width": 64,
        "original_height": 48,
        "image_rotation": 0,
        "value": {**value, "rotation": 0, "rectanglelabels": [label]},
        "id": f"r{y0:g}-{x0:g}",
        "from_name": "rect",
        "to_name": "image",
        "type": "rectanglelabels",
        "origin": "manual",
        **more,
    }


def body(tasks: Sequence[Any], *, context: Any = None, label_config: Any = None) -> dict[str, Any]:
    """Make the body of a request to /predict."""
    return {
        "tasks": list(tasks),
        "project": "1.1795218664",
        "label_config": config() if label_config is None else label_config,
        "params": {"login": None, "password": None, "context": context},
    }
