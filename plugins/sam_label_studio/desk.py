"""Where requests wait: so many are answered at once, so many more may wait, the next one is told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class FullError(Exception):
    """As many requests wait as may."""


class Desk:
    """Runs work in threads of its own. To be used from one event loop.

    Parameters
    ----------
    name
        Of the threads.
    threads
        How much is done at once.
    waiting
        How much may wait.

    Examples
    --------
    >>> desk = Desk("clicks", threads=1, waiting=0)
    >>> asyncio.run(desk.do(lambda: 1 + 1))
    2
    >>> desk.close()
    """

    def __init__(self, name: str, *, threads: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads + waiting
        self.threads = threads
        self.busy = 0

    @property
    def waiting(self) -> int:
        """How much waits."""
        return max(0, self.busy - self.threads)

    async def do(self, work: Callable[[], T]) -> T:
        """Do some work in its turn.

        Raises
        ------
        FullError
            As much waits as may.
        """
        if self.busy >= self._most:
            raise FullError
        self.busy += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def close(self) -> None:
        """Finish what is being done, and drop what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _done(self, _: object) -> None:
        self.busy -= 1
