"""A folder of images that are done one after the other: which there are, and which are finished."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sam_core import ImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy", ".zarr")
RECORD = "sam-core.json"
LABELS = "labels"


@dataclass(frozen=True, slots=True)
class Folder:
    """Where one stands in a folder; each method returns where one stands then.

    Parameters
    ----------
    path
        The folder.
    images
        Its images in the order in which a person counts.
    finished
        Names of those that are finished.
    at
        Which is open, counted from 0.
    """

    path: Path
    images: tuple[Path, ...]
    finished: frozenset[str] = frozenset()
    at: int = 0

    @classmethod
    def of(cls, path: Path) -> Folder:
        """Look into a folder and open its first unfinished image.

        Raises
        ------
        ImageError
            There is no image in it, or its record cannot be read.
        """
        images = tuple(sorted((each for each in path.iterdir() if _is_image(each)), key=_as_counted))
        if not images:
            msg = f"got {path}, in which there is no image, expected files ending in {' '.join(SUFFIXES)}"
            raise ImageError(msg)
        folder = cls(path, images, _finished(path / RECORD))
        return folder if folder.next_open is None or not folder.is_finished else replace(folder, at=folder.next_open)

    @property
    def image(self) -> Path:
        """The image that is open."""
        return self.images[self.at]

    @property
    def labels(self) -> Path:
        """Where its objects are kept."""
        return self.path / LABELS / f"{self.image.name}.tif"

    @property
    def is_finished(self) -> bool:
        """Whether the image that is open is finished."""
        return self.image.name in self.finished

    @property
    def done(self) -> int:
        """How many images are finished."""
        return sum(each.name in self.finished for each in self.images)

    @property
    def next_open(self) -> int | None:
        """Which image comes next that is not finished, from here to the end and then from the beginning."""
        count = len(self.images)
        order = [(self.at + step) % count for step in range(1, count)]
        return next((i for i in order if self.images[i].name not in self.finished), None)

    def went(self, step: int) -> Folder:
        """Go that many images on, as far as there are any."""
        return replace(self, at=min(max(self.at + step, 0), len(self.images) - 1))

    def marked(self, finished: bool) -> Folder:
        """Mark the image that is open, and write that down beside the images.

        Raises
        ------
        OSError
            It cannot be written there.
        """
        names = self.finished | {self.image.name} if finished else self.finished - {self.image.name}
        text = json.dumps({"finished": sorted(names)}, indent=1)
        partial = self.path / f".{RECORD}.{os.getpid()}"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.path / RECORD)
        return replace(self, finished=frozenset(names))


def _is_image(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in SUFFIXES and not path.name.startswith(".") and path.is_dir() == (suffix == ".zarr")


def _as_counted(path: Path) -> tuple[object, ...]:
    """Order "image 2" before "image 10"."""
    parts = re.split(r"(\d+)", path.name.lower())
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _finished(record: Path) -> frozenset[str]:
    if not record.is_file():
        return frozenset()
    try:
        names = json.loads(record.read_text(encoding="utf-8"))
        listed = names.get("finished") if isinstance(names, Mapping) else None
        return frozenset(map(str, listed or ()))
    except (ValueError, TypeError):
        msg = f"got {record}, which is not the record of a folder; move it away, then open the folder again"
        raise ImageError(msg) from None
