"""`sam-core evaluate`: how good a model is on labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sam_core.cli import common
from sam_core.cli.common import Device, Json, Model, Revision
from sam_core.cli.screen import Screen


def evaluate(
    folders: Annotated[list[Path], typer.Argument(help="Folders of labelled images.", show_default=False)],
    model: Model = "cell",
    revision: Revision = None,
    device: Device = "auto",
    split: Annotated[str, typer.Option(help="Which of the images; `all` takes every one.")] = "test",
    max_objects: Annotated[
        int | None, typer.Option(min=1, help="Objects an image that are clicked and boxed at most.", show_default="all")
    ] = None,
    clicks: Annotated[int, typer.Option(min=1, help="Clicks an object.")] = 5,
    automatic: Annotated[bool, typer.Option(help="Also segment everything.")] = True,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("evaluation"),
    as_json: Json = False,
) -> None:
    """Measure a model on labelled images: by clicks, by a box, and by segmenting everything."""
    from sam_core.evaluation import EvaluateOptions, evaluate_items, read_items, summarise

    out.mkdir(parents=True, exist_ok=True)
    options = EvaluateOptions(clicks=clicks, max_objects=max_objects, automatic=automatic)
    listed = [(folder, list(read_items(folder, None if split == "all" else split))) for folder in folders]
    segmenter = common.load_model(model, revision=revision, device=device)
    results = []
    with Screen(as_json) as screen:
        for folder, items in screen.follow(listed, "folders"):
            results += list(screen.follow(evaluate_items(segmenter, items, options), folder.name, len(items)))
    record = {"model": model, "fingerprint": segmenter.fingerprint, "split": split, "rows": summarise(results)}
    _report(screen, out, record)


def _report(screen: Screen, out: Path, record: dict[str, Any]) -> None:
    """Write what was measured, and show it."""
    from sam_core.evaluation.report import cell, markdown

    rows = record["rows"]
    _write(out / "results.json", json.dumps(record, indent=2) + "\n")
    _write(out / "results.md", markdown(rows))
    if screen.as_json:
        screen.result(record, "")
        return
    columns = [column if isinstance(value, str) else f">{column}" for column, value in rows[0].items()]
    lines = [[cell(value) for value in row.values()] for row in rows]
    screen.table(columns, lines, title=f"{record['model']}, {record['split']}")
    screen.say(f"written to {out / 'results.json'} and {out / 'results.md'}")


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text)
    beside.replace(path)
