from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from sam_core import hub
from sam_core.errors import CheckpointError
from sam_core.hub import embedded_models, locate

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty Hub cache, and no Hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def seed(cache: Path, repository: str, *names: str) -> Path:
    home = cache / f"models--{repository.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(SHA)
    folder = home / "snapshots" / SHA
    folder.mkdir(parents=True)
    for name in names:
        if name.endswith(".safetensors"):
            save_file({"a": torch.zeros(1)}, folder / name)
        else:
            (folder / name).write_text("{}")
    return folder


def test_an_embedded_model_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "EMBEDDED", tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    (tmp_path / "no-model").mkdir()
    assert embedded_models() == ["tiny"]
    assert locate("tiny") == tmp_path / "tiny"
    with pytest.raises(CheckpointError, match="expected one of tiny, an existing folder"):
        locate("tyni")


def test_what_is_on_disk_is_taken_from_there(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "model.pth").touch()
    assert locate(tmp_path) == tmp_path
    assert locate(str(tmp_path / "model.pth")) == tmp_path / "model.pth"
    with pytest.raises(CheckpointError, match="do check the spelling"):
        locate(tmp_path / "absent.pth")


@pytest.mark.parametrize("revision", [None, "main", SHA])
def test_a_repository_comes_from_the_cache_while_offline(cache: Path, revision: str | None) -> None:
    folder = seed(cache, "acme/sam", "config.json", "model.safetensors", "pytorch_model.bin")
    assert locate("acme/sam", revision=revision) == folder


def test_a_repository_of_pickles_alone_will_do(cache: Path) -> None:
    folder = seed(cache, "acme/medical", "config.json", "pytorch_model.bin")
    assert locate("acme/medical") == folder


def test_what_is_not_in_the_cache_cannot_be_had_offline(cache: Path) -> None:
    seed(cache, "acme/sam", "config.json", "model.safetensors")
    with pytest.raises(CheckpointError, match="not in the cache"):
        locate("acme/other")
    with pytest.raises(CheckpointError, match="not in the cache"):
        locate("acme/sam", revision="v2")


def test_a_repository_without_weights_is_refused(cache: Path) -> None:
    seed(cache, "acme/words", "config.json")
    with pytest.raises(CheckpointError, match="without weights"):
        locate("acme/words")


def test_a_revision_is_of_a_repository(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(CheckpointError, match="expected one only of a Hub repository"):
        locate(tmp_path, revision="main")


@pytest.mark.parametrize("source", ["", "a--b/c", "facebook/sam vit", "../absent"])
def test_what_is_no_name_is_refused(cache: Path, source: str) -> None:
    with pytest.raises(CheckpointError, match="do check the spelling"):
        locate(source)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ConnectionResetError(), "cannot be reached"), (OSError(28, "No space left on device"), "No space left")],
)
def test_a_download_that_fails_says_why(
    cache: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, expected: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match=expected):
        locate("acme/sam")
