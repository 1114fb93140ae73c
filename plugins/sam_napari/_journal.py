"""The journal: an append-only file of what was asked, taken and painted, from which the labels can be made again.

A journal is JSON, one event a line, the first of them `open`. Each event that changed pixels carries them, so a replay
needs no model and is exact. A line is either whole or, after a crash or on a full disk, cut off and passed over.

No two journals share a file, so two napari never write to one; a lock says which are being written.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import weakref
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event as Signal
from threading import Thread
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from sam_core import Prompt, SamError
from sam_napari._change import Change
from sam_napari._source import Plane

FORMAT = 1
SYNC = 1.0  # seconds after which what was written is sure to survive a power cut
OWED = 1 << 26  # bytes that are kept to be written when the disk has room again
PATIENCE = 10.0  # seconds that closing waits for a slow disk
FAST = 1  # of zlib: masks shrink as well as with more effort
BYTE = 1 << 30  # that is locked: far beyond the end, because Windows does not let others read locked bytes

Facts = Mapping[str, Any]


class JournalError(SamError):
    """A file that is no journal, or not one that this version can read."""


@dataclass(frozen=True, eq=False, slots=True)
class Event:
    """One line of a journal.

    Parameters
    ----------
    number
        0 for `open`, then 1, 2, 3, ...
    kind
        open, take, refine, cycle, box, erase, batch, follow, pixels, close, ...
    seconds
        Since the journal was opened.
    facts
        What else is known: label, prompt, score, ...
    changes
        The pixels that changed, in order.
    """

    number: int
    kind: str
    seconds: float
    facts: Facts
    changes: tuple[Change, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Entry:
    """A journal in a folder.

    Parameters
    ----------
    path
        The file.
    opened
        The facts of its first line: image, shape, key, ...
    started
        When, in seconds since 1970.
    live
        Somebody, in this napari or another one, is writing it.
    finished
        It was closed, so nothing had gone wrong.
    size
        Bytes.
    """

    path: Path
    opened: Facts
    started: float
    live: bool
    finished: bool
    size: int


class Journal:
    """Writes a journal, on a thread of its own: noting something costs the caller next to nothing.

    The file is made when there is something to write. Where it cannot be written, `tell` is called once, and work goes
    on: what could not be written is kept, up to 64 MiB, and written as soon as the disk takes it.

    Parameters
    ----------
    folder
        Where journals are kept; made when there is none.
    key
        Tells the image from others: a hash of its content.
    opened
        What to know about it: name, shape of the label array, its dtype, fingerprint of the model, ...; as JSON has it.
    tell
        Called with a sentence for the user, from the journal's own thread.
    """

    def __init__(self, folder: Path, key: str, opened: Facts, tell: Callable[[str], None]) -> None:
        facts = {"format": FORMAT, "key": key, "started": time.time(), **opened}
        self._writer = _Writer(_new_path(folder, key), tell, [_Note(0, "open", 0.0, facts, ())])
        self._count, self._start = 0, time.monotonic()
        self._end = weakref.finalize(self, self._writer.stop)  # also when Python ends

    @property
    def path(self) -> Path:
        """The file; it need not be there yet."""
        return self._writer.path

    @property
    def closed(self) -> bool:
        """Whether nothing is noted any more."""
        return not self._end.alive

    def note(self, kind: str, changes: Sequence[Change] = (), **facts: Any) -> None:
        """Add an event; the arrays of its changes must not be written to afterwards. Nothing after `close`."""
        if not self.closed:
            self._count += 1
            self._writer.put(_Note(self._count, kind, time.monotonic() - self._start, facts, tuple(changes)))

    def flush(self) -> None:
        """Wait until all is written, or cannot be."""
        self._writer.flush()

    def close(self) -> None:
        """Write what is left and end the thread; a journal that never had an event leaves no file."""
        if self._count:
            self.note("close")
        self._end()


def journals(folder: Path, key: str | None = None) -> list[Entry]:
    """Return the journals of a folder, the latest first; with a key only those of its image.

    What is no journal, or cannot be read, is left out.
    """
    entries = []
    with suppress(OSError):
        for path in folder.glob("*.jsonl"):
            with suppress(OSError, JournalError):
                entry = entry_of(path)
                if key is None or entry.opened.get("key") == key:
                    entries.append(entry)
    return sorted(entries, key=lambda entry: entry.started, reverse=True)


def entry_of(path: Path) -> Entry:
    """Return what there is to know about a journal without reading all of it.

    Raises
    ------
    JournalError
        It is no journal, or of a newer version.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        opened = _opened(file.readline(1 << 20), path)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 200))
        last = _parsed(file.read().rstrip(b"\n").rpartition(b"\n")[2])
        live = _is_locked(file.fileno())
    finished = last is not None and last.get("event") == "close"
    return Entry(path, opened, float(opened.get("started", 0.0)), live, finished, size)


