"""`sam-core evaluate`: how good a model is on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam_core.cli import common
from sam_core.cli.common import Device, Json, Model, Revision
from sam_core.cli.screen import Screen


def evaluate(
    folders: Annotated[list[Path], typer.Argument(help="Folders of labelled images.", show_default=False)],
    model: Model = "cell",
    revision: Revision = None,
    device: Device = "auto",
    split: Annotated[str, typer.Option(help="Which of the images.")] = "test",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("evaluation"),
    as_json: Json = False,
) -> None:
    """Measure a model on labelled images: by clicks, by a box, and by segmenting everything."""
