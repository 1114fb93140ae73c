"""Makes `spaces/publisher` importable, though `spaces` must not be on the path: a package on PyPI has that name."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.server import FakeHub

SPACES = Path(__file__).parents[2] / "spaces"


def _load(name: str, file: Path) -> None:
    folders = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


if "publisher" not in sys.modules:
    _load("publisher", SPACES / "publisher" / "__init__.py")
    _load("publish", SPACES / "publish.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs `answers`, which a process of its own makes, as slow."""
    for item in items:
        if "answers" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Give a Hub of our own, on this machine."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with FakeHub() as server:
        # The client waits between its own attempts; nothing is gained by waiting here.
        monkeypatch.setattr(_http.time, "sleep", server.waits.append)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setenv("HF_TOKEN", server.token)
        yield server
