"""What the server counts, as text for Prometheus."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from typing import TypeAlias

Labels: TypeAlias = tuple[tuple[str, str], ...]
BOUNDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0)  # seconds
PREFIX = "sam_label_studio_"


class Metrics:
    """Counters and histograms of latencies; safe to share between threads.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.count("requests_total", path="/predict", status="200")
    >>> print(metrics.text({"queue": 3.0}))
    # TYPE sam_label_studio_requests_total counter
    sam_label_studio_requests_total{path="/predict",status="200"} 1
    # TYPE sam_label_studio_queue gauge
    sam_label_studio_queue 3
    <BLANKLINE>
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: defaultdict[str, defaultdict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._times: defaultdict[str, defaultdict[Labels, list[float]]] = defaultdict(
            lambda: defaultdict(lambda: [0.0] * (len(BOUNDS) + 2))
        )

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            self._counts[name][tuple(sorted(labels.items()))] += amount

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Add to a histogram: a number for each bound, one for what is above all, and the sum."""
        with self._lock:
            row = self._times[name][tuple(sorted(labels.items()))]
            row[bisect_left(BOUNDS, seconds)] += 1
            row[-1] += seconds

    def text(self, gauges: Mapping[str, float] | None = None) -> str:
        """Write everything, and what is measured now."""
        lines: list[str] = []
        with self._lock:
            for name, rows in sorted(self._counts.items()):
                lines += [_type(name, "counter"), *(_line(name, labels, n) for labels, n in sorted(rows.items()))]
            for name, times in sorted(self._times.items()):
                lines += [_type(name, "histogram")]
                lines += [line for labels, row in sorted(times.items()) for line in _histogram(name, labels, row)]
        for name, value in (gauges or {}).items():
            lines += [_type(name, "gauge"), _line(name, (), value)]
        return "\n".join(lines) + "\n"


def _type(name: str, kind: str) -> str:
    return f"# TYPE {PREFIX}{name} {kind}"


def _line(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{PREFIX}{name}{{{inside}}} {value:.10g}" if inside else f"{PREFIX}{name} {value:.10g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _histogram(name: str, labels: Labels, row: list[float]) -> list[str]:
    lines, total = [], 0.0
    for bound, count in zip([*map(str, BOUNDS), "+Inf"], row[:-1], strict=True):
        total += count
        lines.append(_line(f"{name}_bucket", (*labels, ("le", bound)), total))
    return [*lines, _line(f"{name}_sum", labels, row[-1]), _line(f"{name}_count", labels, total)]
