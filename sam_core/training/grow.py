"""Starting from a smaller network: what it has is taken over, further blocks begin by doing nothing."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from sam_core.errors import CheckpointError
from sam_core.families.cell import CellFamily
from sam_core.families.load import load_family
from sam_core.modeling.cell import CellNetwork

CLICKS, PROPOSALS = "iou_prediction_head", "proposal_iou_head"  # what scores the answers to either
SCALE = ".scale"  # of a block's branch: at 0 the block returns what it was given


def start_from(network: CellNetwork, source: str | Path) -> None:
    """Give a network the weights of a model; blocks that the model does not have return what they are given.

    So a deeper network begins where a shallower one has come to (Chen et al. 2016, Net2Net), and no step of it is lost.
    Answers to proposals are at first scored as those to clicks.

    Parameters
    ----------
    network
        As deep as the model or deeper, in its widths the same.
    source
        Name of an embedded model, folder, checkpoint or repository.

    Raises
    ------
    CheckpointError
        It is no model of this kind, or has weights that do not fit the network.
    """
    family, _, _ = load_family(source, device="cpu", dtype="float32")
    if not isinstance(family, CellFamily):
        msg = f"got {source}, a model of another kind, expected one of model_type 'cell', such as cell"
        raise CheckpointError(msg)
    known, state = family.network.state_dict(), network.state_dict()
    unfit = sorted(key for key, value in known.items() if key not in state or state[key].shape != value.shape)
    if unfit:
        msg = f"got {source} with weights that do not fit ({', '.join(unfit[:3])}, ...), expected the widths of [model]"
        raise CheckpointError(msg)
    network.load_state_dict({key: _taken(key, value, known) for key, value in state.items()})


def _taken(key: str, value: Tensor, known: dict[str, Tensor]) -> Tensor:
    if key in known:
        return known[key]
    if PROPOSALS in key:
        return known[key.replace(PROPOSALS, CLICKS)]
    return value.new_zeros(value.shape) if key.endswith(SCALE) else value
