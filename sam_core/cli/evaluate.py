"""`sam-core evaluate`: how good a model is on labelled images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    split: Annotated[str, typer.Option(help="Which of the images.")] = "test",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("evaluation"),
    as_json: Json = False,
) -> None:
    """Measure a model on labelled images: by clicks, by a box, and by segmenting everything."""
    from sam_core.evaluation import evaluate as images_of
    from sam_core.evaluation import summarise

    out.mkdir(parents=True, exist_ok=True)
    segmenter = common.load_model(model, revision=revision, device=device)
    results = []
    with Screen(as_json) as screen:
        for folder in screen.follow(folders, "folders"):
            results += list(screen.follow(images_of(segmenter, folder, split=split), folder.name))
    rows = summarise(results)
    record = {"model": model, "fingerprint": segmenter.fingerprint, "split": split, "rows": rows}
    _write(out / "results.json", json.dumps(record, indent=2) + "\n")
    _write(out / "results.md", _markdown(rows))
    if as_json:
        screen.result(record, "")
        return
    columns = list(rows[0]) if rows else []
    flush = [column if isinstance(rows[0][column], str) else f">{column}" for column in columns]
    screen.table(flush, [[_cell(row[column]) for column in columns] for row in rows], title=f"{model}, {split}")
    screen.say(f"written to {out / 'results.json'} and {out / 'results.md'}")


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write the rows as a table that can be pasted into a model card."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text)
    beside.replace(path)
