"""The embedded model "cell": a pyramid of octaves, and a window of fixed size around each prompt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sam_core.contrast import stretch
from sam_core.families.family import Answers, Proposal, View
from sam_core.modeling.cell import MASK_STRIDE, PLANE_MULTIPLE, TOKEN_STRIDE, CellNetwork
from sam_core.modeling.prompt_encoder import BOTTOM_RIGHT, NEGATIVE, NOT_A_POINT, POSITIVE, TOP_LEFT
from sam_core.prompt import Prompt
from sam_core.types import Shape

LEVELS = 3  # features of one octave: at strides 8, 4 and 2
FILL = 0.7  # of its window an object may take: it was trained to see some surroundings
ENLARGED = 3  # times that a small plane is enlarged at most, and windows that it may then be long
CHUNK = 16  # prompts decoded together: their image tokens stay in the cache of one core


class CellFamily:
    """Feeds a `CellNetwork`.

    Parameters
    ----------
    network
        On its device, in its dtype.
    min_proposal
        Score in [0, 1] below which a proposal is not made.
    """

    proposes = True
    is_local = True
    doubt = 0.5  # inside a large even object the window shows nothing but more of it

    def __init__(self, network: CellNetwork, *, min_proposal: float = 0.4) -> None:
        self.network = network
        self.min_proposal = min_proposal
        self._window = network.config.window
        parameter = next(network.mask_decoder.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._encoder_dtype = next(network.image_encoder.parameters()).dtype

    @property
    def rules(self) -> dict[str, float]:
        """How windows are placed and answers chosen, as numbers; see `PortableDecoder`."""
        return {
            "window": self._window,
            "token_stride": TOKEN_STRIDE,
            "mask_stride": MASK_STRIDE,
            "levels": LEVELS,
            "fill": FILL,
            "enlarged": ENLARGED,
            "doubt": self.doubt,
        }

    def prepare(self, rgb8: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stretch the contrast of a plane (H, W, 3), as in training."""
        return stretch(rgb8)

    def views(self, shape: Shape, plane: Shape) -> list[View]:
        """Return octaves: each half as fine as the one before, until the picture fits into one window.

        A small plane is also seen enlarged: what is on it is small, and masks are drawn at every second pixel.
        """
        last = max(0, math.ceil(math.log2(max(shape) / self._window)))
        shrinks = [2.0**octave for octave in range(last + 1)]
        if (factor := enlarged(plane, self._window)) > 1:
            shrinks = [1 / factor, *shrinks]
        return [View(slice(LEVELS * i, LEVELS * (i + 1)), s, FILL * self._window * s) for i, s in enumerate(shrinks)]

    def encode(self, rgb8: NDArray[np.uint8], views: Sequence[View]) -> list[Tensor]:
        """Encode a picture (H, W, 3) at each octave."""
        pixels = torch.from_numpy(np.ascontiguousarray(rgb8)).to(self._device).permute(2, 0, 1).unsqueeze(0)
        picture = (pixels.float() / 255).contiguous(memory_format=torch.channels_last)
        levels: list[Tensor] = []
        for view in views:
            x = _resized(picture, view.shrink)
            levels += [level[0] for level in self.network.encoder(self._pad(x).to(self._encoder_dtype))]
        return levels

    def _pad(self, x: Tensor) -> Tensor:
        height, width = (max(self._window, math.ceil(n / PLANE_MULTIPLE) * PLANE_MULTIPLE) for n in x.shape[2:])
        return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))

    def decode(
        self,
        levels: Sequence[Tensor],
        shape: tuple[int, int],
        prompts: Sequence[Prompt],
        candidates: Literal[1, 3],
        min_score: float | None,
    ) -> Iterator[Answers]:
        """Answer prompts in pixels of an octave, each from a window around it."""
        for chunk in _alike(prompts):
            asked = [prompts[i] for i in chunk]
            yield self._decode_chunk([levels] * len(chunk), asked, np.array(chunk), candidates, min_score)

    def decode_views(
        self,
        pictures: Sequence[tuple[Sequence[Tensor], Shape]],
        prompts: Sequence[Prompt],
        candidates: Literal[1, 3],
    ) -> list[Answers]:
        """Answer one prompt in several octaves at once."""
        numbers = np.arange(len(prompts))
        found = self._decode_chunk([levels for levels, _ in pictures], prompts, numbers, candidates, None)
        each = [found.prompt == number for number in numbers]
        return [Answers(found.prompt[mine], found.values[mine], found.boxes[mine], found.scores[mine]) for mine in each]

    def _decode_chunk(
        self,
        pictures: Sequence[Sequence[Tensor]],
        prompts: Sequence[Prompt],
        numbers: NDArray[np.intp],
        candidates: Literal[1, 3],
        min_score: float | None,
    ) -> Answers:
        """Answer prompts, each in a picture of its own or all in the same one, from a window around it."""
        masks = slice(0, 1) if candidates == 1 else slice(1, None)
        grids = [levels[0].shape[1:] for levels in pictures]
        corners = [self._window_corner(prompt, (h, w)) for prompt, (h, w) in zip(prompts, grids, strict=True)]
        windows = [self._cut(level, corners, 1 << i) for i, level in enumerate(zip(*pictures, strict=True))]
        points, codes = self._code(prompts, corners)
        tokens, image = self.network.attend(windows[0], points, codes, self._previous(prompts, corners))
        decoder = self.network.mask_decoder
        values = decoder.upscale(tokens, image, masks, windows[1:]).float().cpu().numpy()
        proposed = torch.tensor([prompt.proposed for prompt in prompts], device=self._device)
        scores = decoder.score(tokens, proposed)[:, masks].float().cpu().numpy()
        origin = np.array(corners, float) * TOKEN_STRIDE
        boxes = np.concatenate([origin, origin + self._window], axis=1)
        index, candidate = np.nonzero(scores >= (-np.inf if min_score is None else min_score))
        return Answers(numbers[index], values[index, candidate], boxes[index], scores[index, candidate])

    def _window_corner(self, prompt: Prompt, grid: tuple[int, int]) -> tuple[int, int]:
        """Return row and column of the first token of the window around a prompt."""
        side = self._window // TOKEN_STRIDE
        top, left, bottom, right = prompt.extent
        middle = ((top + bottom) / 2, (left + right) / 2)
        row, column = (
            min(max(round(m / TOKEN_STRIDE - side / 2), 0), n - side) for m, n in zip(middle, grid, strict=True)
        )
        return row, column

    def _cut(self, pictures: Sequence[Tensor], corners: Sequence[tuple[int, int]], per_token: int) -> Tensor:
        """Cut a window from one level of each picture."""
        size = self._window // TOKEN_STRIDE * per_token
        places = list(zip(pictures, corners, strict=True))
        cuts = [level[:, y * per_token :, x * per_token :][:, :size, :size] for level, (y, x) in places]
        # One window serves all prompts in a picture that is not larger: nothing is copied then.
        is_shared = len({(id(level), corner) for level, corner in places}) == 1
        return torch.stack(cuts[:1] if is_shared else cuts).to(self._device, self._dtype)

    def _code(self, prompts: Sequence[Prompt], corners: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Write prompts as coded points in their windows: two corners and at least one click, as in training."""
        count = 2 + max(1, len(prompts[0].points))
        points = np.zeros((len(prompts), count, 2), np.float32)
        codes = np.full((len(prompts), count), NOT_A_POINT)
        for i, (prompt, corner) in enumerate(zip(prompts, corners, strict=True)):
            origin = np.array(corner) * TOKEN_STRIDE
            if prompt.box is not None:
                y0, x0, y1, x1 = prompt.box
                points[i, :2] = np.array([[x0, y0], [x1 - 1, y1 - 1]]) - origin[::-1]
                codes[i, :2] = TOP_LEFT, BOTTOM_RIGHT
            used = slice(2, 2 + len(prompt.points))
            points[i, used] = (prompt.points - origin)[:, ::-1]
            codes[i, used] = np.where(prompt.positive, POSITIVE, NEGATIVE)
        return torch.from_numpy(points).to(self._device), torch.from_numpy(codes).to(self._device)

    def _previous(self, prompts: Sequence[Prompt], corners: Sequence[tuple[int, int]]) -> Tensor | None:
        if all(p.previous is None for p in prompts):
            return None
        side = self._window // MASK_STRIDE
        values = np.zeros((len(prompts), 1, side, side), np.float32)
        for i, (prompt, corner) in enumerate(zip(prompts, corners, strict=True)):
            if prompt.previous is not None:
                y, x = (TOKEN_STRIDE * c for c in corner)
                region = (float(y), float(x), float(y + self._window), float(x + self._window))
                values[i, 0] = prompt.previous.resample(region, (side, side))
        return torch.from_numpy(values).to(self._device)

    def propose(self, levels: Sequence[Tensor], shape: tuple[int, int]) -> list[Proposal]:
        """Take the peaks of centrality, each with the box that the distances at and around it agree on."""
        tokens, fine4 = (level.unsqueeze(0).to(self._device, self._dtype) for level in levels[:2])
        maps = self.network.proposal_head(tokens, fine4)[0].float()
        foreground, central = maps[:2].sigmoid()
        chance = foreground * central
        smooth = F.avg_pool2d(chance[None, None], 3, stride=1, padding=1)[0, 0]
        peaks = (smooth == F.max_pool2d(smooth[None], 5, stride=1, padding=2)[0]) & (chance > self.min_proposal)
        ys, xs = (i.cpu().numpy() for i in torch.nonzero(peaks, as_tuple=True))
        sides = maps[2:, torch.from_numpy(ys), torch.from_numpy(xs)].exp().cpu().numpy()
        scores = chance[peaks].cpu().numpy()
        found = []
        for y, x, (top, left, bottom, right), score in zip(ys, xs, sides.T, scores, strict=True):
            # The edge coordinate of a cell's middle; half-open boxes are in edge coordinates.
            cy, cx = (y + 0.5) * MASK_STRIDE, (x + 0.5) * MASK_STRIDE
            if cy < shape[0] and cx < shape[1]:
                box = (max(cy - top, 0), max(cx - left, 0), min(cy + bottom, shape[0]), min(cx + right, shape[1]))
                found.append(Proposal((cy - 0.5, cx - 0.5), box, float(score)))
        return found


def enlarged(plane: Shape, window: int) -> int:
    """Return how many times as large a plane of this shape is also seen; 1 for one that is large enough.

    What is at most half a window long is mostly a plane of a stack, and its noise would only be drawn larger.

    Examples
    --------
    >>> [enlarged((100, side), 256) for side in (128, 129, 256, 384, 385)]
    [2, 3, 3, 2, 1]
    """
    longer = max(plane)
    most = ENLARGED if 2 * longer > window else ENLARGED - 1
    return min(max(ENLARGED * window // longer, 1), most)


def _resized(x: Tensor, shrink: float) -> Tensor:
    """Shrink pictures (B, 3, H, W) by a whole number, or enlarge them by one where it is less than 1."""
    if shrink < 1:
        return F.interpolate(x, scale_factor=round(1 / shrink), mode="bilinear")
    return F.avg_pool2d(x, int(shrink), ceil_mode=True) if shrink > 1 else x


def _alike(prompts: Sequence[Prompt]) -> Iterator[list[int]]:
    """Yield chunks of prompts with as many clicks: the answer to one must not depend on what is asked beside it."""
    groups: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
        groups.setdefault(max(1, len(prompt.points)), []).append(i)
    for group in groups.values():
        yield from (group[start : start + CHUNK] for start in range(0, len(group), CHUNK))
