"""What stands in for the model, the engine and the window where the logic of the plugin is tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_core import Embedding, Logits, Masks, Prompt
from sam_napari._controller import Controller
from sam_napari._journal import Journal
from sam_napari._source import Plane, Source
from sam_napari._view import Patch
from tests.fake import FakeSegmenter
from tests.napari.array_canvas import ArrayCanvas

SHAPE = (48, 64)
FLAT = Plane((0, 1), (0, 0))


def boxed(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = SHAPE) -> NDArray[np.bool_]:
    """Draw rectangles."""
    out = np.zeros(shape, bool)
    for y0, x0, y1, x1 in boxes:
        out[y0:y1, x0:x1] = True
    return out


LEFT, RIGHT, BELOW, ALONE = (4, 4, 12, 12), (4, 12, 12, 20), (12, 4, 20, 20), (30, 30, 40, 44)
PARTS = [boxed(LEFT), boxed(RIGHT), boxed(BELOW), boxed(ALONE)]
OBJECTS = [boxed(LEFT, RIGHT), boxed(BELOW), boxed(ALONE)]
CLUSTERS = [boxed(LEFT, RIGHT, BELOW), boxed(ALONE)]
IN_LEFT, IN_RIGHT, IN_BELOW, IN_ALONE, NOWHERE = (8.0, 6.0), (8.0, 16.0), (16.0, 8.0), (35.0, 36.0), (45.0, 60.0)


class Cells(FakeSegmenter):
    """Knows two touching objects, the upper one of two parts, and one that stands alone.

    A lone click has a part, an object and a cluster as candidates, the object with the best score. A correction adds
    the part under its last click to the previous answer, or takes it away. A box is answered with all objects whose
    middle it holds.
    """

    stubborn: Masks | None = None  # answers to corrections, whatever was clicked
    scores = (0.5, 0.9, 0.7)

    def encode(self, image: NDArray[Any], *, tiling: object = None) -> Embedding:
        self.encoded += 1
        return Embedding((np.zeros((1, 1, 2, 2), np.float16),), (image.shape[0], image.shape[1]), None, "fake")

    def decode(self, embedding: Embedding, prompts: Any, *, candidates: int = 1, **_: Any) -> Masks:  # type: ignore[override]
        self.decoded += len(prompts)
        return self.answer(prompts[0], candidates)

    def answer(self, prompt: Prompt, candidates: int) -> Masks:
        """Answer one prompt in the plane frame."""
        if prompt.previous is not None:
            return self._correction(prompt)
        if prompt.box is not None:
            y0, x0, y1, x1 = (round(float(value)) for value in prompt.box)
            middles = [np.argwhere(mask).mean(axis=0) for mask in OBJECTS]
            inside = [m for m, (y, x) in zip(OBJECTS, middles, strict=True) if y0 <= y < y1 and x0 <= x < x1]
            return masks_of([np.any(inside, axis=0)], [0.8]) if inside else Masks.empty(SHAPE)
        y, x = (round(float(value)) for value in prompt.points[0])
        found = [next((mask for mask in level if mask[y, x]), None) for level in (PARTS, OBJECTS, CLUSTERS)]
        pairs = [(mask, score) for mask, score in zip(found, self.scores, strict=True) if mask is not None]
        return masks_of([mask for mask, _ in pairs], [score for _, score in pairs]) if pairs else Masks.empty(SHAPE)

    def _correction(self, prompt: Prompt) -> Masks:
        if self.stubborn is not None:
            return self.stubborn
        assert prompt.previous is not None
        before = prompt.previous.sample((0, 0, *SHAPE)) > 0
        y, x = (round(float(value)) for value in prompt.points[-1])
        part = next((mask for mask in PARTS if mask[y, x]), np.zeros(SHAPE, bool))
        return masks_of([before | part if prompt.positive[-1] else before & ~part], [0.85])


def masks_of(masks: list[NDArray[np.bool_]], scores: list[float] | None = None) -> Masks:
    """Make masks with logits, as a model answers."""
    scores = [1.0] * len(masks) if scores is None else scores
    return Masks.from_logits(masks[0].shape, [Logits.of_mask(mask) for mask in masks], scores, [0] * len(masks))


@dataclass(frozen=True, eq=False)
class Answer:
    """As the engine's, as far as the controller looks at it."""

    masks: Masks


