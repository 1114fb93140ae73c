"""The REST API of Label Studio as it answers, and as it does not."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import httpx
import pytest

from sam_label_studio.client import TRIES, ApiError, LabelStudio, UnreachableError
from sam_label_studio.errors import AccessError
from sam_label_studio.tokens import Credentials
from tests.label_studio.studio import Studio

Handler = Callable[[httpx.Request], httpx.Response]


def _client(handler: Handler, key: str = "key", pauses: list[float] | None = None) -> LabelStudio:
    waited = [] if pauses is None else pauses
    credentials = Credentials("http://studio.test/sub", key)
    return LabelStudio(credentials, transport=httpx.MockTransport(handler), sleep=waited.append)


def _personal_token() -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"token_type": "refresh"}).encode()).decode().rstrip("=")
    return f"e30.{claims}.x"


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
def test_all_pages_are_read_and_each_task_comes_once(count: int) -> None:
    with Studio(count).client() as client:
        assert [task["id"] for task in client.tasks(1)] == list(range(1, count + 1))


def test_a_task_that_moves_to_another_page_comes_once() -> None:
    pages = [{"tasks": [{"id": 1}, {"id": 2}], "total": 3}, {"tasks": [{"id": 2}, {"id": 3}], "total": 3}]
    with _client(lambda request: httpx.Response(200, json=pages[int(request.url.params["page"]) - 1])) as client:
        assert [task["id"] for task in client.tasks(1)] == [1, 2, 3]


def test_a_page_that_is_gone_ends_the_list() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.params["page"] == "1":
            return httpx.Response(200, json={"tasks": [{"id": 1}], "total": 2})
        return httpx.Response(404, json={"detail": "Invalid page."})

    with _client(answer) as client:
        assert [task["id"] for task in client.tasks(1)] == [1]


def test_the_sub_path_and_the_key_are_used() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "http://studio.test/sub/api/projects/3/"
        assert request.headers["authorization"] == "Token key"
        return httpx.Response(200, json={"id": 3, "title": "t", "label_config": "<View/>", "task_number": 2})

    with _client(answer) as client:
        assert client.project(3).tasks == 2


def test_a_personal_token_that_runs_out_is_exchanged_again() -> None:
    given: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/api/token/refresh"):
            given.append(f"access{len(given)}")
            return httpx.Response(200, json={"access": given[-1]})
        fresh = request.headers["authorization"] == "Bearer access1"
        return httpx.Response(200, json={"id": 3}) if fresh else httpx.Response(401, json={"detail": "expired"})

    with _client(answer, _personal_token()) as client:
        assert client.project(3).id == 3
        assert client.project(3).id == 3
    assert given == ["access0", "access1"]


def test_a_key_that_is_not_taken_is_said_to_be_so() -> None:
    with (
        _client(lambda _: httpx.Response(401, json={"detail": "Invalid token."})) as client,
        pytest.raises(AccessError, match=r"got 401 .* 'Invalid token.'; check LABEL_STUDIO_API_KEY"),
    ):
        client.project(3)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(404, json={"detail": "Not found."}), "check the number"),
        (httpx.Response(403, json={"detail": "No."}), "use the key of somebody who may do this"),
        (httpx.Response(400, json={"validation_errors": {"task": ["is wrong"]}}), "is wrong"),
        (httpx.Response(418, text="<html>"), "it gave no reason"),
        (httpx.Response(302, headers={"location": "https://other.test/"}), "set LABEL_STUDIO_URL"),
        (httpx.Response(200, html="<html>log in</html>"), "got text/html.* expected JSON"),
    ],
)
def test_an_answer_that_is_no_help_says_what_to_do(answer: httpx.Response, message: str) -> None:
    with _client(lambda _: answer) as client, pytest.raises(ApiError, match=message):
        client.project(3)


def test_what_only_reads_is_tried_again_with_longer_and_longer_pauses() -> None:
    pauses: list[float] = []
    statuses = iter([503, 429, 502, 200])
    with _client(lambda _: httpx.Response(next(statuses), json={"id": 3}), pauses=pauses) as client:
        assert client.project(3).id == 3
    assert pauses == sorted(pauses)
    assert len(pauses) == 3


def test_reading_is_given_up_at_last() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        msg = "refused"
        raise httpx.ConnectError(msg)

    with _client(answer) as client, pytest.raises(UnreachableError, match="ConnectError: refused"):
        client.project(3)
    assert len(asked) == TRIES


def test_a_personal_token_that_cannot_be_exchanged_for_now_is_no_wrong_key() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        msg = "refused"
        raise httpx.ConnectError(msg)

    with _client(answer, _personal_token()) as client, pytest.raises(UnreachableError):
        client.project(3)


@pytest.mark.parametrize("fault", ["lost before", "503 before"])
def test_what_writes_is_not_repeated_blindly(fault: str) -> None:
    studio = Studio(1, faults=[fault])  # type: ignore[list-item]
    with studio.client() as client, pytest.raises((UnreachableError, ApiError)):
        client.add_prediction({"task": 1, "result": [], "score": 1.0, "model_version": "v"})
    assert studio.asked == ["POST /api/predictions/"]


def test_a_version_to_show_is_set() -> None:
    studio = Studio(1)
    with studio.client() as client:
        with pytest.raises(ApiError, match="got 400"):
            client.show(1, "cell 1")
        client.add_prediction({"task": 1, "result": [], "score": 1.0, "model_version": "cell 1"})
        client.show(1, "cell 1")
        assert client.project(1).shown == "cell 1"


def test_removing_a_prediction_that_is_gone_is_no_error() -> None:
    with Studio(1).client() as client:
        client.remove_prediction(5)
