"""Weights on disk: safetensors first, pickles only as far as they hold nothing but tensors."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sam_core.errors import CheckpointError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")  # in order of preference
WRAPPERS = ("state_dict", "model_state", "model")  # under which training code likes to put the weights


def find_weights(folder: Path) -> Path:
    """Find the file of weights in a folder, safetensors before pickles.

    Raises
    ------
    CheckpointError
        There is none, or several of a kind of which none has the usual name.
    """
    for suffix in SUFFIXES:
        found = sorted(folder.glob(f"*{suffix}"))
        usual = [p for p in found if p.stem in ("model", "pytorch_model")]
        if len(usual or found) == 1:
            return (usual or found)[0]
        if found:
            names = ", ".join(p.name for p in found[:8])
            msg = (
                f"got {len(found)} files of weights in {folder} ({names}), expected one, such as {WEIGHTS}; do give "
                "the path of the file that you mean, or of a checkpoint that is not split"
            )
            raise CheckpointError(msg)
    msg = f"got a folder without weights, {folder}, expected {WEIGHTS} in it; do download the checkpoint again"
    raise CheckpointError(msg)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint file.

    Parameters
    ----------
    path
        `.safetensors`, or a pickle of PyTorch's (`.bin`, `.pth`, `.pt`), of which nothing but tensors is taken.

    Raises
    ------
    CheckpointError
        The file is absent, empty, cut off, not a checkpoint, or holds more than tensors.
    """
    if not path.is_file() or path.stat().st_size == 0:
        state = "an empty file" if path.is_file() else "no file"
        msg = f"got {state} at {path}, expected a checkpoint ({', '.join(SUFFIXES)}); do download it again"
        raise CheckpointError(msg)
    try:
        raw = load_file(path) if path.suffix == ".safetensors" else _read_pickle(path)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file can lead its reader anywhere
        msg = f"got {path}, which cannot be read ({error}), expected a whole checkpoint; do download it again"
        raise CheckpointError(msg) from error
    return _tensors(raw, path)


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        msg = (
            f"got {path}, a pickle that is cut off or holds more than tensors, expected weights alone; do not load it "
            "by other means unless you trust its maker, since it can run any code: take a .safetensors file instead"
        )
        raise CheckpointError(msg) from error


def _tensors(raw: object, path: Path) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(raw, Mapping) and isinstance(raw.get(wrapper), Mapping):
            raw = raw[wrapper]
            break
    if isinstance(raw, Mapping) and raw and all(isinstance(value, Tensor) for value in raw.values()):
        return {str(key): value for key, value in raw.items()}
    msg = (
        f"got {path}, which holds {type(raw).__name__} and not only named tensors, expected a state dict; "
        "do save the model with torch.save(model.state_dict(), path)"
    )
    raise CheckpointError(msg)


def read_config(path: Path) -> dict[str, Any]:
    """Read a `config.json`.

    Raises
    ------
    CheckpointError
        It is absent, or not a JSON object.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"got {path}, which cannot be read ({error}), expected a JSON object; do download the checkpoint again"
        raise CheckpointError(msg) from error
    if not isinstance(raw, dict):
        msg = f"got {type(raw).__name__} in {path}, expected a JSON object; do download the checkpoint again"
        raise CheckpointError(msg)
    return raw


def write_checkpoint(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write `config.json` and `model.safetensors`; a crash leaves the folder as it was or each file whole.

    Parameters
    ----------
    folder
        Made where it is absent.
    config
        What to write into `config.json`.
    state
        Weights; one that has several names is written under the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unique: dict[int, str] = {}
    for key, value in state.items():
        unique.setdefault(value.data_ptr(), key)
    kept = {key: state[key].detach().cpu().contiguous() for key in unique.values()}
    # Both are whole, and on the same disk, before either takes its place.
    with TemporaryDirectory(dir=folder, prefix=".writing-") as partial:
        weights, description = Path(partial) / WEIGHTS, Path(partial) / CONFIG
        save_file(kept, weights, metadata={"format": "pt"})
        description.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        weights.chmod(description.stat().st_mode)  # safetensors writes for the owner alone
        os.replace(weights, folder / WEIGHTS)
        os.replace(description, folder / CONFIG)
