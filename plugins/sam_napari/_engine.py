"""One thread that asks one model for everybody: it encodes what is looked at, answers, and works on in between.

Why one thread, and with how many threads of torch: see docs/napari-threads.md.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from sam_core import Embedding, EmbeddingCache, Masks, Prompt, Segmenter, Tiling, segment
from sam_napari._source import Source
from sam_napari._store import Store
from sam_napari._turns import Client, Job, Request, Turns, Wanted, Who
from sam_napari._view import Patch

LOG = logging.getLogger(__name__)
T = TypeVar("T")
Done: TypeAlias = "Callable[[Answer | Exception], None]"

KEEP = 512 << 20  # bytes of embeddings in memory
BATCH = 16  # prompts of long work that are answered before others have their turn
LATELY = 101  # times that a median is taken of


@dataclass(frozen=True, eq=False, slots=True)
class Answer:
    """What the model says to a prompt.

    Parameters
    ----------
    masks
        On the plane, at level 0; empty ones are left out, so there may be none.
    patch, prompt
        What was asked.
    decode_ms
        Milliseconds from the embedding to the masks.
    encoded
        Whether the patch had to be encoded first.
    """

    masks: Masks
    patch: Patch
    prompt: Prompt
    decode_ms: float
    encoded: bool


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What an engine does, for those who want to know.

    Parameters
    ----------
    model, fingerprint, device, dtype
        Of the model; all but the first are "" until it is loaded, or where it does not say.
    loaded
        Whether the model is loaded.
    encode_ms, decode_ms
        Milliseconds: of the last time, and the median of the last hundred; None where there was none. Reading pixels
        and disks is not counted.
    memory_hits, disk_hits, encodes
        How often an embedding was in memory, was on disk, and had to be made.
    kept_bytes
        Of embeddings in memory.
    queue
        How much waits.
    doing
        "loading", "encoding", "answering", "working" (on something long), or "" while there is nothing to do.
    trouble
        Why something does not work as it should: the model that cannot be loaded, the disk that cannot be written to.
    """

    model: str
    fingerprint: str
    device: str
    dtype: str
    loaded: bool
    encode_ms: tuple[float, float] | None
    decode_ms: tuple[float, float] | None
    memory_hits: int
    disk_hits: int
    encodes: int
    kept_bytes: int
    queue: int
    doing: str
    trouble: str


@dataclass(slots=True)
class _Counts:
    encode_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATELY))
    decode_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATELY))
    memory_hits: int = 0
    disk_hits: int = 0
    encodes: int = 0
    doing: str = ""
    trouble: str = ""


