"""The server, spoken to as Label Studio does."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest

from sam_label_studio import rle
from sam_label_studio.ahead import THREADS
from sam_label_studio.app import create_app
from sam_label_studio.settings import Settings
from tests.fake import FakeSegmenter
from tests.label_studio.server import body, keypoint, memory, png, squares, task, uri

Talk = Callable[[httpx.AsyncClient], Awaitable[None]]


class Slow(FakeSegmenter):
    """Encodes when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)

    def encode(self, image: Any, **options: Any) -> Any:
        self.begun.release()
        assert self.go.wait(20)
        return super().encode(image, **options)


@asynccontextmanager
async def _client(
    model: FakeSegmenter | None = None, settings: Settings | None = None, **more: Any
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings or Settings(), model or FakeSegmenter(), memory())
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://backend", timeout=30, **more) as client,
    ):
        yield client


def _talk(talk: Talk, model: FakeSegmenter | None = None, settings: Settings | None = None, **more: Any) -> None:
    async def all_of_it() -> None:
        async with _client(model, settings, **more) as client:
            await talk(client)

    asyncio.run(all_of_it())


def _ask(*bodies: Any, settings: Settings | None = None) -> list[httpx.Response]:
    answers = []

    async def talk(client: httpx.AsyncClient) -> None:
        for each in bodies:
            content = each if isinstance(each, bytes) else json.dumps(each).encode()
            answers.append(await client.post("/predict", content=content))

    _talk(talk, settings=settings)
    return answers


# -- what Label Studio calls, in its order ---------------------------------------------------------------------------


def test_a_backend_is_connected() -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        for _ in range(2):
            health = await client.get("/health")
            assert (health.status_code, health.json()["status"]) == (200, "UP")
            told = {"project": "1.17", "schema": "<View></View>", "hostname": "http://localhost:18080"}
            setup = await client.post("/setup", json={**told, "access_token": "0123", "extra_params": None})
            assert setup.status_code == 200
            version = setup.json()["model_version"]
        assert (await client.get("/versions")).json() == {"versions": [version]}
        assert (await client.get("/")).status_code == 200

    _talk(talk)


def test_setup_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk() -> None:
        app = create_app(Settings())
        monkeypatch.setattr(app.state.backend, "_load", lambda: pytest.fail("loaded"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://backend") as client:
            answer = await client.post("/setup", json={"schema": ""})
            assert answer.json()["model_version"].startswith("sam-core ")

    asyncio.run(talk())


def test_a_batch_without_a_setup_gets_one_result_a_task() -> None:
    (answer,) = _ask(body([task(number=i) for i in range(5)]))
    results = answer.json()["results"]
    assert [len(each["result"]) for each in results] == [3] * 5
    assert len({each["model_version"] for each in results}) == 1


def test_a_click_gets_one_result() -> None:
    (answer,) = _ask(body([task(drafts=[])], context={"result": [keypoint(6, 10)]}))
    (result,) = answer.json()["results"]
    assert np.array_equal(rle.decode(result["result"][0]["value"]["rle"], (48, 64)), squares() == 200)


def test_every_task_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    bad: list[Any] = [None, 7, {}, {"id": 4}, task("file:///etc/passwd", 5), task(uri(b"<html>"), 6), task("x", 7)]
    (answer,) = _ask(body([*bad, task(number=8)]))
    results = answer.json()["results"]
    assert len(results) == 8
    assert [len(each["result"]) for each in results] == [0] * 7 + [3]
    assert all(each["model_version"].endswith(" failed") for each in results[:7])
    assert not results[7]["model_version"].endswith("failed")
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 7
    assert "only http and https" in caplog.text
    assert "it may ask to log in" in caplog.text


@pytest.mark.parametrize("config", ["<View>", "", None, 7, "<View><Foo/></View>"])
def test_a_config_that_is_none_costs_the_answers_and_not_the_server(config: Any) -> None:
    given = body([task(), task()]) | {"label_config": config}
    click = body([task()], context={"result": [keypoint(6, 10)]}) | {"label_config": config}
    first, second = _ask(given, click)
    assert [len(each["result"]) for each in first.json()["results"]] == [0, 0]
    assert [len(each["result"]) for each in second.json()["results"]] == [0]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b'"x"', b"{}", b'{"tasks": 3}', b'{"tasks": {}}', b"\xff\xfe", b"[" * 100_000],
)
def test_a_request_that_is_none_is_refused(content: bytes) -> None:
    refused, fine = _ask(content, body([]))
    assert refused.status_code == 400
    assert "got a request" in refused.json()["error"]
    assert fine.json() == {"results": []}


