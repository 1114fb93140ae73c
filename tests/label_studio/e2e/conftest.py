"""A Label Studio server, our backend and a browser, each started once for all tests that ask for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.label_studio.e2e.server import ROOT, TOKEN, RealStudio, free_port, program, running

HERE = Path(__file__).parent
NO_STUDIO = (
    "there is no Label Studio server to test with; `make label-studio` installs one into .venv-label-studio, "
    "or LABEL_STUDIO_VENV names an environment that has it"
)
NO_BROWSER = "there is no Chromium to test with; install Debian's `chromium`, or name one with CHROMIUM"
NO_PLAYWRIGHT = "there is no playwright to test with; install sam-core[dev]"
COMMAND = [sys.executable, "-c", "from sam_label_studio.command import app; app()"]

Run = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is here starts servers."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="package")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStudio]:
    if program() is None:
        pytest.skip(NO_STUDIO)
    with RealStudio.started(tmp_path_factory.mktemp("label-studio")) as started:
        yield started


@dataclass(frozen=True)
class Backend:
    """Our backend as it runs."""

    url: str
    log: Path


def settings(studio: RealStudio, cache: Path, key: str = TOKEN) -> dict[str, str]:
    """Return the environment in which our commands find the server."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    return {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": key,
        "SAM_CORE_CACHE": str(cache),
        "PYTHONPATH": paths,
    }


@pytest.fixture(scope="package")
def backend(studio: RealStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("backend")
    port = free_port()
    command = [*COMMAND, "serve", "--host", "127.0.0.1", "--port", str(port)]
    found = Backend(f"http://127.0.0.1:{port}", folder / "backend.log")
    with running(command, found.url, found.log, settings(studio, folder / "cache"), 120):
        yield found


@pytest.fixture
def run(studio: RealStudio, tmp_path: Path) -> Run:
    """Run one of our commands to its end."""

    def call(*arguments: object, key: str = TOKEN) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *map(str, arguments)]
        env = {**os.environ, **settings(studio, tmp_path / "cache", key)}
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)

    return call


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip(NO_BROWSER)
    playwright = pytest.importorskip("playwright.sync_api", reason=NO_PLAYWRIGHT)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync"]
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, headless=True, args=flags)
        yield opened
        opened.close()