def events(path: Path) -> Iterator[Event]:
    """Yield the events of a journal in order; lines that are cut off or damaged are passed over.

    Raises
    ------
    JournalError
        It is no journal, or of a newer version.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        yield Event(0, "open", 0.0, _opened(file.readline(), path), ())
        last = 0
        for line in file:
            event = _event(line)
            # A line that was first cut off by a full disk is written again: never twice whole.
            if event is not None and event.number > last:
                last = event.number
                yield event


def prompt_facts(prompt: Prompt) -> dict[str, Any]:
    """Return a prompt as JSON has it; of a previous answer only that there was one."""
    return {
        "points": [[round(float(y), 2), round(float(x), 2)] for y, x in prompt.points],
        "positive": [bool(sign) for sign in prompt.positive],
        "box": None if prompt.box is None else [round(float(value), 2) for value in prompt.box],
        "previous": prompt.previous is not None,
    }


@dataclass(frozen=True, eq=False, slots=True)
class _Note:
    """An event that is not yet a line."""

    number: int
    kind: str
    seconds: float
    facts: Facts
    changes: tuple[Change, ...]

    def line(self) -> bytes:
        """Write it as JSON; facts that JSON does not have must not cost the pixels."""
        fields: dict[str, Any] = {"n": self.number, "event": self.kind, "s": round(self.seconds, 3)}
        pixels = {"pixels": [pixels_facts(change) for change in self.changes]} if self.changes else {}
        try:
            return _json({**fields, **self.facts, **pixels})
        except (TypeError, ValueError):
            return _json({**fields, "facts": repr(dict(self.facts))[:1000], **pixels})


@dataclass(eq=False, slots=True)
class _Writer:
    """The thread that writes; it knows nothing of the `Journal`, so that a forgotten one can end it."""

    path: Path
    tell: Callable[[str], None]
    first: list[_Note]
    file: int | None = None
    owed: list[bytes] = field(default_factory=list)
    torn: bool = False
    told: bool = False
    ended: bool = False
    dirty: bool = False
    synced: float = 0.0
    queue: SimpleQueue[_Note | Signal | None] = field(default_factory=SimpleQueue)
    thread: Thread | None = None

    def put(self, note: _Note) -> None:
        if self.thread is None:
            self.queue.put(self.first[0])
            self.thread = Thread(target=self._run, name="sam-napari journal", daemon=True)
            self.thread.start()
        self.queue.put(note)

    def flush(self) -> None:
        if self.thread is not None and self.thread.is_alive():
            done = Signal()
            self.queue.put(done)
            done.wait(PATIENCE)

    def stop(self) -> None:
        if self.thread is not None:
            self.queue.put(None)
            self.thread.join(PATIENCE)

    def _run(self) -> None:
        while True:
            try:
                job = self.queue.get(timeout=SYNC if self.dirty or self.owed else None)
            except Empty:
                self._write(b"")
                self._sync()
                continue
            if job is None:
                break
            if isinstance(job, Signal):
                self._write(b"")
                job.set()
            else:
                self._write(job.line())
                if time.monotonic() - self.synced > SYNC:
                    self._sync()
        self._close()

    def _write(self, line: bytes) -> None:
        """Write what is owed and a line, or keep it."""
        if line and not self.ended:
            self.owed.append(line)
        try:
            while self.owed:
                self._put_down(self.owed[0])
                del self.owed[0]
        except OSError as error:
            self._complain(error)
        if sum(map(len, self.owed)) > OWED:
            self._give_up()

    def _give_up(self) -> None:
        """End the journal where it is whole: what would be missing could not be told from what was undone."""
        self.ended, self.owed = True, []
        self.tell(f"The journal ends here: the disk had no room for too long ({self.path}). Save your labels.")

    def _put_down(self, line: bytes) -> None:
        if self.file is None:
            self.file = _created(self.path)
        # What a full disk cut off is ended, so that what follows is a line of its own.
        data = memoryview(b"\n" + line if self.torn else line)
        while data:
            data = data[os.write(self.file, data) :]
            self.torn, self.dirty = True, True
        self.torn = False

    def _complain(self, error: OSError) -> None:
        if not self.told:
            self.told = True
            self.tell(
                f"The journal cannot be written: {error.strerror or error} ({self.path}). Work goes on, but could not "
                "be resumed after a crash; free some space, or choose another folder in the preferences."
            )

    def _sync(self) -> None:
        if self.file is not None and self.dirty:
            with suppress(OSError):
                os.fsync(self.file)
        self.dirty, self.synced = False, time.monotonic()

    def _close(self) -> None:
        self._write(b"")
        self._sync()
        if self.file is not None:
            os.close(self.file)
            self.file = None


def pixels_facts(change: Change) -> dict[str, Any]:
    """Return a change as JSON has it: pixels that are written as packed bits, their numbers only where they differ."""
    values = change.values if change.where is None else change.values[change.where]
    facts: dict[str, Any] = {"axes": change.plane.axes, "index": change.plane.index, "box": change.box}
    if change.where is not None and not change.where.all():
        facts["where"] = _packed(np.packbits(change.where))
    if values.size and values.min() == values.max():
        return {**facts, "to": int(values.flat[0])}
    small = values.astype(_least_dtype(values))
    return {**facts, "dtype": small.dtype.str, "values": _packed(small)}


def change_of(facts: Facts) -> Change:
    """Return the change that `pixels_facts` made these of; pixels that are not written are 0.

    Raises
    ------
    ValueError, KeyError, TypeError, zlib.error
        These are not such facts.
    """
    y0, x0, y1, x1 = (int(value) for value in facts["box"])
    shape = (y1 - y0, x1 - x0)
    where: NDArray[np.bool_] | None = None
    if "where" in facts:
        where = np.unpackbits(_unpacked(facts["where"], "u1"), count=shape[0] * shape[1]).reshape(shape).astype(bool)
    written = np.array(facts["to"]) if "to" in facts else _unpacked(facts["values"], facts["dtype"])
    values = np.zeros(shape, written.dtype)
    values[np.ones(shape, bool) if where is None else where] = written
    plane = Plane(_pair(facts["axes"]), tuple(int(i) for i in facts["index"]))
    return Change(plane, (y0, x0, y1, x1), values, where)


def _pair(values: Sequence[Any]) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _packed(values: NDArray[Any]) -> str:
    return b64encode(zlib.compress(values.tobytes(), FAST)).decode()


def _unpacked(text: str, dtype: str) -> NDArray[Any]:
    return np.frombuffer(zlib.decompress(b64decode(text, validate=True)), np.dtype(dtype))


def _least_dtype(values: NDArray[np.integer]) -> np.dtype[Any]:
    """Return the smallest little-endian dtype that holds all values."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    return np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high)).newbyteorder("<")