class Engine:
    """Answers about patches of images, in a thread of its own that lives from the first request until `close`.

    All methods but `embedding` and `model` return at once and may be called from any thread; after `close` they do
    nothing. Answers are posted through whoever asks, in the order of the questions of a kind. Nothing that goes wrong
    with one request touches another.

    Parameters
    ----------
    load
        Makes the model, in the thread, when it is first needed. Where this fails, clicks and jobs try again.
    cache
        Keeps embeddings on disk; None for memory alone.
    keep_bytes
        Of embeddings that stay in memory.
    name
        Of the model, for `stats`.

    Examples
    --------
    >>> from sam_core import Sam
    >>> engine = Engine(lambda: Sam.from_pretrained("cell"), None)
    >>> engine.stats.loaded, engine.stats.queue
    (False, 0)
    >>> engine.close()
    """

    def __init__(
        self,
        load: Callable[[], Segmenter],
        cache: EmbeddingCache | None,
        *,
        keep_bytes: int = KEEP,
        name: str = "",
    ) -> None:
        self._load = load
        self._name = name
        self._model: Segmenter | None = None
        self._failure: Exception | None = None
        self._store = Store(cache, keep_bytes, self._tell)
        self._turns = Turns()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._counts = _Counts()
        self._density = 0.0  # bytes of an embedding to a pixel
        self._job: Job | None = None  # whose step is being taken
        self._breath = 0.0  # when others last had their turn

    # -- what is asked of it -----------------------------------------------------------------------------------------

    def look(
        self, who: Who, source: Source, patch: Patch, prompt: Prompt, candidates: Literal[1, 3], done: Done
    ) -> None:
        """Ask what is under the cursor. Of looks that wait, only the latest of each who is answered.

        An answer for which a patch had to be encoded is dropped if the cursor has moved on meanwhile.

        Parameters
        ----------
        who
            Who asks; has `post(call)`.
        source, patch
            What is looked at.
        prompt
            In pixels of the plane, level 0; the patch has to hold it.
        candidates
            3 for a lone click that may mean a part, an object or a group; 1 for the one that is most probably meant.
        done
            Is posted the answer, or what went wrong.
        """
        with self._asking(who) as client:
            request = Request(client, source, patch, prompt, candidates, done, client.glances)
            self._turns.look(request, time.monotonic())

    def look_away(self, who: Who) -> None:
        """Drop what a who looks at, an answer on its way included: the cursor has left."""
        with self._asking(who) as client:
            self._turns.look_away(client)

    def ask(
        self, who: Who, source: Source, patch: Patch, prompt: Prompt, candidates: Literal[1, 3], done: Done
    ) -> None:
        """Ask on behalf of a click: in order, before everything else, and each is answered. Parameters as `look`."""
        with self._asking(who) as client:
            request = Request(client, source, patch, prompt, candidates, done, None)
            self._turns.ask(request, time.monotonic())

    def prepare(self, who: Who, source: Source, patches: Sequence[Patch]) -> None:
        """Encode these patches in this order when there is nothing else to do, in the place of what was to be encoded.

        Only as many as fit into memory. What cannot be read is left out: it is told when it is looked at.
        """
        with self._asking(who) as client:
            self._turns.want(client, [(source, patch) for patch in patches])

    def run(
        self,
        who: Who,
        job: Iterator[T | None],
        on_part: Callable[[T], None],
        on_end: Callable[[Exception | None], None],
    ) -> Job:
        """Take the steps of a generator between other requests.

        The generator runs in the thread and may use `embedding` and `model`; a part that is None lets others take their
        turn and is not posted. It is closed in the thread, whatever happens.

        Parameters
        ----------
        who
            Whose it is.
        job
            Yields parts.
        on_part
            Is posted each part.
        on_end
            Is posted None, or what went wrong; once, also after a cancel.
        """
        with self._asking(who) as client:
            made = Job(client, job, on_part, on_end)
            self._turns.jobs.append(made)
            return made

    def forget(self, who: Who) -> None:
        """Drop all that a who has asked for, and its jobs; nothing is posted to it any more."""
        with self._changed:
            self._turns.forget(who)
            self._changed.notify()

    def close(self, *, wait: bool = True) -> None:
        """Forget everybody and end the thread after what it is just doing; what is encoded is still written to disk."""
        with self._changed:
            self._closing = True
            for who in tuple(self._turns.clients):
                self._turns.forget(who)
            self._changed.notify()
        if wait and self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def stats(self) -> EngineStats:
        """What it does."""
        with self._changed:
            counts, model = self._counts, self._model
            return EngineStats(
                model=self._name,
                fingerprint=model.fingerprint if model is not None else "",
                device=str(getattr(model, "device", "")),
                dtype=str(getattr(model, "dtype", "")),
                loaded=model is not None,
                encode_ms=_lately(counts.encode_ms),
                decode_ms=_lately(counts.decode_ms),
                memory_hits=counts.memory_hits,
                disk_hits=counts.disk_hits,
                encodes=counts.encodes,
                kept_bytes=self._store.nbytes,
                queue=self._turns.waiting,
                doing=counts.doing,
                trouble=counts.trouble,
            )

    # -- for jobs, in the thread -------------------------------------------------------------------------------------

    @property
    def model(self) -> Segmenter:
        """The model, for jobs: it lets others take their turn before each call, and between many prompts."""
        return _Polite(self._loaded(again=self._job is not None), self._breathe)

    def embedding(self, source: Source, patch: Patch) -> Embedding:
        """Return the embedding of a patch: from memory, from disk, or made now. For jobs, in the thread.

        Raises
        ------
        ImageError
            The patch cannot be encoded.
        Exception
            Whatever goes wrong when pixels are read or the model is loaded.
        """
        if self._thread is not None and threading.current_thread() is not self._thread:
            msg = "got a call from another thread, expected one from a job; give the work to Engine.run"
            raise RuntimeError(msg)
        self._breathe()
        return self._embedding(source, patch, again=self._job is not None)[0]

    # -- the thread --------------------------------------------------------------------------------------------------

    @contextmanager
    def _asking(self, who: Who) -> Iterator[Client]:
        """Change what waits, and wake the thread; it starts with the first to ask."""
        with self._changed:
            if self._closing:
                gone = Client(who)
                gone.gone = True
                yield gone
                return
            yield self._turns.client(who)
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name="sam-napari", daemon=True)
                self._thread.start()
                atexit.register(self.close)  # a model must not be at work while Python goes
            self._changed.notify()

    def _live(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception:  # a mistake of this module: better one request lost than all that follow
                LOG.exception("a request was lost")
        for job in tuple(self._turns.jobs):
            self._end(job)
        self._store.close()
        atexit.unregister(self.close)

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to do; None when there is nothing more to come."""
        with self._changed:
            while not self._closing:
                if (stopped := self._turns.stopped()) is not None:
                    return partial(self._end, stopped)
                if (request := self._turns.request()) is not None:
                    return partial(self._answer, request)
                if (job := self._turns.job()) is not None:
                    return partial(self._step, job)
                if (idle := self._turns.idle(time.monotonic())) is not None:
                    return partial(self._prepare, *idle)
                self._counts.doing = ""
                self._changed.wait(self._turns.patience(time.monotonic()))
        return None

    # -- requests ----------------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> None:
        started = time.monotonic()
        found: Answer | Exception
        try:
            found = self._answered(request)
        except Exception as error:  # it is for whoever asked; the next request has nothing to do with it
            found = _told(error)
        with self._changed:
            ended = time.monotonic()
            self._turns.answered(ended - started, ended)
            late = isinstance(found, Answer) and found.encoded and self._turns.replaced(request)
        if not late:
            request.client.post(lambda: request.done(found), request.wanted)

    def _answered(self, request: Request) -> Answer:
        patch, prompt = request.patch, request.prompt
        embedding, encoded = self._embedding(request.source, patch, again=request.glance is None)
        model = self._loaded(again=False)
        self._counts.doing = "answering"
        started = time.perf_counter()
        with _half_the_cores():
            asked = patch.prompt_into(prompt)
            three = request.candidates == 3
            found = segment(model, embedding, asked, candidates=3 if three else 1)
        masks = patch.masks_out(found[found.areas > 0])
        took = 1000 * (time.perf_counter() - started)
        with self._changed:
            self._counts.decode_ms.append(took)
        return Answer(masks, patch, prompt, took, encoded)

    # -- embeddings --------------------------------------------------------------------------------------------------

    def _prepare(self, client: Client, wanted: Wanted) -> None:
        source, patch = wanted
        key = (source.version, patch)
        if self._store.recall(key) is not None:
            return
        with self._changed:
            spare = self._turns.wanted
        if not self._store.make_room(int(self._density * patch.shape[0] * patch.shape[1]), spare):
            with self._changed:
                client.todo.clear()
            return
        try:
            self._embedding(source, patch, again=False)
        except Exception:  # nobody asked yet; who does is told
            LOG.debug("could not prepare %s", patch, exc_info=True)

    def _embedding(self, source: Source, patch: Patch, *, again: bool) -> tuple[Embedding, bool]:
        """Return the embedding of a patch, and whether it had to be made."""
        key = (source.version, patch)
        found = self._store.recall(key)
        if found is not None:
            self._counts.memory_hits += 1
            return found, False
        model = self._loaded(again=again)
        picture = source.read(patch.plane, patch.box, patch.step)
        found = self._store.read(model.fingerprint, picture)
        made = found is None
        if found is None:
            found = self._encoded(model, picture)
        self._counts.disk_hits += not made
        self._density = found.nbytes / (patch.shape[0] * patch.shape[1])
        self._store.remember(key, found)
        return found, made

    def _encoded(self, model: Segmenter, picture: NDArray[np.uint8]) -> Embedding:
        self._counts.doing = "encoding"
        started = time.perf_counter()
        made = model.encode(picture).halved()
        with self._changed:
            self._counts.encode_ms.append(1000 * (time.perf_counter() - started))
            self._counts.encodes += 1
        self._store.write(made, picture)
        return made

    def _loaded(self, *, again: bool) -> Segmenter:
        """Return the model; where it could not be loaded, say why once more, or try `again`."""
        if self._model is None:
            if self._failure is not None and not again:
                raise self._failure
            self._counts.doing = "loading"
            try:
                self._model, self._failure = self._load(), None
            except Exception as error:
                self._failure = _told(error)
                self._counts.trouble = str(error)
                raise
            self._counts.trouble = ""
        return self._model

    def _tell(self, message: str) -> None:
        """Tell everybody about the disk."""
        with self._changed:
            self._counts.trouble = message
            clients = tuple(self._turns.clients.values())
        for client in clients:
            client.tell(message)

    # -- long work ---------------------------------------------------------------------------------------------------

    def _step(self, job: Job) -> None:
        self._job, self._breath = job, time.monotonic()
        self._counts.doing = "working"
        try:
            part = next(job.parts)
        except (StopIteration, _StoppedError):
            self._end(job)
        except Exception as error:  # the job has failed; others go on
            self._end(job, _told(error))
        else:
            if part is not None:
                job.client.post(lambda: job.on_part(part), lambda: not job.cancelled)
        finally:
            self._job = None
            with self._changed:
                self._turns.worked(time.monotonic() - self._breath)

    def _breathe(self) -> None:
        """In the middle of a step of long work, answer those who wait; or leave it where it is not to go on."""
        job, self._job = self._job, None
        if job is None:
            return
        with self._changed:
            self._turns.worked(time.monotonic() - self._breath)
        while (request := self._waiting()) is not None:
            self._answer(request)
        self._job, self._breath = job, time.monotonic()
        self._counts.doing = "working"
        if job.stopped:
            raise _StoppedError

    def _waiting(self) -> Request | None:
        with self._changed:
            return self._turns.request()

    def _end(self, job: Job, error: Exception | None = None) -> None:
        with self._changed:
            if job in self._turns.jobs:
                self._turns.jobs.remove(job)
        try:
            getattr(job.parts, "close", lambda: None)()
        except Exception as failed:  # while it tidied up
            error = error or _told(failed)
        job.ended = True
        job.client.post(lambda: job.on_end(error))


class _StoppedError(BaseException):
    """Leaves a step of long work that is not to go on; not an Exception, so that nobody takes it for one."""


class _Polite:
    """A model for long work: others have their turn before each call, and between many prompts."""

    def __init__(self, model: Segmenter, breathe: Callable[[], None]) -> None:
        self._model = model
        self._breathe = breathe

    @property
    def fingerprint(self) -> str:
        return self._model.fingerprint

    def encode(self, image: NDArray[Any], *, tiling: Tiling | None = None) -> Embedding:
        self._breathe()
        return self._model.encode(image, tiling=tiling)

    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        *,
        candidates: Literal[1, 3] = 1,
        min_score: float | None = None,
        min_stability: float | None = None,
    ) -> Masks:
        parts = [Masks.empty(embedding.image_shape)]
        for start in range(0, len(prompts), BATCH):
            self._breathe()
            some = prompts[start : start + BATCH]
            part = self._model.decode(
                embedding, some, candidates=candidates, min_score=min_score, min_stability=min_stability
            )
            parts.append(replace(part, prompt=part.prompt + start))
        numbers = np.concatenate([part.prompt for part in parts])
        return replace(Masks.merge(parts), prompt=numbers.astype(np.int32))

    def __getattr__(self, name: str) -> Any:
        """Whatever else the model has: what it proposes, how it likes to be asked."""
        return getattr(self._model, name)


@contextmanager
def _half_the_cores() -> Iterator[None]:
    """Have torch answer with half of its threads: a click is no faster with all, and the window needs a core.

    Torch is not imported for that; a model without it needs nothing. Others find the number that they had set.
    """
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else 1
    if torch is None or threads < 2:
        yield
        return
    torch.set_num_threads(threads // 2)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _lately(times: Sequence[float]) -> tuple[float, float] | None:
    """Return the last of some times and their median."""
    return (times[-1], median(times)) if times else None


def _told(error: Exception) -> Exception:
    """Log an error, and drop the frames that it holds: pixels and embeddings would live as long as it."""
    LOG.debug("a request failed", exc_info=error)
    return error.with_traceback(None)
