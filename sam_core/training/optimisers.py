"""What takes the steps of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from sam_core.training.muon import Muon

Kind = Literal["adamw", "muon"]


class Optimisers:
    """Steps on all weights that require gradients, at one learning rate.

    "muon" is for the matrices, see `Muon`; its learning rate means what AdamW's does. Convolutions, norms and single
    vectors are AdamW's with either.

    Parameters
    ----------
    network
        Whose weights are trained.
    kind
        What is used for the matrices.
    weight_decay
        Of all that are no vectors.
    """

    def __init__(self, network: nn.Module, kind: Kind, weight_decay: float) -> None:
        trained = [p for p in network.parameters() if p.requires_grad]
        matrices = [p for p in trained if p.ndim == 2 and kind == "muon"]
        others = [p for p in trained if p.ndim != 2 or kind == "adamw"]
        groups = [
            {"params": [p for p in others if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._all: list[Optimizer] = [AdamW(groups, betas=(0.9, 0.98))]
        if matrices:
            self._all.append(Muon(matrices, weight_decay=weight_decay))

    def step(self, loss: Tensor, learning_rate: float) -> None:
        """Move the weights against the gradient of `loss`, which is clipped to a norm of 1."""
        for optimiser in self._all:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        groups = [group for optimiser in self._all for group in optimiser.param_groups]
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
        for group in groups:
            group["lr"] = learning_rate
        for optimiser in self._all:
            optimiser.step()

    def state(self) -> list[dict[str, object]]:
        """Return what has to be kept to go on."""
        return [optimiser.state_dict() for optimiser in self._all]

    def restore(self, states: Sequence[dict[str, object]]) -> None:
        """Go on from what `state` returned."""
        for optimiser, state in zip(self._all, states, strict=True):
            optimiser.load_state_dict(state)
