"""The object under the pointer, before it is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from sam_core import Masks
from sam_napari._boxes import united, within
from sam_napari._change import turned
from sam_napari._layers_axes import Axes, bare, roles_of
from sam_napari._layers_sheet import Sheet
from sam_napari._layers_target import Over
from sam_napari._layers_view import resolution, zoom_of
from sam_napari._source import Box, Plane

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

NAME = "object under the pointer"
WINDOW = 1024  # pixels a side of the layer that is moved to where the object is
LARGEST = 512  # pixels a side of an object as it is drawn; larger ones are drawn more coarsely
FILL, LINE, RIM = 1, 2, 3
COLORS: dict[int | None, tuple[float, float, float, float]] = {
    FILL: (1.0, 0.85, 0.1, 0.25),
    LINE: (1.0, 0.85, 0.1, 1.0),
    RIM: (0.0, 0.0, 0.0, 0.6),
}
DOUBTFUL = 0.5  # below this score the line is dashed
DASH = 4  # pixels
MOVES = ("scale", "translate", "rotate", "shear", "affine", "units", "data")


@dataclass(frozen=True, slots=True)
class Window:
    """Where the layer is.

    Parameters
    ----------
    plane
        On which plane.
    step
        Pixels of the plane along each side of a pixel of the layer.
    box
        Half-open, in pixels of the layer, counted from the corner of the plane.
    """

    plane: Plane
    step: int
    box: Box

    def holds(self, plane: Plane, step: int, box: Box) -> bool:
        """Tell whether something can be drawn without moving the layer."""
        y0, x0, y1, x1 = self.box
        inside = y0 <= box[0] and x0 <= box[1] and box[2] <= y1 and box[3] <= x1
        return inside and plane == self.plane and step == self.step


class Ghost:
    """Draws one mask at a time over an image: filled, with a line around it, dashed where it is doubtful.

    The layer is as small as the screen, and stays where it is while the pointer moves about in it; so showing a mask is
    no more for napari than a stroke of its brush.

    Parameters
    ----------
    viewer
        Where it is shown.
    image
        What it lies over; None: nothing yet.
    roles
        What each axis of the image is; by default `roles_of`.
    """

    def __init__(self, viewer: Viewer, image: Layer | None = None, roles: Sequence[str] | None = None) -> None:
        self._viewer = bare(viewer)
        self._sheet = Sheet(self._viewer, self._make)
        self._image: Layer | None = None
        self._pixels: NDArray[np.uint8] = np.zeros((1, 1), np.uint8)
        self._window: Window | None = None
        self._drawn: Box | None = None  # in pixels of the layer, from the corner of the plane
        self._finest: tuple[Any, float] = (None, 1.0)
        if image is not None:
            self.over(image, roles)

    def over(self, image: Layer | None, roles: Sequence[str] | None = None) -> None:
        """Lie over another image from now on; None: over nothing."""
        self.hide()
        self._listen(False)
        self._image = bare(image)
        self._window = None
        if self._image is not None:
            self._axes = Axes(tuple(roles) if roles is not None else roles_of(self._image))
            self._over = Over.of(self._image, self._axes)
            self._listen(True)

    def owns(self, layer: Layer | None) -> bool:
        """Tell whether a layer is the one that is drawn on."""
        return self._sheet.owns(layer)

    def prepare(self) -> None:
        """Add the layer now, which takes napari longer than showing a mask."""
        if self._image is not None:
            self._sheet.raise_to_top()

    def show(self, plane: Plane, masks: Masks, score: float = 1.0, chosen: int = 0, of: int = 1) -> None:
        """Draw a mask in the place of the former.

        Parameters
        ----------
        plane
            The plane of the mask.
        masks
            One mask on it; none, or an empty one, is the same as `hide`.
        score
            How good it may be; below 0.5 its line is dashed.
        chosen, of
            Which candidate it is, of how many; of 0 it is an object already, which is only outlined.
        """
        del chosen
        seen = self._image is not None and self._axes.shown(self._viewer) == plane.axes
        if not seen or not len(masks) or not masks.crops[0].size:
            self.hide()
            return
        finest = self._resolution(plane)
        step = _step(masks.crops[0].shape, finest)
        pixels, box = drawn(masks, step, max(1, math.ceil(finest / step)), dashed=score < DOUBTFUL)
        if of == 0:
            pixels[pixels == FILL] = 0
        sheet_shape = tuple(-(-n // step) for n in masks.shape)
        pixels, box = _clipped(pixels, box, (sheet_shape[0], sheet_shape[1]))
        if self._window is None or not self._sheet.there or not self._window.holds(plane, step, box):
            self._move(plane, step, box, (sheet_shape[0], sheet_shape[1]))
        self._draw(pixels, box)
        self._sheet.raise_to_top()

    def hide(self) -> None:
        """Draw nothing."""
        if self._drawn is not None and self._window is not None and self._sheet.there:
            self._put(
                np.zeros((self._drawn[2] - self._drawn[0], self._drawn[3] - self._drawn[1]), np.uint8), self._drawn
            )
        self._drawn = None

    def close(self) -> None:
        """Remove the layer."""
        self._listen(False)
        self._sheet.close()
        self._image = self._window = self._drawn = None

    # -- inside ------------------------------------------------------------------------------------------------------

    def _listen(self, on: bool) -> None:
        events = None if self._image is None else self._image.events
        for name in MOVES if events is not None else ():
            emitter = getattr(events, name)
            (emitter.connect if on else emitter.disconnect)(self._moved)

    def _make(self) -> Labels:
        clear = (0.0, 0.0, 0.0, 0.0)
        over = self._over
        if self._pixels.ndim != len(over.shape):
            self._pixels = np.zeros((1,) * len(over.shape), np.uint8)
        return Labels(
            self._pixels,
            name=NAME,
            affine=over.matrix,
            units=over.units,
            axis_labels=over.axis_labels,
            colormap=DirectLabelColormap(color_dict={**COLORS, 0: clear, None: clear}),
            opacity=1.0,
        )

    def _moved(self, _event: object = None) -> None:
        """Take note that the image lies elsewhere."""
        self._finest = (None, 1.0)
        self.hide()
        self._window = None

    def _resolution(self, plane: Plane) -> float:
        """Return how many pixels of the plane make one of the screen; asked anew when the zoom changes."""
        key = (zoom_of(self._viewer), plane.axes)
        if self._finest[0] != key:
            self._finest = (key, resolution(self._viewer, self._image, self._axes, plane.axes))
        return self._finest[1]

    def _move(self, plane: Plane, step: int, box: Box, sheet: tuple[int, int]) -> None:
        """Put the layer where a box is in its middle, as far as the plane goes."""
        self._drawn = None
        size = [min(WINDOW, n) for n in sheet]
        middle = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
        y, x = (min(max(m - n // 2, 0), full - n) for m, n, full in zip(middle, size, sheet, strict=True))
        self._window = Window(plane, step, (y, x, y + size[0], x + size[1]))
        self._over = Over.of(self._image, self._axes)
        shape = [1] * len(self._over.shape)
        rows, columns = (self._over.kept[axis] for axis in plane.axes)
        shape[rows], shape[columns] = size
        same = self._pixels.shape == tuple(shape)
        self._pixels = np.zeros(shape, np.uint8) if not same else self._pixels
        self._pixels[...] = 0
        layer = self._sheet.layer
        if layer.data is not self._pixels:
            layer.data = self._pixels
        if layer.units != self._over.units:
            layer.units = self._over.units
        if layer.axis_labels != self._over.axis_labels:
            layer.axis_labels = self._over.axis_labels
        layer.affine = self._matrix(plane, step, (y, x))

    def _matrix(self, plane: Plane, step: int, corner: tuple[int, int]) -> NDArray[np.float64]:
        """Return where pixels of the layer are in the world: (n + 1, n + 1)."""
        local = np.eye(len(self._over.shape) + 1)
        for axis, place in zip(self._over.kept, plane.index, strict=True):
            local[axis, -1] = place
        for axis, first in zip(plane.axes, corner, strict=True):
            own = self._over.kept[axis]
            local[own, own], local[own, -1] = step, first * step + (step - 1) / 2
        return np.asarray(self._over.matrix @ local)

    def _draw(self, pixels: NDArray[np.uint8], box: Box) -> None:
        """Draw pixels, and what was drawn before no more; at once where both are close."""
        former, self._drawn = self._drawn, box
        if former is None:
            self._put(pixels, box)
            return
        both = united(former, box)
        if _area(both) > 2 * (_area(former) + _area(box)):
            self._put(np.zeros((former[2] - former[0], former[3] - former[1]), np.uint8), former)
            self._put(pixels, box)
            return
        joined = np.zeros((both[2] - both[0], both[3] - both[1]), np.uint8)
        joined[within(box, both)] = pixels
        self._put(joined, both)

    def _put(self, pixels: NDArray[np.uint8], box: Box) -> None:
        assert self._window is not None
        plane, (y, x) = self._window.plane, self._window.box[:2]
        index: list[Any] = [0] * self._pixels.ndim
        for axis in plane.axes:
            index[self._over.kept[axis]] = slice(None)
        part = within(box, self._window.box)
        turned(plane, self._pixels[tuple(index)])[part] = pixels
        self._sheet.redraw(pixels, (box[0] - y, box[1] - x))


def drawn(masks: Masks, step: int, width: int, *, dashed: bool) -> tuple[NDArray[np.uint8], Box]:
    """Draw a mask of 1 at 1/step: 1 inside, 2 along its border, 3 around it.

    Returns
    -------
    tuple[NDArray[np.uint8], Box]
        (h, w), and the half-open box of it in pixels of `step`, which may reach beyond the plane.
    """
    y0, x0, y1, x1 = (int(value) for value in masks.boxes[0])
    box = (y0 // step - width, x0 // step - width, -(-y1 // step) + width, -(-x1 // step) + width)
    rows, columns = (
        np.arange(low, high) * step + step // 2 - first
        for low, high, first in ((box[0], box[2], y0), (box[1], box[3], x0))
    )
    inside = np.zeros((len(rows), len(columns)), bool)
    height, width_of = masks.crops[0].shape
    own_rows, own_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width_of)
    inside[np.ix_(own_rows, own_columns)] = masks.crops[0][np.ix_(rows[own_rows], columns[own_columns])]
    line = inside & ~_shrunk(inside, width)
    rim = ~inside & ~_shrunk(~inside, width)
    if dashed:
        gaps = (np.add.outer(rows // step, columns // step) // DASH) % 2 == 1
        line, rim = line & ~gaps, rim & ~gaps
    out = inside.astype(np.uint8)
    out[line], out[rim] = LINE, RIM
    return out, box


def _shrunk(inside: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Take away what is so many pixels or fewer from the outside; the edge of the array is no outside."""
    out = inside.copy()
    for _ in range(by):
        before = out.copy()
        out[1:] &= before[:-1]
        out[:-1] &= before[1:]
        out[:, 1:] &= before[:, :-1]
        out[:, :-1] &= before[:, 1:]
    return out


def _step(shape: tuple[int, ...], finest: float) -> int:
    """Return how coarsely a mask is drawn: as the screen shows it, and so that it is not too large."""
    needed = max(finest, max(shape) / LARGEST, 1.0)
    coarse = 1 << math.ceil(math.log2(max(max(shape) / LARGEST, 1.0)))
    return max(coarse, 1 << math.floor(math.log2(needed)))


def _clipped(pixels: NDArray[np.uint8], box: Box, sheet: tuple[int, int]) -> tuple[NDArray[np.uint8], Box]:
    """Cut off what lies beyond the plane."""
    kept = max(box[0], 0), max(box[1], 0), min(box[2], sheet[0]), min(box[3], sheet[1])
    return pixels[within(kept, box)], kept


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
