"""The model, shared by all visitors: encodes once, answers in turn, forgets what was not asked for longest."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, overload

from numpy.typing import NDArray

from sam_core import Embedding, Masks, Prompt, SegmentAllOptions, Segmenter, Tiling, propagate, segment, segment_all
from sam_space.decoder.features import features_of
from sam_space.gate import Gate
from sam_space.kept import Kept, settled
from sam_space.limits import Limits
from sam_space.picture import Picture

P = ParamSpec("P")
T = TypeVar("T")
_Key: TypeAlias = tuple[str, str, int]  # model, picture and plane
DOUBT = 0.5  # score below which a first answer to a click is looked at again
BATCH = 16  # prompts between two looks at whether everything was stopped


class Stopped(Exception):
    """Whoever asked does not want the answer any more."""


def never() -> bool:
    """Say that nobody gives up."""
    return False


def _hand_over(thread: ThreadPoolExecutor, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Let a thread do something for whoever asks: what is known of the request goes with it."""
    return thread.submit(copy_context().run, partial(work, *given, **named)).result()


def _settled(embedding: Embedding) -> Embedding:
    return replace(embedding, features=tuple(settled(level) for level in embedding.features))


def packed(embedding: Embedding) -> bytes:
    """Write an embedding for a browser: a length in four bytes, JSON of that length that says what follows, and that.

    The JSON ends at a multiple of eight bytes.
    """
    content, meta = features_of(embedding, bits=8)
    head = json.dumps(meta).encode()
    head += b" " * (-(4 + len(head)) % 8)
    return struct.pack("<I", len(head)) + head + content


