"""A Segmenter without a network: an object is a connected region brighter than half of the plane's brightest pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam_core import Embedding, EmbeddingError, Masks, Prompt, Tiling, to_rgb8
from sam_core.logits import Logits
from sam_core.tiling import windows


class FakeSegmenter:
    """Answers a prompt with the region under its first click or under the middle of its box; counts what it does."""

    def __init__(self, fingerprint: str = "fake") -> None:
        self.fingerprint = fingerprint
        self.encoded = 0
        self.decoded = 0

    def encode(self, image: NDArray[Any], *, tiling: Tiling | None = None) -> Embedding:
        """Keep the gray plane as the only feature, a row a tile."""
        self.encoded += 1
        gray = to_rgb8(image).mean(axis=2)
        shape = (gray.shape[0], gray.shape[1])
        tiles = windows(tiling, shape)
        features = np.stack([gray[y0:y1, x0:x1] for y0, x0, y1, x1 in tiles])[:, None].astype(np.float16)
        return Embedding((features,), shape, tiling if len(tiles) > 1 else None, self.fingerprint)

    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        *,
        candidates: Literal[1, 3] = 1,
        min_score: float | None = None,
        min_stability: float | None = None,
    ) -> Masks:
        """Answer with regions; of three candidates the second has the best score."""
        if embedding.model != self.fingerprint:
            msg = f"got an embedding made by model {embedding.model!r}, expected one of {self.fingerprint!r}"
            raise EmbeddingError(msg)
        self.decoded += len(prompts)
        regions = self._regions(embedding)
        logits, scores, index = [], [], []
        for i, prompt in enumerate(prompts):
            prompt.check(embedding.image_shape)
            region = self._under(regions, prompt)
            found = Logits.of_mask(regions == region) if region else None
            for score in (0.9,) if candidates == 1 else (0.5, 0.95, 0.7):
                if found is not None and score >= (min_score or 0):
                    logits.append(found)
                    scores.append(score)
                    index.append(i)
        return Masks.from_logits(embedding.image_shape, logits, scores, index)

    def _regions(self, embedding: Embedding) -> NDArray[np.int32]:
        plane = np.zeros(embedding.image_shape)
        for (y0, x0, y1, x1), tile in zip(embedding.windows, embedding.features[0][:, 0], strict=True):
            plane[y0:y1, x0:x1] = tile
        labels: NDArray[np.int32] = ndimage.label(plane > plane.max() / 2)[0]
        return labels

    def _under(self, regions: NDArray[np.int32], prompt: Prompt) -> int:
        y0, x0, y1, x1 = prompt.extent
        y, x = prompt.points[0] if len(prompt.points) else ((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2)
        return int(regions[round(float(y)), round(float(x))])
