"""ZeroGPU, where a Space has it: the package `spaces` of PyPI lends a GPU for the length of a call, to another process.

Nothing here is needed without it. The folder `spaces` of the repository is no such package: it has no `__init__.py`, so
that Python takes it only where there is no other, and it has no `GPU`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sam_core import Embedding, Sam, Tiling

SECONDS = 30  # that a GPU is asked for: a ViT-H is read from the disk in that time, and then encodes in less than one
Encode: TypeAlias = Callable[[str, NDArray[Any]], Embedding]

_loaded: dict[str, Sam] = {}  # in the process that has the GPU


def lender() -> Callable[..., Any] | None:
    """Return `spaces.GPU`, or None where there is no such thing."""
    try:
        return getattr(importlib.import_module("spaces"), "GPU", None)
    except Exception:  # it fails in its own ways where it does not suit the machine
        return None


def borrowed() -> Encode | None:
    """Return what encodes on a GPU that is lent for each call; None where none is.

    `spaces` leaves a function as it is where the Space has no ZeroGPU. It has to be asked before gradio is launched:
    a Space that has a GPU and no function for it does not start.
    """
    lend = lender()
    if lend is None:
        return None
    encode: Encode = lend(encode_there, duration=SECONDS)
    return None if encode is encode_there else encode


def encode_there(source: str, image: NDArray[Any]) -> Embedding:
    """Encode a plane in the process that has the GPU; the model stays there as long as that process does."""
    if source not in _loaded:
        _loaded.clear()  # one at a time
        _loaded[source] = Sam.from_pretrained(source, device="cuda", dtype="float32")
    return _loaded[source].encode(image)


class Lent:
    """A model that encodes on a GPU that is lent, and answers here, where a click does not wait for one.

    Parameters
    ----------
    model
        The same model here, in float32: its embeddings and those of the other are of one kind.
    source
        What the other process loads it from.
    encode
        As `borrowed` returns it.
    """

    def __init__(self, model: Sam, source: str, encode: Encode) -> None:
        self._model = model
        self._source = source
        self._encode = encode
        self.fingerprint = model.fingerprint
        self.segment_all_options = model.segment_all_options
        self.propose = model.propose
        self.decode = model.decode
        self.device, self.dtype = "ZeroGPU", model.dtype

    def encode(self, image: NDArray[np.generic], *, tiling: Tiling | None = None) -> Embedding:
        """Encode a plane."""
        return self._model.encode(image, tiling=tiling) if tiling else self._encode(self._source, image)
