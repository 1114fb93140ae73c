"""How good a model is on labelled images. Imported only on purpose: nothing else of `sam_core` needs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sam_core.evaluation.compare import compare
from sam_core.evaluation.dataset import Item, Stack, read_items, read_stacks
from sam_core.evaluation.protocol import EvaluateOptions, ImageResult, evaluate_item, evaluate_items
from sam_core.evaluation.report import by_acquisition, by_size, markdown, sections, summarise
from sam_core.evaluation.stacks import StackResult, evaluate_stack, evaluate_stacks
from sam_core.types import Segmenter

__all__ = [
    "EvaluateOptions",
    "ImageResult",
    "Item",
    "Stack",
    "StackResult",
    "by_acquisition",
    "by_size",
    "compare",
    "evaluate",
    "evaluate_item",
    "evaluate_items",
    "evaluate_stack",
    "evaluate_stacks",
    "markdown",
    "read_items",
    "read_stacks",
    "sections",
    "summarise",
]


def evaluate(
    model: Segmenter, folder: str | Path, *, split: str | None = "test", options: EvaluateOptions | None = None
) -> Iterator[ImageResult]:
    """Measure a model on a split of a folder of labelled images, one result a plane; see `read_items`."""
    return evaluate_items(model, read_items(folder, split), options)
