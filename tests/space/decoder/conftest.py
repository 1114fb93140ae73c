"""The model in float32, and its decoder exported once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam_core import Sam


@pytest.fixture(scope="session")
def sam() -> Sam:
    return Sam.from_pretrained("cell", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def onnx_file(sam: Sam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"needs {package}, of the extra sam-core[space]")
    from decoder.export import export_decoder

    path = tmp_path_factory.mktemp("decoder") / "decoder.onnx"
    export_decoder(sam, path)
    return path
