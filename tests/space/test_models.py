"""Choosing a model: from a Hub of our own, with small networks of random weights, and what stands in the way."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants

from sam_core import Sam, SegmentAllOptions
from sam_core.families.vit import VitFamily
from sam_space import memory, weights
from sam_space.catalogue import CATALOGUE, EMBEDDED, Offer, base, offers
from sam_space.desk import Desk
from sam_space.engine import Stopped
from sam_space.models import need, tokens_of
from tests.fake import FakeSegmenter
from tests.hub.server import FakeHub, Repository
from tests.modeling.oracle import oracle, ours
from tests.space.drive import EASY, Page, png, squares

TOY, OTHER, THIRD = "acme/toy", "acme/other", "acme/third"
GIB = 1 << 30
FREE = replace(EASY, loads_per_hour=1e6)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    Sam(VitFamily(ours(oracle())), "new", SegmentAllOptions()).save_pretrained(folder)
    return folder


def published(hub: FakeHub, name: str, folder: Path) -> Repository:
    content = (folder / "model.safetensors").read_bytes()
    oid = hashlib.sha256(content).hexdigest()
    hub.storage[oid] = content
    small = {"config.json": (folder / "config.json").read_bytes(), "notes.md": b"no need"}
    repository = Repository(private=False, small=small, large={"model.safetensors": oid}, licence="mit")
    repository.commits.append(name)
    hub.repositories["model", name] = repository
    return repository


@pytest.fixture
def toys(hub: FakeHub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """A Hub with three small models, and an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in (TOY, OTHER, THIRD):
        published(hub, name, checkpoint)
    return hub


def fake(source: str) -> FakeSegmenter:
    """A model of which the embeddings are its own."""
    return FakeSegmenter(f"fake-{Path(source).parents[1].name}")


def desk(*names: str, load: Callable[[str], Any] = fake, free: int | None = 64 * GIB, **limits: Any) -> Desk:
    offered = offers(names or (TOY, OTHER, THIRD))
    made = Desk(FakeSegmenter(), replace(FREE, **limits), offered=offered, load=load)
    made.models._measure = lambda: free
    return made


def opened(on: Desk) -> Page:
    page = Page(on)
    page.open(png(squares()))
    return page


def choose(page: Page, name: str) -> list[dict[str, Any]]:
    return page.lines("/model", {"name": name})


def described(page: Page, name: str) -> dict[str, Any]:
    return next(each for each in page.post("/models").json()["models"] if each["name"] == name)


def surveyed(page: Page, name: str) -> dict[str, Any]:
    """Ask until the Hub was."""
    while True:
        page.post("/models")
        if page.desk.models._surveying.acquire(timeout=30):
            page.desk.models._surveying.release()
            return described(page, name)


# -- the list ----------------------------------------------------------------------------------------------------------


def test_what_the_catalogue_says_is_complete_and_of_loadable_repositories() -> None:
    for each in (*EMBEDDED.values(), *CATALOGUE):
        assert each.title
        assert each.about
        assert each.licence == "apache-2.0"
        assert each.nbytes == pytest.approx(4e6 * each.parameters, rel=0.02) or each.name == "cell"
    assert len({each.name for each in CATALOGUE}) == len(CATALOGUE)
    cell = Path(__file__).parents[2] / "sam_core" / "weights" / "cell" / "model.safetensors"
    assert EMBEDDED["cell"].nbytes == pytest.approx(cell.stat().st_size, rel=0.1)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, [("cell", None), *((each.source, None) for each in CATALOGUE)]),
        (["none"], []),
        (["acme/toy", "acme/toy"], [("acme/toy", None)]),
        (["facebook/sam-vit-base@abc"], [("facebook/sam-vit-base", "abc")]),
    ],
)
def test_the_operator_chooses_what_is_offered(chosen: list[str] | None, expected: list[tuple[str, str | None]]) -> None:
    assert [(each.source, each.revision) for each in offers(chosen)] == expected


def test_a_pinned_model_of_the_catalogue_keeps_its_description() -> None:
    (pinned,) = offers(["facebook/sam-vit-base@abc"])
    assert (pinned.title, pinned.licence) == ("SAM, ViT-B", "apache-2.0")


