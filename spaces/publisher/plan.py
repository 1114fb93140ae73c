"""What is to be uploaded: the files of a folder, with the hashes by which the Hub knows them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["model", "space"]

BLOCK = 1 << 20


class PublishError(Exception):
    """Something that must not, or cannot, be published."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file.

    Parameters
    ----------
    path
        Inside the repository, with `/`.
    size
        Bytes.
    sha256
        Of the content: what the Hub calls a large file by.
    blob
        SHA-1 as git computes it: what the Hub calls a small file by.
    """

    path: str
    size: int
    sha256: str
    blob: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A folder that is to become the content of a repository.

    Parameters
    ----------
    kind, repository
        Such as "model" and "me/cell".
    folder
        Holds the files.
    files
        In the order of their paths.
    """

    kind: Kind
    repository: str
    folder: Path
    files: tuple[PlannedFile, ...]

    @classmethod
    def of(cls, kind: Kind, repository: str, folder: Path) -> Plan:
        """Read a folder."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return cls(kind, repository, folder, tuple(_planned(path, folder) for path in paths))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def read(self, path: str) -> str:
        """Return the text of a file, "" where it is absent."""
        file = self.folder / path
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def lines(self) -> Iterator[str]:
        """Tell what is to be uploaded, a line a file."""
        yield f"{self.kind} {self.repository}: {len(self.files)} files, {self.size:,} bytes"
        for file in self.files:
            yield f"  {file.sha256}  {file.size:>12,}  {file.path}"


def _planned(path: Path, folder: Path) -> PlannedFile:
    size = path.stat().st_size
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            sha256.update(block)
            blob.update(block)
    return PlannedFile(path.relative_to(folder).as_posix(), size, sha256.hexdigest(), blob.hexdigest())
