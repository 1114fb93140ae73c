"""Many images in a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sam_core.evaluation.protocol import ImageResult


def summarise(results: Sequence[ImageResult]) -> list[dict[str, Any]]:
    """Return a row for each set, for each modality of it, and for all.

    IoUs are means over objects; mSA and AP50 are means over images, as the field gives them; times are medians.

    Returns
    -------
    list of dict
        images, objects; "1 click", "3 clicks", "5 clicks", "oracle" (best of three at one click) and "box", mean IoU;
        mSA, AP50; encode, click and everything in milliseconds.
    """
    rows = []
    for name in dict.fromkeys(r.set for r in results):
        of_set = [r for r in results if r.set == name]
        rows.append({"set": name, "modality": "all", **_means(of_set)})
        modalities = list(dict.fromkeys(r.modality for r in of_set))
        if len(modalities) > 1:
            for modality in modalities:
                rows.append(
                    {"set": name, "modality": modality, **_means([r for r in of_set if r.modality == modality])}
                )
    if len({r.set for r in results}) > 1:
        rows.append({"set": "all", "modality": "all", **_means(results)})
    return rows


def _means(results: Sequence[ImageResult]) -> dict[str, Any]:
    clicks = np.concatenate([r.clicks for r in results])
    row: dict[str, Any] = {"images": len(results), "objects": len(clicks)}
    for count in (1, 3, 5):
        if clicks.shape[1] >= count:
            row[f"{count} click{'s' * (count > 1)}"] = _mean(clicks[:, count - 1])
    row["oracle"] = _mean(np.concatenate([r.oracle for r in results]))
    row["box"] = _mean(np.concatenate([r.box for r in results]))
    row["mSA"], row["AP50"] = _mean(r.msa for r in results), _mean(r.ap50 for r in results)
    for part in ("encode", "click", "everything"):
        times = [1000 * r.seconds[part] for r in results if part in r.seconds]
        if times:
            row[f"{part} ms"] = round(float(np.median(times)), 1)
    return row


def _mean(values: Iterable[float]) -> float:
    finite = [float(v) for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")
