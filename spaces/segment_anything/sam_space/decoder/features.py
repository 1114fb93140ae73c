"""What is sent to the browser once for each picture: the features that the decoder looks at."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sam_core import Embedding, EmbeddingError

SPREAD = 5.0  # standard deviations of a channel that eight bits cover; the few values beyond would coarsen all others


def features_of(embedding: Embedding, *, bits: Literal[8, 16] = 16) -> tuple[bytes, dict[str, Any]]:
    """Write an embedding as bytes for `decoder.js`.

    Parameters
    ----------
    embedding
        Of a model "cell", of a plane that was encoded whole.
    bits
        16 for float16, which loses nothing; 8 for half as much to send, whose masks differ in a few pixels of the edge.

    Returns
    -------
    content, meta
        All feature levels one after another, each (h, w, C) float16, little-endian, or uint8; and what says so, ready
        for JSON: `model`, the fingerprint; `shape`, height and width of the picture; `bits`; `bytes`, the size;
        `levels`, a list of `{"shape": [h, w, C], "offset": bytes}`. With 8 bits these also have `low` and `step`: for
        each channel, what 0 stands for and how much more each next number does.

    Raises
    ------
    EmbeddingError
        The embedding is in tiles: it is far too large to be sent.

    Examples
    --------
    >>> content, meta = features_of(Embedding((np.ones((1, 8, 4, 6)),), (32, 48), None, "cell-0"))
    >>> meta["levels"], meta["bytes"], len(content)
    ([{'shape': [4, 6, 8], 'offset': 0}], 384, 384)
    """
    if embedding.tiling is not None:
        msg = (
            f"got an embedding of {len(embedding.windows)} tiles, expected that of a plane encoded whole; "
            "answer prompts about a tiled plane on the server"
        )
        raise EmbeddingError(msg)
    write = _as_bytes if bits == 8 else _as_halves
    written = [write(level[0]) for level in embedding.halved().features]
    levels, offset = [], 0
    for array, described in written:
        levels.append({"shape": list(array.shape), "offset": offset, **described})
        offset += array.nbytes
    meta = {
        "model": embedding.model,
        "shape": list(embedding.image_shape),
        "bits": bits,
        "bytes": offset,
        "levels": levels,
    }
    return b"".join(array.tobytes() for array, _ in written), meta


def _as_halves(level: NDArray[np.floating]) -> tuple[NDArray[Any], dict[str, Any]]:
    return _channels_last(level.astype("<f2", copy=False)), {}


def _as_bytes(level: NDArray[np.floating]) -> tuple[NDArray[Any], dict[str, Any]]:
    """Spread each channel of (C, h, w) over 0 to 255."""
    values = level.reshape(len(level), -1).astype(np.float32)
    mean, spread = values.mean(axis=1), SPREAD * values.std(axis=1)
    low = np.maximum(values.min(axis=1), mean - spread)
    high = np.minimum(values.max(axis=1), mean + spread)
    step = np.where(high > low, (high - low) / 255, np.float32(1)).astype(np.float32)
    values -= low[:, None]
    values /= step[:, None]
    np.rint(values, out=values)
    steps = values.clip(0, 255, out=values).astype(np.uint8).reshape(level.shape)
    return _channels_last(steps), {"low": low.astype(float).tolist(), "step": step.astype(float).tolist()}


def _channels_last(level: NDArray[Any]) -> NDArray[Any]:
    """Turn (C, h, w) into (h, w, C): a row of a window is then one run of numbers."""
    return np.ascontiguousarray(level.transpose(1, 2, 0))
