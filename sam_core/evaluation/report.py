"""Results of many images as rows: for each set, for each of its modalities, and over all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sam_core.evaluation.protocol import ImageResult

ALL = "all"
SHOWN_CLICKS = (1, 3, 5)

Row = dict[str, Any]


def summarise(results: Iterable[ImageResult]) -> list[Row]:
    """Sum results up in one row for each set, one for each modality of a set that has several, and one over all.

    IoUs are means over the objects that were asked about; mSA, AP50 and seconds are means over the images. What was not
    measured is left out of all rows.

    Parameters
    ----------
    results
        From `evaluate`.

    Returns
    -------
    list[dict]
        With "set", "modality" ("all" for all of them), "images", "objects" and "asked" (counts), "1 click", "3 clicks",
        "5 clicks", "best of 3", "box" (mean IoU), "mSA", "AP50", "encode s", "automatic s". Ready for JSON.
    """
    everything = list(results)
    groups: list[tuple[str, str, list[ImageResult]]] = []
    for name in dict.fromkeys(result.set for result in everything):
        of_set = [result for result in everything if result.set == name]
        modalities = list(dict.fromkeys(result.modality for result in of_set))
        groups.append((name, ALL if len(modalities) > 1 else modalities[0] or ALL, of_set))
        if len(modalities) > 1:
            groups += [(name, kind or "unknown", [r for r in of_set if r.modality == kind]) for kind in modalities]
    if len({name for name, _, _ in groups}) > 1:
        groups.append((ALL, ALL, everything))
    rows = [_row(*group) for group in groups]
    measured = [key for key in (rows[0] if rows else ()) if any(row[key] is not None for row in rows)]
    return [{key: row[key] for key in measured} for row in rows]


def _row(name: str, modality: str, results: Sequence[ImageResult]) -> Row:
    automatic = [result.automatic for result in results if result.automatic is not None]
    row: Row = {
        "set": name,
        "modality": modality,
        "images": len(results),
        "objects": sum(result.objects for result in results),
        "asked": sum(result.asked for result in results),
    }
    for k in SHOWN_CLICKS:
        heading = "1 click" if k == 1 else f"{k} clicks"
        row[heading] = _mean(value for r in results if r.clicks.shape[1] >= k for value in r.clicks[:, k - 1])
    row["best of 3"] = _mean(value for r in results for value in r.best_of_three)
    row["box"] = _mean(value for r in results for value in r.box)
    row["mSA"] = _mean(one.msa for one in automatic)
    row["AP50"] = _mean(one.ap50 for one in automatic)
    row["encode s"] = _mean(r.encode_seconds for r in results)
    row["automatic s"] = _mean(r.automatic_seconds for r in results) if automatic else None
    return row


def _mean(values: Iterable[float]) -> float | None:
    collected = [float(value) for value in values]
    return float(np.mean(collected)) if collected else None


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as a table that can be pasted into a model card.

    Examples
    --------
    >>> print(markdown([{"set": "cells", "box": 0.91234}]), end="")
    | set | box |
    | --- | ---: |
    | cells | 0.912 |
    """
    if not rows:
        return ""
    columns = list(rows[0])
    rule = ["---" if isinstance(rows[0][column], str) else "---:" for column in columns]
    lines = [columns, rule, *([_cell(row[column]) for column in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def save_report(folder: str | Path, rows: Sequence[Mapping[str, Any]], **about: Any) -> tuple[Path, Path]:
    """Write `results.json`, with `about` beside the rows, and `results.md` into a folder; return both paths."""
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    texts = {
        home / "results.json": json.dumps({**about, "rows": list(rows)}, indent=2) + "\n",
        home / "results.md": markdown(rows),
    }
    for path, text in texts.items():
        beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            beside.write_text(text)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    return home / "results.json", home / "results.md"
