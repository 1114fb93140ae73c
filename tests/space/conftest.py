"""A server as the Hub starts it, and a browser; tests that need them skip where gradio or Chromium is not there."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hub.conftest import hub as hub  # a Hub of our own

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "spaces" / "segment_anything"
PYTHON = os.environ.get("SAM_SPACE_PYTHON", sys.executable)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a server listens that was started with `python app.py` in its own folder, by itself."""
    with started(tmp_path_factory, {}) as url:
        yield url


@contextmanager
def started(
    tmp_path_factory: pytest.TempPathFactory,
    more: Mapping[str, str],
    *,
    command: Sequence[str] = (PYTHON, "app.py"),
    folder: Path = SPACE,
    path: str = str(ROOT),
) -> Iterator[str]:
    """Start a server in a process of its own, which finds modules in `path`, and yield where it listens."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'sam-core[space]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("space") / "log.txt"
    environment = os.environ | {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(tmp_path_factory.mktemp("uploads")),
        "PYTHONPATH": path,
        "OMP_WAIT_POLICY": "passive",
        **more,
    }
    with log.open("wb") as out:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}/"
    try:
        _wait(url, server, log)
        yield url
    finally:
        server.terminate()
        server.wait(20)
    # Gradio writes down what it cannot parse; ours is what `server` could not answer.
    assert "a request failed" not in log.read_text(), log.read_text()


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            httpx.get(url, timeout=5)
            return
        except httpx.TransportError:
            time.sleep(0.5)
    raise RuntimeError(log.read_text())


@pytest.fixture(scope="module")  # playwright leaves a loop running, in which nothing else may be awaited
def chromium() -> Iterator[Any]:
    """A browser."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("there is no Chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()
