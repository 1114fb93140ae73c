"""Work that nobody waits for: done when there is nothing else to do."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

REST = 0.5  # seconds without a request, after which what was put off is done
FULL = 0.75  # of the limit: from here on it is done in any case, so that nobody has to wait for room
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[], object]
    nbytes: int
    rest: float


class Later:
    """Does jobs one after the other in a thread of its own, when nothing was asked for a while; safe to share.

    The thread lives as long as there are jobs.

    Parameters
    ----------
    limit
        Bytes that put-off jobs may hold in memory; who brings more waits.
    rest
        Seconds for which nobody must have asked for anything.

    Examples
    --------
    >>> later, done = Later(limit=100), []
    >>> later.add(lambda: done.append("written"), nbytes=10)
    >>> later.flush()
    >>> done
    ['written']
    """

    def __init__(self, limit: int, rest: float = REST) -> None:
        self._limit = limit
        self._rest = rest
        self._jobs: deque[_Job] = deque()
        self._nbytes = 0
        self._asking = 0
        self._asked = 0.0
        self._hurried = 0
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()

    @property
    def nbytes(self) -> int:
        """Bytes that put-off jobs hold in memory."""
        return self._nbytes

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Say that somebody waits for an answer as long as the block takes, and shortly after."""
        with self._changed:
            self._asking += 1
        try:
            yield
        finally:
            with self._changed:
                self._asking -= 1
                self._asked = time.monotonic()

    def add(self, work: Callable[[], object], nbytes: int, *, rest: float = 0.0) -> None:
        """Put a job off; waits while too much is put off already, but a job that adds another one does not.

        Parameters
        ----------
        work, nbytes
            What is to be done, and what it holds in memory until then.
        rest
            Seconds for which nobody must have asked for anything, where that is more than for other jobs.
        """
        with self._changed:
            if threading.current_thread() is not self._thread:
                self._hurry(lambda: not self._jobs or self._nbytes + nbytes <= self._limit)
            self._jobs.append(_Job(work, nbytes, max(rest, self._rest)))
            self._nbytes += nbytes
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="later")
                self._thread.start()
            self._changed.notify_all()

    def pause(self, rest: float) -> None:
        """Wait in the midst of a job until it is time to go on."""
        with self._changed:
            while not self._is_time(rest):
                self._changed.wait(self._rest)

    def flush(self) -> None:
        """Do all that was put off, now."""
        with self._changed:
            self._hurry(lambda: not self._jobs)

    def _hurry(self, enough: Callable[[], bool]) -> None:
        """Have jobs done, whoever asks for what, until it is enough."""
        self._hurried += 1
        self._changed.notify_all()
        self._changed.wait_for(enough)
        self._hurried -= 1

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._jobs and not self._is_time(self._jobs[0].rest):
                    self._changed.wait(self._rest)
                if not self._jobs:
                    self._thread = None
                    return
                job = self._jobs[0]
            try:
                job.work()
            except Exception as error:  # nobody is there to be told, and the answer was given long ago
                log.warning("put off, and not done: %s", error)
            with self._changed:
                self._jobs.popleft()
                self._nbytes -= job.nbytes
                self._changed.notify_all()

    def _is_time(self, rest: float) -> bool:
        is_quiet = not self._asking and time.monotonic() - self._asked >= rest
        return is_quiet or self._hurried > 0 or self._nbytes > FULL * self._limit or is_over()


def is_over() -> bool:
    """Tell whether Python ends, and waits only for threads that are left."""
    return not threading.main_thread().is_alive()
