"""A screen for napari's windows, and settings and caches that no test leaves behind.

Tests that open a window need a display. Where there is none and Xvfb is installed, one is started for the run; where
there is neither, they are skipped, and the others run.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fake import FakeSegmenter

pytest.importorskip("napari", reason='napari is missing: pip install "sam-core[napari]" and a Qt binding')
pytest.importorskip("pytestqt", reason="pytest-qt is missing: pip install pytest-qt")

SIZE = "1400x1000x24"
NEED_A_WINDOW = {"qtbot", "qapp", "make_napari_viewer", "make_napari_viewer_proxy"}

# Before anybody reads napari's settings: tests must neither see the developer's own nor write to them.
_SETTINGS = tempfile.TemporaryDirectory(prefix="sam-napari-")
os.environ["NAPARI_CONFIG"] = str(Path(_SETTINGS.name, "settings.yaml"))
_screen: subprocess.Popen[bytes] | None = None


def pytest_configure() -> None:
    """Start a screen where there is none."""
    global _screen
    if _has_display() or shutil.which("Xvfb") is None:
        return
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", SIZE, "+extension", "GLX", "-nolisten", "tcp"]
    _screen = subprocess.Popen(command, pass_fds=(write,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as ready:
        number = ready.readline().strip()  # empty where Xvfb ended instead of starting
    if number:
        os.environ["DISPLAY"] = f":{number}"


def pytest_unconfigure() -> None:
    """End the screen that was started."""
    if _screen is not None:
        _screen.terminate()
        _screen.wait()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a window where none can be opened."""
    if NEED_A_WINDOW & set(getattr(item, "fixturenames", ())) and not _has_display():
        pytest.skip("no display, and no Xvfb that could be started: apt-get install xvfb")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep embeddings and journals in a folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SAM_CORE_CACHE", str(folder))
    return folder


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSegmenter:
    """The model of every engine: a region brighter than half of the brightest pixel is an object."""
    model = FakeSegmenter()
    monkeypatch.setattr("sam_core.Sam", SimpleNamespace(from_pretrained=lambda *_, **__: model))
    return model


@pytest.fixture(autouse=True)
def steady_none() -> None:
    """Make up for references to None that PySide6 takes and does not give back before Python 3.12."""
    if "PySide6" in sys.modules and sys.version_info < (3, 12):
        for _ in range(100_000):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))


def _has_display() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
