"""Array aliases, and the protocol that tasks and front-ends ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sam_core.embedding import Embedding
    from sam_core.masks import Masks
    from sam_core.prompt import Prompt
    from sam_core.tiling import Tiling

Mask: TypeAlias = NDArray[np.bool_]
"""(H, W) bool."""
Labels: TypeAlias = NDArray[np.int32]
"""(H, W) or (Z, H, W) int32, 0 = background."""
Shape: TypeAlias = tuple[int, int]
"""Height, width in pixels."""
Box: TypeAlias = tuple[int, int, int, int]
"""Half-open y0, x0, y1, x1 in pixels: rows y0 to y1 - 1."""
Region: TypeAlias = tuple[float, float, float, float]
"""A box that need not end at the edge of a pixel."""


@runtime_checkable
class Segmenter(Protocol):
    """Encodes a plane once and answers any number of prompts about it."""

    @property
    def fingerprint(self) -> str:
        """Tells this model from all others."""
        ...

    def encode(self, image: NDArray[Any], *, tiling: Tiling | None = None) -> Embedding:
        """Encode a plane, (H, W) or (H, W, C) of any real dtype."""
        ...

    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        *,
        candidates: Literal[1, 3] = 1,
        min_score: float | None = None,
        min_stability: float | None = None,
    ) -> Masks:
        """Answer each prompt with 1 or 3 masks, without those below the given score or stability."""
        ...
