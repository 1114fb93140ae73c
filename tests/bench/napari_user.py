"""How many actions an object takes: a user who clicks where it helps most, on labelled images.

The user of Sofiiuk et al. (2021), with what the plugin offers: a click for each object, in its middle, then Ctrl- or
Shift-clicks in the middle of the largest error, until it overlaps the true one by an IoU of 0.8, or eight actions are
spent. An object that is as good already, because another click found it, takes none. micro-sam takes three actions
for an object whose first answer is right: the click, S, C.

Images are those of the folder SAM_CORE_DATA, of which nothing is in this repository; without it nothing is measured.
"""

from __future__ import annotations

import os
import queue
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_core import EmbeddingCache, Masks, Sam, SamError
from sam_core.evaluation.clicker import deepest, next_click
from sam_core.evaluation.dataset import read_items
from sam_napari._controller import Controller
from sam_napari._engine import Engine
from sam_napari._source import Plane, Source
from tests.bench.measure import Row
from tests.napari.array_canvas import ArrayCanvas

SET, SPLIT, IMAGES = "dsb2018", "test", 20
MOST, GOOD = 8, 0.8  # actions, IoU
FLAT = Plane((0, 1), (0, 0))
THREE = 3  # actions an object takes with micro-sam


class User:
    """Somebody with a mouse before one image."""

    def __init__(self, engine: Engine, image: NDArray[Any]) -> None:
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.labels = np.zeros(image.shape[:2], np.int32)
        canvas = ArrayCanvas(self.labels)
        self._controller = Controller(engine, canvas, _Blind(), None, lambda _: None, post=self._posted.put)
        self._controller.source = Source.of([image], rgb=image.ndim == 3)

    def make(self, truth: NDArray[np.bool_]) -> int:
        """Make an object like the true one; return the actions it took, `MOST` + 1 where it never was good."""
        if (
            max((_iou(self.labels == label, truth) for label in np.unique(self.labels[truth]) if label), default=0)
            >= GOOD
        ):
            return 0
        self._do("release")
        point, positive = deepest(truth), True
        for actions in range(1, MOST + 1):
            name = "click" if actions == 1 else "include" if positive else "exclude"
            self._do(name, FLAT, (float(point[0]), float(point[1])), 1)
            answer = (self.labels == self._controller.state.label) & bool(self._controller.state.label)
            if _iou(answer, truth) >= GOOD:
                return actions
            click = next_click(truth, answer)
            assert click is not None
            point, positive = click
        return MOST + 1

    def leave(self) -> None:
        """Close the image."""
        self._controller.close()

    def _do(self, name: str, *values: Any) -> None:
        getattr(self._controller, name)(*values)
        while self._controller.state.waiting:
            self._posted.get(timeout=60)()


class _Blind:
    """Looks at nothing but the result."""

    def show(self, plane: Plane, masks: Masks, score: float, chosen: int, of: int) -> None:
        pass

    def hide(self) -> None:
        pass


def rows() -> Iterator[Row]:
    """Have all objects of some images made."""
    folder = Path(os.environ.get("SAM_CORE_DATA", ""), SET)
    try:
        items = sorted(read_items(folder, SPLIT), key=lambda item: item.name)
    except SamError:
        return
    chosen = [items[i] for i in np.linspace(0, len(items) - 1, IMAGES).astype(int)]
    with tempfile.TemporaryDirectory() as cache:
        engine = Engine(Sam.from_pretrained, EmbeddingCache(cache), name="cell")
        try:
            actions = np.array([count for item in chosen for count in _actions(engine, *item.read())])
        finally:
            engine.close()
    spent = np.minimum(actions, MOST)
    note = (
        f"{len(actions)} objects: {np.mean(actions <= 1):.0%} with one action or none, median {np.median(spent):.0f}, "
    )
    note += f"{np.mean(actions > MOST):.1%} not good after {MOST}; {spent.sum()} actions in all"
    what = f"napari: actions an object to IoU {GOOD}, {len(chosen)} images of {SET} {SPLIT}"
    yield Row(what, float(spent.mean()), "actions", THREE, False, note)


def _actions(engine: Engine, image: NDArray[Any], labels: NDArray[np.int32]) -> Iterator[int]:
    """Make the objects of an image, the largest first."""
    user = User(engine, image)
    numbers, sizes = np.unique(labels[labels > 0], return_counts=True)
    for number in numbers[np.argsort(-sizes, kind="stable")]:
        yield user.make(labels == number)
    user.leave()


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(one & other) / max(np.count_nonzero(one | other), 1))
