"""A screen for napari's windows, and settings and caches that no test leaves behind.

Tests that open a window need a display. Where there is none and Xvfb is installed, one is started for the run; where
there is neither, they are skipped, and the others run.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.fake import FakeSegmenter
from tests.napari import screen

if TYPE_CHECKING:
    import subprocess

pytest.importorskip("napari", reason='napari is missing: pip install "sam-core[napari]" and a Qt binding')
pytest.importorskip("pytestqt", reason="pytest-qt is missing: pip install pytest-qt")

NEED_A_WINDOW = {"qtbot", "qapp", "make_napari_viewer", "make_napari_viewer_proxy"}

# Before anybody reads napari's settings: tests must neither see the developer's own nor write to them.
_SETTINGS = tempfile.TemporaryDirectory(prefix="sam-napari-")
os.environ["NAPARI_CONFIG"] = str(Path(_SETTINGS.name, "settings.yaml"))
_screen: subprocess.Popen[bytes] | None = None


def pytest_configure() -> None:
    """Start a screen where there is none."""
    global _screen
    _screen = screen.start()


def pytest_unconfigure() -> None:
    """End the screen that was started."""
    screen.stop(_screen)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a window where none can be opened."""
    if NEED_A_WINDOW & set(getattr(item, "fixturenames", ())) and not screen.has_display():
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
