"""One file after the other: read, find, write, report. One that fails is named and the next is taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_core import __version__
from sam_core.cli.screen import Screen, complain, describe

if TYPE_CHECKING:
    from sam_core.cli.work import Encoder, Found
    from sam_core.prompt import Prompt


class Format(StrEnum):
    """What objects can be written as."""

    TIFF = "tiff"
    OME_ZARR = "ome-zarr"
    COCO = "coco"
    GEOJSON = "geojson"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Report:
    """What was done with one file; times in milliseconds, `total_ms` from opening it to the last output."""

    file: Path
    size: tuple[int, ...]
    objects: int
    encode_ms: float
    total_ms: float
    outputs: dict[str, Path]

    def record(self) -> dict[str, Any]:
        """Give it as JSON can hold it."""
        return {
            "file": str(self.file),
            "size": list(self.size),
            "objects": self.objects,
            "encode_ms": round(self.encode_ms, 1),
            "total_ms": round(self.total_ms, 1),
            "outputs": {kind: str(path) for kind, path in self.outputs.items()},
        }

    def line(self) -> str:
        """Give it as one line for people."""
        size = " x ".join(map(str, self.size))
        times = f"encode {self.encode_ms:.0f} ms, total {self.total_ms:.0f} ms"
        written = ", ".join(map(str, self.outputs.values()))
        return f"{self.file}: {size}, {self.objects} object{'s' * (self.objects != 1)}, {times} -> {written}"


@dataclass(frozen=True, slots=True)
class Job:
    """What to do with each file.

    Parameters
    ----------
    encoder
        Makes a new encoder, with its clock at zero.
    out
        Folder to write to.
    formats, overlay
        What to write.
    prompts
        What is asked; everything when empty.
    plane
        Plane of a stack that the prompts are about; None for the middle one.
    channel
        Which channel to look at; None for all.
    time
        Which time to look at, of a time-lapse; None for all.
    """

    encoder: Callable[[], Encoder]
    out: Path
    formats: Sequence[Format] = (Format.TIFF,)
    overlay: bool = False
    prompts: Sequence[Prompt] = ()
    plane: int | None = None
    channel: int | None = None
    time: int | None = None

    def run(self, file: Path, name: str, screen: Screen) -> bool:
        """Do it, say what came of it, and return whether it went well."""
        try:
            report = self.report(file, name, screen)
        except Exception as error:  # whatever a file is broken in, the next one may be whole
            complain(f"{file}: {describe(error)}")
            if screen.as_json:
                screen.result({"file": str(file), "error": describe(error)}, "")
            return False
        screen.result(report.record(), report.line())
        return True

    def report(self, file: Path, name: str, screen: Screen) -> Report:
        """Do it, and raise what goes wrong."""
        from sam_core.cli.outputs import write
        from sam_core.storage import read_planes

        started = time.perf_counter()
        stack = read_planes(file, channel=self.channel, time=self.time)
        encoder = self.encoder()
        found = self._find(encoder, stack, screen)
        made_by = f"sam-core {__version__}, model {encoder.model.fingerprint}"
        outputs = write(found, stack, self.out / name, self.formats, made_by=made_by, picture=self.overlay)
        total = time.perf_counter() - started
        return Report(file, found.labels.shape, found.count, 1e3 * encoder.seconds, 1e3 * total, outputs)

    def _find(self, encoder: Encoder, planes: Sequence[Any], screen: Screen) -> Found:
        from sam_core.cli.work import find_asked, find_everything

        if not self.prompts:
            return find_everything(encoder, planes, screen.follow)
        start = len(planes) // 2 if self.plane is None else self.plane
        return find_asked(encoder, planes, self.prompts, start, screen.follow)
