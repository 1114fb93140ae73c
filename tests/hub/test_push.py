"""`Sam.push_to_hub` and the way back, on a Hub of our own."""

import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest

from sam_core import CheckpointError, Sam
from tests.hub.server import READER, FakeHub

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own call

CARD = "---\nlicense: apache-2.0\n---\n\nFor tests.\n"


@pytest.fixture(scope="module")
def sam() -> Sam:
    return Sam.from_pretrained("cell", device="cpu", dtype="float32")


@pytest.fixture
def card(tmp_path: Path) -> Path:
    (tmp_path / "card.md").write_text(CARD)
    return tmp_path / "card.md"


@pytest.mark.slow
def test_what_is_pushed_loads_at_its_commit(hub: FakeHub, sam: Sam, card: Path, tmp_path: Path) -> None:
    commit = sam.push_to_hub("acme/cell", card=card, private=True)
    files = hub.content("model", "acme/cell")
    assert files["README.md"].decode() == CARD
    assert {"config.json", "model.safetensors", "modeling_cell.py", "preprocessor_config.json"} <= set(files)
    assert hub.repositories["model", "acme/cell"].private
    code = f"""
from sam_core import Sam
sam = Sam.from_pretrained("acme/cell", revision="{commit}", device="cpu", dtype="float32")
print(sam.fingerprint)
from transformers import AutoModelForMaskGeneration, pipeline
model = AutoModelForMaskGeneration.from_pretrained("acme/cell", revision="{commit}", trust_remote_code=True)
generate = pipeline("mask-generation", model="acme/cell", revision="{commit}", trust_remote_code=True)
print(type(model).__name__, type(generate).__name__)
"""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fingerprint, *kinds = done.stdout.split()
    assert fingerprint.startswith("cell-")
    assert kinds == ["CellForMaskGeneration", "CellMaskGenerationPipeline"]


def test_what_is_there_is_not_sent_again(hub: FakeHub, sam: Sam, card: Path) -> None:
    first = sam.push_to_hub("acme/cell", card=card)
    hub.requests.clear()
    assert sam.push_to_hub("acme/cell", card=card) == first
    assert hub.asked("POST .*/commit/|PUT /lfs") == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "cannot be read"),
        ("Words alone.\n", "without a licence"),
        ("---\ntags: [a]\n---\n\nWords.\n", "without a licence"),
        ("---\nlicense: mit\n---\n\n", "without a text"),
        ("---\nlicense: [\n---\n\nWords.\n", "cannot be read"),
    ],
)
def test_without_a_card_nothing_is_sent(
    hub: FakeHub, sam: Sam, tmp_path: Path, text: str | None, expected: str
) -> None:
    if text is not None:
        (tmp_path / "card.md").write_text(text)
    with pytest.raises(CheckpointError, match=expected):
        sam.push_to_hub("acme/cell", card=tmp_path / "card.md")
    assert not hub.requests


@pytest.mark.parametrize(
    ("token", "advice"), [("hf_unknown", "log in"), (READER, "a token that may write there")], ids=["401", "403"]
)
def test_a_refusal_is_explained(hub: FakeHub, sam: Sam, card: Path, token: str, advice: str) -> None:
    with pytest.raises(CheckpointError, match=advice):
        sam.push_to_hub("acme/cell", card=card, token=token)


def test_what_shall_be_private_is_not_sent_where_all_can_see_it(hub: FakeHub, sam: Sam, card: Path) -> None:
    sam.push_to_hub("acme/cell", card=card)
    hub.requests.clear()
    with pytest.raises(CheckpointError, match="there and public"):
        sam.push_to_hub("acme/cell", card=card, private=True)
    assert hub.asked("commit|lfs|preupload") == 0


def test_a_branch_of_its_own_is_made(hub: FakeHub, sam: Sam, card: Path) -> None:
    sam.push_to_hub("acme/cell", card=card, revision="trial")
    assert hub.asked("POST .*/branch/trial") == 1
    assert hub.asked("POST .*/commit/trial") == 1


@pytest.mark.parametrize("kind", [500, "cut"])
def test_a_failure_is_explained(hub: FakeHub, sam: Sam, card: Path, kind: int | str) -> None:
    hub.fail("PUT /lfs", kind, times=100)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="try again"):
        sam.push_to_hub("acme/cell", card=card)


@pytest.mark.parametrize("name", ["a b/c", "acme/cell/more"])
def test_a_name_that_is_none_is_refused(hub: FakeHub, sam: Sam, card: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="check the name"):
        sam.push_to_hub(name, card=card)


def test_offline_is_said(hub: FakeHub, sam: Sam, card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="offline"):
        sam.push_to_hub("acme/cell", card=card)
    assert not hub.requests
