"""Which parts of a plane are encoded: patches at the resolution of the screen. Pure geometry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sam_core import Frame, ImageError, Logits, Masks, Prompt, Tiling
from sam_napari._source import Box, Plane, Region, Shape

TILE = Tiling(
    (768, 768), (128, 128)
)  # in pixels of the picture; a plane is cut evenly, into tiles of at most this size
LARGEST = 1024  # pixels a side of a picture that is encoded at once: that of a tile with its halo


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of a plane that is encoded at once.

    Parameters
    ----------
    plane
        The plane it is cut from.
    step
        Pixels of the plane along each side of a pixel of the patch; a power of two.
    tile
        Its number among the patches of the plane at this step, row by row.
    box
        Half-open, in pixels of the plane; ends at multiples of `step` or at the border of the plane.
    shape
        Height and width in its own pixels.
    plane_shape
        Height and width of the plane.

    Examples
    --------
    >>> patch = patch_at(Plane((0, 1), (0, 0)), (4000, 3000), 2, (1900.0, 20.0))
    >>> patch.tile, patch.box, patch.shape
    (2, (1078, 0, 2924, 2012), (923, 1006))
    """

    plane: Plane
    step: int
    tile: int
    box: Box
    shape: Shape
    plane_shape: Shape

    @property
    def frame(self) -> Frame:
        """From the plane into the patch."""
        y0, x0, _, _ = self.box
        return Frame((float(y0), float(x0)), (float(self.step), float(self.step)), self.shape)

    def prompt_into(self, prompt: Prompt) -> Prompt:
        """Convert a prompt about the plane into one about the patch."""
        return self.frame.prompt_into(prompt)

    def masks_out(self, masks: Masks) -> Masks:
        """Convert masks on the patch into masks on the plane, drawn from their logits at full resolution."""
        if self.step == 1:
            return masks.moved((self.box[0], self.box[1]), self.plane_shape)
        pairs = enumerate(masks.logits)
        logits = [_logits_of(masks, i) if one is None else one for i, one in pairs]
        placed = [self.frame.logits_out(np.asarray(one.values), one.box, self.plane_shape) for one in logits]
        return Masks.from_logits(self.plane_shape, placed, masks.scores, masks.prompt)

    def holds(self, region: Region) -> bool:
        """Tell whether what of a half-open region lies on the plane lies in the patch."""
        y0, x0, y1, x1 = _clipped(region, self.plane_shape)
        top, left, bottom, right = self.box
        return top <= y0 and left <= x0 and y1 <= bottom and x1 <= right

    def owns(self, point: tuple[float, float]) -> bool:
        """Tell whether this is the patch that answers at a point y, x of the plane."""
        return _Grid.of(self.plane_shape, self.step).owner(point) == self.tile


def step_for(pixels_per_screen_pixel: float, plane_shape: Shape | None = None) -> int:
    """Return the step at which a plane is encoded, so that its picture is no coarser than the screen.

    Where the shape of the plane is given, a small plane is encoded as finely as it can be in one patch, however small
    it is shown.

    Examples
    --------
    >>> step_for(0.5), step_for(1.9), step_for(10.2), step_for(10.2, (1500, 1500))
    (1, 1, 8, 2)
    """
    if not math.isfinite(pixels_per_screen_pixel):
        msg = f"got {pixels_per_screen_pixel} pixels to a pixel of the screen, expected a finite number"
        raise ValueError(msg)
    step = 1 << max(0, math.floor(math.log2(max(pixels_per_screen_pixel, 1.0))))
    if plane_shape is None:
        return step
    return min(step, 1 << max(0, math.ceil(math.log2(max(*plane_shape, 1) / LARGEST))))


def patch_at(plane: Plane, plane_shape: Shape, step: int, point: tuple[float, float]) -> Patch:
    """Return the patch that owns a point y, x of the plane; points outside belong to the nearest one.

    Raises
    ------
    ImageError
        The plane has no pixels.
    """
    grid = _Grid.of(plane_shape, step)
    return grid.patch(plane, grid.owner(point))


def patch_for(plane: Plane, plane_shape: Shape, step: int, region: Region) -> Patch:
    """Return a patch that holds a half-open region of the plane, at the step, or at coarser ones where none does.

    What of the region lies outside the plane does not count.

    Raises
    ------
    ImageError
        The plane has no pixels.
    """
    grid = _Grid.of(plane_shape, step)
    home = grid.home(_clipped(region, plane_shape))
    return patch_for(plane, plane_shape, 2 * step, region) if home is None else grid.patch(plane, home)