def _json(fields: Facts) -> bytes:
    return json.dumps(fields, separators=(",", ":"), default=_plain).encode() + b"\n"


def _plain(value: Any) -> Any:
    """Turn what numpy and dataclasses hold into what JSON has."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if hasattr(value, "axes"):
        return {"axes": value.axes, "index": value.index}
    return str(value)


def _new_path(folder: Path, key: str) -> Path:
    """Return a name that nobody else has: two that are opened in the same second differ."""
    name = re.sub(r"[^0-9A-Za-z]", "", key)[:16]
    return folder / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}.jsonl"


def _created(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
    _lock(file)
    return file


def _opened(line: bytes, path: Path) -> Facts:
    facts = _parsed(line)
    if facts is None or facts.get("event") != "open":
        msg = f"got {path}, expected a journal; it is something else, or was cut off before anything was done"
        raise JournalError(msg)
    if facts.get("format") != FORMAT:
        msg = (
            f"got a journal of format {facts.get('format')} ({path}), expected {FORMAT}; "
            "read it with the version of sam-core that wrote it"
        )
        raise JournalError(msg)
    return {name: value for name, value in facts.items() if name not in ("n", "event", "s")}


def _event(line: bytes) -> Event | None:
    facts = _parsed(line)
    if facts is None:
        return None
    try:
        changes = tuple(change_of(each) for each in facts.pop("pixels", ()))
        return Event(int(facts.pop("n")), str(facts.pop("event")), float(facts.pop("s")), facts, changes)
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
        return None


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        facts = json.loads(line)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, BYTE, os.SEEK_SET)
        with suppress(OSError):
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def _is_locked(file: int) -> bool:
        os.lseek(file, BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return True
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
        return False

else:
    import fcntl

    def _lock(file: int) -> None:
        with suppress(OSError):  # a file system without locks: then journals are not known to be live
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _is_locked(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        fcntl.flock(file, fcntl.LOCK_UN)
        return False
