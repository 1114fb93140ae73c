"""What is sent to the browser once for each picture: the features that the decoder looks at."""

from __future__ import annotations

from typing import Any

import numpy as np

from sam_core import Embedding, EmbeddingError


def features_of(embedding: Embedding) -> tuple[bytes, dict[str, Any]]:
    """Write an embedding as bytes for `decoder.js`.

    Parameters
    ----------
    embedding
        Of a model "cell", of a plane that was encoded whole.

    Returns
    -------
    content, meta
        All feature levels one after another, each (h, w, C) float16, little-endian; and what says so, ready for JSON:
        `model`, the fingerprint; `shape`, height and width of the picture; `levels`, a list of `{"shape": [h, w, C],
        "offset": bytes}`; `bytes`, their size.

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
    # Channels last: a row of a window is one run of numbers.
    levels = [level[0].transpose(1, 2, 0).astype("<f2") for level in embedding.halved().features]
    ends = np.cumsum([level.nbytes for level in levels]).tolist()
    meta = {
        "model": embedding.model,
        "shape": list(embedding.image_shape),
        "levels": [
            {"shape": list(level.shape), "offset": end - level.nbytes} for level, end in zip(levels, ends, strict=True)
        ],
        "bytes": ends[-1],
    }
    return b"".join(level.tobytes() for level in levels), meta