@pytest.mark.parametrize("name", ["", "toy", "a/b/c", "/etc/passwd", "https://example.org/a"])
def test_what_is_no_name_of_a_model_is_not_offered(name: str) -> None:
    with pytest.raises(ValueError, match="expected a Hub repository"):
        offers([name])


def test_of_a_folder_only_the_last_part_is_shown(tmp_path: Path) -> None:
    (folder,) = offers([str(tmp_path)])
    assert (folder.name, folder.is_remote) == (tmp_path.name, False)
    assert base("/home/me/runs/mine.pth").name == "mine.pth"


# -- memory ------------------------------------------------------------------------------------------------------------

MEMINFO = "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/meminfo": MEMINFO}, 8000000 << 10),
        (
            {  # version 2, as in most containers: the path is that of the machine outside
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/docker/abc\n",
                "sys/fs/cgroup/memory.max": "2000000000\n",
                "sys/fs/cgroup/memory.current": "1500000000\n",
                "sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 300000000\n",
            },
            800000000,
        ),
        (
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "max\n",
                "sys/fs/cgroup/memory.current": "1500000000\n",
            },
            8000000 << 10,
        ),
        (
            {  # the group outside allows less than the one inside
                "proc/self/cgroup": "0::/outer/inner\n",
                "sys/fs/cgroup/outer/inner/memory.max": "3000\n",
                "sys/fs/cgroup/outer/inner/memory.current": "1000\n",
                "sys/fs/cgroup/outer/memory.max": "4000\n",
                "sys/fs/cgroup/outer/memory.current": "3500\n",
            },
            500,
        ),
        (
            {  # version 1
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/a\n0::/\n",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "5000\n",
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "4000\n",
                "sys/fs/cgroup/memory/a/memory.stat": "total_inactive_file 100\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "4000\n",
            },
            1100,
        ),
    ],
)
def test_memory_is_what_machine_and_container_leave(
    tmp_path: Path, files: dict[str, str], expected: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory.available(tmp_path) == expected


def test_memory_of_this_machine_is_known() -> None:
    assert (memory.available() or 0) > 100 << 20


def test_a_small_network_needs_little(checkpoint: Path) -> None:
    offer = Offer(str(checkpoint))
    known = weights.cached(offer)
    assert known is not None
    assert tokens_of(known) == 100
    assert need(known.nbytes, tokens_of(known)) < 100 << 20 < need(known.nbytes)


# -- loading -----------------------------------------------------------------------------------------------------------


def test_a_model_is_fetched_told_of_and_answers(toys: FakeHub) -> None:
    page = opened(desk())
    seen = surveyed(page, TOY)
    assert (seen["state"], seen["licence"], seen["exact"]) == ("remote", "mit", True)
    assert seen["bytes"] == len(next(iter(toys.storage.values())))
    *told, last = choose(page, TOY)
    stages = list(dict.fromkeys(each["stage"] for each in told))
    assert stages[0] == "asking"
    assert stages[-2:] == ["loading", "trying"]
    assert last == {"model": TOY, "where": "cpu"}
    assert page.act("click", x=10, y=10)["model"] == TOY
    assert described(page, TOY)["state"] == "loaded"
    assert toys.asked("notes") == 0


def test_what_was_made_stays_and_every_model_has_its_own_embeddings(toys: FakeHub) -> None:
    page = opened(desk())
    page.act("click", x=10, y=10)
    choose(page, TOY)
    view = page.post("/look", {"plane": 0}).json()
    assert [each["area"] for each in view["objects"]] == [100]
    page.act("click", x=40, y=25, fresh=True)
    engine = page.desk.models.engine(TOY)
    assert engine is not None
    assert {key[0] for key in engine.embeddings._values} == {"fake", engine.model.fingerprint}
    counts = [len(page.act(each)["objects"]) for each in ("undo", "undo", "redo", "redo")]
    assert counts == [1, 0, 1, 2]
    assert choose(page, "cell")[-1]["model"] == "cell"
    assert page.act("click", x=12, y=12, fresh=True)["model"] == "cell"


def test_another_visitor_keeps_the_model_of_before(toys: FakeHub) -> None:
    page = opened(desk())
    other = opened(page.desk)
    choose(page, TOY)
    assert other.act("click", x=10, y=10)["model"] == "cell"
    asked = len(toys.requests)
    assert choose(other, TOY) == [{"model": TOY, "where": "cpu"}]  # it is there already
    assert len(toys.requests) == asked


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (401, "refuses"),
        (403, "refuses"),
        (404, "does not have"),
        (429, "too many requests"),
        (500, "answered 500"),
        ("cut", "cannot be reached"),
    ],
)
@pytest.mark.parametrize(
    "step",
    [
        "GET /api/models/acme/toy",
        # Its client tries several times, and waits in between.
        pytest.param("(GET|HEAD) .*/resolve/.*/model.safetensors", marks=pytest.mark.slow),
    ],
)
def test_a_failure_is_explained_and_the_model_of_before_goes_on(toys: FakeHub, step: str, kind: Any, said: str) -> None:
    page = opened(desk())
    toys.fail(step, kind, times=1000)
    refused = choose(page, TOY)[-1]["refused"]
    assert said in refused or ("resolve" in step and "broke off" in refused)
    assert "/" not in refused.replace(TOY, "")
    assert page.act("click", x=10, y=10)["model"] == "cell"
    if "resolve" in step:  # the Hub still tells what it has
        seen = described(page, TOY)
        assert (seen["state"], seen["why"]) == ("failed", refused)
    toys.faults.clear()
    assert choose(page, TOY)[-1]["model"] == TOY


