"""The backend over HTTP, as Label Studio speaks it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sam_core import Segmenter
from sam_label_studio.backend import Backend, Request, load_model
from sam_label_studio.desk import Desk, FullError
from sam_label_studio.embeddings import Embeddings
from sam_label_studio.errors import CodecError
from sam_label_studio.metrics import Metrics
from sam_label_studio.settings import Settings

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 256 << 20  # bytes of a request
SMALL = 1 << 16  # bytes that are parsed on the spot
POLL = 1.0  # seconds between looks whether somebody still waits
RETRY = "5"  # seconds after which a refused request may try again
OPEN = ("/webhook",)  # Label Studio names nobody there
log = logging.getLogger(__name__)


class TooLargeError(Exception):
    """A request with more bytes than are taken."""


def create_app(settings: Settings, model: Segmenter | None = None, cache: Embeddings | None = None) -> Starlette:
    """Make the app.

    Parameters
    ----------
    settings
        How it is set up.
    model
        What segments; None loads what the settings say, in the background, once the app runs.
    cache
        Keeps embeddings; None: as the settings say.

    Examples
    --------
    >>> create_app(Settings()).state.backend.options.version.split()[0]
    'sam-core'
    """
    backend = Backend(settings, partial(load_model, settings) if model is None else lambda: model, cache)
    server = _Server(backend)
    routes = [
        Route("/", server.health, methods=["GET"]),
        Route("/health", server.health, methods=["GET"]),
        Route("/setup", server.setup, methods=["POST"]),
        Route("/predict", server.predict, methods=["POST"]),
        Route("/webhook", server.webhook, methods=["POST"]),
        Route("/versions", server.versions, methods=["GET", "POST"]),
        Route("/metrics", server.measures, methods=["GET"]),
    ]
    app = Starlette(routes=routes, lifespan=server.lifespan)
    app.add_middleware(_Guard, user=settings.user, password=settings.password)
    app.add_middleware(_Counted, metrics=backend.metrics)
    app.state.backend = backend
    app.state.stopping = server.stopping
    return app


class _Server:
    """What is done for each path."""

    def __init__(self, backend: Backend) -> None:
        settings = backend.settings
        self._backend = backend
        self._clicks = Desk("clicks", threads=settings.clicks, waiting=settings.waiting)
        self._batches = Desk("batches", threads=settings.batches, waiting=settings.waiting)
        self.stopping = threading.Event()

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Load the model beside the first requests; at the end finish the tasks that are being answered, no more."""
        threading.Thread(target=self._preload, name="load", daemon=True).start()
        yield
        self.stopping.set()
        for desk in (self._clicks, self._batches):
            await asyncio.to_thread(desk.close)
        await asyncio.to_thread(self._backend.cache.flush)

    def _preload(self) -> None:
        try:
            _ = self._backend.model
        except Exception:  # it will be tried again when it is needed, and the answer will say so
            log.exception("the model could not be loaded")

    async def health(self, _: HttpRequest) -> Response:
        return JSONResponse({"status": "UP", "model_class": "sam-core"})

    async def setup(self, request: HttpRequest) -> Response:
        try:
            return JSONResponse(self._backend.set_up(await _json(request)))
        except CodecError as error:
            return _refused(error)

    async def versions(self, _: HttpRequest) -> Response:
        return JSONResponse({"versions": [self._backend.options.version]})

    async def webhook(self, request: HttpRequest) -> Response:
        """Take note and do nothing: anybody may call this."""
        await _body(request)
        return JSONResponse({"status": "ok"})

    async def measures(self, _: HttpRequest) -> Response:
        gauges = self._backend.gauges()
        for desk, name in ((self._clicks, "clicks"), (self._batches, "batches")):
            gauges |= {f"{name}_busy": float(desk.busy - desk.waiting), f"{name}_waiting": float(desk.waiting)}
        return PlainTextResponse(self._backend.metrics.text(gauges), media_type="text/plain; version=0.0.4")

    async def predict(self, request: HttpRequest) -> Response:
        try:
            asked = Request.of(await _json(request))
        except CodecError as error:
            return _refused(error)
        gone = threading.Event()
        desk = self._clicks if asked.is_click else self._batches
        work = partial(self._backend.encoded, asked, lambda: gone.is_set() or self.stopping.is_set())
        try:
            answer = await _watched(request, desk.do(work), gone)
        except FullError:
            log.error("refused a request of %d tasks: %d wait already", len(asked.tasks), desk.waiting)
            told = {"error": f"{desk.waiting} requests wait already; try again in {RETRY} s"}
            return JSONResponse(told, 503, headers={"Retry-After": RETRY})
        return Response(answer, media_type="application/json")


async def _watched(request: HttpRequest, work: Awaitable[bytes], gone: threading.Event) -> bytes:
    """Wait for an answer, and take note when who asked does not."""
    task = asyncio.ensure_future(work)
    while not (await asyncio.wait({task}, timeout=POLL))[0]:
        if not gone.is_set() and await request.is_disconnected():
            log.warning("Label Studio hung up before it was answered")
            gone.set()
    return task.result()


async def _body(request: HttpRequest) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > LARGEST:
            raise TooLargeError
    return bytes(data)


async def _json(request: HttpRequest) -> Any:
    """Parse a request; a large one in a thread, so that others are answered meanwhile."""
    body = await _body(request)
    try:
        return json.loads(body) if len(body) < SMALL else await asyncio.to_thread(json.loads, body)
    except (ValueError, RecursionError) as error:
        msg = f"got a request that is no JSON ({error})"
        raise CodecError(msg) from error


def _refused(error: CodecError) -> Response:
    log.error("refused a request: %s", error)
    return JSONResponse({"error": str(error)}, 400)


class _Guard:
    """Lets those in who know the password, and nobody who sends too much."""

    def __init__(self, app: ASGIApp, user: str, password: str) -> None:
        self._app = app
        self._known = f"{user}:{password}".encode() if user else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._known and scope["path"] not in OPEN and not self._knows(headers.get(b"authorization", b"")):
            answer: Response = JSONResponse(
                {"error": "a user name and password are needed"}, 401, headers={"WWW-Authenticate": "Basic"}
            )
            await answer(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except TooLargeError:
            answer = JSONResponse({"error": f"got more than {LARGEST} bytes"}, 413)
            await answer(scope, receive, send)

    def _knows(self, header: bytes) -> bool:
        kind, _, coded = header.partition(b" ")
        try:
            given = base64.b64decode(coded, validate=True)
        except (binascii.Error, ValueError):
            given = b""
        return hmac.compare_digest(given, self._known) and kind.lower() == b"basic"


class _Counted:
    """Counts requests and how long they took."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            path = scope["path"] if scope["path"] in PATHS else "other"
            self._metrics.count("requests_total", path=path, status=str(status))
            self._metrics.time("request_seconds", time.monotonic() - started, path=path)


PATHS = ("/", "/health", "/setup", "/predict", "/webhook", "/versions", "/metrics")
