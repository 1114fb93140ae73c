"""From the checkpoint of a run to a model folder that `Sam.from_pretrained` reads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from sam_core.modeling.cell import CellNetwork
from sam_core.modeling.checkpoint import write_checkpoint
from sam_core.segment_all import SegmentAllOptions
from sam_core.training.config import TrainConfig
from sam_core.training.grow import start_from

# What suits proposals, where SAM's own defaults suit a grid; chosen on validation images.
EVERYTHING = SegmentAllOptions(min_score=0.5, min_stability=0.6, max_box_iou=0.7, max_covered=0.5, min_area=8)
MIN_PROPOSAL = 0.5


def export(
    run: Path,
    config: TrainConfig,
    folder: Path,
    *,
    options: SegmentAllOptions = EVERYTHING,
    min_proposal: float = MIN_PROPOSAL,
) -> None:
    """Write the averaged weights of a run, and as much of those it began with as is kept, as a model folder.

    Parameters
    ----------
    run
        Holds `checkpoint.pt`.
    config
        Of the run.
    folder
        Gets `config.json` and `model.safetensors` (float16, the positional embedding exact).
    options, min_proposal
        What the model recommends for segmenting everything.
    """
    state = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    network = CellNetwork(config.model)
    network.load_state_dict(state["average"])
    if config.kept:
        _blend(network, config)
    described = {
        "model_type": "cell",
        **config.model.to_dict(),
        "segment_all": asdict(options),
        "min_proposal": min_proposal,
    }
    write_checkpoint(folder, described, network.half().state_dict())


def _blend(network: CellNetwork, config: TrainConfig) -> None:
    """Move the weights back towards those that the run began with."""
    before = CellNetwork(config.model)
    start_from(before, config.start)
    with torch.no_grad():
        for value, old in zip(network.state_dict().values(), before.state_dict().values(), strict=True):
            value.lerp_(old, config.kept)
