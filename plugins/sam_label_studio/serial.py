"""One model for many threads: they take turns, first come, first served, and clicks before batches."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from numpy.typing import NDArray

from sam_core import Embedding, Masks, Prompt, SegmentAllOptions, Segmenter, Tiling

IN_A_ROW = 8  # urgent turns, while others wait


class Turns:
    """A lock that is passed on in the order in which it was asked for; those who are urgent come first.

    With a plain lock, a batch that asks again right after it is done would let nobody else in. Of so many turns in a
    row, though, one is for those who are patient: a batch has but 100 s.

    Examples
    --------
    >>> turns = Turns()
    >>> with turns.taken(urgent=True):
    ...     turns.waiting
    0
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._urgent: deque[threading.Event] = deque()
        self._patient: deque[threading.Event] = deque()
        self._passed_over = 0
        self._is_taken = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._urgent) + len(self._patient)

    @contextmanager
    def taken(self, *, urgent: bool) -> Iterator[None]:
        """Wait for a turn and keep it as long as the block takes."""
        self._take(self._urgent if urgent else self._patient)
        try:
            yield
        finally:
            self._pass_on()

    def _take(self, queue: deque[threading.Event]) -> None:
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            mine = threading.Event()
            queue.append(mine)
        mine.wait()

    def _pass_on(self) -> None:
        with self._lock:
            is_patient = bool(self._patient) and (not self._urgent or self._passed_over >= IN_A_ROW)
            self._passed_over = self._passed_over + 1 if self._patient and not is_patient else 0
            queue = self._patient if is_patient else self._urgent
            if queue:
                queue.popleft().set()
            else:
                self._is_taken = False


class SerialSegmenter:
    """A model whose every call waits for its turn.

    Parameters
    ----------
    model
        What segments.
    turns
        Shared by all who use the model; None: nobody else does.
    urgent
        Whether somebody waits for the answers.

    Examples
    --------
    >>> from sam_core import Sam
    >>> clicks = SerialSegmenter(Sam.from_pretrained("cell"))
    >>> batches = clicks.patient()
    >>> batches.turns is clicks.turns
    True
    """

    def __init__(self, model: Segmenter, turns: Turns | None = None, *, urgent: bool = True) -> None:
        self._model = model
        self._urgent = urgent
        self.turns = turns or Turns()
        self.segment_all_options: SegmentAllOptions | None = getattr(model, "segment_all_options", None)

    def patient(self) -> SerialSegmenter:
        """Return the same model for work that nobody waits for: it lets all others go first."""
        return SerialSegmenter(self._model, self.turns, urgent=False)

    @property
    def fingerprint(self) -> str:
        """That of the model."""
        return self._model.fingerprint

    def encode(self, image: NDArray[Any], *, tiling: Tiling | None = None) -> Embedding:
        """Encode a plane."""
        with self.turns.taken(urgent=self._urgent):
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
        """Answer prompts."""
        with self.turns.taken(urgent=self._urgent):
            return self._model.decode(
                embedding, prompts, candidates=candidates, min_score=min_score, min_stability=min_stability
            )

    def propose(self, embedding: Embedding) -> list[Prompt] | None:
        """Say where the objects probably are, where the model can."""
        propose = getattr(self._model, "propose", None)
        if propose is None:
            return None
        with self.turns.taken(urgent=self._urgent):
            found: list[Prompt] | None = propose(embedding)
            return found
