"""The backend without HTTP: requests as values in, answers as values out."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

from sam_core import SamError, Segmenter
from sam_label_studio.ahead import in_order
from sam_label_studio.config import Controls
from sam_label_studio.embeddings import Embeddings
from sam_label_studio.errors import CodecError
from sam_label_studio.images import ImageSource
from sam_label_studio.metrics import Metrics
from sam_label_studio.predict import Json, Mode, Options, predict_task
from sam_label_studio.serial import SerialSegmenter
from sam_label_studio.settings import Settings
from sam_label_studio.tokens import Credentials, origin

FAILED = " failed"  # ends the version of an answer that is none: Label Studio asks for the task again
Stopped: TypeAlias = Callable[[], bool]
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What Label Studio asks.

    Parameters
    ----------
    tasks
        As it sends them.
    controls
        Of the project.
    context
        What somebody just drew; None to predict the tasks as a whole.

    Examples
    --------
    >>> Request.of({"tasks": [{"id": 1}], "params": {"context": None}}).is_click
    False
    """

    tasks: tuple[Any, ...]
    controls: Controls
    context: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, body: object) -> Request:
        """Read a request.

        Raises
        ------
        CodecError
            It is none.
        """
        if not isinstance(body, Mapping) or not isinstance(body.get("tasks"), list):
            msg = 'got a request without tasks, expected a JSON object {"tasks": [...], "label_config": "..."}'
            raise CodecError(msg)
        params = body.get("params")
        context = params.get("context") if isinstance(params, Mapping) else None
        if context is None:
            context = body.get("context")
        if context is not None and not isinstance(context, Mapping):
            msg = f"got a context of type {type(context).__name__}, expected a JSON object"
            raise CodecError(msg)
        return cls(tuple(body["tasks"]), Controls.of(body.get("label_config")), context)

    @property
    def is_click(self) -> bool:
        """Whether somebody waits for the answer."""
        return self.context is not None


