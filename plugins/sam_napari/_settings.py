"""What the user prefers, as set under File > Preferences > Plugins where this napari has that page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLUGIN = "sam-core"


@dataclass(frozen=True, slots=True)
class Settings:
    """Preferences; the defaults hold where napari is too old to ask.

    Parameters
    ----------
    weights
        Model to begin with.
    device
        Where it runs; "auto" for the fastest there is.
    folder
        For encoded pictures and journals; "": the system's place for caches.
    gigabytes
        To keep on disk at most.
    megabytes
        Encoded pictures to keep in memory at most.
    hover
        Show the object under the pointer before a click.
    box
        A drag draws a box; else it moves the picture.
    ahead
        Encode what may be looked at next.
    keep
        Write a journal.
    """

    weights: str = "cell"
    device: str = "auto"
    folder: str = ""
    gigabytes: float = 4.0
    megabytes: int = 512
    hover: bool = True
    box: bool = True
    ahead: bool = True
    keep: bool = True

    @property
    def cache_folder(self) -> Path:
        """Where encoded pictures are kept."""
        from sam_core import EmbeddingCache

        return Path(self.folder) if self.folder else EmbeddingCache().root

    @property
    def journal_folder(self) -> Path:
        """Where journals are kept: beside the encoded pictures, which may be thrown away."""
        folder = self.cache_folder
        return folder.with_name(f"{folder.name}-journals")


PLACES = {
    "weights": "model",
    "device": "model",
    "folder": "cache",
    "gigabytes": "cache",
    "megabytes": "cache",
    "hover": "pointing",
    "box": "pointing",
    "ahead": "pointing",
    "keep": "journal",
}
"""Under which heading of napari's preferences each is found."""


def read_settings() -> Settings:
    """Read what napari has, or take the defaults where it has nothing."""
    stored = _stored()
    if stored is None:
        return Settings()
    return Settings(**{name: getattr(getattr(stored, place), name) for name, place in PLACES.items()})


def on_change(callback: Callable[[Settings], None]) -> Callable[[], None]:
    """Call back with the new preferences whenever one is changed; returns what ends that."""
    stored = _stored()
    groups = [getattr(stored, place) for place in dict.fromkeys(PLACES.values())] if stored is not None else []

    def changed(_event: object = None) -> None:
        callback(read_settings())

    def end() -> None:
        for group in groups:
            with suppress(ValueError, RuntimeError):
                group.events.disconnect(changed)

    for group in groups:
        group.events.connect(changed)
    return end


def _stored() -> Any | None:
    """Napari's own store of this plugin's preferences: None before napari 0.9, or where the plugin is not installed."""
    from napari import settings

    get = getattr(settings, "get_plugin_settings", None)
    if get is None:
        return None
    with suppress(KeyError):
        return get(PLUGIN)
    return None
