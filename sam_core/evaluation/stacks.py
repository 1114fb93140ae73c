"""Whole stacks: everything on every plane, planes joined to objects, and these compared voxel by voxel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam_core.evaluation.asking import everything
from sam_core.evaluation.baseline import otsu_watershed
from sam_core.evaluation.dataset import Stack
from sam_core.evaluation.metrics import Accuracy, accuracy_of
from sam_core.evaluation.protocol import EvaluateOptions
from sam_core.labels import stitch
from sam_core.types import Segmenter


@dataclass(frozen=True, eq=False, slots=True)
class StackResult:
    """What came of one stack.

    Parameters
    ----------
    name, set, modality
        Of the stack.
    planes, objects, found
        How many there are, and how many objects were found.
    accuracy
        Mean segmentation accuracy and precision at IoU .5: in 3D, of the planes joined ("joined"), of the true planes
        joined, which shows what joining alone loses ("truth joined"), and of the planes of the baseline joined
        ("baseline"); and the means over the planes that have objects, each by itself ("planes").
    """

    name: str
    set: str
    modality: str
    planes: int
    objects: int
    found: int
    accuracy: dict[str, Accuracy]

    @property
    def row(self) -> dict[str, Any]:
        """A row of a table, ready for JSON."""
        about = {"set": self.set, "stack": self.name, "planes": self.planes, "objects": self.objects}
        scores = {
            f"{name} {kind}": score
            for name, both in self.accuracy.items()
            for kind, score in zip(("mSA", "AP50"), both, strict=True)
        }
        return {**about, "found": self.found, **scores}


def evaluate_stacks(
    model: Segmenter, stacks: Iterable[Stack], options: EvaluateOptions | None = None
) -> Iterator[StackResult]:
    """Measure a model on labelled stacks, one result a stack; stop asking to cancel."""
    for stack in stacks:
        yield evaluate_stack(model, stack, options)


def evaluate_stack(model: Segmenter, stack: Stack, options: EvaluateOptions | None = None) -> StackResult:
    """Measure a model on one labelled stack: everything on every plane, joined by `stitch` as it is by default."""
    options = options or EvaluateOptions()
    planes, labels = stack.read()
    drawn = [everything(model, model.encode(plane), options.segment_all).to_labels() for plane in planes]
    joined = stitch(drawn)
    accuracy = {
        "joined": accuracy_of(labels, joined),
        "truth joined": accuracy_of(labels, stitch(labels)),
    }
    if labels.any():
        each = [accuracy_of(truth, found) for truth, found in zip(labels, drawn, strict=True) if truth.any()]
        accuracy["planes"] = (float(np.mean([msa for msa, _ in each])), float(np.mean([ap50 for _, ap50 in each])))
    if options.baseline:
        accuracy["baseline"] = accuracy_of(labels, stitch(otsu_watershed(plane) for plane in planes))
    objects, found = (len(np.unique(volume[volume > 0])) for volume in (labels, joined))
    return StackResult(stack.name, stack.set, stack.modality, len(planes), objects, found, accuracy)
