"""One encoded plane."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_core.tiling import Tiling, windows
from sam_core.types import Box, Shape

LARGEST = float(np.finfo(np.float16).max)
INFINITE = 0x7C00  # the bits of a float16 that is infinite, without its sign; greater ones are NaN


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Embedding:
    """What a model knows of one plane; enough to answer any prompt about it. A CPU value.

    Parameters
    ----------
    features
        One array a feature level, each (tiles, C, h, w) float16 or float32.
    image_shape
        Height and width of the plane.
    tiling
        How the plane was cut; None: it is one tile.
    model
        Fingerprint of the model that made it.
    overview
        The whole plane, shrunk to the size of one window, encoded as well: it answers for objects that no tile holds.
        None where the plane is one tile.
    part
        The half-open box of the plane that was encoded, where that is not all of it: prompts are answered as far as
        they lie in it, and an answer that runs into its border is cut off there. None: the whole plane.

    Examples
    --------
    >>> features = (np.zeros((1, 128, 64, 64), np.float16),)
    >>> Embedding(features, (512, 512), None, "cell").nbytes
    1048576
    """

    features: tuple[NDArray[np.floating], ...]
    image_shape: Shape
    tiling: Tiling | None
    model: str
    overview: Embedding | None = None
    part: Box | None = None

    @property
    def nbytes(self) -> int:
        """Size in bytes, the overview included."""
        own = sum(level.nbytes for level in self.features)
        return own + (self.overview.nbytes if self.overview is not None else 0)

    @property
    def windows(self) -> tuple[Box, ...]:
        """The half-open box of the plane that each tile was encoded from."""
        return windows(self.tiling, self.image_shape) if self.part is None else (self.part,)

    def halved(self) -> Embedding:
        """Return it in float16, as it is kept on disk: answers then do not depend on where it came from.

        Values beyond what float16 holds become the largest that it does.
        """
        features = tuple(_clipped(level) for level in self.features)
        return replace(self, features=features, overview=None if self.overview is None else self.overview.halved())


def _clipped(level: NDArray[Any]) -> NDArray[np.float16]:
    # Without its sign, the bits of a float16 are greatest where it is infinite; numpy compares integers ten times as
    # quickly as it tests or clips numbers of this kind.
    if level.dtype == np.float16 and int((level.view(np.uint16) & 0x7FFF).max(initial=0)) < INFINITE:
        return level
    return np.asarray(level.clip(-LARGEST, LARGEST), np.float16)
