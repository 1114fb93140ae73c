"""Jobs done some at a time in threads, their results handed out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
THREADS = 2  # while one asks the model, the other fetches the next image or writes down the last answers


def in_order(jobs: Iterable[Callable[[], T]], threads: int = THREADS) -> Iterator[T]:
    """Do jobs in threads and yield what they return, in their order.

    One more is ready to begin, so that no thread waits for the caller. Who stops asking waits for those that run; no
    further one is begun.

    Parameters
    ----------
    jobs
        Taken one by one, in the thread of the caller, when there is room for one more.
    threads
        How many jobs are done at a time.

    Raises
    ------
    Exception
        Whatever a job raises, in its turn.

    Examples
    --------
    >>> list(in_order([lambda: 1, lambda: 2, lambda: 3], threads=2))
    [1, 2, 3]
    """
    begun: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        try:
            for job in jobs:
                begun.append(pool.submit(job))
                if len(begun) > threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
