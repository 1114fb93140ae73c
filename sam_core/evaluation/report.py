"""Many images in a few lines."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_core.evaluation.calibration import calibration_error, chosen_best, rank_correlation
from sam_core.evaluation.protocol import ImageResult

Row = dict[str, Any]

PARTS = ("encode", "click", "everything")
ROW = ("set", "modality", "acquisition", "size")  # what stands first in every table
EDGES = ("1 click edge", "3 clicks edge", "box edge", "oracle", "ranked")
TRUST = ("ECE click", "ECE box", "rank click", "rank box", "inside", "outside")
FOUND = 0.5  # IoU from which an object counts as found
WHOLE = {"1 click": "1 click ", "3 clicks": "3 clicks ", "box": "box ", "automatic": "", "baseline": "baseline "}


def summarise(results: Iterable[ImageResult]) -> list[Row]:
    """Return a row for each set, for each modality of it, and for all.

    IoUs are means over objects; mSA and AP50 are means over images, as the field gives them; times are medians.

    Returns
    -------
    list of dict
        set, modality, images, objects (clicked and boxed). Mean IoU: "1 click", "2 clicks", ... and "box"; "oracle" is
        the best of three at one click. Mean boundary IoU: the same with " edge". "drops": each k for which the mean
        after k + 1 clicks is below that after k, with the difference. "inside", "outside": how many of the positive and
        negative clicks the answers follow. "ranked": how often the best of three is chosen; "ECE click", "ECE box",
        "rank click", "rank box": calibration error and rank correlation of the predicted IoU, after the first click and
        the box. mSA and AP50 of everything segmented, "found" (objects with a match of at least .5), and the same with
        "1 click", "3 clicks", "box" and "baseline" before it. encode, click and everything in milliseconds, all
        images together in seconds. None where a row has nothing to tell; what no row can tell is left out of all. Ready
        for JSON.
    """
    whole = list(results)
    rows = []
    for name, of_set in grouped(whole, lambda r: r.set):
        rows.append({"set": name, "modality": "all", **_means(of_set)})
        groups = grouped(of_set, lambda r: r.modality)
        if len(groups) > 1:
            rows += [{"set": name, "modality": kind or "unknown", **_means(group)} for kind, group in groups]
    if len({r.set for r in whole}) > 1:
        rows.append({"set": "all", "modality": "all", **_means(whole)})
    return _told(rows)


def by_acquisition(results: Iterable[ImageResult]) -> list[Row]:
    """Return a row for each group of each set: what was imaged and how; as `summarise` does for sets."""
    groups = grouped(results, lambda r: (r.set, r.group))
    return _told([{"set": name, "acquisition": kind or "unknown", **_means(group)} for (name, kind), group in groups])


def by_size(results: Iterable[ImageResult]) -> list[Row]:
    """Return a row for each quarter of the objects of each set, from the smallest to the largest.

    The diameters, in pixels, are those of discs of the same area; what is counted over whole images is left out.
    """
    rows = []
    for name, of_set in grouped(results, lambda r: r.set):
        sizes = np.concatenate([r.sizes for r in of_set])
        if not len(sizes):
            continue
        limits = np.quantile(sizes, (0.25, 0.5, 0.75), method="lower")
        for quarter in range(4):
            chosen = [r.only(np.searchsorted(limits, r.sizes) == quarter) for r in of_set]
            if any(len(r.sizes) for r in chosen):
                low, high = np.sqrt(4 / np.pi * np.quantile(_all(chosen, "sizes"), (0, 1)))
                rows.append({"set": name, "size": f"{low:.0f}-{high:.0f} px", **_objectwise(chosen)})
    return _told(rows)


def sections(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Cut wide rows, as the functions above make them, into tables for people, each with a title."""
    keys = list(rows[0]) if rows else []
    counted = {key: key.split()[0] for key in keys if re.fullmatch(r"\d+ clicks?", key)}
    answers = {"images": "images", "objects": "objects", **counted, "drops": "worse", "box": "box"}
    yield "mean IoU after so many clicks, which of them made it worse, and of a box", _columns(rows, answers)
    yield "boundary IoU; the best of three at one click, how often it is chosen", _columns(rows, _same(EDGES))
    yield (
        "calibration of the predicted IoU; positive and negative clicks that are followed",
        _columns(rows, _same(TRUST)),
    )
    pairs = [{name: _pair(row, key) for name, key in WHOLE.items()} for row in rows]
    told = {name: name for name in WHOLE if any(pair[name] for pair in pairs)}
    if told:
        wide = [{**row, **pair} for row, pair in zip(rows, pairs, strict=True)]
        yield "mSA / AP50 of the answers as a segmentation", _columns(wide, {**told, "found": "found"})
    if "s" in keys:
        yield "times", _columns(rows, _same((*(f"{part} ms" for part in PARTS), "s")))


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
    """Write one value of a row: three places at most, nothing for None.

    Examples
    --------
    >>> cell(0.5), cell(1234.5), cell([[3, -0.004]]), cell(None)
    ('0.500', '1234', '4: -0.0040', '')
    """
    if isinstance(value, list):
        return ", ".join(f"{count + 1}: {difference:.4f}" for count, difference in value)
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"
    return "" if value is None else str(value)


