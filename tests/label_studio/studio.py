"""A Label Studio without a server: its REST API as a table in memory, with what can go wrong on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qs

import httpx

from sam_label_studio.client import LabelStudio
from sam_label_studio.tokens import Credentials

Fault: TypeAlias = Literal["", "killed before", "killed after", "lost before", "lost after", "503 before", "503 after"]
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="Cell"/></BrushLabels>
<RectangleLabels name="box" toName="image"><Label value="Cell"/></RectangleLabels></View>"""
MOST = 100  # tasks on a page, whatever is asked


class Killed(BaseException):
    """The process ends here."""


class Studio:
    """Keeps one project, number 1. `faults` gives for each request what goes wrong with it."""

    def __init__(self, tasks: int = 0, *, faults: Iterable[Fault] = (), key: str = "key") -> None:
        self.tasks: dict[int, dict[str, Any]] = {}
        self.views: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.key = key
        self.about = {"id": 1, "title": "Cells", "label_config": CONFIG, "model_version": ""}
        self.faults = iter(faults)
        self._last = 0
        for i in range(tasks):
            self.add_task({"image": f"/data/upload/1/{i}.png"})

    def add_task(self, data: dict[str, Any]) -> dict[str, Any]:
        task = {"id": self._number(), "project": 1, "data": data, "annotations": [], "predictions": []}
        self.tasks[task["id"]] = task
        return task

    def client(self, sleep: Callable[[float], object] = lambda _: None) -> LabelStudio:
        transport = httpx.MockTransport(self.handle)
        return LabelStudio(Credentials("http://studio.test", self.key), transport=transport, sleep=sleep)

    def versions(self) -> dict[int, list[str]]:
        return {number: [p["model_version"] for p in task["predictions"]] for number, task in self.tasks.items()}

    def handle(self, request: httpx.Request) -> httpx.Response:
        fault = next(self.faults, "")
        self.asked.append(f"{request.method} {request.url.path}")
        if fault == "503 before":
            return httpx.Response(503, text="busy")
        _raise(fault, "before", request)
        answer = self._answer(request)
        _raise(fault, "after", request)
        return httpx.Response(503, text="busy") if fault == "503 after" else answer

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") != f"Token {self.key}":
            return httpx.Response(401, json={"detail": "Invalid token."})
        method, parts = request.method, [part for part in request.url.path.split("/") if part][1:]
        match (method, *parts):
            case ("GET", "projects", "1"):
                return httpx.Response(200, json={**self.about, "task_number": len(self.tasks)})
            case ("PATCH", "projects", "1"):
                change = json.loads(request.content)
                if not any(change["model_version"] in versions for versions in self.versions().values()):
                    return httpx.Response(400, json={"detail": "Validation error"})
                self.about.update(change)
                return httpx.Response(200, json=self.about)
            case ("GET", "tasks"):
                return self._page({name: values[0] for name, values in parse_qs(request.url.query.decode()).items()})
            case ("GET", "tasks", number) if int(number) in self.tasks:
                return httpx.Response(200, json=self._shown(self.tasks[int(number)]))
            case ("POST", "predictions"):
                return self._store(json.loads(request.content))
            case ("DELETE", "predictions", number):
                return self._remove(int(number))
            case ("GET", "dm", "views"):
                return httpx.Response(200, json=self.views)
            case ("POST", "dm", "views"):
                self.views.append({"id": self._number(), **json.loads(request.content)})
                return httpx.Response(201, json=self.views[-1])
            case ("PUT", "dm", "views", number):
                view = next(view for view in self.views if view["id"] == int(number))
                view.update(json.loads(request.content))
                return httpx.Response(200, json=view)
        return httpx.Response(404, json={"detail": "Not found."})

    def _page(self, asked: dict[str, str]) -> httpx.Response:
        page, size = int(asked["page"]), min(int(asked["page_size"]), MOST)
        tasks = [self._shown(task) for _, task in sorted(self.tasks.items())][(page - 1) * size : page * size]
        if not tasks and page > 1:
            return httpx.Response(404, json={"detail": "Invalid page."})
        if asked.get("fields") != "all":
            tasks = [{key: task[key] for key in task if key not in ("annotations", "predictions")} for task in tasks]
        return httpx.Response(200, json={"tasks": tasks, "total": len(self.tasks)})

    def _shown(self, task: dict[str, Any]) -> dict[str, Any]:
        text = ", ".join(sorted({p["model_version"] for p in task["predictions"]}))
        done = bool(task["annotations"])
        about = {"is_labeled": done, "total_annotations": int(done), "predictions_model_versions": text[:500]}
        return {**task, **about}

    def _store(self, prediction: dict[str, Any]) -> httpx.Response:
        if prediction["task"] not in self.tasks:
            wrong = {"task": ["Invalid pk - object does not exist."]}
            return httpx.Response(400, json={"detail": "Validation error", "validation_errors": wrong})
        stored = {"id": self._number(), **prediction}
        self.tasks[prediction["task"]]["predictions"].append(stored)
        return httpx.Response(201, json=stored)

    def _remove(self, number: int) -> httpx.Response:
        for task in self.tasks.values():
            kept = [p for p in task["predictions"] if p["id"] != number]
            if len(kept) < len(task["predictions"]):
                task["predictions"] = kept
                return httpx.Response(204)
        return httpx.Response(404, json={"detail": "Not found."})

    def _number(self) -> int:
        self._last += 1
        return self._last


def _raise(fault: Fault, moment: str, request: httpx.Request) -> None:
    if fault == f"killed {moment}":
        raise Killed
    if fault == f"lost {moment}":
        msg = "timed out"
        raise httpx.ReadTimeout(msg, request=request)
