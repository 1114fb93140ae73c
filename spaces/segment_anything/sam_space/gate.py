"""One thing at a time, in the order of coming but for what is urgent, with a bounded queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from sam_space.refusal import Refusal

POLL = 0.25  # seconds between looks at whether a waiting one has given up


class Gate:
    """Lets so many through at a time; the others wait, and only so many may.

    Parameters
    ----------
    width
        How many are let through together.
    waiting
        How many may wait.
    """

    def __init__(self, width: int, waiting: int) -> None:
        self._free = width
        self._waiting = waiting
        self._urgent: deque[object] = deque()
        self._others: deque[object] = deque()
        self._turn = threading.Condition()

    @property
    def length(self) -> int:
        """How many wait."""
        return len(self._urgent) + len(self._others)

    @contextmanager
    def through(self, *, given_up: Callable[[], bool] = lambda: False, urgent: bool = False) -> Iterator[bool]:
        """Wait for one's turn; gives False, without a turn, where the one who waited has given up.

        What is urgent, as a click is, goes before what is not, as previews and long work are.

        Raises
        ------
        Refusal
            Too many wait already: 503.
        """
        entered = self._enter(given_up, self._urgent if urgent else self._others)
        try:
            yield entered
        finally:
            if entered:
                with self._turn:
                    self._free += 1
                    self._turn.notify_all()

    def _enter(self, given_up: Callable[[], bool], queue: deque[object]) -> bool:
        me = object()
        with self._turn:
            if self.length >= self._waiting:
                msg = f"got more than {self._waiting} requests at once, expected fewer; try again in a moment"
                raise Refusal(msg, HTTPStatus.SERVICE_UNAVAILABLE)
            queue.append(me)
            try:
                while not (self._free and (self._urgent or self._others)[0] is me):
                    if given_up():
                        return False
                    self._turn.wait(POLL)
                if given_up():
                    return False
                self._free -= 1
                return True
            finally:
                queue.remove(me)
                self._turn.notify_all()
