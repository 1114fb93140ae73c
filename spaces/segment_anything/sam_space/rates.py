"""How often somebody may do something."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus

from sam_space.refusal import Refusal

MOST_KNOWN = 10_000


class Rate:
    """A bucket for each key that fills at a steady rate and empties by one for each thing done.

    Parameters
    ----------
    per_second
        How fast it fills.
    burst
        What it holds.
    clock
        Seconds; a test gives its own.

    Examples
    --------
    >>> rate = Rate(1.0, burst=2, clock=lambda: 0.0)
    >>> [rate.allows("me") for _ in range(3)], rate.allows("you")
    ([True, True, False], True)
    """

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def allows(self, key: str) -> bool:
        """Take one from the bucket of this key; False where it is empty."""
        with self._lock:
            now = self._clock()
            left, then = self._buckets.pop(key, (self._burst, now))
            left = min(self._burst, left + (now - then) * self._per_second)
            self._buckets[key] = (left - 1, now) if left >= 1 else (left, now)
            while len(self._buckets) > MOST_KNOWN:
                self._buckets.popitem(last=False)
            return left >= 1

    def spend(self, key: str, what: str) -> None:
        """Take one from the bucket, or refuse.

        Raises
        ------
        Refusal
            The bucket is empty: 429.
        """
        if not self.allows(key):
            msg = f"got too many {what} at once, expected fewer; wait a few seconds and go on"
            raise Refusal(msg, HTTPStatus.TOO_MANY_REQUESTS)
