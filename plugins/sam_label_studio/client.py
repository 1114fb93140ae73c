"""Label Studio's REST API, as much of it as this package needs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from sam_label_studio.errors import AccessError, LabelStudioError
from sam_label_studio.tokens import Credentials

Json = dict[str, Any]

PAGE = 100  # tasks asked for at a time
TRIES = 5
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before each further try
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
COSTLY = [
    f"tasks:{column}"
    for column in (
        "annotations_results",
        "predictions_results",
        "predictions_score",
        "annotations_ids",
        "annotators",
        "avg_lead_time",
        "draft_exists",
        "file_upload",
        "storage_filename",
    )
]
"""Columns that Label Studio need not work out for a brief list."""
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # a later try may be answered


class ApiError(LabelStudioError):
    """Label Studio refuses what it was asked.

    Parameters
    ----------
    message
        What was asked and answered, and what to do.
    status
        HTTP status of the answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnreachableError(LabelStudioError):
    """Label Studio did not answer, or not in time: nobody knows whether what was asked has been done."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project.

    Parameters
    ----------
    id
        Its number, as in the address of its page.
    title
        Its name.
    label_config
        XML of its labelling config.
    tasks
        How many tasks it has.
    shown
        The `model_version`, or title of a backend, whose predictions are shown; "" for all of them.
    """

    id: int
    title: str
    label_config: str
    tasks: int
    shown: str = ""


