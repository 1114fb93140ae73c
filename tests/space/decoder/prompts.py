"""Pictures and prompts about them, for every place where answers are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sam_core import Embedding, Logits, Prompt, Sam, samples, segment


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """A picture, encoded as it is sent, and clicks on what is on it."""

    image: NDArray[np.uint16]
    embedding: Embedding
    clicks: list[tuple[float, float]]


SCENES = {
    "tiny": {"shape": (110, 128), "count": 8, "diameter": 24.0, "seed": 2},
    "small": {"shape": (200, 260), "count": 14, "diameter": 30.0, "seed": 3},
    "window": {"shape": (256, 256), "count": 24, "diameter": 28.0, "seed": 1},
    "wide": {"shape": (400, 701), "count": 40, "diameter": 34.0, "seed": 4},
    "large cells": {"shape": (640, 600), "count": 9, "diameter": 190.0, "seed": 5},
    "dark": {"shape": (512, 512), "count": 30, "diameter": 40.0, "seed": 6, "dark": True},
}


def scene(sam: Sam, name: str) -> Scene:
    """Encode a picture; click in the middle of each cell, a little beside it, and on the ground."""
    sample = samples.cells(**SCENES[name])  # type: ignore[arg-type]
    embedding = sam.encode(sample.image).halved()
    clicks: list[tuple[float, float]] = []
    for label in range(1, min(7, sample.labels.max() + 1)):
        ys, xs = np.nonzero(sample.labels == label)
        middle = len(ys) // 2
        clicks.append((float(ys[middle]), float(xs[middle])))
        clicks.append((float(ys[0]) + 0.25, float(xs[0]) - 0.4 * (xs[0] > 0)))
    height, width = sample.image.shape
    clicks += [(0.0, 0.0), (height - 1.0, width - 1.0), (height / 2 + 0.37, width / 3)]
    return Scene(sample.image, embedding, clicks)


def prompts(sam: Sam, scene: Scene) -> dict[str, list[Prompt]]:
    """Make prompts of every kind."""
    first, beside, second = scene.clicks[0], scene.clicks[1], scene.clicks[2]
    height, width = scene.embedding.image_shape
    lone = [Prompt.of([click]) for click in scene.clicks]
    box = np.array([first[0] - 16, first[1] - 14, first[0] + 18.5, first[1] + 16])
    answers = [segment(sam, scene.embedding, prompt) for prompt in lone[:6:2]]
    refined = [prompt.refine(masks) for prompt, masks in zip(lone[:6:2], answers, strict=True) if len(masks)]
    drawn = np.zeros((height, width), bool)
    drawn[int(first[0]) - 9 : int(first[0]) + 9, int(first[1]) - 6 : int(first[1]) + 12] = True
    return {
        "click": lone,
        "clicks": [
            Prompt.of([first, beside], [True, False]),
            Prompt.of([first, second], [True, True]),
            Prompt.of([first, beside, second, (1.5, 2)], [True, True, False, False]),
            Prompt.of([first], [False]),
        ],
        "box": [
            Prompt.of(box=box),
            Prompt.of(box=(-5, -5, height / 2, width + 9)),
            Prompt.of([first], box=box),
            Prompt.of([beside], [False], box=box),
        ],
        "correction": [
            *(prompt.click(beside) for prompt in refined),
            *(prompt.click((second[0], second[1]), positive=False) for prompt in refined),
            *refined,
            replace(Prompt.of([beside], [False]), previous=Logits.of_mask(drawn)),
            Prompt.of([first, beside], [True, False], box=box, previous=drawn),
        ],
    }
