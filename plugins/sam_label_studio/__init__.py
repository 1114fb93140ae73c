"""A Label Studio ML backend on `sam_core`: smart clicks that answer at once, and whole projects annotated in advance.

command    `sam-core label-studio`
app        the server; backend and predict do the work and know nothing of HTTP
config, prompts, regions    Label Studio's JSON to values and back; frame, rle, polygon and bitmask know the details
images, addresses, tokens    what tasks refer to, fetched with care
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam_label_studio.app import create_app
    from sam_label_studio.config import Controls
    from sam_label_studio.embeddings import Embeddings
    from sam_label_studio.images import ImageSource
    from sam_label_studio.predict import Options, predict_task
    from sam_label_studio.settings import Settings
    from sam_label_studio.tokens import Credentials

__all__ = [
    "Controls",
    "Credentials",
    "Embeddings",
    "ImageSource",
    "Options",
    "Settings",
    "create_app",
    "predict_task",
]

_HOMES = {
    "Controls": "config",
    "Credentials": "tokens",
    "Embeddings": "embeddings",
    "ImageSource": "images",
    "Options": "predict",
    "Settings": "settings",
    "create_app": "app",
    "predict_task": "predict",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
