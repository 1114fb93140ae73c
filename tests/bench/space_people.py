"""Twenty visitors at once, and five hundred images one after the other."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from tests.bench.measure import Row, product
from tests.bench.space_guest import Guest, Place, Server, busy, picture, serving

PEOPLE, MINUTE = 20, 60.0
PLACES = 12  # different ones of each visitor
APART = 0.028  # seconds between questions of a moving pointer, as the page has it
HOVER = (0.6, 2.4)  # seconds of it between two clicks
TIDY = 10  # clicks after which the objects are put away
DISTINCT = 500  # images
FULL = 400  # of them after which all caches are full: there is room for 24 embeddings and 384 pictures
ABREAST = 4  # who bring them at once


@dataclass
class _Seen:
    """What happened to somebody."""

    clicks: list[float] = field(default_factory=list)
    previews: int = 0
    errors: list[str] = field(default_factory=list)
    foreign: int = 0


def rows() -> Iterator[Row]:
    """Let visitors hover on the server, then in their browsers, each clicking; then fill the memory."""
    p = product()
    with serving() as server:
        pictures = [picture(1000 + i) for i in range(PEOPLE)]
        yield from _people(server, pictures, p, "on the server", hovers=True)
        yield from _people(server, pictures, p, "in their browsers", hovers=False)
    with serving() as server:
        yield from memory(server)


def _people(server: Server, pictures: list[Place], p: float, where: str, *, hovers: bool) -> Iterator[Row]:
    guests = [Guest(server, number) for number in range(len(pictures))]
    for guest, each in zip(guests, pictures, strict=True):
        guest.open(each)
    alone = [_alone(guest, each) for guest, each in zip(guests, pictures, strict=True)]
    if len({str(answer) for answers in alone for answer in answers}) < PEOPLE * PLACES // 2:
        msg = "the answers of different visitors are alike: nothing would be shown by comparing them"
        raise RuntimeError(msg)
    until = time.monotonic() + MINUTE
    with ThreadPoolExecutor(PEOPLE) as pool:
        jobs = [
            pool.submit(_visit, guest, each, expected, until, hovers=hovers)
            for guest, each, expected in zip(guests, pictures, alone, strict=True)
        ]
        seen = [job.result() for job in jobs]
    for guest in guests:
        guest.leave()
    times = [took for each in seen for took in each.clicks]
    previews = sum(each.previews for each in seen)
    errors = [error for each in seen for error in each.errors]
    p95 = float(np.percentile(times, 95))
    note = (
        f"p95 {1000 * p95:.0f} ms, median {1000 * float(np.median(times)):.0f} ms of {len(times)} clicks, "
        f"{previews / MINUTE:.0f} previews/s in all, P = {1000 * p:.0f} ms, {busy()}"
    )
    what = f"{PEOPLE} visitors for {MINUTE:.0f} s, hovering {where}"
    yield Row(f"{what}: click, p95", p95 / p, "P", 6, False, note)
    yield Row("... errors", len(errors), "", 0, False, "; ".join(errors[:3]))
    yield Row("... masks that are not the visitor's own", sum(each.foreign for each in seen), "", 0, False)


def _alone(guest: Guest, picture: Place) -> list[object]:
    """Return what each click gives when nobody else is there; `act` allows eight a second."""
    found: list[object] = []
    for place in picture.middles[:PLACES]:
        found.append(guest.click(place))
        time.sleep(0.13)
    guest.clear()
    return found


def _visit(guest: Guest, picture: Place, expected: list[object], until: float, *, hovers: bool) -> _Seen:
    """Point about and click, until the time is over."""
    choose, seen = random.Random(picture.name), _Seen()
    if not hovers:
        guest.features()
    while time.monotonic() < until:
        try:
            _point(guest, picture, expected, seen, time.monotonic() + choose.uniform(*HOVER), hovers=hovers)
            number = choose.randrange(PLACES)
            started = time.perf_counter()
            mask = guest.click(picture.middles[number])
            seen.clicks.append(time.perf_counter() - started)
            seen.foreign += mask != expected[number]
            if len(seen.clicks) % TIDY == 0:
                guest.clear()
        except Exception as error:
            seen.errors.append(f"{type(error).__name__}: {error}")
    return seen


def _point(guest: Guest, picture: Place, expected: list[object], seen: _Seen, until: float, *, hovers: bool) -> None:
    """Move over cells; what is shown there has to be what a click gives."""
    if not hovers:
        time.sleep(max(0.0, until - time.monotonic()))
    number = 0
    while time.monotonic() < until:
        number = (number + 1) % PLACES
        started = time.monotonic()
        mask = guest.preview(picture.middles[number])
        seen.previews += 1
        seen.foreign += mask is not None and not _alike(mask, expected[number])
        time.sleep(max(0.0, APART - (time.monotonic() - started)))


def _alike(mask: object, expected: object) -> bool:
    """Say whether two masks, as they are sent, cover much the same: a quick look and a click differ by pixels."""
    a, b = _pixels(mask), _pixels(expected)
    return len(a & b) > 0.8 * len(a | b)


def _pixels(mask: object) -> set[tuple[int, int]]:
    sent: dict[str, object] = mask  # type: ignore[assignment]
    x, y, w, runs = (sent[name] for name in ("x", "y", "w", "runs"))
    at, found = 0, set()
    for i, run in enumerate(runs):  # type: ignore[arg-type]
        if i % 2:
            found |= {(y + k // w, x + k % w) for k in range(at, at + run)}  # type: ignore[operator]
        at += run
    return found


def memory(server: Server, distinct: int = DISTINCT, full: int = FULL) -> Iterator[Row]:
    """Bring one image after the other, encode it, send it to a browser, point and click."""
    seen = {}
    with ThreadPoolExecutor(ABREAST) as pool:
        for first in range(0, distinct, 50):
            list(pool.map(lambda seed: _bring(server, seed), range(first, min(first + 50, distinct))))
            seen[min(first + 50, distinct)] = server.resident
    note = ", ".join(f"{mib:.0f} after {count}" for count, mib in seen.items())
    growth = 100 * (seen[distinct] / seen[full] - 1)
    yield Row(f"growth of memory from {full} to {distinct} distinct images", growth, "%", 10, False, f"MiB: {note}")
    note = f"images of 1024 x 1024, each of another visitor; {busy()}"
    yield Row(f"memory after {distinct} distinct images", seen[distinct] / 1024, "GiB", 2.5, False, note)


def _bring(server: Server, seed: int) -> None:
    """Come, look at an image, and go without a word, as pages do that are closed badly."""
    guest = Guest(server, seed)
    each = picture(5000 + seed)
    guest.open(each)
    guest.features()
    guest.preview(each.middles[0])
    guest.click(each.middles[0])
    guest.http.close()
