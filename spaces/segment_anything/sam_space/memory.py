"""How much memory there is, in a container or without one, and how much a model takes of it."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

MIB = 1 << 20
UNBOUNDED = 1 << 60  # what cgroups of version 1 say where there is no limit is a little below 2**63


def available(root: Path = Path("/")) -> int | None:
    """Return the bytes that this process may still take; None where the system does not tell.

    It is the least of what the machine has left and what each control group around this process may still take: in a
    container the machine has much that is not ours.

    Parameters
    ----------
    root
        Where `proc` and `sys` are; a test makes its own.
    """
    told = [*_of_machine(root), *_of_groups(root)]
    return max(0, min(told)) if told else None


def give_back() -> None:
    """Return to the system what was freed: glibc keeps hundreds of megabytes of a network for the next one."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):  # another C library
        return


def _of_machine(root: Path) -> Iterator[int]:
    known = _pairs(root / "proc/meminfo").get("MemAvailable:")
    if known is not None:
        yield known << 10
    elif root == Path("/"):
        try:  # macOS and others
            yield int(import_module("psutil").virtual_memory().available)
        except ImportError:
            if "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
                yield os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_groups(root: Path) -> Iterator[int]:
    """Tell what each group has left: its limit, less what it holds and could not give back at once."""
    for folder, limit, usage, idle in _groups(root):
        most, held = _number(folder / limit), _number(folder / usage)
        if most is not None and held is not None and most < UNBOUNDED:
            # Files that were read once lie in memory only as long as nobody needs it.
            yield most - held + _pairs(folder / "memory.stat").get(idle, 0)


def _groups(root: Path) -> Iterator[tuple[Path, str, str, str]]:
    """Yield the folders of the groups that this process is in, up to the outermost, and what their files are called."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, kinds, path = [*line.split(":", 2), "", ""][:3]
        if kinds == "":
            names = ("memory.max", "memory.current", "inactive_file")
            top = root / "sys/fs/cgroup"
        elif "memory" in kinds.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = root / "sys/fs/cgroup/memory"
        else:
            continue
        # Inside a container the path may be one of the machine outside, where here is only the top.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield (top.joinpath(*parts[:depth]), *names)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _pairs(path: Path) -> dict[str, int]:
    words = (line.split() for line in _text(path).splitlines())
    return {each[0]: int(each[1]) for each in words if len(each) > 1 and each[1].isdecimal()}
