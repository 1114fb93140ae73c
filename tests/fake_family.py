"""A family without a network: the true `Sam`, its tiles and its overview, over pictures that need no learning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from sam_core import Prompt, SegmentAllOptions
from sam_core.families.family import Answers, Proposal, View
from sam_core.sam import Sam

SCORES = (0.5, 0.95, 0.7)  # of the candidates: what is close to the click, the object, the object again


class FakeFamily:
    """Knows one object from another where they are brighter than 127 and do not touch; sees one picture at a time."""

    doubt = 0.0
    is_local = True

    def __init__(
        self, *, proposes: bool = False, scores: Sequence[float] = SCORES, padding: tuple[int, bool] = (0, False)
    ) -> None:
        self.network = nn.Linear(1, 1)
        self.proposes = proposes
        self.scores = scores
        self.padding = padding  # pixels below and on the right of a picture, and whether they are taken for object
        self.asked: list[tuple[tuple[int, int], int]] = []  # shape of the picture and prompts, of each call

    def prepare(self, rgb8: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return rgb8

    def encode(self, rgb8: NDArray[np.uint8], views: Sequence[View]) -> list[Tensor]:
        return [torch.from_numpy(rgb8[..., 0].astype(np.float32))[None]]

    def views(self, shape: tuple[int, int], plane: tuple[int, int]) -> list[View]:
        return [View(slice(0, 1), 1.0, float(max(shape)))]

    def decode(
        self,
        levels: Sequence[Tensor],
        shape: tuple[int, int],
        prompts: Sequence[Prompt],
        candidates: Literal[1, 3],
        min_score: float | None,
    ) -> Iterator[Answers]:
        self.asked.append((shape, len(prompts)))
        regions = _regions(levels)
        answers = []
        for i, prompt in enumerate(prompts):
            y, x = _middle(prompt, shape)
            region = (regions == regions[y, x]) & (regions[y, x] > 0)
            close = np.zeros_like(region)
            close[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = True
            drawn = [region] if candidates == 1 else [region & close, region, region]
            scores = (0.9,) if candidates == 1 else self.scores
            answers += [(i, m, s) for m, s in zip(drawn, scores, strict=True) if s >= (min_score or 0)]
        extra, is_object = self.padding
        masks = np.array([m for _, m, _ in answers], bool).reshape(-1, *shape)
        values = np.where(np.pad(masks, ((0, 0), (0, extra), (0, extra)), constant_values=is_object), 4, -4).astype(
            np.float32
        )
        boxes = np.tile((0.0, 0.0, shape[0] + extra, shape[1] + extra), (len(answers), 1))
        yield Answers(
            np.array([i for i, _, _ in answers], np.intp), values, boxes, np.array([s for _, _, s in answers])
        )

    def propose(self, levels: Sequence[Tensor], shape: tuple[int, int]) -> list[Proposal]:
        return [
            Proposal(
                ((rows.start + rows.stop - 1) / 2, (cols.start + cols.stop - 1) / 2),
                (rows.start, cols.start, rows.stop, cols.stop),
                0.9,
            )
            for rows, cols in ndimage.find_objects(_regions(levels))
        ]


def fake_sam(family: FakeFamily) -> Sam:
    return Sam(family, "fake", SegmentAllOptions())


def _regions(levels: Sequence[Tensor]) -> NDArray[np.int32]:
    labels: NDArray[np.int32] = ndimage.label(levels[0][0].numpy() > 127)[0]
    return labels


def _middle(prompt: Prompt, shape: tuple[int, int]) -> tuple[int, int]:
    y0, x0, y1, x1 = prompt.extent
    y, x = prompt.points[0] if len(prompt.points) else ((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2)
    return tuple(min(max(round(float(v)), 0), n - 1) for v, n in zip((y, x), shape, strict=True))  # type: ignore[return-value]