@dataclass(eq=False)
class Asked:
    """A request that the engine has not answered."""

    kind: str
    who: Any
    source: Source
    patch: Patch
    prompt: Prompt
    count: int
    done: Callable[[Answer | Exception], None]


class Bench:
    """An engine that answers at once, or when it is told to, in any order."""

    def __init__(self, model: Cells | None = None, *, at_once: bool = True) -> None:
        self.model = model or Cells()
        self.at_once = at_once
        self.error: Exception | None = None
        self.waiting: list[Asked] = []
        self.forgotten = 0

    def look(self, *request: Any) -> None:
        """Replace the look that waits."""
        self.waiting = [each for each in self.waiting if each.kind != "look"]
        self._add(Asked("look", *request))

    def ask(self, *request: Any) -> None:
        """Wait in line."""
        self._add(Asked("ask", *request))

    def forget(self, who: object) -> None:
        """Answer nothing of what waits."""
        self.forgotten += 1
        self.waiting.clear()

    def answer(self, kind: str | None = None, index: int = 0) -> None:
        """Answer one request: the first, or the first of a kind."""
        chosen = [each for each in self.waiting if kind in (None, each.kind)][index]
        self.waiting.remove(chosen)
        self.bring(chosen)

    def answer_all(self) -> None:
        """Answer until nothing waits."""
        while self.waiting:
            self.answer("ask" if any(each.kind == "ask" for each in self.waiting) else None)

    def bring(self, asked: Asked) -> None:
        """Bring an answer, also one to a request that nobody waits for any more."""
        result: Answer | Exception = self.error or self._answered(asked)
        asked.who.post(lambda: asked.done(result))

    def _add(self, asked: Asked) -> None:
        if self.at_once:
            self.bring(asked)
        else:
            self.waiting.append(asked)

    def _answered(self, asked: Asked) -> Answer:
        self.model.decoded += 1
        return Answer(self.model.answer(asked.prompt, asked.count))


@dataclass
class Ghosts:
    """Keeps what is shown."""

    shown: list[tuple[Plane, Masks, float, int, int]] = field(default_factory=list)
    visible: bool = False

    def show(self, *shown: Any) -> None:
        """Keep."""
        self.shown.append(shown)
        self.visible = True

    def hide(self) -> None:
        """Show nothing."""
        self.visible = False

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """What is on the screen."""
        return self.shown[-1][1].dense()[0] if self.visible else None


class Desk:
    """A controller with all that it works with."""

    def __init__(
        self, array: NDArray[Any] | None = None, *, at_once: bool = True, journal: Journal | None = None
    ) -> None:
        array = np.zeros(SHAPE, np.int32) if array is None else array
        self.bench, self.ghost, self.told = Bench(at_once=at_once), Ghosts(), list[str]()
        self.canvas = ArrayCanvas(array)
        self.controller = Controller(self.bench, self.canvas, self.ghost, journal, self.told.append)
        self.controller.source = Source.of([np.zeros(array.shape, np.uint8)])

    @property
    def labels(self) -> NDArray[Any]:
        """What is painted."""
        return self.canvas.array

    def hover(self, point: tuple[float, float], plane: Plane = FLAT) -> None:
        """Point."""
        self.controller.hover(plane, point, 1)

    def click(self, *points: tuple[float, float], plane: Plane = FLAT) -> None:
        """Click."""
        for point in points:
            self.controller.click(plane, point, 1)

    def include(self, point: tuple[float, float], plane: Plane = FLAT) -> None:
        """Click with Ctrl."""
        self.controller.include(plane, point, 1)

    def exclude(self, point: tuple[float, float], plane: Plane = FLAT) -> None:
        """Click with Shift."""
        self.controller.exclude(plane, point, 1)

    def close(self) -> None:
        """Let go."""
        self.controller.close()
