"""From a name to a network that is ready, and back onto disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from sam_core.errors import CheckpointError
from sam_core.families.cell import CellFamily
from sam_core.families.family import Family
from sam_core.families.vit import VitFamily
from sam_core.hub import locate
from sam_core.modeling.cell import CellConfig, CellNetwork
from sam_core.modeling.checkpoint import CONFIG, find_weights, read_config, read_weights, write_checkpoint
from sam_core.modeling.conversion import convert_original, is_original, load_strictly
from sam_core.modeling.sam_config import SamConfig, config_from_state
from sam_core.modeling.sam_network import SamNetwork
from sam_core.segment_all import SegmentAllOptions

Dtype = Literal["auto", "float32", "bfloat16", "mixed"]

MIN_PROPOSAL = 0.4
FAST_BFLOAT16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # of torch.cpu, as far as this torch has them


def load_family(
    source: str | Path, *, revision: str | None = None, device: str = "auto", dtype: Dtype = "auto"
) -> tuple[Family, str, SegmentAllOptions]:
    """Load a model.

    Parameters
    ----------
    source, revision
        Where it is, as `sam_core.hub.locate` takes it.
    device, dtype
        What it computes on and in; "auto" is the best there is, and "mixed" encodes in that and answers in float32.

    Returns
    -------
    family
        The network, ready to be asked.
    fingerprint
        Equal for equal weights, config and dtype alone.
    options
        What the checkpoint recommends for segmenting everything.

    Raises
    ------
    CheckpointError
        Nothing usable was found, or the weights do not fit the config.
    """
    on = choose_device(device)
    kind = torch.float32 if dtype == "mixed" else choose_dtype(dtype, on)
    path = locate(source, revision=revision)
    weights = find_weights(path) if path.is_dir() else path
    state = read_weights(weights)
    # Original checkpoints are named and sized by their weights alone.
    description = None if is_original(state) else weights.with_name(CONFIG)
    raw = {"model_type": "sam"} if description is None else read_config(description)
    network = _network(raw, state, described=description is not None)
    network.eval().requires_grad_(False)
    network.to(on, kind)
    if dtype == "mixed":
        network.image_encoder.to(choose_dtype("auto", on))
    family = _family(network, raw)
    return family, f"{raw['model_type']}-{_digest(weights, description)}-{dtype_of(network)}", _options(raw)


def save_family(family: Family, folder: Path, options: SegmentAllOptions) -> None:
    """Write a model into a folder that `load_family` reads, and transformers where it is of the SAM family.

    Parameters
    ----------
    family
        What to write.
    folder
        Where to; made where it is absent.
    options
        What the checkpoint is to recommend for segmenting everything.
    """
    if isinstance(family, CellFamily):
        own = {"model_type": "cell", **family.network.config.to_dict(), "min_proposal": family.min_proposal}
    elif isinstance(family, VitFamily):
        own = family.network.config.to_dict()
    else:
        msg = f"got a {type(family).__name__}, expected a 'cell' or a 'sam'; do save it by its own means"
        raise CheckpointError(msg)
    write_checkpoint(folder, {**own, "segment_all": asdict(options)}, _halved(family.network.state_dict()))


def choose_device(device: str) -> torch.device:
    """Return the device of this name, the fastest there is for "auto".

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def dtype_of(network: torch.nn.Module) -> str:
    """Name what a network computes in; "mixed" where its parts do not agree.

    Examples
    --------
    >>> dtype_of(torch.nn.Linear(1, 1, dtype=torch.bfloat16))
    'bfloat16'
    """
    kinds = {parameter.dtype for parameter in network.parameters()}
    return str(kinds.pop()).removeprefix("torch.") if len(kinds) == 1 else "mixed"


def choose_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """Return the dtype of this name; for "auto" bfloat16 where the device is fast at it, else float32.

    Examples
    --------
    >>> choose_dtype("float32", torch.device("cpu"))
    torch.float32
    """
    if dtype not in ("auto", "float32", "bfloat16"):
        msg = f"got dtype {dtype!r}, expected 'auto', 'float32', 'bfloat16' or 'mixed'"
        raise ValueError(msg)
    if dtype != "auto":
        return torch.float32 if dtype == "float32" else torch.bfloat16
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in FAST_BFLOAT16)
    return torch.bfloat16 if fast else torch.float32


def _network(raw: Mapping[str, Any], state: Mapping[str, Tensor], *, described: bool) -> CellNetwork | SamNetwork:
    """Build the network of a config, or of the weights of an original checkpoint, and fill it."""
    network: CellNetwork | SamNetwork
    if raw.get("model_type") == "cell":
        network = CellNetwork(CellConfig.from_dict(raw))
    elif raw.get("model_type") == "sam":
        state = convert_original(state)
        network = SamNetwork(SamConfig.from_dict(raw) if described else config_from_state(state))
    else:
        msg = (
            f"got a checkpoint of model_type {raw.get('model_type')!r}, expected 'cell' or 'sam'; "
            "do choose another checkpoint"
        )
        raise CheckpointError(msg)
    load_strictly(network, state)
    return network


def _family(network: CellNetwork | SamNetwork, raw: Mapping[str, Any]) -> Family:
    if isinstance(network, SamNetwork):
        return VitFamily(network)
    channels_last = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return CellFamily(channels_last, min_proposal=float(raw.get("min_proposal", MIN_PROPOSAL)))


def _options(raw: Mapping[str, Any]) -> SegmentAllOptions:
    try:
        return SegmentAllOptions(**raw.get("segment_all", {}))
    except (TypeError, ValueError) as error:
        known = ", ".join(f.name for f in fields(SegmentAllOptions))
        msg = f"got 'segment_all' in config.json that does not work ({error}), expected any of {known}; do correct it"
        raise CheckpointError(msg) from error


def _halved(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights as float16 where that loses nothing, as with those that came from it; the positions stay exact."""
    halves = {k: v if k.endswith("positional_embedding") else v.half() for k, v in state.items()}
    return halves if all(torch.equal(halves[k].to(v.dtype), v) for k, v in state.items()) else state


def _digest(*files: Path | None) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        if path is not None:
            with path.open("rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
    return digest.hexdigest()
