"""What takes the steps of a run."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sam_core.training.muon import Muon, orthogonal
from sam_core.training.optimisers import Kind, Optimisers

RATE = 1e-2


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(2),
        nn.Linear(16, 12),
        nn.LayerNorm(12),
    ]
    return nn.Sequential(*layers)


def loss_of(layers: nn.Module, seed: int) -> Tensor:
    pixels = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    answers: Tensor = layers(pixels)
    return (answers - pixels.mean(dim=(1, 2, 3))[:, None, None]).square().mean()


@pytest.mark.parametrize("kind", ["adamw", "muon"])
class TestBoth:
    def test_every_weight_moves_and_the_loss_falls(self, kind: Kind) -> None:
        layers = network()
        before = copy.deepcopy(layers.state_dict())
        optimisers = Optimisers(layers, kind, 0.0)
        for _ in range(30):
            optimisers.step(loss_of(layers, 1), RATE)
        assert loss_of(layers, 1) < 0.5 * loss_of(network(), 1)
        assert all((value != before[name]).any() for name, value in layers.state_dict().items())

    def test_what_is_frozen_stays(self, kind: Kind) -> None:
        layers = network()
        layers[3].requires_grad_(False)
        before = copy.deepcopy(layers[3].state_dict())
        Optimisers(layers, kind, 0.1).step(loss_of(layers, 1), RATE)
        torch.testing.assert_close(layers[3].state_dict(), before, rtol=0, atol=0)

    def test_restored_it_goes_on_as_if_it_had_not_stopped(self, kind: Kind) -> None:
        layers = network()
        optimisers = Optimisers(layers, kind, 0.1)
        optimisers.step(loss_of(layers, 1), RATE)
        other = copy.deepcopy(layers)
        resumed = Optimisers(other, kind, 0.1)
        resumed.restore(copy.deepcopy(optimisers.state()))
        optimisers.step(loss_of(layers, 2), RATE)
        resumed.step(loss_of(other, 2), RATE)
        torch.testing.assert_close(other.state_dict(), layers.state_dict(), rtol=0, atol=0)


def test_muon_moves_a_matrix_equally_in_all_directions_and_as_far_as_adamw() -> None:
    layers = network()
    before = layers[3].get_parameter("weight").detach().clone()
    Optimisers(layers, "muon", 0.0).step(loss_of(layers, 1), RATE)
    moved = torch.linalg.svdvals(layers[3].get_parameter("weight").detach() - before)
    size = RATE * 0.2 * 16**0.5
    # All but one: the norm behind the matrix takes the mean away, so there is next to no gradient in that direction.
    assert moved[:-1].min() > 0.5 * size
    assert moved.max() < 1.5 * size


@pytest.mark.parametrize("shape", [(12, 16), (16, 12), (9, 9)])
class TestMuon:
    def test_all_singular_values_become_about_one(self, shape: tuple[int, int]) -> None:
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        made = orthogonal(matrix)
        along = u.T @ made @ v.T  # in the matrix's own directions nothing is turned
        assert float((along - along.diag().diag()).abs().max()) < 1e-4
        assert 0.4 < float(along.diag().min()) <= float(along.diag().max()) < 1.3

    def test_steps_are_those_of_torch_up_to_its_rounding(self, shape: tuple[int, int]) -> None:
        first = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        ours, theirs = first.clone().requires_grad_(), first.clone().requires_grad_()
        pair = (
            Muon([ours], lr=RATE, weight_decay=0.1),
            torch.optim.Muon([theirs], lr=RATE, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        )
        for seed in range(4):
            gradient = torch.randn(shape, generator=torch.Generator().manual_seed(10 + seed))
            ours.grad, theirs.grad = gradient.clone(), gradient.clone()
            for optimiser in pair:
                optimiser.step()
        moved, apart = (theirs - first).detach().norm(), (ours - theirs).detach().norm()
        assert float(apart) < 0.03 * float(moved)
