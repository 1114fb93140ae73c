"""A page of the Space in a real browser, and what somebody does there."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from scipy import ndimage

from sam_core import samples

CELLS = samples.cells((320, 384), count=60, diameter=28.0, seed=3)  # what the page opens with


class Visit:
    """A page, and what it said to the console and asked of other hosts."""

    def __init__(self, context: Any, address: str) -> None:
        self.page = context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda m: self.said.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        start = time.perf_counter()
        self.page.goto(address)
        self.page.wait_for_selector(".sam[data-state=ready]")
        self.seconds = time.perf_counter() - start
        self.address = address

    def find(self, selector: str) -> Any:
        return self.page.locator(selector)

    def data(self, name: str) -> str:
        return self.find(".sam").get_attribute(f"data-{name}") or ""

    def done(self, do: Callable[[], Any]) -> None:
        """Do something that changes the work, and wait until it has."""
        before = int(self.data("acts") or 0)
        do()
        self.page.wait_for_function(f"+document.querySelector('.sam').dataset.acts > {before}")

    def at(self, y: float, x: float) -> tuple[float, float]:
        """Where a pixel of the picture is on the screen."""
        box = self.find(".canvas").bounding_box()
        zoom, left, top = map(float, self.find(".canvas").get_attribute("data-view").split())
        return box["x"] + left + (x + 0.5) * zoom, box["y"] + top + (y + 0.5) * zoom

    def click(self, place: tuple[float, float], **how: Any) -> None:
        self.done(lambda: self.page.mouse.click(*self.at(*place), **how))

    def take(self, kind: str) -> bytes:
        with self.page.expect_download() as download:
            self.find(f"[data-kind={kind}]").click()
        return Path(download.value.path()).read_bytes()

    def labels(self) -> np.ndarray:
        return tifffile.imread(io.BytesIO(self.take("tiff")))

    @property
    def count(self) -> int:
        return int(self.data("objects"))

    @property
    def told(self) -> str:
        return str(self.find(".told").inner_text())


def middles(sample: samples.Sample, least: int = 350) -> list[tuple[int, int]]:
    """Pixels deep inside large whole cells, y, x."""
    depth = ndimage.distance_transform_edt(np.pad(sample.labels > 0, 1))[1:-1, 1:-1]
    found = []
    for label in range(1, int(sample.labels.max()) + 1):
        cell = sample.labels == label
        rows, columns = np.nonzero(cell)
        inside = len(rows) and rows.min() > 4 and rows.max() < 315 and columns.min() > 4 and columns.max() < 379
        if cell.sum() >= least and inside:
            y, x = np.unravel_index(int(np.where(cell, depth, 0).argmax()), cell.shape)
            found.append((int(y), int(x)))
    return found


MIDDLES = middles(CELLS)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def truth(place: tuple[int, int]) -> np.ndarray:
    return np.asarray(CELLS.labels == CELLS.labels[place])
