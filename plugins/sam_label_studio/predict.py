"""One task in, one prediction out; nothing in here knows of HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sam_core import SegmentAllOptions, Segmenter
from sam_label_studio.config import Controls, Kind
from sam_label_studio.embeddings import Embeddings
from sam_label_studio.images import ImageSource

Mode: TypeAlias = Literal["everything", "boxes", "refine", "off"]


@dataclass(frozen=True, slots=True)
class Options:
    """How tasks are answered.

    Parameters
    ----------
    kind
        What to answer with, where the labelling config allows several; None takes the first of brush, polygon,
        bitmask, rectangle and ellipse that it has.
    tolerance
        Pixels that a polygon may lie beside the outline of its mask.
    label
        What to call objects that were not asked for one by one; None takes the first label of the tag.
    everything
        How everything is segmented; None takes what the model recommends.
    version
        The `model_version` of the predictions.
    """

    kind: Kind | None = None
    tolerance: float = 1.0
    label: str | None = None
    everything: SegmentAllOptions | None = None
    version: str = "sam-core"


def predict_task(
    task: Mapping[str, Any],
    controls: Controls,
    model: Segmenter,
    cache: Embeddings,
    images: ImageSource,
    *,
    context: Mapping[str, Any] | None = None,
    mode: Mode = "everything",
    options: Options | None = None,
) -> dict[str, Any]:
    """Answer one task with one prediction: {"result": [...], "score": 0..1, "model_version": "..."}."""
    raise NotImplementedError
