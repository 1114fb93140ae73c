"""`sam-core info`: what this installation is and what it would compute on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sam_core.cli import common
from sam_core.cli.cache import bytes_in, readable
from sam_core.cli.common import Device, Json, Model, Revision, cache_folder
from sam_core.cli.screen import Screen

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
    segmenter = common.load_model(model, revision=revision, device=device)
    facts: dict[str, Any] = {
        "device": str(getattr(segmenter, "device", "unknown")),
        "dtype": str(getattr(segmenter, "dtype", "unknown")),
        "threads": torch.get_num_threads(),
        "model": model,
        "fingerprint": segmenter.fingerprint,
        "cache": str(root),
        "cache_bytes": bytes_in(root),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }
    screen = Screen(as_json)
    if as_json:
        screen.result(facts, "")
        return
    shown = {key: value for key, value in facts.items() if key not in ("versions", "cache_bytes")}
    shown["cache"] = f"{root} ({readable(facts['cache_bytes'])})"
    rows = [(key, str(value)) for key, value in {**shown, **facts["versions"]}.items()]
    screen.table(["what", "value"], rows)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