@pytest.mark.parametrize("context", [[], "x", 3])
def test_a_context_that_is_none_is_refused(context: Any) -> None:
    (answer,) = _ask(body([task()], context=context))
    assert answer.status_code == 400


def test_an_empty_context_is_answered_with_nothing() -> None:
    for answer in _ask(body([task()], context={"result": []}), body([task()], context={})):
        assert [each["result"] for each in answer.json()["results"]] == [[]]


def test_off_answers_each_task() -> None:
    (answer,) = _ask(body([task("file:///x"), task()]), settings=Settings(mode="off"))
    assert [each["result"] for each in answer.json()["results"]] == [[], []]
    assert not any(each["model_version"].endswith("failed") for each in answer.json()["results"])


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_what_label_studio_does_not_call_is_refused(method: str) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        assert (await client.request(method, "/predict")).status_code == 405
        assert (await client.get("/train")).status_code == 404

    _talk(talk)


def test_a_webhook_does_nothing_and_at_once() -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        for action in ("ANNOTATION_CREATED", "ANNOTATIONS_DELETED", "PROJECT_UPDATED", "START_TRAINING"):
            started = time.monotonic()
            answer = await client.post("/webhook", json={"action": action, "annotation": {}, "project": {"id": 1}})
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            assert time.monotonic() - started < 1
        assert (await client.post("/webhook", content=b"no json")).status_code == 200

    _talk(talk)


def test_a_request_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_label_studio.app.LARGEST", 1000)

    async def talk(client: httpx.AsyncClient) -> None:
        for path in ("/predict", "/webhook", "/setup"):
            assert (await client.post(path, content=b"x" * 1001)).status_code == 413

    _talk(talk)


# -- who may ask -----------------------------------------------------------------------------------------------------


def test_a_password_is_asked_for_everywhere_but_at_the_webhook() -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        wrong = [{}, {"Authorization": "Basic"}, {"Authorization": "Basic ???"}, {"Authorization": "Bearer abc"}]
        wrong += [{"Authorization": f"Basic {base64.b64encode(each).decode()}"} for each in (b"ls:no", b"ls:", b":")]
        for headers in wrong:
            for method, path in (("GET", "/health"), ("POST", "/setup"), ("POST", "/predict"), ("GET", "/metrics")):
                answer = await client.request(method, path, headers=headers)
                assert answer.status_code == 401
                assert "basic" in answer.headers["www-authenticate"].lower()
        assert (await client.post("/webhook", json={})).status_code == 200
        assert (await client.get("/health", auth=("ls", "säcret"))).status_code == 200

    _talk(talk, settings=Settings(user="ls", password="säcret"))


def test_a_token_is_taken_only_where_there_is_none_and_only_of_our_label_studio() -> None:
    app = create_app(Settings(url="http://localhost:8080"), FakeSegmenter(), memory())
    backend = app.state.backend
    backend.set_up({"hostname": "http://evil.example.org", "access_token": "x"})
    assert backend.images.label_studio.key == ""
    backend.set_up({"hostname": "http://localhost:8080/", "access_token": "y"})
    assert backend.images.label_studio.key == "y"
    backend = create_app(Settings(key="mine"), FakeSegmenter(), memory()).state.backend
    backend.set_up({"hostname": "http://localhost:8080", "access_token": "z"})
    assert backend.images.label_studio.key == "mine"


# -- many at once ----------------------------------------------------------------------------------------------------


def test_health_answers_while_a_batch_runs() -> None:
    model = Slow()

    async def talk(client: httpx.AsyncClient) -> None:
        batch = asyncio.create_task(client.post("/predict", json=body([task()] * 50)))
        await asyncio.to_thread(model.begun.acquire)
        for path in ("/health", "/versions", "/metrics"):
            started = time.monotonic()
            assert (await client.get(path)).status_code == 200
            assert time.monotonic() - started < 0.5
        model.go.set()
        assert len((await batch).json()["results"]) == 50

    _talk(talk, model)


def test_a_click_does_not_wait_for_a_batch() -> None:
    class Patient(FakeSegmenter):
        def decode(self, embedding: Any, prompts: Any, **options: Any) -> Any:
            time.sleep(0.01)
            return super().decode(embedding, prompts, **options)

    async def talk(client: httpx.AsyncClient) -> None:
        tasks = [task(uri(png(np.roll(squares(), i, axis=1))), i) for i in range(40)]
        batch = asyncio.create_task(client.post("/predict", json=body(tasks)))
        await asyncio.sleep(0.1)
        click = await client.post("/predict", json=body([task()], context={"result": [keypoint(6, 10)]}))
        assert len(click.json()["results"][0]["result"]) == 1
        assert not batch.done()
        await batch

    _talk(talk, Patient())


