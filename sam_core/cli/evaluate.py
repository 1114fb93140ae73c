"""`sam-core evaluate`: how good a model is on labelled images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sam_core.atomic import placed
from sam_core.cli import common
from sam_core.cli.common import Device, Json, Model, Revision
from sam_core.cli.screen import Screen

if TYPE_CHECKING:
    from sam_core.evaluation import EvaluateOptions, ImageResult, Item, Stack
    from sam_core.types import Segmenter

COMPARED = ("1 click", "3 clicks", "8 clicks", "box", "box edge", "1 click mSA", "mSA", "AP50")  # shown of a comparison
JOINED = "stacks in 3D: planes joined, the true planes joined, the planes by themselves, and the baseline joined"
HIDDEN = ["emps", "coco_permissive"]  # crops of published figures; photographs that need their authors' names


class By(StrEnum):
    """What else rows are told by."""

    ACQUISITION = "acquisition"
    SIZE = "size"


def evaluate(
    folders: Annotated[list[Path], typer.Argument(help="Folders of labelled images.", show_default=False)],
    model: Model = "cell",
    compare: Annotated[
        str | None, typer.Option(help="Another model, measured on the same images.", show_default=False)
    ] = None,
    revision: Revision = None,
    device: Device = "auto",
    split: Annotated[str, typer.Option(help="Which of the images; `all` takes every one.")] = "test",
    max_objects: Annotated[
        int | None, typer.Option(min=1, help="Objects an image that are clicked and boxed at most.", show_default="all")
    ] = None,
    clicks: Annotated[int, typer.Option(min=1, help="Clicks an object.")] = 8,
    automatic: Annotated[bool, typer.Option(help="Also segment everything.")] = True,
    baseline: Annotated[bool, typer.Option(help="Also by Otsu's threshold and a watershed.")] = True,
    by: Annotated[
        list[By], typer.Option(help="Also show each of these; they are written in any case.", show_default=False)
    ] = [],  # noqa: B006
    worst: Annotated[
        Path | None, typer.Option(help="Folder for pictures of the worst cases.", show_default=False)
    ] = None,
    hide: Annotated[list[str], typer.Option(help="Sets of which no picture is drawn.")] = HIDDEN,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("evaluation"),
    as_json: Json = False,
) -> None:
    """Measure a model on labelled images: by clicks, by a box, and by segmenting everything."""
    from sam_core.evaluation import EvaluateOptions, by_acquisition, by_size, read_items, read_stacks, summarise
    from sam_core.evaluation import compare as compare_results

    out.mkdir(parents=True, exist_ok=True)
    options = EvaluateOptions(clicks=clicks, max_objects=max_objects, automatic=automatic, baseline=baseline)
    part = None if split == "all" else split
    items = [item for folder in folders for item in read_items(folder, part)]
    stacks = [stack for folder in folders for stack in read_stacks(folder, part)] if automatic else []
    sources = [model, compare] if compare else [model]
    models = [common.load_model(source, revision=revision, device=device) for source in sources]
    with Screen(as_json) as screen:
        results = [_measured(screen, *pair, items, options) for pair in zip(sources, models, strict=True)]
        whole = [_measured_whole(screen, *pair, stacks, options) for pair in zip(sources, models, strict=True)]
        shown = [replace(item, shareable=item.shareable and item.set not in hide) for item in items]
        sheets = _sheets(screen, models[0], shown, results[0], options, worst) if worst else []
    record = {
        "model": model,
        "fingerprint": models[0].fingerprint,
        "split": split,
        "rows": summarise(results[0]),
        "by_acquisition": by_acquisition(results[0]),
        "by_size": by_size(results[0]),
        "stacks": whole[0],
    }
    if compare:
        record |= {"compared_with": compare, "compared_fingerprint": models[1].fingerprint}
        record |= {"comparison": compare_results(*results), "compared_rows": summarise(results[1])}
        record["compared_stacks"] = whole[1]
    _report(screen, out, record, by, sheets)


def _measured(
    screen: Screen, name: str, model: Segmenter, items: Sequence[Item], options: EvaluateOptions
) -> list[ImageResult]:
    from sam_core.evaluation import evaluate_items

    return list(screen.follow(evaluate_items(model, items, options), name, len(items)))


def _measured_whole(
    screen: Screen, name: str, model: Segmenter, stacks: Sequence[Stack], options: EvaluateOptions
) -> list[dict[str, Any]]:
    """Measure a model on stacks as a whole."""
    from sam_core.evaluation import evaluate_stacks

    measured = evaluate_stacks(model, stacks, options)
    return [each.row for each in (screen.follow(measured, f"{name}, stacks", len(stacks)) if stacks else ())]


def _sheets(
    screen: Screen,
    model: Segmenter,
    items: Sequence[Item],
    results: Sequence[ImageResult],
    options: EvaluateOptions,
    folder: Path,
) -> list[Path]:
    """Write sheets of the worst cases."""
    from sam_core.cli.outputs import save_picture
    from sam_core.evaluation.worst import worst_sheets

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, sheet in screen.follow(worst_sheets(model, items, results, options), "worst cases"):
        written.append(folder / f"{name.replace(', ', '_').replace(' ', '_')}.png")
        save_picture(written[-1], sheet)
    return written


def _report(screen: Screen, out: Path, record: Mapping[str, Any], by: Sequence[By], sheets: Sequence[Path]) -> None:
    """Write what was measured, and show it."""
    from sam_core.evaluation import markdown

    tables = [(kind, title, rows) for kind, title, rows in _tables(record) if rows]
    text = "".join(f"### {title}\n\n{markdown(rows)}\n" for _, title, rows in tables)
    for path, content in ((out / "results.json", json.dumps(record, indent=2) + "\n"), (out / "results.md", text)):
        with placed(path) as beside:
            beside.write_text(content, encoding="utf-8")
    screen.result({**record, "sheets": [str(path) for path in sheets]}, f"{record['model']}, {record['split']}")
    for kind, title, rows in tables:
        if kind in ("", *by):
            _show(screen, title, [row for row in rows if row.get("measure", COMPARED[0]) in COMPARED])
    screen.say(f"written to {out / 'results.json'} and {out / 'results.md'}")
    if sheets:
        screen.say(f"the worst cases are in {sheets[0].parent}: truth in green, answer in magenta")


def _tables(record: Mapping[str, Any]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Yield what is told: by what, a title, and rows."""
    from sam_core.evaluation import sections

    for kind, rows in (("", record["rows"]), *((by.value, record[f"by_{by.value}"]) for by in By)):
        for title, part in sections(rows):
            yield kind, title + (f", by {kind}" if kind else ""), part
    yield "", JOINED, record["stacks"]
    if "comparison" in record:
        for title, part in sections(record["compared_rows"]):
            yield "", f"{record['compared_with']}: {title}", part
        yield "", f"{record['compared_with']}: {JOINED}", record["compared_stacks"]
        yield "", f"{record['model']} (first) and {record['compared_with']} (second)", record["comparison"]


def _show(screen: Screen, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    from sam_core.evaluation.report import cell

    if rows:
        columns = [column if isinstance(value, str) else f">{column}" for column, value in rows[0].items()]
        screen.table(columns, [[cell(value) for value in row.values()] for row in rows], title=title)
