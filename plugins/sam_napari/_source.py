"""What an image layer holds, as far as a model needs to know it: planes of it, read box by box from any thread."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from sam_core import ImageError, to_rgb8

Shape: TypeAlias = tuple[int, int]
"""Height, width in pixels."""
Box: TypeAlias = tuple[int, int, int, int]
"""Half-open y0, x0, y1, x1 in pixels: rows y0 to y1 - 1."""
Region: TypeAlias = tuple[float, float, float, float]
"""A box that need not end at the edge of a pixel."""

ROLES = ("t", "z", "y", "x", "?")
LOW, HIGH = 0.5, 99.8  # percentiles between which values that are not 8-bit are shown
SAMPLE = 1 << 20  # values that the percentiles are taken of
LEAST = 512  # pixels a side that a pyramid level has to have, for its percentiles to stand for the image's
PLACES, PLACE = 4, 256  # along each side: windows looked at where reading everything would take long; their size
BAND = 1 << 25  # values read at a time: a plane of any size is shrunk in little memory
FINEST = 4  # samples, at least, along each side of a pixel that is a mean: many more are not seen

_versions = itertools.count(1)


class ArrayLike(Protocol):
    """What pixels come from: a numpy, dask or zarr array, or anything else that is indexed alike."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        ...

    @property
    def dtype(self) -> Any:
        """Of the values."""
        ...

    def __getitem__(self, index: Any) -> Any:
        """Return a part; basic indexing, with steps of at least 1."""
        ...


@dataclass(frozen=True, slots=True)
class Plane:
    """Which 2-D plane of a layer.

    Parameters
    ----------
    axes
        The data axes that are shown as rows and as columns.
    index
        Place on each data axis, channels left out; 0 at the two of `axes`.

    Examples
    --------
    >>> Plane((1, 2), (7, 0, 0)).at(0, 8)
    Plane(axes=(1, 2), index=(8, 0, 0))
    """

    axes: tuple[int, int]
    index: tuple[int, ...]

    def at(self, axis: int, place: int) -> Plane:
        """Return the plane at another place on one axis."""
        return Plane(self.axes, (*self.index[:axis], place, *self.index[axis + 1 :]))


