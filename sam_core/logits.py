"""A mask before it is drawn: logits at low resolution over a region of a plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_core.types import Box, Mask, Region, Shape

OUTSIDE = -32.0  # the logit of what was not looked at
SURE = 8.0  # the logit of a mask that somebody drew
MARGIN = 4  # pixels around a drawn mask that its logits cover too
BAND = 1 << 19  # pixels drawn at a time: what fits into a cache, and a mask of any size needs no more memory


@dataclass(frozen=True, eq=False, slots=True)
class Logits:
    """Logits over a region of a plane; positive means object.

    Parameters
    ----------
    values
        (h, w) float16 or float32, their centres evenly spread over `box`.
    box
        Half-open region y0, x0, y1, x1 of the plane, in pixels; it may reach outside the plane.
    shape
        Height and width of the plane.

    Raises
    ------
    ValueError
        The values are no grid, or the region has no area.

    Examples
    --------
    >>> logits = Logits(np.array([[-1.0, 3.0]], np.float32), (0, 0, 2, 4), (2, 4))
    >>> crop, offset = logits.mask()
    >>> offset, crop.shape
    ((0, 2), (2, 2))
    """

    values: NDArray[np.floating]
    box: Region
    shape: Shape

    def __post_init__(self) -> None:
        """Refuse what cannot be interpolated."""
        y0, x0, y1, x1 = self.box
        if self.values.ndim != 2 or not self.values.size or not (y0 < y1 and x0 < x1):
            msg = (
                f"got logits of shape {self.values.shape} over {self.box}, expected a grid (h, w) with values "
                "over a region y0 < y1, x0 < x1"
            )
            raise ValueError(msg)

    @classmethod
    def of_mask(cls, mask: Mask) -> Logits:
        """Make logits of +8 and -8 of a mask (H, W) bool of a whole plane."""
        if mask.ndim != 2:
            msg = f"got a mask of shape {mask.shape}, expected (H, W) of the whole plane; choose one plane"
            raise ValueError(msg)
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return cls(np.full((1, 1), -SURE, np.float32), (0.0, 0.0, 1.0, 1.0), (mask.shape[0], mask.shape[1]))
        crop = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        return cls.of_crop(crop, (int(rows[0]), int(cols[0])), (mask.shape[0], mask.shape[1]))

    @classmethod
    def of_crop(cls, crop: Mask, offset: tuple[int, int], shape: Shape) -> Logits:
        """Make logits of +8 and -8 of a crop (h, w) bool that lies at `offset` (y, x) on a plane."""
        values = np.where(np.pad(crop, MARGIN), SURE, -SURE).astype(np.float32)
        y0, x0 = offset[0] - MARGIN, offset[1] - MARGIN
        return cls(values, (float(y0), float(x0), float(y0 + values.shape[0]), float(x0 + values.shape[1])), shape)

    def resample(self, region: Region, size: tuple[int, int]) -> NDArray[np.float32]:
        """Interpolate the logits on a grid of `size` cells over a region of the plane.

        Bilinear between the centres of cells (as `align_corners=False`); -32 where a centre lies outside `box`.

        Returns
        -------
        NDArray[np.float32]
            (rows, columns) of `size`.
        """
        rows = _Axis.between(region[0], region[2], size[0], self.box[0], self.box[2], self.values.shape[0])
        cols = _Axis.between(region[1], region[3], size[1], self.box[1], self.box[3], self.values.shape[1])
        above, below = (self.values[index].astype(np.float32, copy=False) for index in (rows.low, rows.high))
        down = above * (1 - rows.weight)[:, None] + below * rows.weight[:, None]
        out = np.asarray(down[:, cols.low] * (1 - cols.weight) + down[:, cols.high] * cols.weight, np.float32)
        out[rows.outside] = OUTSIDE
        out[:, cols.outside] = OUTSIDE
        return out

    def sample(self, box: Box) -> NDArray[np.float32]:
        """Interpolate the logits at the pixels of a half-open box of the plane: (y1 - y0, x1 - x0) float32."""
        y0, x0, y1, x1 = box
        return self.resample((y0, x0, y1, x1), (y1 - y0, x1 - x0))

    def mask(self) -> tuple[Mask, tuple[int, int]]:
        """Draw the mask at the resolution of the plane, looking only where the logits are positive.

        Returns
        -------
        crop, offset
            Tight (h, w) bool and its y, x on the plane; (0, 0) sized where nothing is positive.
        """
        box = self._around_positives()
        if box is None:
            return np.zeros((0, 0), bool), (0, 0)
        drawn = self._drawn(box)
        rows, cols = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
        if not len(rows):
            return np.zeros((0, 0), bool), (0, 0)
        crop = drawn[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        return np.ascontiguousarray(crop), (box[0] + int(rows[0]), box[1] + int(cols[0]))

    def stability(self, offset: float = 1.0) -> float:
        """Return how little the mask depends on its threshold: IoU of the masks at `offset` and at -`offset`."""
        union = int(np.count_nonzero(self.values > -offset))
        return int(np.count_nonzero(self.values > offset)) / union if union else 0.0

    def positive_region(self, margin: int = 0) -> Region | None:
        """Return the half-open region of the positive values and `margin` cells around; None where there are none."""
        positive = self.values > 0
        sides = []
        for axis in (0, 1):
            index = np.flatnonzero(positive.any(axis=1 - axis))
            if not len(index):
                return None
            start, stop = self.box[axis], self.box[axis + 2]
            cell = (stop - start) / self.values.shape[axis]
            sides.append((start + (index[0] - margin) * cell, start + (index[-1] + 1 + margin) * cell))
        (y0, y1), (x0, x1) = sides
        return float(y0), float(x0), float(y1), float(x1)

    def _drawn(self, box: Box) -> Mask:
        """Tell which pixels of a box are positive, some rows at a time."""
        y0, x0, y1, x1 = box
        step = max(1, BAND // (x1 - x0))
        return np.concatenate([self.sample((y, x0, min(y + step, y1), x1)) > 0 for y in range(y0, y1, step)])

    def _around_positives(self) -> Box | None:
        """Return the pixels of the plane that may be positive: interpolation reaches one cell further."""
        region = self.positive_region(margin=1)
        if region is None:
            return None
        y0, x0 = (max(0, int(np.floor(v))) for v in region[:2])
        y1, x1 = (min(n, int(np.ceil(v))) for n, v in zip(self.shape, region[2:], strict=True))
        return (y0, x0, y1, x1) if y0 < y1 and x0 < x1 else None


@dataclass(frozen=True, eq=False, slots=True)
class _Axis:
    """Linear interpolation along one axis: two neighbours and the weight of the second."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: NDArray[np.float32]
    outside: NDArray[np.bool_]

    @classmethod
    def between(cls, first: float, last: float, count: int, start: float, stop: float, cells: int) -> _Axis:
        """Place `count` centres spread over first..last among `cells` centres spread over start..stop."""
        edge = first + (np.arange(count) + 0.5) * ((last - first) / max(count, 1))
        at = ((edge - start) * (cells / (stop - start)) - 0.5).clip(0, cells - 1)
        low = np.minimum(at.astype(np.intp), max(cells - 2, 0))
        return cls(low, np.minimum(low + 1, cells - 1), (at - low).astype(np.float32), (edge < start) | (edge > stop))
