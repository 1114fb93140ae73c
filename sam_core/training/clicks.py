"""Simulated users, on batches of tensors (Kirillov et al. 2023, appendix A; Sofiiuk et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sam_core.modeling.prompt_encoder import BOTTOM_RIGHT, NEGATIVE, NOT_A_POINT, POSITIVE, TOP_LEFT

LOOSEST = 0.25  # of its size, by which a side of a box is moved at most


@dataclass(frozen=True, eq=False, slots=True)
class CodedPrompts:
    """P prompts as the prompt encoder takes them.

    Parameters
    ----------
    points
        (P, N, 2) float, x then y in pixels of the window.
    codes
        (P, N) int, see `sam_core.modeling.prompt_encoder`.
    lone
        (P,) bool, True where the prompt is one click and nothing else.
    """

    points: Tensor
    codes: Tensor
    lone: Tensor

    def click(self, xy: Tensor, positive: Tensor) -> CodedPrompts:
        """Add one click to every prompt: `xy` (P, 2), `positive` (P,) bool."""
        code = torch.where(positive, POSITIVE, NEGATIVE)
        return CodedPrompts(
            torch.cat([self.points, xy.unsqueeze(1)], dim=1),
            torch.cat([self.codes, code.unsqueeze(1)], dim=1),
            torch.zeros_like(self.lone),
        )


def first_prompts(clicks: Tensor, boxes: Tensor, generator: torch.Generator) -> CodedPrompts:
    """Make the first prompt of each object: most of them a click, the others a loose box, some both.

    Parameters
    ----------
    clicks
        (P, 2) y, x.
    boxes
        (P, 4) half-open y0, x0, y1, x1; each side is moved by up to a quarter of the box's size: boxes from proposals
        are no better, and a network that trusts boxes draws their straight edges.
    """
    count = len(clicks)
    kind = torch.rand(count, generator=generator)
    with_box, with_click = kind > 0.6, kind < 0.75
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    looseness = LOOSEST * torch.rand(count, 1, generator=generator)
    slack = (looseness * size).clamp(min=1) * (2 * torch.rand(count, 4, generator=generator) - 1)
    # Half-open rows y0..y1 have the centres y0..y1-1; SAM's corners are centres.
    corners = boxes + slack - torch.tensor([0.0, 0.0, 1.0, 1.0])
    points = torch.stack([corners[:, [1, 0]], corners[:, [3, 2]], clicks.flip(-1)], dim=1)
    codes = torch.tensor([TOP_LEFT, BOTTOM_RIGHT, POSITIVE]).repeat(count, 1)
    given = torch.stack([with_box, with_box, with_click], dim=1)
    return CodedPrompts(points, torch.where(given, codes, NOT_A_POINT), ~with_box)


def correction(logits: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Click where the answer is wrong, most likely in the thick of an error region.

    Parameters
    ----------
    logits, target
        (P, h, w) answers and truths in [0, 1].

    Returns
    -------
    xy, positive
        (P, 2) cells of the logits' grid and (P,) bool. A perfect answer gets a positive click inside the object.
    """
    truth = target > 0.5
    wrong = ((logits > 0) != truth).float()
    blurred = F.avg_pool2d(wrong.unsqueeze(1), 7, stride=1, padding=3).squeeze(1)
    chance = wrong * blurred**3 + 1e-9 * truth + 1e-20
    index = torch.multinomial(chance.flatten(1), 1, generator=generator).squeeze(1)
    xy = torch.stack([index % logits.shape[-1], index // logits.shape[-1]], dim=1)
    return xy, truth.flatten(1).gather(1, index.unsqueeze(1)).squeeze(1)