@dataclass(frozen=True, eq=False, slots=True)
class Source:
    """A snapshot of what an image layer holds; safe to read from another thread. Make one with `Source.of`.

    Parameters
    ----------
    levels
        Arrays of the same image, each coarser than the one before; the axes are those of space and time, and a last one
        of 3 or 4 where the image is RGB.
    rgb
        Whether the last axis holds colours.
    roles
        What each axis is: "t", "z", "y", "x", or "?" where nobody knows.
    limits
        The values that become 0 and 255. None: 0 and 255 of 8-bit images, 0 and 1 of bool; of all else percentiles,
        measured once a plane on a sample, so that all parts of a plane look alike.
    version
        Differs from every other source in the process.

    Raises
    ------
    ImageError
        There is no level, levels differ in their axes, or there are not as many roles as axes.

    Examples
    --------
    >>> stack = Source.of([np.zeros((5, 64, 48), np.uint16)], roles=("z", "y", "x"))
    >>> plane = Plane((1, 2), (2, 0, 0))
    >>> stack.shape(plane), stack.read(plane, (0, 0, 64, 48), 2).shape
    ((64, 48), (32, 24))
    >>> [each.index[0] for each in stack.neighbours(plane)]
    [1, 3]
    """

    levels: tuple[ArrayLike, ...]
    rgb: bool
    roles: tuple[str, ...]
    limits: tuple[float, float] | None
    version: int
    _measured: dict[Plane, tuple[float, float]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no image."""
        shapes = [tuple(level.shape) for level in self.levels]
        axes = len(self.roles) + self.rgb
        if not shapes or any(len(shape) != axes for shape in shapes) or len(self.roles) < 2:
            msg = (
                f"got levels of shapes {shapes} with axes {self.roles}{' and colours' if self.rgb else ''}, expected "
                "one level or more, all with these axes, at least two; say which axis is which"
            )
            raise ImageError(msg)
        if self.rgb and any(shape[-1] not in (3, 4) for shape in shapes):
            msg = f"got RGB images of shapes {shapes}, expected a last axis of 3 or 4; switch rgb off for this layer"
            raise ImageError(msg)

    @classmethod
    def of(
        cls,
        levels: list[Any] | tuple[Any, ...],
        *,
        rgb: bool = False,
        roles: tuple[str, ...] | None = None,
        limits: tuple[float, float] | None = None,
    ) -> Source:
        """Make a source with a version of its own; without roles, the last two axes are y and x, others unknown."""
        count = len(levels[0].shape) - rgb if len(levels) else 0
        known = ("?",) * (count - 2) + ("y", "x") if roles is None else tuple(roles)
        return cls(tuple(levels), rgb, known, limits, next(_versions))

    # -- which planes there are --------------------------------------------------------------------------------------

    @property
    def sizes(self) -> tuple[int, ...]:
        """Length of each axis of space and time at level 0."""
        return tuple(int(n) for n in self.levels[0].shape[: len(self.roles)])

    def shape(self, plane: Plane) -> Shape:
        """Return height and width of a plane in pixels of level 0."""
        rows, columns = plane.axes
        return self.sizes[rows], self.sizes[columns]

    def along(self, plane: Plane) -> int | None:
        """Return the axis along which objects are followed; None where a plane is all there is.

        That is z, or else another axis of space (y in a view from the side), else t, else an unknown one.
        """
        hidden = [axis for axis in range(len(self.roles)) if axis not in plane.axes and self.sizes[axis] > 1]
        order = "zyxt?"
        return min(hidden, key=lambda axis: (order.index(self.roles[axis]), -axis), default=None)

    def neighbours(self, plane: Plane) -> tuple[Plane, ...]:
        """Return the planes that are likely to be looked at next: the two beside it, then the next point in time."""
        along = self.along(plane)
        ways = [] if along is None or self.roles[along] == "t" else [(along, -1), (along, 1)]
        ways += [(axis, 1) for axis, role in enumerate(self.roles) if role == "t" and axis not in plane.axes]
        places = [(axis, plane.index[axis] + step) for axis, step in ways]
        return tuple(plane.at(axis, place) for axis, place in places if 0 <= place < self.sizes[axis])

    def planes(self, plane: Plane) -> tuple[Plane, ...]:
        """Return all planes through this one along the axis of `along`, in order."""
        axis = self.along(plane)
        return (plane,) if axis is None else tuple(plane.at(axis, place) for place in range(self.sizes[axis]))

    def position(self, plane: Plane) -> int:
        """Return the number of a plane among its `planes`."""
        axis = self.along(plane)
        return 0 if axis is None else plane.index[axis]

    # -- pixels ------------------------------------------------------------------------------------------------------

    def read(self, plane: Plane, box: Box, step: int = 1) -> NDArray[np.uint8]:
        """Read a box of a plane, shrunk, without touching what lies outside.

        Pixels come from the coarsest pyramid level that is not coarser than wanted, and are means of what they cover.

        Parameters
        ----------
        plane
            Which plane.
        box
            Half-open, in pixels of level 0, inside the plane.
        step
            Pixels of level 0 along each side of a pixel that is returned.

        Returns
        -------
        NDArray[np.uint8]
            (h, w), or (h, w, 3) of an RGB image; h and w are the sides of the box over `step`, rounded up.

        Raises
        ------
        ImageError
            The box has no pixels or is not inside the plane, or the dtype is not real.
        """
        height, width = self.shape(plane)
        y0, x0, y1, x1 = box
        if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width) or step < 1:
            msg = f"got the box {box} at step {step} of a plane of {height} x {width} pixels, expected one inside"
            raise ImageError(msg)
        limits = self._limits(plane)
        level = self._level(plane, step)
        return self._eight(level.picture(box, step), limits)

    def _eight(self, values: NDArray[Any], limits: tuple[float, float] | None) -> NDArray[np.uint8]:
        if not self.rgb and values.dtype == np.uint8 and limits is None:
            return values
        means = limits is None and values.dtype != np.uint8  # of 8-bit values, which stay what they are
        eight = to_rgb8(values, limits=(0.0, 255.0) if means else limits)
        return eight if self.rgb else np.ascontiguousarray(eight[..., 0])

    def _level(self, plane: Plane, step: int) -> _Level:
        views = [_Level.of(level, self.sizes, plane, self.rgb) for level in self.levels]
        return next(view for view in reversed(views) if max(view.ratio) <= step or view is views[0])

    def _limits(self, plane: Plane) -> tuple[float, float] | None:
        kind = np.dtype(self.levels[0].dtype)
        if self.limits is not None:
            return self.limits
        if kind == np.uint8:
            return None
        if kind.kind == "b":
            return 0.0, 1.0
        if plane not in self._measured:
            self._measured[plane] = _percentiles(self._sample(plane))
        return self._measured[plane]

    def _sample(self, plane: Plane) -> NDArray[Any]:
        """Return some of the values of a plane, from all over it."""
        views = [_Level.of(level, self.sizes, plane, self.rgb) for level in self.levels]
        view = next(view for view in reversed(views) if min(view.shape) >= LEAST or view is views[0])
        height, width = view.shape
        if isinstance(view.array, np.ndarray) or height * width <= SAMPLE or view.chunks <= PLACES**2:
            stride = max(1, math.ceil(math.sqrt(height * width / SAMPLE)))
            return view.values((0, 0, height, width), (stride, stride)).ravel()
        # Whatever is loaded comes chunk by chunk: a stride over all of the plane would load all of it.
        rows, columns = (
            sorted({round(i * max(n - PLACE, 0) / (PLACES - 1)) for i in range(PLACES)}) for n in view.shape
        )
        boxes = [(y, x, min(y + PLACE, height), min(x + PLACE, width)) for y in rows for x in columns]
        return np.concatenate([view.values(box, (1, 1)).ravel() for box in boxes])


@dataclass(frozen=True, slots=True)
class _Level:
    """A plane of one level of a pyramid.

    Parameters
    ----------
    array
        The level.
    index
        Place on each of its axes; the two of `axes` are to be replaced.
    axes
        Those of rows and columns.
    ratio
        Pixels of level 0 to a pixel of this level, along rows and columns.
    full
        Height and width of the plane at level 0.
    """

    array: ArrayLike
    index: tuple[int, ...]
    axes: tuple[int, int]
    ratio: tuple[float, float]
    full: Shape

    @classmethod
    def of(cls, array: ArrayLike, sizes: tuple[int, ...], plane: Plane, rgb: bool) -> _Level:
        """Find the plane in a level of a pyramid whose level 0 has axes of these sizes."""
        shape = array.shape[: len(sizes)]
        index = tuple(
            min(int((place + 0.5) * n / max(full, 1)), n - 1)
            for place, n, full in zip(plane.index, shape, sizes, strict=True)
        )
        rows, columns = (_ratio(sizes[axis], shape[axis]) for axis in plane.axes)
        return cls(array, index, plane.axes, (rows, columns), (sizes[plane.axes[0]], sizes[plane.axes[1]]))

    @property
    def shape(self) -> Shape:
        """Height and width at this level."""
        rows, columns = self.axes
        return self.array.shape[rows], self.array.shape[columns]

    @property
    def chunks(self) -> float:
        """How many chunks the plane is loaded in; infinitely many where nobody knows."""
        chunks = getattr(self.array, "chunks", None)
        if chunks is None or len(chunks) != len(self.array.shape):
            return math.inf
        sizes = (np.max(chunks[axis]) for axis in self.axes)  # of zarr a number, of dask one for each chunk
        return float(math.prod(math.ceil(side / size) for side, size in zip(self.shape, sizes, strict=True)))

    def values(self, box: Box, stride: tuple[int, int]) -> NDArray[Any]:
        """Load each `stride`-th pixel of a box of this level: (h, w) or (h, w, C)."""
        y0, x0, y1, x1 = box
        index: list[Any] = list(self.index)
        index[self.axes[0]], index[self.axes[1]] = slice(y0, y1, stride[0]), slice(x0, x1, stride[1])
        part = loaded(self.array[tuple(index)])
        return part if self.axes[0] < self.axes[1] else part.swapaxes(0, 1)

    def picture(self, box: Box, step: int) -> NDArray[Any]:
        """Read a box of level 0 at 1/step, some rows at a time; each pixel is the mean of what it covers."""
        if step == 1:
            return np.array(self.values(box, (1, 1)))
        rows, columns = (self._edges(axis, box[axis], box[axis + 2], step) for axis in (0, 1))
        return np.concatenate([self._means(part, columns) for part in _bands(rows, columns)])

    def _edges(self, axis: int, start: int, stop: int, step: int) -> NDArray[np.intp]:
        """Return where pixels of this level begin that belong to each pixel of the picture, and where the last ends."""
        stops = np.append(np.arange(start, stop, step), stop)
        edges = np.floor(stops / self.ratio[axis] + 0.5).astype(np.intp)
        edges[0], size = math.floor(start / self.ratio[axis]), self.shape[axis]
        edges[-1] = size if stop == self.full[axis] else max(math.ceil(stop / self.ratio[axis]), 1)
        first = np.minimum(edges[:-1], size - 1)  # the last pixel serves again where a level was cut short
        return np.append(first, min(max(edges[-1], first[-1] + 1), size))

    def _means(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[Any]:
        stride = (_stride(rows), _stride(columns))
        values = self.values((int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])), stride)
        for axis, edges in enumerate((rows, columns)):
            values = _mean(values, -(-(edges[:-1] - edges[0]) // stride[axis]), axis)
        return values


def _mean(values: NDArray[Any], starts: NDArray[np.intp], axis: int) -> NDArray[Any]:
    """Take means of what lies between places along an axis; NaN and infinities count where there is nothing else."""
    count = values.shape[axis]
    if len(starts) == count:
        return values
    starts = np.minimum(starts, count - 1)
    exact = np.float64 if values.dtype.itemsize > 2 else np.float32  # what is large and varies little must still vary
    finite = np.isfinite(values) if values.dtype.kind == "f" else np.ones(1, bool)
    if finite.all():
        shape = (-1, *(1,) * (values.ndim - axis - 1))
        counts = np.maximum(np.diff(np.append(starts, count)), 1).reshape(shape).astype(exact)
        return np.asarray(_sums(values, starts, axis, exact) / counts)
    sums = _sums(np.where(finite, values, 0), starts, axis, exact)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / _sums(finite, starts, axis, exact))


def _sums(values: NDArray[Any], starts: NDArray[np.intp], axis: int, exact: type[np.floating]) -> NDArray[Any]:
    """Add up what lies between places along an axis."""
    each = int(starts[1] - starts[0]) if len(starts) > 1 else values.shape[axis]
    whole = values.shape[axis] // each
    even = np.array_equal(starts, np.arange(len(starts)) * each) and len(starts) - whole in (0, 1)
    if not even:
        return np.asarray(np.add.reduceat(values, starts, axis=axis, dtype=exact))
    # Twenty times as quick: a few additions of many values each.
    along = np.moveaxis(values, axis, 0)
    sums = np.zeros((len(starts), *along.shape[1:]), exact)
    for i in range(each):
        part = along[i::each]
        sums[: len(part)] += part
    return np.moveaxis(sums, 0, axis)


def _bands(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Cut rows of the picture into bands of so many that not too much is read at a time; neighbours share an edge."""
    width = max(int(columns[-1] - columns[0]), 1)
    each = max((rows[-1] - rows[0]) / (len(rows) - 1), 1)
    count = max(1, int(BAND / (width * each)))
    for start in range(0, len(rows) - 1, count):
        yield rows[start : start + count + 1]


def _stride(edges: NDArray[np.intp]) -> int:
    """Return which of the pixels are looked at, where many make one."""
    return max(1, int((edges[-1] - edges[0]) / (len(edges) - 1)) // FINEST)


def _ratio(full: int, size: int) -> float:
    """Return by what a level is coarser; a whole number where rounding alone would make it none."""
    exact = full / max(size, 1)
    whole = round(exact)
    return float(whole) if abs(full / whole - size) <= 1 else exact


def loaded(part: Any) -> NDArray[Any]:
    """Load a part of an array; of a dask array in this thread, and past napari's cache.

    Threads of dask's own would be left behind; and napari registers a cache with dask that all threads share, which
    breaks where two compute at the same time.
    """
    if hasattr(part, "__dask_graph__"):
        compute = cast("Callable[..., Any]", part.compute)
        part = compute(scheduler="synchronous", callbacks=())
    return np.asarray(part)


def _percentiles(values: NDArray[Any]) -> tuple[float, float]:
    """Return the values that become black and white; 0 and 1 where there is nothing but NaN."""
    finite = values[np.isfinite(values)].astype(np.float64) if values.dtype.kind in "fiub" else np.zeros(0)
    if not len(finite):
        return 0.0, 1.0
    low, high = np.percentile(finite, (LOW, HIGH))
    if low < high:
        return float(low), float(high)
    return float(finite.min()), float(finite.max())
