"""The models of a server: one that is always there, and others that are loaded when somebody asks for them."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sam_core import SamError, Segmenter
from sam_space import memory, weights
from sam_space.catalogue import EMBEDDED, Offer
from sam_space.engine import Engine, Stopped
from sam_space.gate import Gate
from sam_space.limits import Limits
from sam_space.rates import Rate
from sam_space.refusal import Refusal
from sam_space.weights import Known

log = logging.getLogger(__name__)

Tell: TypeAlias = Callable[[dict[str, Any]], None]
Stop: TypeAlias = Callable[[], bool]
Load: TypeAlias = Callable[[str], Segmenter]
InUse: TypeAlias = Callable[[str], bool]

AGAIN = 60.0  # seconds after which the Hub is asked once more where it did not answer
WORKING = 768 << 20  # bytes that a picture of 4096 tokens takes on its way through the largest SAM, measured: see docs
WORKING_TOKENS = 4096
SPARE = 256 << 20  # bytes that pictures and embeddings of visitors may yet take
TRIAL = (256, 256)  # pixels of the picture that a new model is tried on


@dataclass(eq=False, slots=True)
class Entry:
    """A model of the list, and how far it is.

    Parameters
    ----------
    offer
        What it is.
    engine
        Answers with it; None where it is not loaded.
    known
        What the Hub or the cache told, None where neither was asked.
    why
        Why it could not be had when it was last tried.
    is_cut_off
        Whether that was because the Hub cannot be reached.
    progress
        Stage, bytes that are done and bytes in all, while it is being loaded.
    asked
        When the Hub was asked last.
    used
        When somebody asked it last.
    encode_ms
        That its first picture took.
    dtype
        What it computes in, once it was loaded.
    """

    offer: Offer
    engine: Engine | None = None
    known: Known | None = None
    why: str = ""
    is_cut_off: bool = False
    progress: tuple[str, int, int] | None = None
    asked: float = float("-inf")
    used: float = 0.0
    encode_ms: float = 0.0
    dtype: str = ""

    @property
    def nbytes(self) -> int:
        """Of its weights, as exactly as is known."""
        return self.known.nbytes if self.known else self.offer.nbytes

    @property
    def is_embedded(self) -> bool:
        """Whether it comes with sam-core."""
        return self.offer.source in EMBEDDED

    @property
    def call(self) -> str:
        """Python that loads it as it was here: of the same commit, and in the same precision."""
        revision = (self.known.commit if self.known else "") or self.offer.revision
        given = [f'"{self.offer.source}"']
        given += [f'revision="{revision}"'] if self.offer.is_remote and revision else []
        # Another machine computes in what it is quickest in, unless it is told.
        given += [f'dtype="{self.dtype}"'] if self.dtype else []
        return f"Sam.from_pretrained({', '.join(given)})"


class Models:
    """Keeps models for all visitors: few at a time, loaded one after the other, only those of a list.

    Parameters
    ----------
    base
        The model that is always there.
    offer
        What that is.
    offered
        The others of the list.
    limits
        How many are kept, and how often one may be loaded.
    load
        Makes a model of its source or folder.
    in_use
        Says whether a visitor works with the model of a name.
    clock, available
        Seconds, and bytes of memory that are left; a test gives its own.
    """

    def __init__(
        self,
        base: Engine,
        offer: Offer,
        offered: Iterable[Offer],
        limits: Limits,
        *,
        load: Load,
        in_use: InUse,
        clock: Callable[[], float] = time.monotonic,
        available: Callable[[], int | None] = memory.available,
    ) -> None:
        known = weights.cached(offer) if offer.is_remote else None
        self.base = Entry(offer, base, known, dtype=dtype_of(base))
        self._entries = {offer.name: self.base}
        for each in offered:
            self._entries.setdefault(each.name, Entry(each))
        self._limits = limits
        self._load = load
        self._in_use = in_use
        self._clock = clock
        self._measure = available
        self._gate = Gate(1, limits.waiting_loads)
        self._lock = threading.Lock()
        self._surveying = threading.Lock()
        self._mine = Rate(limits.loads_per_hour / 3600, limits.loads_per_hour / 4)
        self._all = Rate(limits.loads_per_hour / 1200, limits.loads_per_hour)

    # -- telling ------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, name: str) -> Entry:
        """Return a model of the list; "" is the one that is always there.

        Raises
        ------
        Refusal
            The list does not have it: 404.
        """
        entry = self._entries.get(name) if name else self.base
        if entry is None:
            msg = "got a model that is not offered here, expected one of the list"
            raise Refusal(msg, HTTPStatus.NOT_FOUND)
        return entry

    def engine(self, name: str) -> Engine | None:
        """Return what answers with a model, or None where it is not loaded any more."""
        entry = self.find(name)
        entry.used = self._clock()
        return entry.engine

    @property
    def hub(self) -> str:
        """Say that the Hub cannot be reached, where that was so when it was asked last; else ""."""
        return weights.NO_HUB if any(each.is_cut_off for each in self._entries.values()) else ""

    def describe(self) -> list[dict[str, Any]]:
        """Tell of all models of the list, as the page shows them."""
        free, idle = self._available(), self._idle_bytes()
        return [self._described(each, free, idle) for each in self._entries.values()]

    def _described(self, entry: Entry, free: int | None, idle: int) -> dict[str, Any]:
        offer, known = entry.offer, entry.known
        state, why = self._state(entry, free, idle)
        stage, done, total = entry.progress or ("", 0, 0)
        return {
            "name": offer.name,
            "title": offer.title or offer.name,
            "about": offer.about,
            "licence": (known.licence if known else "") or offer.licence,
            "bytes": entry.nbytes,
            "exact": known is not None,
            "commit": known.commit if known else "",
            "parameters": offer.parameters,
            "memory": need(entry.nbytes),
            "state": state,
            "why": why,
            "stage": stage,
            "done": done,
            "total": total,
            "encode_ms": round(entry.encode_ms),
        }

    def _state(self, entry: Entry, free: int | None, idle: int) -> tuple[str, str]:
        if entry.engine is not None:
            return "loaded", ""
        if entry.progress is not None:
            return "loading", ""
        if entry.known is None and entry.why:
            short = f"not on this machine: hf download {entry.offer.name}"
            return "away", short if entry.is_cut_off else entry.why
        if not self._fits(entry, free, idle):
            return "large", too_large(entry.offer.name, need(entry.nbytes), (free or 0) + idle)
        if entry.why:
            return "failed", entry.why
        if entry.is_embedded or (entry.known is not None and entry.known.folder is not None):
            return "here", ""
        return ("remote" if entry.known else "asking"), ""

    def _fits(self, entry: Entry, free: int | None, idle: int) -> bool:
        return free is None or need(entry.nbytes) <= free + idle

    def _available(self) -> int | None:
        free = self._measure()
        return None if free is None else max(0, free - SPARE)

    def _idle_bytes(self) -> int:
        return sum(each.nbytes for each in self._idle())

    def _idle(self) -> list[Entry]:
        """Return those that nobody works with, the one that was not asked for longest first."""
        loaded = [each for each in self._entries.values() if each.engine and each is not self.base]
        return sorted((e for e in loaded if not self._in_use(e.offer.name)), key=lambda each: each.used)

    # -- asking the Hub -----------------------------------------------------------------------------------------------

    def survey(self) -> None:
        """Find out, in the background, what is on this machine and what the Hub says of the others."""
        if self._surveying.acquire(blocking=False):
            threading.Thread(target=self._survey, daemon=True, name="survey").start()

    def _survey(self) -> None:
        try:
            # Whoever cannot be reached for one is not waited for once more.
            away = False
            for entry in self._entries.values():
                if entry.engine is None and entry.progress is None and not entry.is_embedded:
                    away = self._look(entry, away=away) or away
        except Exception:
            log.exception("the models could not be looked for")
        finally:
            self._surveying.release()

    def _look(self, entry: Entry, *, away: bool) -> bool:
        """Learn about one model; True where the Hub cannot be reached."""
        if entry.known is not None and (entry.known.folder is None or entry.known.folder.is_dir()):
            return False
        entry.known = weights.cached(entry.offer)
        if entry.known is not None:
            entry.why, entry.is_cut_off = "", False
            return False
        if self._clock() - entry.asked < AGAIN:
            return False
        entry.asked = self._clock()
        if not away:
            try:
                entry.known, entry.why, entry.is_cut_off = weights.ask(entry.offer), "", False
                return False
            except Refusal as refusal:
                return self._refused(entry, refusal)
        return self._refused(entry, weights.unreachable(entry.offer))

    def _refused(self, entry: Entry, refusal: Refusal) -> bool:
        entry.why, entry.is_cut_off = refusal.message, isinstance(refusal, weights.UnreachableRefusal)
        return entry.is_cut_off

    # -- loading ------------------------------------------------------------------------------------------------------

    def load(self, name: str, key: str, tell: Tell, stop: Stop) -> Entry:
        """Return a model that answers; one that is not loaded is, when it is its turn.

        Parameters
        ----------
        name
            A name of the list.
        key
            Whose wish it is, for the rate.
        tell, stop
            Is told how far it is; says whether nobody waits for it any more.

        Raises
        ------
        Refusal
            It cannot be had; the sentence says why, and what to do.
        Stopped
            `stop` said so.
        """
        entry = self.find(name)
        if entry.engine is None:
            self._mine.spend(key, "models")
            self._all.spend("", "models")
            with self._gate.through(given_up=self._waiting(tell, stop)) as turn:
                if not turn:
                    raise Stopped
                if entry.engine is None:
                    self._begin(entry, tell, stop)
        entry.used = self._clock()
        return entry

    def _waiting(self, tell: Tell, stop: Stop) -> Stop:
        """Tell who waits how far that is which is loaded before."""
        told: list[Any] = [None]

        def given_up() -> bool:
            now = next((e for e in self._entries.values() if e.progress), None)
            if now is not None and told[0] != now.progress:
                told[0] = now.progress
                tell({"stage": "waiting", "for": now.offer.title or now.offer.name})
            return stop()

        return given_up

    def _begin(self, entry: Entry, tell: Tell, stop: Stop) -> None:
        def told(stage: str, done: int = 0, total: int = 0) -> None:
            if (stage, done, total) != entry.progress:
                entry.progress = (stage, done, total)
                tell({"stage": stage, "done": done, "total": total})

        entry.why, entry.is_cut_off = "", False
        try:
            told("asking")
            engine, entry.encode_ms = self._loaded(entry, told, stop)
            with self._lock:
                entry.engine, entry.dtype = engine, dtype_of(engine)
        except Stopped:
            entry.why = "the last attempt was stopped; what had arrived is kept"
            raise
        except Refusal as refusal:
            self._refused(entry, refusal)
            raise
        except SamError as error:
            entry.why = self._without_paths(entry, str(error))
            raise Refusal(entry.why, HTTPStatus.OK) from error
        except (MemoryError, RuntimeError) as error:  # torch says so where memory is not enough
            log.exception("a model could not be loaded")
            entry.why = (
                f"{entry.offer.name} could not be loaded: there is not enough memory, or its weights do not work"
            )
            raise Refusal(entry.why, HTTPStatus.OK) from error
        finally:
            entry.progress = None

    def _loaded(self, entry: Entry, told: Callable[..., None], stop: Stop) -> tuple[Engine, float]:
        source = self._source(entry, told, stop)
        self._make_room(entry, need(entry.nbytes, tokens_of(entry.known)))
        told("loading", entry.nbytes, entry.nbytes)
        model = self._load(source)
        if stop():
            raise Stopped
        engine = Engine(model, self._limits, beside=self.base.engine)
        told("trying", entry.nbytes, entry.nbytes)
        # What does not work is better found out now than at the first picture of somebody.
        return engine, engine.try_out(np.zeros(TRIAL, np.uint8), stop)

    def _source(self, entry: Entry, told: Callable[..., None], stop: Stop) -> str:
        """Return where it can be loaded from, once it is there."""
        if entry.is_embedded:
            return entry.offer.source
        known = weights.cached(entry.offer)
        if known is None:
            known = weights.ask(entry.offer)
            entry.known, size = known, known.nbytes
            # Not after it was downloaded for nothing.
            self._make_room(entry, need(entry.nbytes), only_look=True)
            folder = weights.fetch(entry.offer, known, lambda done: told("fetching", done, size), stop)
            known = Known(folder.name, known.nbytes, known.patterns, known.licence, folder)
        entry.known = known
        return str(known.folder)

    def _make_room(self, entry: Entry, wanted: int, *, only_look: bool = False) -> None:
        """Let go of models that nobody works with, as far as this one needs it.

        Raises
        ------
        Refusal
            It would not be enough.
        """
        idle = self._idle()
        loaded = sum(each.engine is not None and each is not self.base for each in self._entries.values())
        if loaded - len(idle) >= self._limits.models:
            msg = (
                f"{loaded} other models are in use by visitors, and more are not kept here at a time; choose one of "
                "those that are loaded, or try again later"
            )
            raise Refusal(msg, HTTPStatus.OK)
        free = self._available()
        if free is not None and wanted > free + sum(each.nbytes for each in idle):
            raise Refusal(too_large(entry.offer.name, wanted, free + sum(e.nbytes for e in idle)), HTTPStatus.OK)
        if only_look:
            return
        while idle and (loaded >= self._limits.models or (free is not None and wanted > free)):
            self.let_go(idle.pop(0).offer.name)
            loaded, free = loaded - 1, self._available()
        if free is not None and wanted > free:  # what was let go did not come back as soon
            raise Refusal(too_large(entry.offer.name, wanted, free), HTTPStatus.OK)

    def let_go(self, name: str) -> None:
        """Forget a model and the embeddings that it made; the one that is always there stays."""
        entry = self.find(name)
        if entry is self.base or entry.engine is None:
            return
        with self._lock:
            engine, entry.engine = entry.engine, None
        engine.forget()
        del engine
        memory.give_back()

    def _without_paths(self, entry: Entry, said: str) -> str:
        folder = entry.known.folder if entry.known else None
        return said.replace(str(folder), entry.offer.name) if folder else said


def dtype_of(engine: Engine) -> str:
    """Return what a model computes in, "" where it does not say."""
    return str(getattr(engine.model, "dtype", ""))


def need(nbytes: int, tokens: int = WORKING_TOKENS) -> int:
    """Estimate the memory that loading and using a model takes.

    While it is loaded, its file and the network made of it are there at once; afterwards the network, and what a
    picture takes on its way through it.

    Examples
    --------
    >>> need(375_000_000) / 1e6, need(2_564_000_000) / 1e6
    (1180.306368, 5128.0)
    """
    return max(2 * nbytes, nbytes + WORKING * tokens // WORKING_TOKENS)


def tokens_of(known: Known | None) -> int:
    """Count the tokens of a picture, as the config says; those of SAM's own sizes where it does not."""
    if known is None or known.folder is None:
        return WORKING_TOKENS
    try:
        raw = json.loads(Path(known.folder, weights.CONFIG).read_text("utf-8"))
        vision = raw.get("vision_config") or {}
        return int((int(vision.get("image_size", 1024)) // int(vision.get("patch_size", 16))) ** 2)
    except (OSError, ValueError, TypeError, AttributeError, ZeroDivisionError):
        return WORKING_TOKENS


def too_large(name: str, wanted: int, free: int) -> str:
    """Say that memory would not do, and how to go on."""
    return (
        f"{name} needs about {_size(wanted)} of memory, and {_size(free)} are free here; choose a smaller model, or "
        "run `sam-core space` on a machine with more"
    )


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.0f} MB"
