"""The SAM family: one square picture of fixed size, one grid of tokens that all prompts share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sam_core.families.family import Answers, Proposal, View
from sam_core.modeling.prompt_encoder import BOTTOM_RIGHT, NEGATIVE, NOT_A_POINT, POSITIVE, TOP_LEFT
from sam_core.modeling.sam_network import SamNetwork
from sam_core.prompt import Prompt
from sam_core.types import Shape

CHUNK = 8  # prompts decoded together: 64 x 64 tokens of 256 channels each, small enough for the caches
MEAN = (123.675, 116.28, 103.53)  # of ImageNet, in 0..255
STD = (58.395, 57.12, 57.375)


class VitFamily:
    """Feeds a `SamNetwork`: the longer side of the picture is scaled to fill the square, the rest is padded."""

    proposes = False
    is_local = False  # whatever it is shown is enlarged to one size
    doubt = 0.0  # it always sees the whole picture

    def __init__(self, network: SamNetwork) -> None:
        self.network = network
        self._side = network.image_size
        parameter = next(network.mask_decoder.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype

    def prepare(self, rgb8: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Leave the contrast as it is: these networks were trained on photographs."""
        return rgb8

    def views(self, shape: Shape, plane: Shape) -> list[View]:
        """Return the one view there is."""
        return [View(slice(0, 1), 1.0, float(max(shape)))]

    def encode(self, rgb8: NDArray[np.uint8], views: Sequence[View]) -> list[Tensor]:
        """Encode a picture (H, W, 3): one level (256, 64, 64) for SAM's own sizes."""
        height, width = self._scaled((rgb8.shape[0], rgb8.shape[1]))
        scaled = np.asarray(Image.fromarray(rgb8).resize((width, height), Image.Resampling.BILINEAR))
        pixels = np.zeros((1, 3, self._side, self._side), np.float32)
        pixels[0, :, :height, :width] = ((scaled - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)
        return [self.network.encode(torch.from_numpy(pixels).to(self._device))[0]]

    def decode(
        self,
        levels: Sequence[Tensor],
        shape: tuple[int, int],
        prompts: Sequence[Prompt],
        candidates: Literal[1, 3],
        min_score: float | None,
    ) -> Iterator[Answers]:
        """Answer prompts in pixels of the picture."""
        masks = slice(0, 1) if candidates == 1 else slice(1, None)
        image = levels[0].unsqueeze(0).to(self._device, self._dtype)
        for indices in _alike(prompts):
            for start in range(0, len(indices), CHUNK):
                yield self._decode_chunk(image, shape, prompts, indices[start : start + CHUNK], masks, min_score)

    def decode_views(
        self,
        pictures: Sequence[tuple[Sequence[Tensor], Shape]],
        prompts: Sequence[Prompt],
        candidates: Literal[1, 3],
    ) -> list[Answers]:
        """Answer a prompt in one view after the other."""
        views = zip(pictures, prompts, strict=True)
        return [part for (levels, shape), one in views for part in self.decode(levels, shape, [one], candidates, None)]

    def _decode_chunk(
        self,
        image: Tensor,
        shape: tuple[int, int],
        prompts: Sequence[Prompt],
        indices: list[int],
        masks: slice,
        min_score: float | None,
    ) -> Answers:
        asked = [prompts[i] for i in indices]
        scale = np.array(self._scaled(shape)) / np.array(shape)
        points, codes = _code(asked, scale)
        tokens, attended = self.network.attend(
            image, points.to(self._device), codes.to(self._device), self._previous(asked, scale)
        )
        scores = self.network.mask_decoder.score(tokens)[:, masks].float().cpu().numpy()
        index, candidate = np.nonzero(scores >= (-np.inf if min_score is None else min_score))
        # Only prompts with an answer worth drawing are drawn.
        drawn = np.unique(index)
        rows = slice(None) if len(drawn) == len(asked) else torch.from_numpy(drawn).to(self._device)
        values = self.network.mask_decoder.upscale(tokens[rows], attended[rows], masks).float().cpu().numpy()
        values = values[np.searchsorted(drawn, index), candidate]
        region = np.array([0, 0, self._side / scale[0], self._side / scale[1]])
        return Answers(np.array(indices)[index], values, np.tile(region, (len(index), 1)), scores[index, candidate])

    def _previous(self, prompts: Sequence[Prompt], scale: NDArray[np.float64]) -> Tensor | None:
        if prompts[0].previous is None:
            return None
        height, width = self.network.mask_input_size
        region = (0.0, 0.0, self._side / float(scale[0]), self._side / float(scale[1]))
        values = [p.previous.resample(region, (height, width)) for p in prompts if p.previous is not None]
        return torch.from_numpy(np.stack(values)[:, None]).to(self._device, self._dtype)

    def _scaled(self, shape: tuple[int, int]) -> tuple[int, int]:
        factor = self._side / max(shape)
        return max(1, int(shape[0] * factor + 0.5)), max(1, int(shape[1] * factor + 0.5))

    def propose(self, levels: Sequence[Tensor], shape: tuple[int, int]) -> list[Proposal]:
        """Return []: this family waits to be asked."""
        return []


def _alike(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Group prompts of the same number of points, with or without box and mask: SAM knows no filling."""
    groups: dict[tuple[int, bool, bool], list[int]] = {}
    for i, p in enumerate(prompts):
        groups.setdefault((len(p.points), p.box is None, p.previous is None), []).append(i)
    return list(groups.values())


def _code(prompts: Sequence[Prompt], scale: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Write prompts that are alike as coded points in pixels of the square; SAM ends a prompt without a box itself."""
    points, codes = [], []
    for prompt in prompts:
        placed = ((prompt.points + 0.5) * scale - 0.5)[:, ::-1]
        code = list(np.where(prompt.positive, POSITIVE, NEGATIVE))
        if prompt.box is None:
            placed, code = np.concatenate([placed, np.zeros((1, 2))]), [*code, NOT_A_POINT]
        else:
            y0, x0, y1, x1 = prompt.box
            corners = (np.array([[y0, x0], [y1, x1]]) * scale - [[0, 0], [1, 1]])[:, ::-1]
            placed, code = np.concatenate([placed, corners]), [*code, TOP_LEFT, BOTTOM_RIGHT]
        points.append(placed)
        codes.append(code)
    return torch.from_numpy(np.array(points, np.float32)), torch.from_numpy(np.array(codes))
