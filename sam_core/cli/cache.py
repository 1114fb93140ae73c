"""`sam-core cache`: the folder in which encoded planes are kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from sam_core.cli.common import Json, cache_folder
from sam_core.cli.screen import Screen, guarded

app = typer.Typer(help="The folder in which encoded planes are kept.", no_args_is_help=True)

UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


@app.callback()
def cache() -> None:
    """Look after the folder in which encoded planes are kept."""


@app.command()
@guarded
def prune(
    keep: Annotated[
        str, typer.Option(help="How much to keep, such as 500M, 2G or 0; what was used last stays.")
    ] = "2G",
    folder: Annotated[Path | None, typer.Option(help="Where; the folder of `sam-core info` if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Remove encoded planes, those that were not used for longest first."""
    from sam_core.cache import EmbeddingCache

    limit = size_of(keep)
    root = folder or cache_folder()
    before = bytes_in(root)
    if root.is_dir():
        EmbeddingCache(root).prune(keep_bytes=limit)
    after = bytes_in(root)
    record = {"cache": str(root), "removed_bytes": before - after, "bytes": after}
    Screen(as_json).result(record, f"{root}: removed {readable(before - after)}, kept {readable(after)}")


def size_of(text: str) -> int:
    """Read "2G", "500 MB" or "1000" as bytes.

    Examples
    --------
    >>> from sam_core.cli.cache import size_of
    >>> size_of("1.5k"), size_of("2 GiB"), size_of("0")
    (1536, 2147483648, 0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?", text.strip().upper())
    if match is None:
        msg = f"got {text!r}, expected a size such as 500M, 2G or 0"
        raise typer.BadParameter(msg, param_hint="--keep")
    return int(float(match[1]) * UNITS[match[2]])


def readable(count: float) -> str:
    """Write bytes for people.

    Examples
    --------
    >>> from sam_core.cli.cache import readable
    >>> readable(512), readable(3 * 1024**2)
    ('512 B', '3.0 MiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def bytes_in(folder: Path) -> int:
    """Add up the files in a folder, 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
