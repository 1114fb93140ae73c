"""Many images in a few lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sam_core.evaluation.protocol import ImageResult

Row = dict[str, Any]

CLICKS = (1, 3, 5)  # after how many the IoU is told
PARTS = ("encode", "click", "everything")


def summarise(results: Iterable[ImageResult]) -> list[Row]:
    """Return a row for each set, for each modality of it, and for all.

    IoUs are means over objects; mSA and AP50 are means over images, as the field gives them; times are medians.

    Returns
    -------
    list of dict
        set, modality, images, objects (clicked and boxed); "1 click", "3 clicks", "5 clicks", "oracle" (best of three
        at one click) and "box", mean IoU; mSA, AP50; encode, click and everything in milliseconds, all images together
        in seconds. None where a row has nothing to tell; what no row can tell is left out of all. Ready for JSON.
    """
    whole = list(results)
    rows = []
    for name in dict.fromkeys(r.set for r in whole):
        of_set = [r for r in whole if r.set == name]
        rows.append({"set": name, "modality": "all", **_means(of_set)})
        modalities = list(dict.fromkeys(r.modality for r in of_set))
        if len(modalities) > 1:
            groups = {modality: [r for r in of_set if r.modality == modality] for modality in modalities}
            rows += [{"set": name, "modality": kind or "unknown", **_means(group)} for kind, group in groups.items()]
    if len({r.set for r in whole}) > 1:
        rows.append({"set": "all", "modality": "all", **_means(whole)})
    told = [key for key in (rows[0] if rows else ()) if any(row[key] is not None for row in rows)]
    return [{key: row[key] for key in told} for row in rows]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as a table that can be pasted into a model card.

    Examples
    --------
    >>> print(markdown([{"set": "cells", "box": 0.91234, "images": 7}]), end="")
    | set | box | images |
    | --- | ---: | ---: |
    | cells | 0.912 | 7 |
    """
    if not rows:
        return ""
    rule = ["---" if isinstance(value, str) else "---:" for value in rows[0].values()]
    lines = [list(rows[0]), rule, *([cell(value) for value in row.values()] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(value: Any) -> str:
    """Write one value of a row: three places at most, nothing for None."""
    if isinstance(value, float):
        return f"{value:.3f}" if value < 10 else f"{value:.0f}"
    return "" if value is None else str(value)


def _means(results: Sequence[ImageResult]) -> Row:
    row: Row = {"images": len(results), "objects": sum(len(r.clicks) for r in results)}
    for count in CLICKS:
        enough = [r.clicks[:, count - 1] for r in results if r.clicks.shape[1] >= count]
        row[f"{count} click{'s' * (count > 1)}"] = _mean(v for values in enough for v in values)
    row["oracle"] = _mean(value for r in results for value in r.oracle)
    row["box"] = _mean(value for r in results for value in r.box)
    row["mSA"], row["AP50"] = _mean(r.msa for r in results), _mean(r.ap50 for r in results)
    for part in PARTS:
        times = [1000 * r.seconds[part] for r in results if part in r.seconds]
        row[f"{part} ms"] = round(float(np.median(times)), 1) if times else None
    row["s"] = round(sum(r.seconds["all"] for r in results), 1)
    return row


def _mean(values: Iterable[float]) -> float | None:
    finite = [float(v) for v in values if math.isfinite(v)]
    return float(np.mean(finite)) if finite else None
