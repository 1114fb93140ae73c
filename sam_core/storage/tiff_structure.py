"""Whether a TIFF is all there: a cut one may look like a shorter one, or one without names of axes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sam_core.errors import ImageError

NEEDED = {270, 273, 279, 324, 325}  # description, and where strips and tiles are and how long
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


@dataclass(frozen=True, slots=True)
class _Format:
    """How a directory is written: in TIFF, or in BigTIFF, which has longer numbers."""

    order: str
    count: str
    offset: str

    @property
    def tag_bytes(self) -> int:
        return 4 + 2 * struct.calcsize(self.offset)

    @property
    def inline(self) -> int:
        return struct.calcsize(self.offset)


def check_structure(path: Path) -> None:
    """Follow the chain of directories to its end.

    Raises
    ------
    ImageError
        The chain, or what a directory points at, goes beyond the end of the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            reach = max(_reaches(file, size), default=0)
        except struct.error:
            reach = size + 1
    if reach > size:
        msg = f"got {path} of {size} bytes, expected more: it is cut short or damaged; copy or export it once more"
        raise ImageError(msg)


def _reaches(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield the ends of all directories and of what they point at."""
    start = file.read(4)
    order = "<" if start.startswith(b"II") else ">"
    big = b"+" in start
    if not big and size >= 2**32:  # some writers go beyond what the format can say
        return
    if big:
        file.read(4)
    form = _Format(order, "Q" if big else "H", "Q" if big else "I")
    (at,) = _numbers(file, order + form.offset)
    seen: set[int] = set()
    while at and at not in seen:
        seen.add(at)
        if at >= size:
            yield at + 1
            return
        file.seek(at)
        (count,) = _numbers(file, order + form.count)
        end = at + struct.calcsize("<" + form.count) + count * form.tag_bytes + form.inline
        yield end
        if end > size:
            return
        yield from _tag_reaches(file.read(count * form.tag_bytes), form)
        (at,) = _numbers(file, order + form.offset)


def _tag_reaches(tags: bytes, form: _Format) -> Iterator[int]:
    for code, kind, count, offset in struct.iter_unpack(f"{form.order}HH{form.offset}{form.offset}", tags):
        length = TYPE_BYTES.get(kind, 1) * count
        if code in NEEDED and length > form.inline:
            yield offset + length


def _numbers(file: BinaryIO, form: str) -> tuple[int, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))