class Backend:
    """Answers requests with a model that is loaded when it is first needed; safe to share between threads.

    Parameters
    ----------
    settings
        How it is set up.
    load
        Loads the model.
    cache
        Keeps embeddings; None: as the settings say.

    Examples
    --------
    >>> backend = Backend(Settings(), load=lambda: None)
    >>> backend.answers(Request((), Controls()))
    []
    """

    def __init__(self, settings: Settings, load: Callable[[], Segmenter], cache: Embeddings | None = None) -> None:
        self.settings = settings
        self.options = settings.options()
        self.metrics = Metrics()
        self.cache = settings.embeddings() if cache is None else cache
        self._images = settings.images()
        self._load = load
        self._model: SerialSegmenter | None = None
        self._loading = threading.Lock()

    @property
    def model(self) -> SerialSegmenter:
        """The model; the first who asks waits until it is loaded."""
        with self._loading:
            if self._model is None:
                started = time.monotonic()
                self._model = SerialSegmenter.loaded(self._load)
                log.info("loaded the model in %.1f s", time.monotonic() - started)
            return self._model

    @property
    def images(self) -> ImageSource:
        """What opens images."""
        return self._images

    def set_up(self, body: object) -> Json:
        """Answer /setup: nothing is loaded. A token is taken where we have no key, and only for our Label Studio."""
        told = body if isinstance(body, Mapping) else {}
        hostname, token = told.get("hostname"), told.get("access_token")
        ours = isinstance(hostname, str) and origin(hostname) == origin(self.settings.url)
        if ours and isinstance(token, str) and token and not self.settings.key:
            self._images = self.settings.images(Credentials(self.settings.url, token))
        for problem in Controls.of(told.get("schema")).problems if told.get("schema") else ():
            log.warning("project %s: %s", told.get("project"), problem)
        return {"model_version": self.options.version}

    def answers(self, request: Request, stopped: Stopped = lambda: False) -> list[Json]:
        """Answer each task; one that fails costs a line in the log and an empty answer.

        Parameters
        ----------
        request
            What is asked.
        stopped
            Tells, before each task, whether nobody waits any more.
        """
        return list(self._each(request, partial(self._answer, request=request, stopped=stopped)))

    def encoded(self, request: Request, stopped: Stopped = lambda: False) -> bytes:
        """Answer as JSON, written task by task, so that other threads need not wait for a large one."""
        written = partial(self._written, request=request, stopped=stopped)
        return b'{"results":[' + b",".join(self._each(request, written)) + b"]}"

    def gauges(self) -> dict[str, float]:
        """Measure what changes up and down, and the counts that the cache keeps itself."""
        counts, model = self.cache.counts, self._model
        return {
            "model_loaded": float(model is not None),
            "model_waiting": float(model.turns.waiting if model is not None else 0),
            "embeddings_bytes": float(self.cache.nbytes),
            "embeddings_hits": float(counts.hits),
            "embeddings_misses": float(counts.misses),
            "embeddings_encoded": float(counts.encoded),
        }

    def _each(self, request: Request, work: Callable[[Any], T]) -> Iterator[T]:
        """Do something with each task; of a batch, the next image is fetched while this one is looked at."""
        if len(request.tasks) < 2:
            return map(work, request.tasks)
        return in_order(partial(work, task) for task in request.tasks)

    def _written(self, task: Any, request: Request, stopped: Stopped) -> bytes:
        return json.dumps(self._answer(task, request, stopped), allow_nan=False).encode()

    def _answer(self, task: Any, request: Request, stopped: Stopped) -> Json:
        started = time.monotonic()
        kind = "click" if request.is_click else "batch"
        try:
            answer = self._predicted(task, request, stopped)
        except Exception as error:  # whatever is wrong with one task, the others go on
            answer = self._failed(task, error)
            self.metrics.count("tasks_total", kind=kind, outcome="failed")
        else:
            self.metrics.count("tasks_total", kind=kind, outcome="answered")
        self.metrics.time("task_seconds", time.monotonic() - started, kind=kind)
        return answer

    def _predicted(self, task: Any, request: Request, stopped: Stopped) -> Json:
        if not isinstance(task, Mapping):
            msg = f"got a task of type {type(task).__name__}, expected a JSON object"
            raise CodecError(msg)
        if stopped():
            msg = (
                "nobody waits for the answer any more: Label Studio gives a batch 100 s. Use `prelabel` for many tasks"
            )
            raise CodecError(msg)
        if not request.is_click and self.settings.mode == "off":
            return {"result": [], "score": 0.0, "model_version": self.options.version}
        mode = cast("Mode", self.settings.mode)
        options = self._fitting(request.controls)
        return predict_task(
            task,
            request.controls,
            self.model if request.is_click else self.model.patient(),
            self.cache,
            self._images,
            context=request.context,
            mode=mode,
            options=options,
        )

    def _fitting(self, controls: Controls) -> Options:
        """Drop a kind of output, or a label, that this project does not have: settings are for all projects."""
        kinds = {control.kind for control in controls.controls}
        labels = any(control.knows(self.options.label or "") for control in controls.controls)
        return replace(
            self.options,
            kind=self.options.kind if self.options.kind in kinds else None,
            label=self.options.label if labels else None,
        )

    def _failed(self, task: Any, error: Exception) -> Json:
        number = task.get("id") if isinstance(task, Mapping) else None
        if isinstance(error, SamError):
            log.error("task %s failed: %s", number, error)
        else:
            log.error("task %s failed", number, exc_info=error)
        return {"result": [], "score": 0.0, "model_version": self.options.version + FAILED}


def load_model(settings: Settings) -> Segmenter:
    """Load the model of the settings."""
    from sam_core import Sam

    return Sam.from_pretrained(settings.model, revision=settings.revision or None, device=settings.device)


@dataclass(slots=True)
class _Shared:
    """The one backend of this process."""

    backend: Backend | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


_shared = _Shared()


def shared_backend(settings: Settings) -> Backend:
    """Return the backend of this process: servers that make an object for each request need the model to outlive it."""
    with _shared.lock:
        if _shared.backend is None or _shared.backend.settings != settings:
            _shared.backend = Backend(settings, lambda: load_model(settings))
        return _shared.backend
