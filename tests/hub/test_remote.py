"""What is uploaded, and what happens when the Hub refuses, fails or falls silent, on a Hub of our own."""

from pathlib import Path
from typing import Literal

import pytest
from huggingface_hub import HfApi

from publisher.plan import Plan, PublishError
from publisher.remote import Published, publish
from tests.hub.server import READER, FakeHub, Repository

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own call

CARD = b"---\nlicense: apache-2.0\n---\n\nFor tests.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder" / "code").mkdir(parents=True)
    files = {
        "README.md": CARD,
        "config.json": b"{}",
        "empty.txt": b"",
        "code/a.py": b"a = 1\n",
        "model.safetensors": bytes(range(256)) * 300,
    }
    for name, data in files.items():
        (tmp_path / "folder" / name).write_bytes(data)
    return tmp_path / "folder"


def send(hub: FakeHub, folder: Path, *, kind: Literal["model", "space"] = "model", prune: bool = False) -> Published:
    plan = Plan.of(kind, "acme/cell", folder)
    api = HfApi(endpoint=hub.url, token=hub.token)
    return publish(plan, api, private=True, prune=prune, message="sam-core", sleep=hub.waits.append)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("kind", ["model", "space"])
def test_all_files_arrive_as_they_are(hub: FakeHub, folder: Path, kind: Literal["model", "space"]) -> None:
    done = send(hub, folder, kind=kind)
    assert hub.content(kind, "acme/cell") == content(folder)
    repository = hub.repositories[kind, "acme/cell"]
    assert repository.private
    assert repository.sdk == ("gradio" if kind == "space" else None)
    assert repository.commits == ["sam-core"]
    assert list(repository.large) == ["model.safetensors"]
    assert (done.commit, set(done.uploaded)) == (repository.head, set(content(folder)))


def test_a_second_run_changes_nothing(hub: FakeHub, folder: Path) -> None:
    first = send(hub, folder)
    hub.requests.clear()
    second = send(hub, folder)
    assert (second.commit, second.uploaded, second.removed) == (first.commit, (), ())
    assert hub.asked("commit|preupload|lfs") == 0


def test_only_what_changed_is_sent(hub: FakeHub, folder: Path) -> None:
    send(hub, folder)
    hub.requests.clear()
    (folder / "config.json").write_text('{"a": 1}')
    assert send(hub, folder).uploaded == ("config.json",)
    assert hub.asked("lfs") == 0
    assert hub.content("model", "acme/cell") == content(folder)


@pytest.mark.parametrize(("prune", "left"), [(True, False), (False, True)])
def test_what_is_not_planned_goes_only_when_it_shall(hub: FakeHub, folder: Path, prune: bool, left: bool) -> None:
    (folder / "old.txt").write_text("old")
    send(hub, folder)
    (folder / "old.txt").unlink()
    done = send(hub, folder, prune=prune)
    assert ("old.txt" in hub.content("model", "acme/cell")) == left
    assert done.removed == (() if left else ("old.txt",))
    assert ".gitattributes" in hub.repositories["model", "acme/cell"].small


@pytest.mark.parametrize(
    ("token", "advice"), [("hf_unknown", "log in"), (READER, "repository of your own")], ids=["401", "403"]
)
def test_who_may_not_write_is_told_what_to_do(hub: FakeHub, folder: Path, token: str, advice: str) -> None:
    hub.token = token
    with pytest.raises(PublishError, match=advice):
        send(hub, folder)
    assert not hub.repositories
    assert hub.asked("create") == 1  # asking again would not help


def test_what_shall_be_private_is_not_sent_where_all_can_see_it(hub: FakeHub, folder: Path) -> None:
    hub.repositories["model", "acme/cell"] = Repository(private=False)
    with pytest.raises(PublishError, match="there and public"):
        send(hub, folder)
    assert hub.content("model", "acme/cell") == {}


STEPS = [
    "POST /api/repos/create",
    "GET .*/tree/",
    "POST .*/preupload/",
    "POST .*/batch",
    "PUT /lfs/",
    "POST .*/commit/",
]


@pytest.mark.parametrize("kind", [429, 500, 503, "cut"])
@pytest.mark.parametrize("step", STEPS)
def test_a_passing_failure_is_overcome(hub: FakeHub, folder: Path, step: str, kind: int | Literal["cut"]) -> None:
    hub.fail(step, kind)
    send(hub, folder)
    assert hub.content("model", "acme/cell") == content(folder)
    assert hub.repositories["model", "acme/cell"].commits == ["sam-core"]
    assert hub.faults[0].times == 0


def test_the_hub_says_how_long_to_wait(hub: FakeHub, folder: Path) -> None:
    hub.fail("POST .*/commit/", 429, Retry_After="17")
    send(hub, folder)
    assert 17.0 in hub.waits


@pytest.mark.parametrize("step", ["POST /api/repos/create", "PUT /lfs/", "POST .*/commit/"])
def test_an_answer_that_was_lost_is_no_second_commit(hub: FakeHub, folder: Path, step: str) -> None:
    hub.fail(step, "cut after")
    send(hub, folder)
    assert hub.content("model", "acme/cell") == content(folder)
    assert hub.repositories["model", "acme/cell"].commits == ["sam-core"]


@pytest.mark.parametrize("kind", [500, "cut"])
def test_a_lasting_failure_is_reported_and_a_later_run_goes_on(
    hub: FakeHub, folder: Path, kind: int | Literal["cut"]
) -> None:
    hub.fail("POST .*/commit/", kind, times=100)
    with pytest.raises(PublishError, match=r"4 times.*try again"):
        send(hub, folder)
    assert hub.content("model", "acme/cell") == {}
    hub.faults.clear()
    hub.requests.clear()
    send(hub, folder)
    assert hub.content("model", "acme/cell") == content(folder)
    assert hub.asked("PUT /lfs") == 0  # the weights had arrived


def test_a_commit_of_somebody_else_in_between_is_not_overwritten_unseen(hub: FakeHub, folder: Path) -> None:
    hub.fail("POST .*/commit/", 412)
    send(hub, folder)
    assert hub.asked("GET .*/tree/") >= 4  # it looked again before it tried again
    assert hub.content("model", "acme/cell") == content(folder)


def test_what_arrived_is_verified(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send(hub, folder)
    (folder / "config.json").write_text('{"a": 1}')
    monkeypatch.setattr(HfApi, "create_commit", lambda *_, **__: None)  # a Hub that says yes and does nothing
    with pytest.raises(PublishError, match=r"got other content than was sent for config\.json"):
        send(hub, folder)


def test_nobody_there_is_said(hub: FakeHub, folder: Path) -> None:
    plan = Plan.of("model", "acme/cell", folder)
    api = HfApi(endpoint="http://127.0.0.1:9", token=hub.token)
    with pytest.raises(PublishError, match="check the connection"):
        publish(plan, api, private=None, prune=False, message="m", sleep=hub.waits.append)
    assert len(hub.waits) == 3