def test_eight_people_get_their_own_answers() -> None:
    async def person(client: httpx.AsyncClient, number: int) -> None:
        for turn in range(10):
            shift = (7 * number + 3 * turn) % 30
            picture = np.roll(squares(), shift, axis=1)
            click = keypoint(6, 10 + shift, id=f"{number}-{turn}")
            given = body([task(uri(png(picture)), number)], context={"result": [click]})
            (answer,) = (await client.post("/predict", json=given)).json()["results"]
            (region,) = answer["result"]
            assert np.array_equal(rle.decode(region["value"]["rle"], (48, 64)), picture == 200)

    async def talk(client: httpx.AsyncClient) -> None:
        await asyncio.gather(*(person(client, number) for number in range(8)))

    _talk(talk)


def test_who_asks_the_same_page_at_once_has_it_encoded_once() -> None:
    model = FakeSegmenter()

    async def talk(client: httpx.AsyncClient) -> None:
        given = body([task()], context={"result": [keypoint(6, 10)]})
        answers = await asyncio.gather(*(client.post("/predict", json=given) for _ in range(8)))
        assert len({answer.content for answer in answers}) == 1

    _talk(talk, model)
    assert model.encoded == 1


def test_a_full_queue_says_so() -> None:
    model = Slow()

    async def talk(client: httpx.AsyncClient) -> None:
        given = body([task()], context={"result": [keypoint(6, 10)]})
        waiting = [asyncio.create_task(client.post("/predict", json=given)) for _ in range(3)]
        await asyncio.to_thread(model.begun.acquire)
        await asyncio.sleep(0.05)
        refused = await client.post("/predict", json=given)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert "2 requests wait" in refused.json()["error"]
        assert "sam_label_studio_clicks_waiting 2" in (await client.get("/metrics")).text
        model.go.set()
        assert [each.status_code for each in await asyncio.gather(*waiting)] == [200] * 3
        assert (await client.post("/predict", json=given)).status_code == 200

    _talk(talk, model, Settings(clicks=1, waiting=2))


def test_a_stop_finishes_the_tasks_that_are_begun_and_not_the_batch() -> None:
    model = Slow()

    async def all_of_it() -> dict:
        async with _client(model) as client:
            tasks = [task(uri(png(np.roll(squares(), i, axis=1))), i) for i in range(20)]
            batch = asyncio.create_task(client.post("/predict", json=body(tasks)))
            await asyncio.to_thread(model.begun.acquire)
            threading.Timer(0.2, model.go.set).start()
        return (await batch).json()

    results = asyncio.run(all_of_it())["results"]
    assert len(results) == 20
    assert [len(each["result"]) for each in results[:THREADS]] == [3] * THREADS
    assert all(each["model_version"].endswith("failed") for each in results[THREADS:])


def test_a_model_that_cannot_be_loaded_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def all_of_it() -> None:
        app = create_app(Settings(), None, memory())
        tries = []

        def load() -> FakeSegmenter:
            tries.append(1)
            if len(tries) < 3:
                raise OSError(errno.ENOENT, "no such weights")
            return FakeSegmenter()

        app.state.backend._load = load
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://backend") as client:
            counts = []
            for _ in range(3):
                answer = await client.post("/predict", json=body([task()]))
                counts.append(len(answer.json()["results"][0]["result"]))
            assert counts == [0, 0, 3]

    asyncio.run(all_of_it())
    assert "no such weights" in caplog.text


def test_metrics_count() -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        await client.post("/predict", json=body([task(), task("x")]))
        await client.post("/predict", json=body([task()], context={"result": [keypoint(6, 10)]}))
        await client.get("/nothing")
        text = (await client.get("/metrics")).text
        for line in (
            'requests_total{path="/predict",status="200"} 2',
            'requests_total{path="other",status="404"} 1',
            'tasks_total{kind="batch",outcome="answered"} 1',
            'tasks_total{kind="batch",outcome="failed"} 1',
            'task_seconds_count{kind="click"} 1',
            'task_seconds_bucket{kind="click",le="+Inf"} 1',
            "embeddings_hits 1",
            "embeddings_encoded 1",
            "model_loaded 1",
        ):
            assert f"\nsam_label_studio_{line}\n" in text

    _talk(talk)
