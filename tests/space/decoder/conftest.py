"""The model in float32, and its decoder exported once for all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sam_core import Sam


@pytest.fixture(scope="session")
def sam() -> Sam:
    return Sam.from_pretrained("cell", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def onnx_file(sam: Sam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"needs {package}, of the extra sam-core[space]")
    from sam_space.decoder.export import export_decoder

    path = tmp_path_factory.mktemp("decoder") / "decoder.onnx"
    export_decoder(sam, path)
    return path


@pytest.fixture(scope="session")
def runtime() -> Path:
    from sam_space.decoder import ort
    from tests.space.decoder.site import fill_ort_cache

    try:
        return fill_ort_cache()
    except (OSError, subprocess.SubprocessError, ort.RuntimeUnavailableError) as error:
        pytest.skip(f"there is no onnxruntime-web {ort.VERSION} to test with, and it could not be fetched: {error}")


@pytest.fixture(scope="module")  # playwright leaves a loop running, in which nothing else may be awaited
def chromium() -> Iterator[Any]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no Chromium to test with; install Debian's `chromium`, or name one with CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api", reason="there is no playwright; install sam-core[dev]")
    from tests.space.decoder.site import FLAGS

    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def meta(sam: Sam) -> dict[str, Any]:
    from sam_space.decoder.export import decoder_meta

    return decoder_meta(sam)
