"""The desk over HTTP: JSON in, JSON out, lines of JSON for what takes long; and the files of the page, no others."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sam_core import SamError
from sam_space.desk import Desk, Stop, Tell
from sam_space.engine import Stopped
from sam_space.given import Sent
from sam_space.refusal import Refusal
from sam_space.visitors import Visitor

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
BODY_BYTES = 128 << 10
THREADS = 96  # more than may wait at all gates together
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
WORKER = "worker.js"
# Modules and WebAssembly of this server, and nothing else: what a worker may is said by the answer that brings it.
WORKER_MAY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"
Answer: TypeAlias = Callable[[Request], Awaitable[Response]]
Job: TypeAlias = Callable[[Visitor, Sent, Tell, Stop], dict[str, Any]]


def create_app(desk: Desk) -> Starlette:
    """Make the application that the page talks to."""
    app = Starlette(routes=_Server(desk).routes)
    app.router.redirect_slashes = False  # an address is right or it is not
    return app


class _Server:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._threads = anyio.CapacityLimiter(THREADS)
        # Read once: a name that is not among these is no file, whatever it looks like.
        self._files = {file.name: file.read_bytes() for file in STATIC.iterdir() if file.suffix in TYPES}
        self._tags = {name: f'"{hashlib.sha256(content).hexdigest()[:20]}"' for name, content in self._files.items()}

    @property
    def routes(self) -> list[Route]:
        desk = self._desk
        quick = {
            "example": desk.example,
            "preview": desk.preview,
            "act": desk.act,
            "look": desk.look,
            "python": desk.python,
            "later": desk.later,
            "models": desk.list_models,
        }
        long: dict[str, Job] = {
            "encode": desk.encode,
            "everything": desk.everything,
            "follow": desk.follow,
            "model": desk.choose_model,
        }
        return [
            Route("/visit", _told(self._visit), methods=["POST"]),
            Route("/leave", _told(self._leave), methods=["POST"]),
            Route("/open", _told(self._open), methods=["POST"]),
            Route("/picture", _told(self._picture), methods=["POST"]),
            Route("/take", _told(self._take), methods=["POST"]),
            Route("/example/{name}", _told(self._thumbnail)),
            Route("/features", _told(self._features), methods=["POST"]),
            Route("/static/{name}", _told(self._static)),
            Route("/decoder/{stamp}/{name}", _told(self._decoder)),
            *(Route(f"/{name}", _told(self._quick(do)), methods=["POST"]) for name, do in quick.items()),
            *(Route(f"/{name}", _told(self._long(job)), methods=["POST"]) for name, job in long.items()),
        ]

    async def _run(self, call: Callable[[], Any]) -> Any:
        return await run_sync(call, limiter=self._threads)

    def _visitor(self, request: Request) -> Visitor:
        return self._desk.visitors.find(request.headers.get("x-visitor"))

    def _quick(self, do: Callable[[Visitor, Sent], dict[str, Any]]) -> Answer:
        async def answer(request: Request) -> Response:
            visitor = self._visitor(request)
            given = await _json(request)
            return _answer(await self._run(lambda: do(visitor, given)))

        return answer

    def _long(self, job: Job) -> Answer:
        async def answer(request: Request) -> Response:
            visitor = self._visitor(request)
            given = await _json(request)
            lines = self._lines(lambda tell, stop: job(visitor, given, tell, stop))
            return StreamingResponse(lines, media_type="application/x-ndjson", headers=HEADERS)

        return answer

    async def _lines(self, job: Callable[[Tell, Stop], dict[str, Any]]) -> AsyncIterator[bytes]:
        """Run a job in a thread, and yield what it tells as lines; it stops when nobody reads them any more."""
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        stop = threading.Event()

        def tell(event: dict[str, Any] | None) -> None:
            loop.call_soon_threadsafe(told.put_nowait, event)

        def work() -> None:
            tell(_safely(lambda: job(tell, stop.is_set))[0])
            tell(None)

        running = asyncio.ensure_future(self._run(work))
        try:
            while (event := await told.get()) is not None:
                yield json.dumps(event).encode() + b"\n"
        finally:
            stop.set()
            await asyncio.shield(running)

    async def _visit(self, request: Request) -> Response:
        return _answer(self._desk.welcome(address_of(request)))

    async def _leave(self, request: Request) -> Response:
        """Forget a visitor: a page that is closed can send its key as text alone."""
        key = (await _body(request, 200)).decode("ascii", "ignore")
        self._desk.visitors.forget(key)
        return _answer({})

    async def _open(self, request: Request) -> Response:
        visitor = self._visitor(request)
        self._desk.may_open(visitor)
        most = self._desk.limits.file_bytes
        said = request.headers.get("content-length", "")
        if said.isdecimal() and int(said[:12]) > most:
            raise _too_large(most)
        name = unquote(request.headers.get("x-name", ""), errors="replace")[:200]
        # A folder of its own: nothing lies beside the file that it could point at.
        with tempfile.TemporaryDirectory(prefix="sam-space-") as folder:
            path = Path(folder) / "upload"
            with path.open("wb") as file:
                size = 0
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > most:
                        raise _too_large(most)
                    file.write(chunk)
            return _answer(await self._run(lambda: self._desk.upload(visitor, path, name)))

    async def _picture(self, request: Request) -> Response:
        visitor = self._visitor(request)
        given = await _json(request)
        return _image(await self._run(lambda: self._desk.shown(visitor, given.get("plane"))))

    async def _thumbnail(self, request: Request) -> Response:
        return _image(self._desk.thumbnail(request.path_params["name"]))

    async def _take(self, request: Request) -> Response:
        visitor = self._visitor(request)
        given = await _json(request)
        file = await self._run(lambda: self._desk.take(visitor, given))
        disposition = {"Content-Disposition": f'attachment; filename="{file.name}"'}
        return Response(file.content, media_type=file.media_type, headers=HEADERS | disposition)

    async def _features(self, request: Request) -> Response:
        visitor = self._visitor(request)
        given = await _json(request)
        content = await self._run(lambda: self._desk.features(visitor, given))
        return Response(content, media_type="application/octet-stream", headers=HEADERS)

    async def _decoder(self, request: Request) -> Response:
        """Serve a file of the decoder: its address changes with its content, so the browser may keep it for good."""
        made = self._desk.runtime.runtime
        name, stamp = request.path_params["name"], request.path_params["stamp"]
        file = made.files.get(name) if made is not None and made.stamp == stamp else None
        if file is None:
            raise _no_file()
        headers = HEADERS | {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
        if name == WORKER:
            headers |= {"Content-Security-Policy": WORKER_MAY}
        if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(file.packed, media_type=file.media_type, headers=headers | {"Content-Encoding": "gzip"})
        return Response(file.content, media_type=file.media_type, headers=headers)

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise _no_file()
        headers = HEADERS | {"Cache-Control": "no-cache", "ETag": self._tags[name]}
        if request.headers.get("if-none-match") == self._tags[name]:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(self._files[name], media_type=TYPES[Path(name).suffix], headers=headers)


def address_of(request: Any) -> str:
    """Say where a request comes from; on the Hub there is a proxy in front, which writes it down."""
    client = request.client.host if request.client else ""
    if "SPACE_ID" in os.environ:
        return str(request.headers.get("x-forwarded-for", client)).split(",")[-1].strip() or str(client)
    return str(client)


def _told(answer: Answer) -> Answer:
    """Turn whatever goes wrong into an answer that shows nothing of the server."""

    async def safe(request: Request) -> Response:
        try:
            return await answer(request)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        except Exception as error:
            told, status = _refused(error)
            return _answer(told, status)

    return safe


def _safely(call: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], int]:
    try:
        return call(), HTTPStatus.OK
    except Exception as error:
        return _refused(error)


def _refused(error: Exception) -> tuple[dict[str, Any], int]:
    if isinstance(error, Stopped):
        return {"stopped": True}, HTTPStatus.OK
    if isinstance(error, Refusal):
        return {"refused": error.message}, error.status
    if isinstance(error, SamError):
        return {"refused": str(error)}, HTTPStatus.BAD_REQUEST
    log.error("a request failed", exc_info=error)
    return {"refused": "something went wrong here, and was written down; try again"}, HTTPStatus.INTERNAL_SERVER_ERROR


def _answer(content: dict[str, Any], status: int = HTTPStatus.OK) -> Response:
    return JSONResponse(content, status_code=status, headers=HEADERS)


async def _body(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            msg = f"got a request of more than {most} bytes, expected less"
            raise Refusal(msg, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return bytes(body)


async def _json(request: Request) -> Sent:
    body = await _body(request, BODY_BYTES)
    try:
        given = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        msg = "got a request that is no JSON object"
        raise Refusal(msg)
    return given


def _no_file() -> Refusal:
    msg = "there is no such file"
    return Refusal(msg, HTTPStatus.NOT_FOUND)


def _too_large(most: int) -> Refusal:
    msg = f"got a file of more than {most >> 20} MiB, expected a smaller one; cut out the part you need"
    return Refusal(msg, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def _image(content: bytes) -> Response:
    return Response(content, media_type="image/png", headers=HEADERS)
