"""What a training run is: one TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from sam_core.modeling.cell import CellConfig
from sam_core.training.crops import CropOptions
from sam_core.training.losses import LossWeights
from sam_core.training.optimisers import Kind


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A training run.

    Parameters
    ----------
    sets
        Name of a set's folder to how often it is drawn, relative to the others; `folder:modality` is that part of it.
    steps
        Optimiser steps in all.
    batch
        Crops to a step.
    optimiser, learning_rate, weight_decay
        See `Optimisers`.
    warmup, cooldown
        Steps of linear rise at the start and of fall to zero at the end; constant in between, so that a run can be
        prolonged from its checkpoint.
    rounds
        Chances of one, two, three, ... rounds of prompting.
    average
        Decay of the running average of the weights, which is what is saved as the model.
    start
        Model to start from, a name or a folder; the network may have more blocks. "": from random weights.
    kept
        Part of the model's weights, from 0 to 1, that is still those of `start`: what was learned anew so costs less of
        what was known before (Wortsman et al. 2022, Robust fine-tuning of zero-shot models).
    seed
        Of crops, prompts and initial weights.
    planes
        On which, in the end, answers to proposals are scored, if `model` has a head for that; see
        `fit_proposal_scores`.
    save_every, log_every
        Steps.
    """

    sets: dict[str, float]
    steps: int
    batch: int = 6
    optimiser: Kind = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 100
    cooldown: int = 1000
    rounds: tuple[float, ...] = (0.4, 0.35, 0.25)
    average: float = 0.998
    start: str = ""
    kept: float = 0.0
    seed: int = 0
    planes: int = 800
    save_every: int = 200
    log_every: int = 20
    model: CellConfig = field(default_factory=CellConfig)
    crops: CropOptions = field(default_factory=CropOptions)
    losses: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.optimiser not in get_args(Kind):
            msg = f"got optimiser {self.optimiser!r}, expected one of {', '.join(get_args(Kind))}; correct the file"
            raise ValueError(msg)
        if not 0 <= self.kept <= 1 or (self.kept and not self.start):
            msg = f"got kept {self.kept} with start {self.start!r}, expected a part, 0 to 1, of a model to start from"
            raise ValueError(msg)


def read_config(path: Path) -> TrainConfig:
    """Read a TOML file with the fields of `TrainConfig`; tables `model`, `crops` and `losses` hold those of theirs.

    Raises
    ------
    ValueError
        An unknown or missing field, named.
    """
    raw = tomllib.loads(path.read_text())
    nested = {"model": CellConfig, "crops": CropOptions, "losses": LossWeights}
    values = {key: _build(nested[key], value, path) if key in nested else value for key, value in raw.items()}
    config: TrainConfig = _build(TrainConfig, values, path)
    return config


def _build(kind: type, values: dict[str, Any], path: Path) -> Any:
    frozen = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return kind(**frozen)
    except TypeError as error:
        msg = f"got {path} with fields {sorted(values)}; expected those of {kind.__name__}: {error}; correct the file"
        raise ValueError(msg) from error
