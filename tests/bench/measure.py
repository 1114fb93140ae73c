"""How things are timed, and what a measured row is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

T = TypeVar("T")


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


def apart(work: Callable[[], T]) -> T:
    """Do something in a thread that ends with it.

    A thread that has run torch has helpers, one for each core, as long as it lives. Where there are more of them than
    cores, those of all threads sleep between two operations, and what is measured next is up to a fifth slower than in
    the program that it is part of.
    """
    with ThreadPoolExecutor(1, "apart") as thread:
        return thread.submit(work).result()


def product(dtype: torch.dtype = torch.float32) -> float:
    """Return P: seconds for one fp32 product of two 2048 x 2048 matrices; or that of another dtype."""

    def work() -> float:
        a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
        return seconds(lambda: a @ b, runs=9, warmup=2)

    return apart(work)
