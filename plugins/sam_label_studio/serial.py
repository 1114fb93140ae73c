"""One model for many threads: they take turns, first come, first served, and clicks before batches."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

from numpy.typing import NDArray

from sam_core import Embedding, Masks, Prompt, SegmentAllOptions, Segmenter, Tiling
from sam_label_studio.part import Box

T = TypeVar("T")
Job: TypeAlias = Callable[[], None]
IN_A_ROW = 8  # urgent turns, while others wait


class Turns:
    """One thread that does the work of many, in the order in which they ask; those who are urgent come first.

    With a lock instead, each thread would run the network itself, and so have helpers of its own, one for each core.
    Together they are more than there are cores, and then sleep, and have to be woken, between any two layers: encoding
    takes a fifth longer, a click half as long again.

    Of so many urgent turns in a row, one is for those who are patient: a batch has but 100 s.

    Examples
    --------
    >>> turns = Turns()
    >>> turns.do(lambda: 1 + 1, urgent=True)
    2
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "model")
        self._lock = threading.Lock()
        self._urgent: deque[Job] = deque()
        self._patient: deque[Job] = deque()
        self._passed_over = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._urgent) + len(self._patient)

    def do(self, work: Callable[[], T], *, urgent: bool) -> T:
        """Wait for a turn, have something done in it and return what comes of it, an error too."""
        answer: Future[T] = Future()
        with self._lock:
            (self._urgent if urgent else self._patient).append(partial(_settle, answer, work))
        self._thread.submit(self._do_next)
        return answer.result()

    def _do_next(self) -> None:
        with self._lock:
            is_patient = bool(self._patient) and (not self._urgent or self._passed_over >= IN_A_ROW)
            self._passed_over = self._passed_over + 1 if self._patient and not is_patient else 0
            job = (self._patient if is_patient else self._urgent).popleft()
        job()


def _settle(answer: Future[T], work: Callable[[], T]) -> None:
    try:
        answer.set_result(work())
    except BaseException as error:
        answer.set_exception(error)


class SerialSegmenter:
    """A model whose every call waits for its turn.

    Parameters
    ----------
    model
        What segments; see `loaded`.
    turns
        Shared by all who use the model; None: nobody else does.
    urgent
        Whether somebody waits for the answers.
    between
        Called before each tile by who is patient.

    Examples
    --------
    >>> from sam_core import Sam
    >>> clicks = SerialSegmenter.loaded(Sam.from_pretrained)
    >>> batches = clicks.patient()
    >>> batches.turns is clicks.turns
    True
    """

    def __init__(
        self,
        model: Segmenter,
        turns: Turns | None = None,
        *,
        urgent: bool = True,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self._model = model
        self._urgent = urgent
        self._between = between
        self.turns = turns or Turns()
        self.segment_all_options: SegmentAllOptions | None = getattr(model, "segment_all_options", None)

    @classmethod
    def loaded(cls, load: Callable[[], Segmenter]) -> SerialSegmenter:
        """Load a model in the thread that is to run it: loading, too, would leave helpers behind in any other."""
        turns = Turns()
        return cls(turns.do(load, urgent=True), turns)

    def patient(self, between: Callable[[], None] = lambda: None) -> SerialSegmenter:
        """Return the same model for work that nobody waits for: it lets all others go first, and waits `between`."""
        return SerialSegmenter(self._model, self.turns, urgent=False, between=between)

    @property
    def fingerprint(self) -> str:
        """That of the model."""
        return self._model.fingerprint

    def encode(self, image: NDArray[Any], *, tiling: Tiling | None = None) -> Embedding:
        """Encode a plane; who is patient lets others go first between tiles, too, where the model can stop there."""
        by_tile: Callable[..., Iterator[Embedding | None]] | None = getattr(self._model, "encode_by_tile", None)
        if self._urgent or by_tile is None:
            return self._do(partial(self._model.encode, image, tiling=tiling))
        steps = by_tile(image, tiling=tiling)
        made: Embedding | None = None
        while made is None:
            self._between()
            made = self._do(partial(next, steps))
        return made

    def encode_part(self, image: NDArray[Any], part: Box) -> Embedding | None:
        """Encode a part of a plane, where the model can and it costs less."""
        encode: Callable[[NDArray[Any], Box], Embedding | None] | None = getattr(self._model, "encode_part", None)
        return None if encode is None else self._do(partial(encode, image, part))

    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        *,
        candidates: Literal[1, 3] = 1,
        min_score: float | None = None,
        min_stability: float | None = None,
    ) -> Masks:
        """Answer prompts."""
        asked = partial(self._model.decode, embedding, prompts, candidates=candidates)
        return self._do(partial(asked, min_score=min_score, min_stability=min_stability))

    def propose(self, embedding: Embedding) -> list[Prompt] | None:
        """Say where the objects probably are, where the model can."""
        propose: Callable[[Embedding], list[Prompt] | None] | None = getattr(self._model, "propose", None)
        return None if propose is None else self._do(partial(propose, embedding))

    def _do(self, work: Callable[[], T]) -> T:
        return self.turns.do(work, urgent=self._urgent)
