"""Loading from the Hub: what is said when it refuses, fails or falls silent."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import constants

from sam_core.errors import CheckpointError
from sam_core.hub import locate
from tests.hub.server import FakeHub, Repository


@pytest.fixture
def cell(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """Give a Hub with a model, and an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    weights = b"weights" * 1000
    oid = hashlib.sha256(weights).hexdigest()
    hub.storage[oid] = weights
    small = {"config.json": b"{}", "notes.md": b"no need", "more/config.json": b"{}"}
    hub.repositories["model", "acme/cell"] = Repository(private=True, small=small, large={"model.safetensors": oid})
    return hub


def test_weights_and_config_are_fetched_and_nothing_else(cell: FakeHub) -> None:
    folder = locate("acme/cell")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == b"weights" * 1000
    assert cell.asked("notes|more") == 0


def test_what_was_fetched_is_there_when_the_hub_is_gone(cell: FakeHub) -> None:
    folder = locate("acme/cell", revision="main")
    cell.fail("", 503, times=1000)
    assert locate("acme/cell", revision="main") == folder


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (401, "log in"),
        (403, "permission"),
        (404, "check the spelling"),
        (429, "try again"),
        (500, "try again"),
        ("cut", "connect once"),
    ],
)
@pytest.mark.parametrize("step", ["GET /api/", "(GET|HEAD) .*/resolve/.*/model.safetensors"])
def test_a_failure_is_explained(cell: FakeHub, step: str, kind: int | str, expected: str) -> None:
    cell.fail(step, kind, times=1000)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=expected):
        locate("acme/cell")


@pytest.mark.parametrize("kind", [429, "cut"])
def test_a_passing_failure_of_a_download_is_overcome(cell: FakeHub, kind: int | str) -> None:
    cell.fail("GET .*/resolve/.*/model.safetensors", kind)  # type: ignore[arg-type]
    assert (locate("acme/cell") / "model.safetensors").is_file()
