"""How things are timed, and what a measured row is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure beside its bar.

    Parameters
    ----------
    what
        The figure, in words.
    value
        As measured.
    unit
        Of the value: "x", "P", "GiB", "s", "".
    bar
        What must be reached.
    at_least
        Whether more is better.
    note
        The absolute times behind a ratio.
    """

    what: str
    value: float
    unit: str
    bar: float
    at_least: bool
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether the bar is reached."""
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def seconds(work: Callable[[], Any], runs: int = 7, warmup: int = 1) -> float:
    """Return the median time of `work`."""
    for _ in range(warmup):
        work()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def product(dtype: torch.dtype = torch.float32) -> float:
    """Return P: seconds for one fp32 product of two 2048 x 2048 matrices; or that of another dtype."""
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    return seconds(lambda: a @ b, runs=9, warmup=2)
