"""A Hugging Face Hub in memory that speaks the endpoints of an upload and a download, and fails when it is told to."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".whl", ".png", ".onnx")  # what goes to large file storage
SLOW_BYTES, SLOW_SECONDS = 1 << 15, 0.1
WRITER, READER = "hf_" + "w" * 8, "hf_" + "r" * 8


@dataclass
class Repository:
    """What a repository holds: small files by content, large ones by their hash."""

    private: bool
    small: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors filter=lfs\n"})
    large: dict[str, str] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)  # messages
    sdk: str | None = None
    licence: str = ""
    claims: dict[str, int] = field(default_factory=dict)  # sizes of files that are not true

    @property
    def head(self) -> str:
        return hashlib.sha1(repr((len(self.commits), self.commits)).encode()).hexdigest()


@dataclass
class Fault:
    """How the next requests to a path fail: with a status, or cut off before or after they took effect."""

    path: str
    kind: int | Literal["cut", "cut after", "slow"]
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


class FakeHub:
    """Serves on 127.0.0.1 while its context lasts."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.storage: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []  # method and path
        self.waits: list[float] = []  # seconds that the client would have slept
        self.token = WRITER
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(self, path: str, kind: int | Literal["cut", "cut after", "slow"], times: int = 1, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.append(Fault(path, kind, times, named))

    def content(self, kind: str, name: str) -> dict[str, bytes]:
        """Return the files of a repository, without what the Hub itself puts there."""
        repository = self.repositories[kind, name]
        files = repository.small | {path: self.storage[oid] for path, oid in repository.large.items()}
        return {path: data for path, data in sorted(files.items()) if path != ".gitattributes"}

    def asked(self, pattern: str) -> int:
        return sum(re.search(pattern, request) is not None for request in self.requests)


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    _slow = False
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Be silent."""

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        self.hub.requests.append(f"{self.command} {path}")
        fault = next((f for f in self.hub.faults if f.times > 0 and re.search(f.path, f"{self.command} {path}")), None)
        if fault is not None:
            fault.times -= 1
        if fault is None or fault.kind == "slow":
            self._slow = fault is not None
            self._answer(path, body)
        elif isinstance(fault.kind, int):
            self._send(fault.kind, {"error": "told to fail"}, fault.headers)
        else:
            if fault.kind == "cut after":
                self._answer(path, body, silent=True)
            self.close_connection = True
            self.connection.shutdown(2)

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, path: str, body: bytes, *, silent: bool = False) -> None:
        answer = self._allowed(path) or self._routed(path, body)
        if not silent:
            self._send(*answer)

    def _send(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self._write(data)

    def _write(self, data: bytes) -> None:
        if not self._slow:
            self.wfile.write(data)
            return
        try:
            for start in range(0, len(data), SLOW_BYTES):
                self.wfile.write(data[start : start + SLOW_BYTES])
                time.sleep(SLOW_SECONDS)
        except OSError:  # nobody waits for the rest
            self.close_connection = True

    def _allowed(self, path: str) -> tuple[int, Any, dict[str, str]] | None:
        """Refuse who may not: nobody knows a wrong token, and a reader writes nothing."""
        if path.startswith("/lfs/"):
            return None  # the storage is elsewhere; its addresses are secret
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in (WRITER, READER):
            return 401, {"error": "Invalid credentials in Authorization header"}, {}
        writes = self.command in ("POST", "PUT") and not path.endswith("validate-yaml")
        if writes and token == READER:
            return 403, {"error": "You don't have the rights to create or change this repository"}, {}
        return None

    def _routed(self, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        routes = (
            (r"POST /api/repos/create", self._create),
            (r"POST /api/validate-yaml", lambda _: (200, {}, {})),
            (r"PUT /lfs/(?P<oid>\w+)", self._store),
            (r"POST /(?:(?P<kind>space|dataset)s/)?(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"POST /api/(?P<kind>model|space)s/(?P<name>[^/]+/[^/]+)/preupload/(?P<rev>.+)", self._preupload),
            (r"POST /api/(?P<kind>model|space)s/(?P<name>[^/]+/[^/]+)/commit/(?P<rev>.+)", self._commit),
            (
                r"POST /api/(?P<kind>model|space)s/(?P<name>[^/]+/[^/]+)/branch/(?P<rev>.+)",
                lambda _, **__: (200, {}, {}),
            ),
            (r"GET /api/(?P<kind>model|space)s/(?P<name>[^/]+/[^/]+)/tree/(?P<rev>[^/]+)", self._tree),
            (r"GET /api/(?P<kind>model|space)s/(?P<name>[^/]+/[^/]+)(/revision/(?P<rev>.+))?", self._info),
            (r"(GET|HEAD) /(?P<name>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<file>.+)", self._resolve),
        )
        for pattern, route in routes:
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                groups = found.groupdict()
                if "name" in groups and (groups.get("kind") or "model", groups["name"]) not in self.hub.repositories:
                    return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
                return route(body, **groups)  # type: ignore[operator,no-any-return]
        return 404, {"error": f"no route for {self.command} {path}"}, {}

    def _create(self, body: bytes) -> tuple[int, Any, dict[str, str]]:
        asked = json.loads(body)
        kind, name = asked.get("type", "model"), f"{asked['organization']}/{asked['name']}"
        url = f"{self.hub.url}/{'spaces/' if kind == 'space' else ''}{name}"
        if (kind, name) in self.hub.repositories:
            return 409, {"error": "You already created this repo", "url": url}, {}
        private = asked.get("visibility") == "private"
        self.hub.repositories[kind, name] = Repository(private, sdk=asked.get("sdk"))
        return 200, {"url": url, "name": name, "id": name}, {}

    def _repository(self, kind: str | None, name: str) -> Repository:
        return self.hub.repositories[kind or "model", name]

    def _preupload(self, body: bytes, kind: str, name: str, rev: str) -> tuple[int, Any, dict[str, str]]:
        oids = {entry["path"]: entry.get("lfs", entry)["oid"] for entry in self._entries(self._repository(kind, name))}
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": oids.get(file["path"]),
            }
            for file in json.loads(body)["files"]
        ]
        return 200, {"files": files}, {}

    def _batch(self, body: bytes, kind: str | None, name: str) -> tuple[int, Any, dict[str, str]]:
        objects = []
        for wanted in json.loads(body)["objects"]:
            answer = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.storage:
                answer["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}
            objects.append(answer)
        return 200, {"transfer": "basic", "objects": objects}, {}

    def _store(self, body: bytes, oid: str) -> tuple[int, Any, dict[str, str]]:
        if hashlib.sha256(body).hexdigest() != oid:
            return 400, {"error": "content is not what its hash says"}, {}
        self.hub.storage[oid] = body
        return 200, {}, {}

    def _commit(self, body: bytes, kind: str, name: str, rev: str) -> tuple[int, Any, dict[str, str]]:
        repository = self._repository(kind, name)
        items = [json.loads(line) for line in body.splitlines()]
        header = items[0]["value"]
        if header.get("parentCommit", repository.head) != repository.head:
            return 412, {"error": "A commit has happened since"}, {}
        for item in items[1:]:
            value = item["value"]
            repository.small.pop(value["path"], None)
            repository.large.pop(value["path"], None)
            if item["key"] == "file":
                repository.small[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.hub.storage:
                    return 400, {"error": f"{value['path']} was not uploaded"}, {}
                repository.large[value["path"]] = value["oid"]
        repository.commits.append(header["summary"])
        url = f"{self.hub.url}/{name}/commit/{repository.head}"
        return 200, {"commitUrl": url, "commitOid": repository.head, "success": True}, {}

    def _info(self, _: bytes, kind: str, name: str, rev: str | None = None) -> tuple[int, Any, dict[str, str]]:
        repository = self._repository(kind, name)
        if rev not in (None, "main", repository.head):
            return 404, {"error": "Revision not found"}, {"X-Error-Code": "RevisionNotFound"}
        siblings = [
            {"rfilename": entry["path"], "size": repository.claims.get(entry["path"], entry["size"])}
            for entry in self._entries(repository)
        ]
        card = {"cardData": {"license": repository.licence}} if repository.licence else {}
        shown = {"id": name, "sha": repository.head, "private": repository.private, "siblings": siblings}
        return 200, {**shown, **card, "tags": [], "downloads": 0, "likes": 0}, {}

    def _tree(self, _: bytes, kind: str, name: str, rev: str) -> tuple[int, Any, dict[str, str]]:
        return 200, list(self._entries(self._repository(kind, name))), {}

    def _entries(self, repository: Repository) -> Iterator[dict[str, Any]]:
        for path, data in repository.small.items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            yield {"type": "file", "path": path, "size": len(data), "oid": blob}
        for path, oid in repository.large.items():
            size = len(self.hub.storage[oid])
            pointer = {"oid": oid, "size": size, "pointerSize": 134}
            yield {
                "type": "file",
                "path": path,
                "size": size,
                "oid": hashlib.sha1(oid.encode()).hexdigest(),
                "lfs": pointer,
            }

    def _resolve(self, _: bytes, name: str, rev: str, file: str) -> tuple[int, Any, dict[str, str]]:
        repository = self._repository("model", name)
        data = self.hub.content("model", name).get(file)
        if data is None:
            return 404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"}
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": repository.head}
        return 200, data, {**headers, "Content-Length": str(len(data))}