class Engine:
    """Encodes and answers for everybody.

    Encoding and answering have a queue each, so that a click never waits for somebody's new picture to be encoded.

    Parameters
    ----------
    model
        The model.
    limits
        How much is kept, and how many may wait.
    beside
        One with another model, to share the queues and the store with: it is one machine.
    """

    def __init__(self, model: Segmenter, limits: Limits, beside: Engine | None = None) -> None:
        self.model = model
        self.limits = limits
        self.encoding: Gate = beside.encoding if beside else Gate(1, limits.waiting)
        self.answering: Gate = beside.answering if beside else Gate(1, limits.waiting)
        self.sending: Gate = beside.sending if beside else Gate(1, limits.waiting)
        # One thread for each, whoever asks: a network that is run by a hundred threads keeps memory for, and starts
        # helpers of, each of them.
        self.eyes: ThreadPoolExecutor = beside.eyes if beside else ThreadPoolExecutor(1, "encoding")
        self.mouth: ThreadPoolExecutor = beside.mouth if beside else ThreadPoolExecutor(1, "answering")
        self._pinned: dict[_Key, Embedding] = {}
        self._packed: dict[_Key, bytes] = {}
        self._kept: Kept[_Key, Embedding] = (
            beside.embeddings if beside else Kept(limits.embedding_bytes, lambda each: each.nbytes)
        )

    @property
    def embeddings(self) -> Kept[_Key, Embedding]:
        """Those that are kept, of all models that share the store."""
        return self._kept

    def _key(self, picture: Picture, plane: int) -> _Key:
        return self.model.fingerprint, picture.key, plane

    def try_out(self, image: NDArray[Any], given_up: Callable[[], bool] = never) -> float:
        """Encode a picture that nobody asked for, and return the milliseconds it took."""
        with _turn_of(self.encoding, given_up):
            start = time.perf_counter()
            _hand_over(self.eyes, self.model.encode, image)
            return 1000 * (time.perf_counter() - start)

    def forget(self) -> None:
        """Forget all that this model encoded."""
        self._kept.drop_if(lambda key: key[0] == self.model.fingerprint)

    @property
    def kept_bytes(self) -> int:
        """Of all embeddings."""
        return self._kept.nbytes

    def pin(self, picture: Picture) -> None:
        """Encode all planes of an example, and keep them for good."""
        for plane in range(len(picture.planes)):
            self._pinned[self._key(picture, plane)] = self.embed(picture, plane)[0]
            self._kept.drop(self._key(picture, plane))

    def ready(self, picture: Picture, plane: int) -> bool:
        """Say whether a plane is encoded."""
        return self._find(self._key(picture, plane)) is not None

    def _find(self, key: _Key) -> Embedding | None:
        return self._pinned.get(key) or self._kept.get(key)

    def embed(self, picture: Picture, plane: int, given_up: Callable[[], bool] = never) -> tuple[Embedding, float]:
        """Return a plane encoded, and the milliseconds it took; 0 where it was kept.

        Raises
        ------
        Refusal
            Too many wait.
        Stopped
            Whoever waited has given up.
        """
        key = self._key(picture, plane)
        kept = self._find(key)
        if kept is not None:
            return kept, 0.0
        with self.encoding.through(given_up=given_up) as turn:
            if not turn:
                raise Stopped
            kept = self._find(key)  # somebody else may have waited for the same
            if kept is not None:
                return kept, 0.0
            start = time.perf_counter()
            # What is kept is what a browser is sent: both answer from the same numbers.
            embedding = _settled(_hand_over(self.eyes, self.model.encode, picture.planes[plane]).halved())
            self._kept.put(key, embedding)
            return embedding, 1000 * (time.perf_counter() - start)

    def features(self, picture: Picture, plane: int, given_up: Callable[[], bool] = never) -> bytes:
        """Return a plane encoded as a browser takes it: see `packed`. Those of examples are kept.

        Raises
        ------
        Refusal
            Too many wait.
        Stopped
            Whoever waited has given up.
        EmbeddingError
            It was encoded in tiles, which is far too much to be sent.
        """
        key = self._key(picture, plane)
        kept = self._packed.get(key)
        if kept is not None:
            return kept
        embedding, _ = self.embed(picture, plane, given_up)
        with self.sending.through(given_up=given_up) as turn:
            if not turn:
                raise Stopped
            content = self._packed.get(key) or packed(embedding)
            if key in self._pinned:
                self._packed[key] = content
            return content

    def ask(
        self,
        embedding: Embedding,
        prompt: Prompt,
        candidates: Literal[1, 3],
        given_up: Callable[[], bool] = never,
        *,
        urgent: bool = True,
    ) -> Masks:
        """Answer one prompt, when it is its turn."""
        with self.answering.through(given_up=given_up, urgent=urgent) as turn:
            if not turn:
                raise Stopped
            return self.answered(segment, self.model, embedding, prompt, candidates=candidates)

    def answered(self, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Let the model answer; whoever calls has the turn."""
        return _hand_over(self.mouth, work, *given, **named)

    def glance(self, embedding: Embedding, click: Prompt, given_up: Callable[[], bool] = never) -> Masks | None:
        """Answer a lone click where that is quick: None where the answer is doubtful, and `ask` would look further.

        A pointer mostly crosses the ground between objects, where a model has to look at a click several times.
        """
        with self.answering.through(given_up=given_up) as turn:
            if not turn:
                raise Stopped
            masks = self.answered(segment, _FirstLook(self.model), embedding, click)
        return masks if len(masks) else None

    def everything(
        self, embedding: Embedding, tell: Callable[[int, int], None], stop: Callable[[], bool] = never
    ) -> Masks:
        """Find everything on a plane, telling how many prompts of how many are answered.

        Each batch of prompts waits for its turn, so that clicks of others come between.

        Raises
        ------
        Stopped
            `stop` said so.
        """
        watched = _Watched(self, tell, stop)
        options = getattr(self.model, "segment_all_options", None) or SegmentAllOptions()
        parts = list(segment_all(watched, embedding, replace(options, points_per_batch=BATCH)))
        return Masks.merge([Masks.empty(embedding.image_shape), *parts])

    def follow(
        self, picture: Picture, seeds: dict[int, Masks], stop: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Masks]]:
        """Follow objects through the planes of a picture, one plane after the other."""
        watched = _Watched(self, lambda done, total: None, stop)
        yield from propagate(watched, _Stack(self, picture, stop), seeds)


class _Stack(Sequence[Embedding]):
    """The planes of a picture, encoded when they are asked for."""

    def __init__(self, engine: Engine, picture: Picture, stop: Callable[[], bool]) -> None:
        self._engine = engine
        self._picture = picture
        self._stop = stop

    def __len__(self) -> int:
        return len(self._picture.planes)

    @overload
    def __getitem__(self, index: int) -> Embedding: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Embedding]: ...
    def __getitem__(self, index: int | slice) -> Embedding | Sequence[Embedding]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._engine.embed(self._picture, index, self._stop)[0]


@dataclass(frozen=True, slots=True)
class _FirstLook:
    """A model that is asked for good answers alone: where poor ones are left out, it does not look for better ones."""

    model: Segmenter

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    def encode(self, image: NDArray[Any], *, tiling: Tiling | None = None) -> Embedding:
        return self.model.encode(image, tiling=tiling)

    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        *,
        candidates: Literal[1, 3] = 1,
        min_score: float | None = None,
        min_stability: float | None = None,
    ) -> Masks:
        least = DOUBT if min_score is None else max(DOUBT, min_score)
        return self.model.decode(
            embedding, prompts, candidates=candidates, min_score=least, min_stability=min_stability
        )


class _Watched:
    """The model as `segment_all` sees it: each batch waits for its turn, is counted, and may be the last."""

    def __init__(self, engine: Engine, tell: Callable[[int, int], None], stop: Callable[[], bool]) -> None:
        self._engine = engine
        self._tell = tell
        self._stop = stop
        self._done = self._total = 0

    @property
    def fingerprint(self) -> str:
        return self._engine.model.fingerprint

    def encode(self, image: NDArray[Any], *, tiling: Tiling | None = None) -> Embedding:
        return self._engine.model.encode(image, tiling=tiling)

    def propose(self, embedding: Embedding) -> list[Prompt] | None:
        propose = getattr(self._engine.model, "propose", None)
        with self._turn():
            proposals: list[Prompt] | None = None if propose is None else self._engine.answered(propose, embedding)
        self._total = 0 if proposals is None else len(proposals)
        self._tell(0, self._total)
        return proposals

    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        *,
        candidates: Literal[1, 3] = 1,
        min_score: float | None = None,
        min_stability: float | None = None,
    ) -> Masks:
        with self._turn():
            decode = partial(self._engine.model.decode, candidates=candidates, min_score=min_score)
            masks: Masks = self._engine.answered(decode, embedding, prompts, min_stability=min_stability)
        self._done += len(prompts)
        self._tell(self._done, max(self._total, self._done))
        return masks

    def _turn(self) -> AbstractContextManager[None]:
        return _turn_of(self._engine.answering, self._stop)


@contextmanager
def _turn_of(gate: Gate, stop: Callable[[], bool]) -> Iterator[None]:
    with gate.through(given_up=stop) as turn:
        if not turn:
            raise Stopped
        yield
