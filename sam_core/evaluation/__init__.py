"""How good a model is on labelled images: protocols, measures, reports. Imported only on purpose."""

from sam_core.evaluation.dataset import LabelledImage, read_items
from sam_core.evaluation.protocol import EvaluateOptions, ImageResult, evaluate
from sam_core.evaluation.report import markdown, save_report, summarise

__all__ = [
    "EvaluateOptions",
    "ImageResult",
    "LabelledImage",
    "evaluate",
    "markdown",
    "read_items",
    "save_report",
    "summarise",
]