def test_where_the_hub_cannot_be_reached_it_says_how_to_go_on(toys: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(desk())
    choose(page, OTHER)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    again = opened(desk())
    seen = surveyed(again, TOY)
    assert seen["state"] == "away"
    assert f"hf download {TOY}" in seen["why"]
    assert "cannot be reached" in again.post("/models").json()["hub"]
    assert described(again, OTHER)["state"] == "here"  # what was loaded once is there without a network
    assert choose(again, OTHER)[-1]["model"] == OTHER
    assert "cannot be reached" in choose(again, TOY)[-1]["refused"]


def test_a_repository_without_weights_says_so(toys: FakeHub) -> None:
    toys.repositories["model", TOY].large.clear()
    assert "holds no weights" in choose(opened(desk()), TOY)[-1]["refused"]


def test_weights_that_do_not_work_are_refused_without_a_path(toys: FakeHub, tmp_path: Path) -> None:
    toys.repositories["model", TOY].small["config.json"] = b'{"model_type": "bert"}'
    refused = choose(opened(desk(load=Sam.from_pretrained)), TOY)[-1]["refused"]
    assert "'bert'" in refused
    assert str(tmp_path) not in refused


def test_running_out_of_memory_is_said(toys: FakeHub) -> None:
    def load(source: str) -> Any:
        raise MemoryError

    assert "not enough memory" in choose(opened(desk(load=load)), TOY)[-1]["refused"]


def test_what_memory_would_not_hold_is_refused_before_it_is_downloaded(toys: FakeHub) -> None:
    toys.repositories["model", TOY].claims["model.safetensors"] = 10 * GIB
    page = opened(desk(free=12 * GIB))
    seen = surveyed(page, TOY)
    assert seen["state"] == "large"
    assert "needs about 21.5 GB of memory, and 12.6 GB are free here" in seen["why"]
    assert "needs about 21.5 GB" in choose(page, TOY)[-1]["refused"]
    assert toys.asked("resolve") == 0
    assert page.act("click", x=10, y=10)["model"] == "cell"


def test_a_disk_that_would_not_hold_it_is_a_reason(toys: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = weights.shutil.disk_usage("/")
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert "the disk here has 0 MB left" in choose(opened(desk()), TOY)[-1]["refused"]
    assert toys.asked("resolve") == 0


def test_whoever_stops_waiting_stops_the_download(toys: FakeHub) -> None:
    page = opened(desk())
    visitor = page.desk.visitors.find(page.key)
    toys.fail("GET .*/resolve/.*/model.safetensors", "slow")
    told: list[dict[str, Any]] = []

    def stop() -> bool:
        return any(each["stage"] == "fetching" for each in told)

    with pytest.raises(Stopped):
        page.desk.choose_model(visitor, {"name": TOY}, told.append, stop)
    assert visitor.model == ""
    assert "stopped" in described(page, TOY)["why"]
    assert choose(page, TOY)[-1]["model"] == TOY


# -- how many, how often, by whom --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "sam", "facebook/sam-vit-huge", "../../etc", "/etc/passwd", "acme/toy@main", None, 7]
)
def test_no_model_but_those_of_the_list(toys: FakeHub, name: Any) -> None:
    page = opened(desk())
    last = choose(page, name)[-1]
    assert "not offered here" in last.get("refused", "") or (name == "" and last["model"] == "cell")
    assert not toys.requests


def test_few_are_kept_and_those_that_nobody_uses_make_room(toys: FakeHub) -> None:
    on = desk(models=1)
    first, second = opened(on), opened(on)
    choose(first, TOY)
    first.act("click", x=10, y=10)
    refused = choose(second, OTHER)[-1]["refused"]
    assert "in use by visitors" in refused
    choose(first, "cell")
    assert choose(second, OTHER)[-1]["model"] == OTHER
    assert [described(first, name)["state"] for name in (TOY, OTHER)] == ["here", "loaded"]


def test_the_one_that_was_not_asked_for_longest_makes_room(toys: FakeHub) -> None:
    on = desk(models=2)
    page = opened(on)
    for name in (TOY, OTHER):
        choose(page, name)
        page.act("click", x=10, y=10, fresh=True)
    choose(page, TOY)
    choose(page, "cell")
    choose(page, THIRD)
    assert [described(page, name)["state"] for name in (TOY, OTHER, THIRD)] == ["loaded", "here", "loaded"]


def test_who_asks_nothing_for_long_keeps_nobody_out_and_falls_back(toys: FakeHub) -> None:
    on = desk(models=1, model_seconds=0.0)
    first, second = opened(on), opened(on)
    choose(first, TOY)
    first.act("click", x=10, y=10)
    choose(second, OTHER)
    answer = first.act("click", x=40, y=25, fresh=True)
    assert "acme/toy had to make room" in answer["refused"]
    view = first.act("click", x=40, y=25, fresh=True)
    assert (view["model"], len(view["objects"])) == ("cell", 2)
    assert not [key for key in on.engine.embeddings._values if "toy" in key[0]]


def test_models_make_room_where_memory_asks_for_it(toys: FakeHub) -> None:
    on = desk(models=2)
    page = opened(on)
    choose(page, TOY)
    choose(page, "cell")
    left = iter([2 * GIB, 300 << 20, *[2 * GIB] * 20])
    on.models._measure = lambda: next(left)
    choose(page, OTHER)
    assert described(page, OTHER)["state"] == "loaded"


def test_what_is_let_go_is_not_held_by_anything(toys: FakeHub) -> None:
    page = opened(desk())
    choose(page, TOY)
    page.act("click", x=10, y=10)
    choose(page, "cell")
    engine = page.desk.models.engine(TOY)
    assert engine is not None
    model = weakref.ref(engine.model)
    del engine
    page.desk.models.let_go(TOY)
    assert model() is None
    assert len(page.post("/look", {"plane": 0}).json()["objects"]) == 1


def test_loading_is_limited(toys: FakeHub) -> None:
    page = opened(desk(loads_per_hour=8.0))
    for name in (TOY, OTHER):
        choose(page, name)
        page.desk.models.let_go(name)
    assert "too many models" in choose(page, TOY)[-1]["refused"]
    assert choose(page, "cell")[-1]["model"] == "cell"


def test_one_is_loaded_at_a_time_and_who_waits_is_told(toys: FakeHub) -> None:
    go, begun = threading.Event(), threading.Event()

    def load(source: str) -> Any:
        begun.set()
        assert go.wait(30)
        return fake(source)

    on = desk(load=load)
    first, second = opened(on), opened(on)
    loading = threading.Thread(target=choose, args=(first, TOY))
    loading.start()
    assert begun.wait(30)
    assert described(second, TOY)["state"] == "loading"
    visitor = second.desk.visitors.find(second.key)
    told: list[dict[str, Any]] = []

    def tell(event: dict[str, Any]) -> None:
        told.append(event)
        go.set()

    assert second.act("click", x=10, y=10)["model"] == "cell"  # the page goes on meanwhile
    on.choose_model(visitor, {"name": OTHER}, tell, lambda: False)
    loading.join(30)
    assert told[0] == {"stage": "waiting", "for": "toy"}
    assert visitor.model == OTHER


def test_too_many_who_wait_are_turned_away(toys: FakeHub) -> None:
    page = opened(desk(waiting_loads=0))
    assert "at once" in choose(page, TOY)[-1]["refused"]


def test_a_survey_asks_once_where_nobody_answers(toys: FakeHub) -> None:
    page = opened(desk())
    toys.fail("GET /api", "cut", times=1000)
    assert surveyed(page, TOY)["state"] == "away"
    asked = len(toys.requests)
    assert surveyed(page, THIRD)["state"] == "away"
    assert len(toys.requests) == asked
    assert toys.asked(OTHER) == toys.asked(THIRD) == 0


# -- what is taken away ------------------------------------------------------------------------------------------------


def test_what_is_taken_away_names_the_models(toys: FakeHub) -> None:
    page = opened(desk())
    page.act("click", x=10, y=10)
    choose(page, TOY)
    page.act("click", x=40, y=25, fresh=True)
    page.act("stroke", points=[[50.5, 5.5]], radius=2, add=True, fresh=True)
    page.act("select", number=None)
    page.act("stroke", points=[[3.5, 35.5]], radius=2, add=True)
    coco = json.loads(page.take("coco"))
    assert [each["model"] for each in coco["annotations"]] == ["cell", TOY, "by hand"]
    assert coco["info"]["made_by"] == f"sam-core space, cell, {TOY}"
    rows = list(csv.DictReader(io.StringIO(page.take("csv").decode())))
    assert [row["model"] for row in rows] == ["cell", TOY, "by hand"]
    outlines = json.loads(page.take("geojson"))["features"]
    assert [each["properties"]["model"] for each in outlines] == ["cell", TOY, "by hand"]
    assert f"sam-core space, cell, {TOY}" in page.take("svg").decode()
    commit = toys.repositories["model", TOY].head
    assert f'sam_2 = Sam.from_pretrained("{TOY}", revision="{commit}")' in page.post("/python").json()["python"]


@pytest.mark.slow
def test_copied_python_asks_the_models_that_were_asked(toys: FakeHub) -> None:
    """Two models, one after the other and on one object, everything, and a way back."""
    on = Desk(Sam.from_pretrained("cell"), FREE, offered=offers([TOY]), load=Sam.from_pretrained)
    on.prepare()
    page = Page(on)
    page.post("/example", {"name": "cells"})
    page.act("click", x=100, y=100)
    page.act("click", x=104, y=103)
    assert page.lines("/everything", {"plane": 0})[-1]["found"] > 5
    page.act("select", number=1)
    assert choose(page, TOY)[-1].get("model") == TOY
    page.act("click", x=101, y=99)
    page.act("click", x=200, y=150, fresh=True)
    page.act("box", box=[180, 180, 220, 230], fresh=True)
    choose(page, "cell")
    page.act("click", x=190, y=200)
    result = on._result(on.visitors.find(page.key), {"plane": 0})
    made: dict[str, Any] = {}
    exec(compile(page.post("/python", {"plane": 0}).json()["python"], "copied", "exec"), made)
    assert {by for each in result.objects for by in each.drawn[0].models} == {"", TOY}
    assert len(made["objects"]) == len(result.objects) > 5
    for each in result.objects:
        np.testing.assert_array_equal(made["objects"][each.number, 0].dense(), each.drawn[0].mask.dense())