class LabelStudio:
    """A Label Studio server.

    What only reads is tried again after a lost connection, a timeout or an answer like 503. What writes is never
    repeated here: whoever asks must first look whether it was done.

    Parameters
    ----------
    credentials
        Where it is, and the key to it.
    transport
        What carries the requests; None for the network.
    sleep
        Waits so many seconds.

    Examples
    --------
    >>> answer = {"id": 7, "title": "Cells", "label_config": "<View/>", "task_number": 3}
    >>> network = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    >>> with LabelStudio(Credentials("http://localhost:8080"), transport=network) as studio:
    ...     studio.project(7).title
    'Cells'
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.credentials = credentials
        self._sleep = sleep
        self._client = httpx.Client(transport=transport, timeout=TIMEOUT, follow_redirects=False)

    def __enter__(self) -> LabelStudio:
        return self

    def __exit__(self, *about: object) -> None:
        self._client.close()

    def project(self, number: int) -> Project:
        """Return a project.

        Raises
        ------
        ApiError
            There is none of this number, or the owner of the key may not see it.
        """
        found = self._read(f"/api/projects/{number}/")
        return Project(
            id=number,
            title=found.get("title") or "",
            label_config=found.get("label_config") or "",
            tasks=found.get("task_number") or 0,
            shown=found.get("model_version") or "",
        )

    def show(self, project: int, version: str) -> None:
        """Let a project show the predictions of one `model_version`, of which it has some, and no others."""
        self._write("PATCH", f"/api/projects/{project}/", {"model_version": version})

    def tasks(self, project: int, *, whole: bool = False) -> Iterator[Json]:
        """Yield the tasks of a project in the order of their numbers, a page at a time, each once.

        Parameters
        ----------
        project
            Its number.
        whole
            With annotations and predictions in full, which may be large; else with `predictions_model_versions` alone,
            a text that Label Studio cuts off after 500 letters.
        """
        asked: Json = {"project": project, "page_size": PAGE, "fields": "all" if whole else "task_only"}
        if not whole:
            asked["query"] = json.dumps({"hiddenColumns": {"explore": COSTLY, "labeling": COSTLY}})
        seen: set[int] = set()
        for page in self._pages(asked):
            for task in page:
                if task["id"] not in seen:
                    seen.add(task["id"])
                    yield task

    def task(self, number: int) -> Json:
        """Return a task as it is now, with its annotations and predictions in full."""
        found: Json = self._read(f"/api/tasks/{number}/")
        return found

    def predictions(self, task: int) -> list[Json]:
        """Return the predictions of a task."""
        found: list[Json] = self.task(task).get("predictions") or []
        return found

    def add_prediction(self, prediction: Mapping[str, Any]) -> int:
        """Store a prediction: `task`, `result`, `score` and `model_version`; return its number.

        Raises
        ------
        ApiError
            It is refused.
        UnreachableError
            It may be stored, or not.
        """
        return int(self._write("POST", "/api/predictions/", prediction)["id"])

    def remove_prediction(self, number: int) -> None:
        """Remove a prediction; one that is gone already is no error."""
        try:
            self._write("DELETE", f"/api/predictions/{number}/")
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def views(self, project: int) -> list[Json]:
        """Return the tabs of a project's page."""
        found: list[Json] = self._read("/api/dm/views/", {"project": project})
        return found

    def put_view(self, project: int, data: Mapping[str, Any]) -> int:
        """Make a tab, or change the one that has the same title; return its number."""
        same = [view for view in self.views(project) if (view.get("data") or {}).get("title") == data["title"]]
        if same:
            number = int(same[0]["id"])
            self._write("PUT", f"/api/dm/views/{number}/", {"project": project, "data": dict(data)})
            return number
        return int(self._write("POST", "/api/dm/views/", {"project": project, "data": dict(data)})["id"])

    def pause(self, attempt: int) -> None:
        """Wait before trying again; longer each time."""
        self._sleep(PAUSES[min(attempt, len(PAUSES) - 1)])

    def _pages(self, asked: Mapping[str, Any]) -> Iterator[list[Json]]:
        read, number = 0, 0
        while True:
            number += 1
            try:
                answer = self._read("/api/tasks/", {**asked, "page": number})
            except ApiError as error:
                if number > 1 and error.status == HTTPStatus.NOT_FOUND:
                    return  # tasks were removed meanwhile, and this page with them
                raise
            tasks: list[Json] = answer.get("tasks") or []
            yield tasks
            read += len(tasks)
            if not tasks or read >= answer.get("total", 0):
                return

    def _read(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        for attempt in range(TRIES):
            try:
                return self._ask("GET", path, params=params)
            except (UnreachableError, ApiError) as error:
                passing = isinstance(error, UnreachableError) or error.status in PASSING
                if not passing or attempt == TRIES - 1:
                    raise
            self.pause(attempt)
        return None  # not reached: the last try returns or raises

    def _write(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._ask(method, path, json=body)

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        url = self.credentials.address(path)
        answer = self._send(method, url, **content)
        if answer.status_code == HTTPStatus.UNAUTHORIZED and self.credentials.key:
            self.credentials.forget()  # a personal token may have been exchanged too long ago
            answer = self._send(method, url, **content)
        return _understood(method, url, answer)

    def _send(self, method: str, url: str, **content: Any) -> httpx.Response:
        try:
            headers = self.credentials.headers(self._client)
            return self._client.request(method, url, headers=headers, **content)
        except (httpx.HTTPError, AccessError) as error:
            cause = error.__cause__ if isinstance(error, AccessError) else error
            if not isinstance(cause, httpx.HTTPError):
                raise  # the key is not taken
            why = f"{type(cause).__name__}: {cause}"
            msg = f"got no answer to {method} {url} ({why}); check that Label Studio runs there"
            raise UnreachableError(msg) from error


def _understood(method: str, url: str, answer: httpx.Response) -> Any:
    """Return what an answer says, or raise what is wrong with it."""
    status = answer.status_code
    if status == HTTPStatus.UNAUTHORIZED:
        msg = f"got 401 from {url}, expected the key to be taken; {_said(answer)}; check LABEL_STUDIO_API_KEY"
        raise AccessError(msg)
    if answer.is_redirect:
        where = answer.headers.get("location", "elsewhere")
        msg = f"got sent from {url} to {where}, expected an answer; set LABEL_STUDIO_URL to the address it really has"
        raise ApiError(msg, status)
    if not answer.is_success:
        msg = f"got {status} from {method} {url}, expected success; {_said(answer)}{_remedy(status)}"
        raise ApiError(msg, status)
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError as error:
        msg = f"got {answer.headers.get('content-type', 'something')} from {url}, expected JSON; check LABEL_STUDIO_URL"
        raise ApiError(msg, status) from error


def _said(answer: httpx.Response) -> str:
    """Return Label Studio's own words, briefly."""
    try:
        body = answer.json()
    except ValueError:
        return "it gave no reason"
    reason = (body.get("validation_errors") or body.get("detail") or body) if isinstance(body, dict) else body
    return f"it says {str(reason)[:300]!r}"


def _remedy(status: int) -> str:
    if status == HTTPStatus.NOT_FOUND:
        return "; check the number, and that the owner of the key may see it"
    if status == HTTPStatus.FORBIDDEN:
        return "; use the key of somebody who may do this"
    return ""
