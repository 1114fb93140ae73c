"""Between the frame of a plane and that of a part of it at another magnification."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sam_core.logits import Logits
from sam_core.prompt import Prompt
from sam_core.types import Region, Shape


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture cut from a plane and shrunk.

    Half-open boxes live on the edges of pixels, so they scale about the corner of the plane; points live on centres,
    half a pixel away from the edges.

    Parameters
    ----------
    origin
        y, x of the first pixel of the picture, in pixels of the plane.
    scale
        Pixels of the plane to a pixel of the picture, along y and x.
    shape
        Height and width of the picture in its own pixels.

    Examples
    --------
    >>> half = Frame((100.0, 0.0), (2.0, 2.0), (50, 50))
    >>> half.box_into((100, 0, 120, 10))
    (0.0, 0.0, 10.0, 5.0)
    >>> half.box_out(half.box_into((100, 0, 120, 10)))
    (100.0, 0.0, 120.0, 10.0)
    """

    origin: tuple[float, float]
    scale: tuple[float, float]
    shape: Shape

    def points_into(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Convert points (N, 2) y, x of the plane into this frame."""
        placed = (points + 0.5 - np.array(self.origin)) / np.array(self.scale) - 0.5
        return np.asarray(placed, np.float32)

    def points_out(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Convert points (N, 2) y, x of this frame into the plane's."""
        placed = (points + 0.5) * np.array(self.scale) + np.array(self.origin) - 0.5
        return np.asarray(placed, np.float32)

    def box_into(self, box: Region) -> Region:
        """Convert a half-open box of the plane into this frame."""
        (oy, ox), (sy, sx) = self.origin, self.scale
        y0, x0, y1, x1 = (float(v) for v in box)
        return (y0 - oy) / sy, (x0 - ox) / sx, (y1 - oy) / sy, (x1 - ox) / sx

    def box_out(self, box: Region) -> Region:
        """Convert a half-open box of this frame into the plane's."""
        (oy, ox), (sy, sx) = self.origin, self.scale
        y0, x0, y1, x1 = (float(v) for v in box)
        return y0 * sy + oy, x0 * sx + ox, y1 * sy + oy, x1 * sx + ox

    def prompt_into(self, prompt: Prompt) -> Prompt:
        """Convert a prompt about the plane into one about the picture."""
        box, previous = prompt.box, prompt.previous
        return replace(
            prompt,
            points=self.points_into(prompt.points),
            box=None if box is None else np.array(self.box_into(tuple(box)), np.float32),
            previous=None if previous is None else replace(previous, box=self.box_into(previous.box), shape=self.shape),
        )

    def logits_out(self, values: NDArray[np.float32], box: Region, plane: Shape) -> Logits:
        """Convert logits about the picture into logits about the plane of shape `plane`."""
        return Logits(values, self.box_out(box), plane)
