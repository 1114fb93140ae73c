"""napari's Labels layer as a canvas: every write is one step of napari's own undo, and who else paints is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam_napari._boxes import whole
from sam_napari._change import CanvasBusy, CanvasError, CanvasFull, CanvasGone, Change, Touched, turned
from sam_napari._layers_axes import Axes, bare, roles_of
from sam_napari._layers_highest import Highest
from sam_napari._layers_lazy import Edited
from sam_napari._layers_pieces import gathered
from sam_napari._layers_target import Fit
from sam_napari._layers_touch import OnScreen, Span, Touches
from sam_napari._source import Box, Plane, Shape, loaded

if TYPE_CHECKING:
    from napari.layers import Labels, Layer
    from napari.viewer import Viewer

AT_ONCE = 1 << 14  # pixels that are written at once; napari takes some 0.2 µs for each
PATIENCE = 0.04  # seconds that the windows may wait for that


class LabelsCanvas:
    """A Labels layer on which objects of an image are painted.

    Parameters
    ----------
    viewer
        Where the layers are.
    labels
        What is painted: the plugin's own target, or any Labels layer of the image's shape that the user chose. Arrays
        that cannot be painted point by point (dask, xarray, files opened for reading) are read through `Edited` from
        the first write on, which keeps what is painted in memory.
    image
        Whose objects these are; only its shape is looked at.
    roles
        What each axis of the image is; by default `roles_of`.
    channel
        Which channel is painted, where the labels too have several.

    Raises
    ------
    CanvasError
        The labels are not of the image's shape, or cannot be edited.
    CanvasGone
        They are not in the viewer.
    """

    def __init__(
        self, viewer: Viewer, labels: Labels, image: Layer, roles: Sequence[str] | None = None, channel: int = 0
    ) -> None:
        self._viewer, self.layer, self._image = bare(viewer), bare(labels), bare(image)
        self._axes, self._channel = Axes(tuple(roles) if roles is not None else roles_of(image)), channel
        self._check_there()
        self._fit: Fit | None = Fit.of(self.layer, self._image, self._axes, channel)
        self._sizes = self._fit.sizes
        self._callbacks: list[Callable[[Touched], None]] = []
        self._highest = Highest(self.layer.data)
        self._touches = Touches(self.layer, self._touched, self._highest.learn, self._on_screen)

    def close(self) -> None:
        """Let go of the layer."""
        self._touches.close()
        self._highest.close()
        self._callbacks.clear()

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Length of each axis of space and time."""
        return self._sizes

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the label numbers."""
        dtype: np.dtype[Any] = np.dtype(self.layer.dtype)
        return dtype

    @property
    def preserve(self) -> bool:
        """Whether labels that are there are never painted over: napari's own setting."""
        return bool(self.layer.preserve_labels)

    @preserve.setter
    def preserve(self, value: bool) -> None:
        self.layer.preserve_labels = value

    @property
    def selected(self) -> int:
        """The number that painting uses: napari's own setting."""
        return int(self.layer.selected_label)

    @selected.setter
    def selected(self, label: int) -> None:
        try:
            self.layer.selected_label = label
        except ValueError as error:
            raise CanvasFull(self._full()) from error

    def shape(self, plane: Plane) -> Shape:
        """Return height and width of a plane.

        Raises
        ------
        CanvasGone
            The layer was removed.
        CanvasError
            Its array was replaced by one of another shape.
        """
        sizes = self._fitting().sizes
        return sizes[plane.axes[0]], sizes[plane.axes[1]]

    def read(self, plane: Plane, box: Box) -> NDArray[np.integer]:
        """Return a copy of the label numbers (h, w) of a box, which lies inside the plane.

        Raises
        ------
        CanvasGone
            The layer was removed.
        CanvasError
            Its array was replaced by one of another shape.
        """
        part = loaded(self.layer.data[self._fitting().index(plane, box)])
        return np.array(turned(plane, part), self.dtype)

    # -- painting ----------------------------------------------------------------------------------------------------

    def write(self, changes: Sequence[Change]) -> None:
        """Write changes in their order, as one step of napari's undo; only pixels that change are kept for that.

        Raises
        ------
        CanvasGone
            The layer was removed.
        CanvasError
            Its array was replaced by one of another shape, or cannot be written: the disk is full, for example. What
            was painted until then is one step of undo.
        """
        for _ in self.writing(changes):
            pass

    def writing(self, changes: Sequence[Change]) -> Iterator[int]:
        """Write changes as `write` does, but bit by bit: yields how many pixels changed, some milliseconds apart.

        All is one step of undo, which is complete when the iterator ends or is closed. Nobody else should write
        meanwhile.

        Raises
        ------
        CanvasGone, CanvasError
            As `write`.
        """
        if not changes:
            return
        self._fitting()
        self._make_ready()
        failure: Exception | None = None
        with self._touches.own(), self.layer.block_history():
            # Nothing may leave the block but by its end, or the step would not be complete.
            try:
                for piece in gathered(changes, self.read):
                    yield from self._put(*piece)
            except (OSError, MemoryError) as error:
                failure = error
            except GeneratorExit:
                return
        if failure is not None:
            msg = (
                f"got {failure} while painting {self.layer.name!r}, expected labels that can be written; undo what was "
                "painted (Ctrl+Z), make room, or choose a new target"
            )
            raise CanvasError(msg) from failure

    def next_label(self) -> int:
        """Return a number that no object has, and none had since the canvas was made.

        Raises
        ------
        CanvasBusy
            Labels that somebody else made are still being looked through; ask again soon.
        CanvasFull
            The dtype has no further number.
        """
        self._fitting()
        highest = self._highest.value(PATIENCE)
        if highest is None:
            msg = (
                f"got labels that are still being counted ({self._highest.part:.0%} of {self.layer.name!r}), expected "
                "to know which numbers are taken; try again in a moment"
            )
            raise CanvasBusy(msg)
        if highest >= np.iinfo(self.dtype).max:
            raise CanvasFull(self._full())
        return max(highest, 0) + 1

    def on_touched(self, callback: Callable[[Touched], None]) -> Callable[[], None]:
        """Call back whenever somebody else changed pixels; returns what ends it.

        With planes and boxes after undo, redo, brush, eraser, fill and polygon, and where a numpy array was written
        directly and napari was asked to draw it again. With None after another array took the place of the former.
        """
        self._callbacks.append(callback)

        def end() -> None:
            with suppress(ValueError):
                self._callbacks.remove(callback)

        return end

    # -- inside ------------------------------------------------------------------------------------------------------

    def _check_there(self) -> None:
        if self.layer not in self._viewer.layers:
            name = self.layer.name
            msg = f"got the target {name!r}, which was removed, expected it in the list of layers; choose another"
            raise CanvasGone(msg)

    def _fitting(self) -> Fit:
        """Return which pixels of the layer are which; the layer may have been removed, or its array replaced."""
        self._check_there()
        if self._fit is None:
            self._fit = Fit.of(self.layer, self._image, self._axes, self._channel)
        return self._fit

    def _full(self) -> str:
        return (
            f"got a target of {self.dtype.name}, which numbers objects up to {np.iinfo(self.dtype).max}, expected room "
            "for another one; convert its layer (right-click it > Convert data type) or choose a new target"
        )

    def _make_ready(self) -> None:
        """See to it that napari can paint: an array that can be written, and a picture of the plane on screen."""
        if not _writable(self.layer.data):
            with self._touches.own():
                self.layer.data = Edited(self.layer.data)
        if not (self.layer.visible and self.layer.loaded):
            # Of hidden layers napari has a picture of another size and type, and would cast numbers to the latter.
            self.layer.set_view_slice()

    def _put(self, plane: Plane, box: Box, before: NDArray[np.integer], after: NDArray[np.integer]) -> Iterator[int]:
        """Write a box of a plane; yields how many pixels changed."""
        all_rows, all_columns = np.nonzero(before != after)
        kind = _index_type(self.layer.data.shape)
        for start in range(0, len(all_rows), AT_ONCE):
            rows, columns = all_rows[start : start + AT_ONCE], all_columns[start : start + AT_ONCE]
            values = after[rows, columns]
            largest = int(values.max())
            indices = self._fitting().points(plane, rows + box[0], columns + box[1], kind)
            self._touches.wrote(tuple(slice(int(each.min()), int(each.max()) + 1) for each in indices))
            self.layer.data_setitem(indices, values if largest != values.min() else largest)
            self._highest.learn(largest)
            yield len(rows)

    def _on_screen(self) -> OnScreen | None:
        """Return the plane on screen."""
        shown = self._axes.shown(self._viewer)
        if shown is None or self._fit is None or self.layer.data.ndim != len(self._fit.base):
            return None
        world = self.layer.world_to_data(self._viewer.dims.point)
        index = [round(float(world[axis])) for axis in self._fit.axes]
        index[shown[0]] = index[shown[1]] = 0
        plane = Plane(shown, tuple(index))
        if not all(0 <= place < n for place, n in zip(index, self._sizes, strict=True)):
            return None
        place = self._fit.index(plane, whole((self._sizes[shown[0]], self._sizes[shown[1]])))
        span = tuple(each if isinstance(each, slice) else slice(each, each + 1) for each in place)
        return OnScreen(plane, np.asarray(self.layer.data[span]), span)

    def _touched(self, spans: list[Span] | None) -> None:
        if spans is None:
            self._fit = None
            self._highest.close()
            self._highest = Highest(self.layer.data)
            self._tell(None)
            return
        with suppress(CanvasError):
            fit = self._fitting()
            self._tell([pair for span in spans for pair in fit.planes(span)])

    def _tell(self, touched: Touched) -> None:
        for callback in tuple(self._callbacks):
            callback(touched)


def _writable(data: Any) -> bool:
    """Tell whether napari can write single pixels of an array, and take that back."""
    if isinstance(data, np.ndarray):
        return bool(data.flags.writeable)
    zarr_like = hasattr(data, "vindex") and hasattr(data, "read_only")
    return isinstance(data, Edited) or (zarr_like and not data.read_only)


def _index_type(shape: Sequence[int]) -> np.dtype[Any]:
    """Return the smallest type for places: napari keeps one for each axis of each pixel that changed."""
    return np.dtype(np.min_scalar_type(max(shape)))