def grouped(results: Iterable[ImageResult], key: Callable[[ImageResult], Any]) -> list[tuple[Any, list[ImageResult]]]:
    """Sort results by what `key` tells of them, groups in the order in which they come up."""
    groups: dict[Any, list[ImageResult]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return list(groups.items())


def _told(rows: Sequence[Row]) -> list[Row]:
    """Leave out columns in which no row has anything to tell."""
    told = [key for key in (rows[0] if rows else ()) if any(row[key] is not None for row in rows)]
    return [{key: row[key] for key in told} for row in rows]


def _columns(rows: Sequence[Row], chosen: Mapping[str, str]) -> list[Row]:
    """Keep what says which row it is, and the chosen columns under new names."""
    names = {**_same(ROW), **chosen}
    return [{name: row[key] for key, name in names.items() if key in row} for row in rows]


def _same(names: Iterable[str]) -> dict[str, str]:
    return {name: name for name in names}


def _pair(row: Row, key: str) -> str:
    scores = [row.get(f"{key}{kind}") for kind in ("mSA", "AP50")]
    return "" if None in scores else " / ".join(map(cell, scores))


def _means(results: Sequence[ImageResult]) -> Row:
    row: Row = {"images": len(results), **_objectwise(results)}
    for name, key in WHOLE.items():
        scores = [r.accuracy[name] for r in results if name in r.accuracy]
        row |= {f"{key}{kind}": _mean(score[i] for score in scores) for i, kind in enumerate(("mSA", "AP50"))}
    for part in PARTS:
        times = [1000 * r.seconds[part] for r in results if part in r.seconds]
        row[f"{part} ms"] = round(float(np.median(times)), 1) if times else None
    row["s"] = round(sum(r.seconds["all"] for r in results), 1)
    return row


def _objectwise(results: Sequence[ImageResult]) -> Row:
    """Tell what is counted object by object."""
    clicks, edges, box = (_all(results, name) for name in ("clicks", "click_edges", "box"))
    names = [f"{count} click{'s' * (count > 1)}" for count in range(1, 1 + clicks.shape[1])]
    row: Row = {"objects": len(clicks)}
    row |= {name: _mean(column) for name, column in zip(names, clicks.T, strict=True)}
    row |= {"drops": _drops(clicks), "oracle": _mean(_all(results, "oracle")), "box": _mean(box)}
    row |= {f"{name} edge": _mean(column) for name, column in zip(names, edges.T, strict=True)}
    row |= {"box edge": _mean(_all(results, "box_edges"))}
    row |= {"ranked": _mean(chosen_best(_all(results, "candidate_scores"), _all(results, "candidates")))}
    predicted = {"click": _all(results, "click_scores")[:, 0], "box": _all(results, "box_scores")}
    for kind, true in (("click", clicks[:, 0]), ("box", box)):
        there = np.isfinite(predicted[kind])
        row[f"ECE {kind}"] = _mean([calibration_error(predicted[kind][there], true[there])])
        row[f"rank {kind}"] = _mean([rank_correlation(predicted[kind][there], true[there])])
    for name, (asked, followed) in zip(("inside", "outside"), _all(results, "kept").sum(axis=0), strict=True):
        row[name] = float(followed / asked) if asked else None
    matched = _all(results, "matched")
    row["found"] = _mean((matched >= FOUND)[np.isfinite(matched)])
    return row


def _drops(clicks: NDArray[np.float64]) -> list[list[float]] | None:
    """List each k for which the mean over (n, k) after k + 1 clicks is below that after k, with the difference."""
    steps = np.diff(clicks.mean(axis=0)) if len(clicks) else np.zeros(0)
    return [[int(k) + 1, round(float(steps[k]), 5)] for k in np.flatnonzero(steps < 0)] or None


def _all(results: Sequence[ImageResult], name: str) -> NDArray[Any]:
    return np.concatenate([getattr(r, name) for r in results])


def _mean(values: Iterable[float]) -> float | None:
    finite = [float(v) for v in values if math.isfinite(v)]
    return float(np.mean(finite)) if finite else None
