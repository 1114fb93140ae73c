"""The engines of a process: one a model, shared by all windows, and how a model is loaded beside them."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sam_core import EmbeddingCache, Segmenter
from sam_napari._engine import KEEP, Engine


@dataclass(slots=True)
class _Shared:
    engine: Engine
    users: int


_shared: dict[tuple[str, str, str], _Shared] = {}
_sharing = threading.Lock()


def engine_for(
    model: str = "cell", *, device: str = "auto", cache: Path | None = None, keep_bytes: int = KEEP
) -> Engine:
    """Return the engine of a model, the same for all who ask in this process; give it back with `release`.

    Parameters
    ----------
    model
        What `Sam.from_pretrained` takes. Loaded when first needed, so nothing can go wrong here.
    device
        Where it computes.
    cache
        Folder of embeddings; None for the one that sam-core uses.
    keep_bytes
        Of embeddings in memory; the first to ask decides.
    """
    key = (model, device, str(cache or ""))
    with _sharing:
        if key not in _shared:
            _shared[key] = _Shared(_made(model, device, cache, keep_bytes), 0)
        _shared[key].users += 1
        return _shared[key].engine


def release(engine: Engine) -> None:
    """Give back an engine of `engine_for`; the last one out ends its thread. Does not wait for that."""
    with _sharing:
        for key, shared in tuple(_shared.items()):
            if shared.engine is engine:
                shared.users -= 1
                if shared.users:
                    return
                del _shared[key]
    engine.close(wait=False)


def _made(model: str, device: str, cache: Path | None, keep_bytes: int) -> Engine:
    def load() -> Segmenter:
        link_torch()
        with without_pauses():
            import zarr  # noqa: F401  # for the cache: later it would hold up the window once more

            from sam_core import Sam

            return Sam.from_pretrained(model, device=device)

    return Engine(load, EmbeddingCache(cache), keep_bytes=keep_bytes, name=model)


def link_torch() -> None:
    """Have the libraries of torch linked by a call that lets others run; its import would hold up the window for that.

    Where this does not work the import does it.
    """
    found = importlib.util.find_spec("torch") if os.name == "posix" and "torch" not in sys.modules else None
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        for library in Path(folder, "lib").glob("libtorch_python.*"):
            dlopen = ctypes.CDLL(None).dlopen
            dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
            dlopen(os.fsencode(library), os.RTLD_LAZY)


@contextmanager
def without_pauses() -> Iterator[None]:
    """Have Python not look for garbage among what is made here: a great number of objects that stay.

    Everything stands still while it looks, the window too; torch makes as many objects as napari. What was made is
    moved to the objects that are looked at least often.
    """
    works = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # else somebody means what they froze to stay so
            gc.freeze()
            gc.unfreeze()
        if works:
            gc.enable()
