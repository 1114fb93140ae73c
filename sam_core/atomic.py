"""Files and folders that are either whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

REMEDIES = {
    errno.EACCES: "write somewhere else, or ask for permission to write there",
    errno.EPERM: "write somewhere else, or ask for permission to write there",
    errno.EROFS: "write somewhere else: this disk can only be read",
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some space, or write to another disk",
    errno.ENOENT: "create the folder first",
    errno.ENOTDIR: "name a folder, where now a file is in the way",
    errno.EISDIR: "choose another name, or remove the folder of this name",
    errno.ENAMETOOLONG: "choose a shorter name",
}


@contextmanager
def placed(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a hidden name beside `path` to write a file or folder to, and move it to `path` when all went well.

    Whatever was at `path` is replaced. When anything goes wrong, an interruption included, it stays as it was and
    nothing half-written is left.

    Raises
    ------
    OSError
        It cannot be written: what the system said, and what to do about it.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with placed(folder / "a.txt") as beside:
    ...     _ = beside.write_text("whole")
    >>> [(file.name, file.read_text()) for file in folder.iterdir()]
    [('a.txt', 'whole')]
    """
    path = Path(path)
    beside = temporary(path)
    try:
        yield beside
        _move(beside, path)
    except OSError as error:
        raise explained(error, path) from error
    finally:
        remove(beside)


def temporary(path: Path) -> Path:
    """Return a hidden name beside `path` that nobody else uses."""
    return path.with_name(f".{path.name}.{uuid4().hex[:12]}.part")


def remove(path: Path) -> None:
    """Remove a file, a folder with all in it, or nothing; what cannot be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def explained(error: OSError, path: Path) -> OSError:
    """Return the error, of the same kind, with the path that was to be written and what to do."""
    remedy = REMEDIES.get(error.errno or 0, "check the disk and the folder, or write somewhere else")
    msg = f"got {error.strerror or error} while writing {path}, expected to be able to; {remedy}"
    return OSError(error.errno, msg) if error.errno else OSError(msg)


def _move(beside: Path, path: Path) -> None:
    """Move to `path`; a folder cannot replace another in one step, so the old one steps aside first."""
    if not path.is_dir() or path.is_symlink() or not beside.is_dir():
        os.replace(beside, path)
        return
    aside = temporary(path)
    os.replace(path, aside)
    try:
        os.replace(beside, path)
    except BaseException:
        os.replace(aside, path)
        raise
    remove(aside)
