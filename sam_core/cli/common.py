"""What several commands share: options, the model, the cache folder, the files meant by the paths given."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sam_core.errors import ImageError

if TYPE_CHECKING:
    from sam_core.types import Segmenter

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".npy", ".zarr")
AUTOMATIC_TILING = 2048  # pixels; a plane with a longer side is cut into tiles unless told otherwise

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="Name of an embedded model, folder, checkpoint file or Hub repository."),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub repository.")]
Device = Annotated[str, typer.Option(help='"cpu", "cuda", "mps", ..., or "auto" for the best there is.')]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, for machines.")]
Time = Annotated[int | None, typer.Option(help="Which time to look at, counted from 0; all of them if left out.")]
Channel = Annotated[int | None, typer.Option(help="Which channel to look at, counted from 0; all of them if left out.")]


def load_model(source: str, *, revision: str | None = None, device: str = "auto") -> Segmenter:
    """Load a model. The one place where the command line does, and so where a test puts a fake."""
    from sam_core.sam import Sam

    return Sam.from_pretrained(source, revision=revision, device=device)


def cache_folder() -> Path:
    """Say where embeddings are kept: `SAM_CORE_CACHE`, or else the folder that the system has for caches."""
    if chosen := os.environ.get("SAM_CORE_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "sam-core"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "sam-core" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sam-core"


def numbers(text: str, count: int, option: str) -> tuple[float, ...]:
    """Read "12,34.5" as so many numbers."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        names = "Y,X" if count == 2 else "Y0,X0,Y1,X1"
        msg = f"got {text!r}, expected {names}: {count} numbers in pixels with commas between them and no space"
        raise typer.BadParameter(msg, param_hint=option)
    return values


def image_files(paths: Iterable[Path], *, leave_out: Path | None = None) -> list[Path]:
    """List the files meant: a file as it is named, a folder as the images anywhere in it but hidden ones.

    Raises
    ------
    ImageError
        A path does not exist, or no image was found at all.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            msg = f"got {path}, which does not exist; give image files or folders of them"
            raise ImageError(msg)
        found.update(dict.fromkeys(_images_in(path, leave_out) if _is_folder(path) else [path]))
    if not found:
        msg = f"got no image in {', '.join(map(str, paths))}, expected files ending in {' '.join(SUFFIXES)}"
        raise ImageError(msg)
    return list(found)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and path.suffix.lower() != ".zarr"


def _images_in(folder: Path, leave_out: Path | None) -> list[Path]:
    images: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or (leave_out is not None and path.resolve() == leave_out.resolve()):
            continue
        if _is_folder(path):
            images += _images_in(path, leave_out)
        elif path.suffix.lower() in SUFFIXES:
            images.append(path)
    return images


def output_names(files: Sequence[Path]) -> list[str]:
    """Give each file a name for its outputs: its own without the ending, made longer where two would be one.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sam_core.cli.common import output_names
    >>> output_names([Path("a/x.png"), Path("a/x.tif"), Path("b/x.png"), Path("b/y.ome.tif")])
    ['a_x_png', 'a_x_tif', 'b_x_png', 'y']
    """
    plain = [_stem(file) for file in files]
    longer = ["_".join([file.resolve().parent.name, _stem(file), file.suffix[1:]]) for file in files]
    names: list[str] = []
    for short, long in zip(plain, longer, strict=True):
        name = short if plain.count(short) == 1 else long
        again = names.count(name)
        names.append(f"{name}_{again + 1}" if again else name)
    return names


def _stem(file: Path) -> str:
    return file.stem.removesuffix(".ome")


def tiling(tile: int | None, shape: tuple[int, int]) -> Any:
    """Choose how to cut a plane: as told, or only when it is large; 0 means never."""
    from sam_core.tiling import Tiling

    if tile is None:
        return Tiling() if max(shape) > AUTOMATIC_TILING else None
    return Tiling(tile=(tile, tile), halo=(tile // 8, tile // 8)) if tile else None
