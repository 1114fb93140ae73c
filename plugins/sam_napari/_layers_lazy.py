"""Arrays that are read bit by bit, for what numpy cannot hold or must not change."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sam_napari._source import loaded

Index: TypeAlias = tuple[int, ...]
SIDE = 256  # of a block that is copied when it is written for the first time, along each of the last two axes


class Channel:
    """One channel of an array that would load all it is asked for, as zarr does.

    Parameters
    ----------
    array
        Anything with a shape, a dtype and basic indexing.
    axis
        The axis of the channels.
    channel
        Which of them.

    Examples
    --------
    >>> one = Channel(np.arange(24).reshape(2, 3, 4), 1, 2)
    >>> one.shape, one[1, 1:3].tolist()
    ((2, 4), [21, 22])
    """

    def __init__(self, array: Any, axis: int, channel: int) -> None:
        self._array, self._axis, self._channel = array, axis, channel
        self.shape: tuple[int, ...] = (*array.shape[:axis], *array.shape[axis + 1 :])
        self.dtype = array.dtype

    def __getitem__(self, index: Any) -> Any:
        """Return a part of the channel."""
        own = list(index) if isinstance(index, tuple) else [index]
        own += [slice(None)] * (self._axis - len(own))
        return self._array[(*own[: self._axis], self._channel, *own[self._axis :])]


class Edited:
    """An array that another one is read from, and that is written in memory.

    A block is copied when it is written for the first time. So labels that are computed (dask) or that must not be
    written (a file opened for reading) can be painted, point by point too, and painting stays as quick as at first.

    Parameters
    ----------
    base
        Anything with a shape, a dtype and basic indexing; never written.

    Examples
    --------
    >>> base = np.zeros((2, 4, 4), np.uint8)
    >>> base.flags.writeable = False
    >>> edited = Edited(base)
    >>> edited[1, 1:3, 1:3] = 7
    >>> edited[(np.array([0, 1]), np.array([0, 0]), np.array([0, 3]))] = np.array([5, 6])
    >>> edited[1].tolist()
    [[0, 0, 0, 6], [0, 7, 7, 0], [0, 7, 7, 0], [0, 0, 0, 0]]
    """

    def __init__(self, base: Any) -> None:
        self.base = base
        self.shape: tuple[int, ...] = tuple(int(n) for n in base.shape)
        self.dtype: np.dtype[Any] = np.dtype(base.dtype)
        self.ndim = len(self.shape)
        self.chunks: tuple[int, ...] = (1,) * (self.ndim - 2) + (SIDE, SIDE)
        self._blocks: dict[Index, NDArray[Any]] = {}

    @property
    def size(self) -> int:
        """How many values it has."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """How many bytes it would take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        """Return the length of the first axis."""
        return self.shape[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Load all of it."""
        return self._read([slice(0, n) for n in self.shape]).astype(dtype or self.dtype, copy=False)

    def compute(self) -> NDArray[Any]:
        """Load all of it, as a dask array does."""
        return np.asarray(self)

    def astype(self, dtype: DTypeLike) -> NDArray[Any]:
        """Load all of it as another type."""
        return self.__array__(dtype)

    def __getitem__(self, index: Any) -> Any:
        """Return a part: by whole numbers and slices, or point by point by an array for each axis."""
        region, inner = self._located(index)
        return self._read(region)[inner]

    def __setitem__(self, index: Any, values: Any) -> None:
        """Write a part, indexed in the same ways."""
        region, inner = self._located(index)
        part = self._read(region)
        part[inner] = values
        for block, mine, its in self._overlaps(region):
            self._own(block)[its] = part[mine]

    def _located(self, index: Any) -> tuple[list[slice], tuple[Any, ...]]:
        """Return the box that an index lies in, and the index within that box."""
        full = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in [each for each in full if not isinstance(each, np.ndarray)]:
            at = next(i for i, each in enumerate(full) if each is Ellipsis)
            full[at : at + 1] = [slice(None)] * (self.ndim - len(full) + 1)
        full += [slice(None)] * (self.ndim - len(full))
        pairs = [_span(each, n) for each, n in zip(full, self.shape, strict=True)]
        return [span for span, _ in pairs], tuple(inner for _, inner in pairs)

    def _read(self, region: Sequence[slice]) -> NDArray[Any]:
        overlaps = list(self._overlaps(region))
        if all(block in self._blocks for block, _, _ in overlaps):
            out = np.empty([span.stop - span.start for span in region], self.dtype)
        else:
            out = np.array(loaded(self.base[tuple(region)]), self.dtype)
        for block, mine, its in overlaps:
            if block in self._blocks:
                out[mine] = self._blocks[block][its]
        return out

    def _overlaps(self, region: Sequence[slice]) -> Iterator[tuple[Index, tuple[slice, ...], tuple[slice, ...]]]:
        """Yield each block that a box meets, with the place of what they share in the box and in the block."""
        spans = list(zip(region, self.chunks, strict=True))
        for block in itertools.product(*(range(s.start // n, -(-s.stop // n)) for s, n in spans)):
            low = [max(s.start, i * n) for i, (s, n) in zip(block, spans, strict=True)]
            high = [min(s.stop, (i + 1) * n) for i, (s, n) in zip(block, spans, strict=True)]
            mine = tuple(slice(a - s.start, b - s.start) for a, b, s in zip(low, high, region, strict=True))
            its = tuple(slice(a - i * n, b - i * n) for a, b, i, n in zip(low, high, block, self.chunks, strict=True))
            yield block, mine, its

    def _own(self, block: Index) -> NDArray[Any]:
        """Return a block that may be written."""
        if block not in self._blocks:
            lengths = zip(block, self.chunks, strict=True)
            self._blocks[block] = np.array(
                loaded(self.base[tuple(slice(i * n, (i + 1) * n) for i, n in lengths)]), self.dtype
            )
        return self._blocks[block]


def _span(index: Any, size: int) -> tuple[slice, Any]:
    """Return the part of an axis that an index lies in, and the index within that part."""
    if isinstance(index, slice):
        start, stop, step = index.indices(size)
        if step < 1:
            msg = f"got a step of {step}, expected one of at least 1; turn the result round instead"
            raise IndexError(msg)
        return slice(start, max(start, stop)), slice(None, None, step)
    if isinstance(index, (list, np.ndarray)):
        index = np.asarray(index)
        index = np.flatnonzero(index) if index.dtype == bool else index
        places = np.where(index < 0, index + size, index)
        low, high = (int(places.min()), int(places.max()) + 1) if places.size else (0, 0)
        _check(low, high, size)
        return slice(low, high), places - low
    place = int(index) + (size if index < 0 else 0)
    _check(place, place + 1, size)
    return slice(place, place + 1), 0


def _check(low: int, high: int, size: int) -> None:
    if low < 0 or high > size:
        msg = f"got places {low} to {high - 1} of an axis, expected them from 0 to {size - 1}"
        raise IndexError(msg)
