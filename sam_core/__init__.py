"""Segment Anything: encode a plane once, ask anything about it.

What needs torch, or reads and writes files, is imported when it is first asked for: `import sam_core` is
quick.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam_core.cache import EmbeddingCache
    from sam_core.embedding import Embedding
    from sam_core.errors import CheckpointError, EmbeddingError, ImageError, PromptError, SamError
    from sam_core.frame import Frame
    from sam_core.image import to_rgb8
    from sam_core.labels import stitch
    from sam_core.logits import Logits
    from sam_core.masks import Masks
    from sam_core.prompt import Prompt
    from sam_core.propagate import propagate
    from sam_core.sam import Sam
    from sam_core.segment import segment
    from sam_core.segment_all import SegmentAllOptions, segment_all
    from sam_core.storage import Planes, read_planes, save_coco, save_geojson, save_labels, save_measures
    from sam_core.tiling import Tiling
    from sam_core.types import Segmenter

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "Embedding",
    "EmbeddingCache",
    "EmbeddingError",
    "Frame",
    "ImageError",
    "Logits",
    "Masks",
    "Planes",
    "Prompt",
    "PromptError",
    "propagate",
    "read_planes",
    "Sam",
    "SamError",
    "save_coco",
    "save_geojson",
    "save_labels",
    "save_measures",
    "segment",
    "segment_all",
    "SegmentAllOptions",
    "Segmenter",
    "stitch",
    "Tiling",
    "to_rgb8",
]

_HOMES = {
    "CheckpointError": "errors",
    "Embedding": "embedding",
    "EmbeddingCache": "cache",
    "EmbeddingError": "errors",
    "Frame": "frame",
    "ImageError": "errors",
    "Logits": "logits",
    "Masks": "masks",
    "Planes": "storage",
    "Prompt": "prompt",
    "PromptError": "errors",
    "propagate": "propagate",
    "read_planes": "storage",
    "Sam": "sam",
    "SamError": "errors",
    "save_coco": "storage",
    "save_geojson": "storage",
    "save_labels": "storage",
    "save_measures": "storage",
    "segment": "segment",
    "segment_all": "segment_all",
    "SegmentAllOptions": "segment_all",
    "Segmenter": "types",
    "stitch": "labels",
    "Tiling": "tiling",
    "to_rgb8": "image",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps a function's name for the function where a module is called like it, as `segment` is.

    Python would put the module `sam_core.segment` in the place of the function `sam_core.segment` as soon as
    anybody imports the former.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