def patches_in_view(
    plane: Plane,
    plane_shape: Shape,
    step: int,
    view: Region,
    cursor: tuple[float, float] | None = None,
    *,
    ring: bool = True,
) -> tuple[Patch, ...]:
    """Return the patches that a view needs, in the order in which to encode them.

    First those that own what is in view, nearest to the cursor, or else to the middle of the view, first; then, with
    `ring`, the patches around these. None where the view misses the plane.
    """
    if min(plane_shape) < 1 or not _meets(view, plane_shape):
        return ()
    grid = _Grid.of(plane_shape, step)
    y0, x0, y1, x1 = _clipped(view, plane_shape)
    middle = ((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2) if cursor is None else cursor
    rows, columns = grid.range(0, y0, y1), grid.range(1, x0, x1)
    ranked = []
    for row in range(max(rows.start - ring, 0), min(rows.stop + ring, grid.counts[0])):
        for column in range(max(columns.start - ring, 0), min(columns.stop + ring, grid.counts[1])):
            tile = row * grid.counts[1] + column
            ranked.append((row not in rows or column not in columns, grid.distance(tile, middle), tile))
    return tuple(grid.patch(plane, tile) for _, _, tile in sorted(ranked))


def patches_of(plane: Plane, plane_shape: Shape, step: int = 1) -> tuple[Patch, ...]:
    """Return all patches of a plane, row by row; none where the plane has no pixels."""
    if min(plane_shape) < 1:
        return ()
    grid = _Grid.of(plane_shape, step)
    return tuple(grid.patch(plane, tile) for tile in range(grid.counts[0] * grid.counts[1]))


def region_of(prompt: Prompt) -> Region:
    """Return the half-open region of the plane that a patch has to hold to answer a prompt, all its clicks included."""
    y0, x0, y1, x1 = prompt.extent
    if not len(prompt.points):
        return y0, x0, y1, x1
    top, left = (float(v) for v in prompt.points.min(axis=0) - 0.5)
    bottom, right = (float(v) for v in prompt.points.max(axis=0) + 0.5)
    return min(y0, top), min(x0, left), max(y1, bottom), max(x1, right)


@dataclass(frozen=True, slots=True)
class _Grid:
    """The patches of a plane at one step.

    Parameters
    ----------
    plane_shape
        Of the plane.
    step
        Pixels of the plane to one of the picture.
    shape
        Height and width of the picture.
    tiling
        How it is cut.
    """

    plane_shape: Shape
    step: int
    shape: Shape
    tiling: Tiling

    @classmethod
    def of(cls, plane_shape: Shape, step: int) -> _Grid:
        if min(plane_shape) < 1:
            msg = f"got a plane of {plane_shape[0]} x {plane_shape[1]} pixels, expected some; choose another layer"
            raise ImageError(msg)
        if step < 1 or step & (step - 1):
            msg = f"got a step of {step}, expected a power of two; take it from step_for"
            raise ValueError(msg)
        height, width = (-(-n // step) for n in plane_shape)
        (th, hy), (tw, hx) = (_cut(axis, n) for axis, n in enumerate((height, width)))
        return cls(plane_shape, step, (height, width), Tiling((th, tw), (hy, hx)))

    @property
    def counts(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        (height, width), (th, tw) = self.shape, self.tiling.tile
        return -(-height // th), -(-width // tw)

    def owner(self, point: tuple[float, float]) -> int:
        y, x = ((p + 0.5) / self.step - 0.5 for p in point)
        return self.tiling.owner((y, x), self.shape)

    def home(self, region: Region) -> int | None:
        y0, x0, y1, x1 = (v / self.step for v in region)
        return self.tiling.home((y0, x0, y1, x1), self.shape)

    def patch(self, plane: Plane, tile: int) -> Patch:
        row, column = divmod(tile, self.counts[1])
        (y0, y1), (x0, x1) = self._side(0, row), self._side(1, column)
        height, width = self.plane_shape
        step = self.step
        box = (y0 * step, x0 * step, min(y1 * step, height), min(x1 * step, width))
        return Patch(plane, step, tile, box, (y1 - y0, x1 - x0), self.plane_shape)

    def _side(self, axis: int, number: int) -> tuple[int, int]:
        """Return start and stop of a row or column of windows; as `Tiling.windows`, without making all of them."""
        tile, halo, size = self.tiling.tile[axis], self.tiling.halo[axis], self.shape[axis]
        extent = min(tile + 2 * halo, size)
        start = min(max(number * tile - halo, 0), size - extent)
        return start, start + extent

    def range(self, axis: int, start: float, stop: float) -> range:
        """Return the rows or columns of patches that own pixels between two edges of the plane."""
        side, last = self.tiling.tile[axis] * self.step, self.counts[axis] - 1
        return range(min(math.floor(start / side), last), min(max(math.ceil(stop / side), 1), last + 1))

    def distance(self, tile: int, point: tuple[float, float]) -> float:
        """Return how far a point is from what a patch owns; less than 0 inside, deeper in is nearer."""
        row, column = divmod(tile, self.counts[1])
        gaps = []
        for axis, number in enumerate((row, column)):
            side = self.tiling.tile[axis] * self.step
            low, high = number * side, min((number + 1) * side, self.plane_shape[axis])
            gaps.append(max(low - (point[axis] + 0.5), point[axis] + 0.5 - high))
        return math.hypot(*(max(gap, 0.0) for gap in gaps)) or max(gaps)


def _cut(axis: int, size: int) -> tuple[int, int]:
    """Return tile and halo along one axis: what fits into one patch is not cut, all else into tiles of one size."""
    if size <= LARGEST:
        return size, 0
    return -(-size // -(-size // TILE.tile[axis])), TILE.halo[axis]


def _clipped(region: Region, shape: Shape) -> Region:
    y0, x0, y1, x1 = region
    return max(y0, 0.0), max(x0, 0.0), min(y1, float(shape[0])), min(x1, float(shape[1]))


def _meets(view: Region, shape: Shape) -> bool:
    y0, x0, y1, x1 = _clipped(view, shape)
    return y0 < y1 and x0 < x1


def _logits_of(masks: Masks, i: int) -> Logits:
    y, x = masks.offsets[i]
    return Logits.of_crop(masks.crops[i], (int(y), int(x)), masks.shape)
