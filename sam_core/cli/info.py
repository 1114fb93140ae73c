"""`sam-core info`: what this installation is and what it would compute on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from sam_core.cli import common
from sam_core.cli.cache import bytes_in, readable
from sam_core.cli.common import Device, Json, Model, Revision, cache_folder
from sam_core.cli.screen import BAD_INPUT, Screen
from sam_core.errors import SamError

PACKAGES = (
    "sam-core",
    "torch",
    "numpy",
    "scikit-image",
    "zarr",
    "ome-zarr",
    "transformers",
    "napari",
    "gradio",
)


def info(model: Model = "cell", revision: Revision = None, device: Device = "auto", as_json: Json = False) -> None:
    """Show the device, threads, model, cache and versions."""
    import torch

    root = cache_folder()
    facts: dict[str, Any] = {
        **_model(model, revision, device),
        "threads": torch.get_num_threads(),
        "cache": str(root),
        "cache_bytes": bytes_in(root),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }
    screen = Screen(as_json)
    if as_json:
        screen.result(facts, "")
    else:
        shown = {key: value for key, value in facts.items() if key not in ("versions", "cache_bytes")}
        shown["cache"] = f"{root} ({readable(facts['cache_bytes'])})"
        screen.table(["what", "value"], [(key, str(value)) for key, value in {**shown, **facts["versions"]}.items()])
    if "problem" in facts:
        raise typer.Exit(BAD_INPUT)


def _model(source: str, revision: str | None, device: str) -> dict[str, Any]:
    """Load the model and describe it; a model that cannot be loaded is a fact like any other."""
    try:
        model = common.load_model(source, revision=revision, device=device)
    except SamError as error:
        return {"model": source, "problem": str(error)}
    facts = {name: str(getattr(model, name, "unknown")) for name in ("device", "dtype")}
    return {"model": source, "fingerprint": model.fingerprint, **facts}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
