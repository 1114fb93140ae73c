"""One model for many threads: they take turns, first come, first served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from sam_core import Embedding, Masks, Prompt, SegmentAllOptions, Segmenter, Tiling


class Turns:
    """A lock that is passed on in the order in which it was asked for.

    With a plain lock, a batch that asks again right after it is done would let nobody else in.

    Examples
    --------
    >>> turns = Turns()
    >>> with turns:
    ...     turns.waiting
    0
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[threading.Event] = deque()
        self._taken = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    def __enter__(self) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Event()
            self._queue.append(mine)
        mine.wait()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._taken = False


class SerialSegmenter:
    """A model whose every call waits for its turn.

    Parameters
    ----------
    model
        What segments.

    Examples
    --------
    >>> from sam_core import Sam
    >>> SerialSegmenter(Sam.from_pretrained("cell")).turns.waiting
    0
    """

    def __init__(self, model: Segmenter) -> None:
        self._model = model
        self.turns = Turns()
        self.segment_all_options: SegmentAllOptions | None = getattr(model, "segment_all_options", None)

    @property
    def fingerprint(self) -> str:
        """That of the model."""
        return self._model.fingerprint

    def encode(self, image: NDArray[Any], *, tiling: Tiling | None = None) -> Embedding:
        """Encode a plane."""
        with self.turns:
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
        with self.turns:
            return self._model.decode(
                embedding, prompts, candidates=candidates, min_score=min_score, min_stability=min_stability
            )

    def propose(self, embedding: Embedding) -> list[Prompt] | None:
        """Say where the objects probably are, where the model can."""
        propose = getattr(self._model, "propose", None)
        if propose is None:
            return None
        with self.turns:
            found: list[Prompt] | None = propose(embedding)
            return found
