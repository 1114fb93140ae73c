"""Who is here, and what each has brought and made. Nothing of it is written to disk, nothing outlives the visit."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from sam_space.kept import Kept
from sam_space.limits import Limits
from sam_space.picture import Picture
from sam_space.refusal import Refusal
from sam_space.work import History

KEY_BYTES = 24


@dataclass(eq=False, slots=True)
class Visitor:
    """One page that is open somewhere.

    Parameters
    ----------
    key
        What the page shows to be recognised; nobody can guess it.
    seen
        When it was last heard of.
    history
        What was made of the picture.
    turn
        Counts previews: an older one that still waits gives up.
    run
        Counts long work: an older run stops.
    sent
        Keys of the drawings that the page has.
    model
        Name of the model that answers; "" for the one that is always there.
    asked
        When it was asked last.
    lock
        Held while the work is changed.
    """

    key: str
    seen: float
    history: History = field(default_factory=History)
    picture_key: str | None = None
    turn: int = 0
    run: int = 0
    sent: set[int] = field(default_factory=set)
    model: str = ""
    asked: float = float("-inf")
    lock: threading.RLock = field(default_factory=threading.RLock)


class Visitors:
    """All visitors, and their pictures in a store that is bounded in bytes.

    Parameters
    ----------
    limits
        How many, how long, how much.
    clock
        Seconds; a test gives its own.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._known: OrderedDict[str, Visitor] = OrderedDict()
        self._pictures: Kept[str, Picture] = Kept(limits.picture_bytes, lambda each: each.nbytes)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def welcome(self) -> Visitor:
        """Make a new visitor; those who went without a word are forgotten."""
        visitor = Visitor(secrets.token_urlsafe(KEY_BYTES), self._clock())
        with self._lock:
            self._known[visitor.key] = visitor
            gone = [each for each in self._known.values() if self._is_gone(each)]
            gone += list(self._known.values())[: max(0, len(self._known) - len(gone) - self._limits.visitors)]
        for each in gone:
            self.forget(each.key)
        return visitor

    def find(self, key: str | None) -> Visitor:
        """Return a visitor by key.

        Raises
        ------
        Refusal
            There is none: 404.
        """
        with self._lock:
            visitor = self._known.get(key or "")
            if visitor is None or self._is_gone(visitor):
                msg = "your visit has ended, and what you brought is deleted; reload the page to begin anew"
                raise Refusal(msg, HTTPStatus.NOT_FOUND)
            visitor.seen = self._clock()
            self._known.move_to_end(visitor.key)
            return visitor

    def asks(self, visitor: Visitor) -> None:
        """Note that a visitor asks the model."""
        visitor.asked = self._clock()

    def using(self, model: str) -> int:
        """Count those who asked the model of this name lately."""
        since = self._clock() - self._limits.model_seconds
        with self._lock:
            known = list(self._known.values())
        return sum(each.model == model and each.asked > since for each in known if not self._is_gone(each))

    def forget(self, key: str) -> None:
        """Delete a visitor and the picture."""
        with self._lock:
            visitor = self._known.pop(key, None)
        if visitor is not None:
            visitor.run += 1
            visitor.turn += 1
        self._pictures.drop(key)

    def bring(self, visitor: Visitor, picture: Picture) -> None:
        """Put a picture in place of the one before, with no work done on it."""
        with visitor.lock:
            visitor.history = History()
            visitor.picture_key = picture.key
            visitor.sent.clear()
            visitor.run += 1
            visitor.turn += 1
            self._pictures.put(visitor.key, picture)

    def held(self, visitor: Visitor) -> Picture | None:
        """Return what the visitor works on, None where there is nothing."""
        return self._pictures.get(visitor.key)

    def picture(self, visitor: Visitor) -> Picture:
        """Return what the visitor works on.

        Raises
        ------
        Refusal
            Nothing was opened, or it had to make room.
        """
        found = self._pictures.get(visitor.key)
        if found is None:
            msg = "there is no picture: open one" if visitor.picture_key is None else "your picture had to make room"
            raise Refusal(msg if visitor.picture_key is None else f"{msg} for those of others; open it again", 404)
        return found

    def _is_gone(self, visitor: Visitor) -> bool:
        return self._clock() - visitor.seen > self._limits.idle_seconds
