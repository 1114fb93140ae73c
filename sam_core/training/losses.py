"""Losses of SAM (Kirillov et al. 2023, appendix A) and of the proposal head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class LossWeights:
    """How much each part counts. SAM's own are focal 20, dice 1, iou 1.

    Parameters
    ----------
    focal, dice, iou
        Of the answers to prompts.
    proposals
        Of the proposal head as a whole.
    second
        Of the kind of answer that the prompt did not ask for: the candidates for a clear prompt, the single mask for a
        lone click. Keeps both usable for every prompt.
    """

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    proposals: float = 1.0
    second: float = 0.3


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Return the focal loss (Lin et al. 2017) of logits (..., H, W) for targets in [0, 1], averaged over pixels."""
    p = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = p + target - 2 * p * target
    balance = alpha * target + (1 - alpha) * (1 - target)
    return (balance * entropy * wrong**gamma).mean(dim=(-2, -1))


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return one minus the soft Dice coefficient of logits (..., H, W) and targets in [0, 1]."""
    p = logits.sigmoid()
    overlap = 2 * (p * target).sum(dim=(-2, -1))
    return 1 - (overlap + 1) / (p.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1)) + 1)


def true_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Return the IoU of the masks that logits (..., H, W) draw with the thresholded targets."""
    mask, truth = logits > 0, target > 0.5
    union = (mask | truth).sum(dim=(-2, -1))
    return (mask & truth).sum(dim=(-2, -1)) / union.clamp(min=1)


def answer_loss(logits: Tensor, scores: Tensor, target: Tensor, lone: Tensor, weights: LossWeights) -> Tensor:
    """Return the loss of the answers to P prompts.

    Parameters
    ----------
    logits, scores
        (P, 1 + candidates, h, w) and (P, 1 + candidates), the single answer first.
    target
        (P, h, w) in [0, 1].
    lone
        (P,) bool, True for a single click: only the best of the candidates is then held to the target.
    """
    truth = target.unsqueeze(1).expand_as(logits)
    each = weights.focal * focal_loss(logits, truth) + weights.dice * dice_loss(logits, truth)
    single, best = each[:, 0], each[:, 1:].amin(dim=1)
    drawn = torch.where(lone, best + weights.second * single, single + weights.second * best)
    with torch.no_grad():
        iou = true_iou(logits, truth)
    return (drawn + weights.iou * (scores - iou).square().sum(dim=1)).mean()


def proposal_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Return the loss of the proposal head: (B, 6, H, W) against `proposal_targets`.

    Cross entropy for foreground and centrality, absolute error of the logarithm of the distances where a proposal
    would be taken from (weighted by centrality).
    """
    foreground = F.binary_cross_entropy_with_logits(maps[:, 0], target[:, 0])
    foreground = foreground + 0.5 * dice_loss(maps[:, 0], target[:, 0]).mean()
    inside = target[:, 1]
    central = F.binary_cross_entropy_with_logits(maps[:, 1], inside, reduction="none")
    central = (central * (1 + 3 * target[:, 0])).mean()
    distance = (F.smooth_l1_loss(maps[:, 2:], target[:, 2:], beta=0.1, reduction="none") * inside[:, None]).sum()
    return foreground + central + 0.5 * distance / (4 * inside.sum() + 1)
