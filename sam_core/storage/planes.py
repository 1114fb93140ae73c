"""The planes of an image, read when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from sam_core.errors import ImageError

MOST_KEPT = 4  # channels that are kept without a choice: gray, two stains, RGB, RGBA
REMEDY = "it may be damaged: export or copy it once more"


class Values(Protocol):
    """What holds the pixels: an array, a memory map, a zarr array, the pages of a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        ...

    @property
    def dtype(self) -> Any:
        """Type of the pixels."""
        ...

    def __getitem__(self, index: Any) -> Any:
        """Read what a tuple of one integer or full slice for each axis points at."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Source:
    """What a reader found in a file.

    Parameters
    ----------
    values
        The pixels, not read yet where that can be helped.
    axes
        A letter for each axis: Y, X, C and S (channels), T (time), Z and all others (planes).
    sizes
        Size of a pixel along the axes for which it is known.
    unit
        Unit of these sizes, "" where it is not known. That of T is the second.
    """

    values: Values
    axes: str
    sizes: Mapping[str, float] = field(default_factory=dict)
    unit: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Planes(Sequence[NDArray[Any]]):
    """Planes of one image, each (H, W) or (H, W, C) of the dtype of the file, read when asked for.

    Parameters
    ----------
    path
        The file or folder they come from.
    axes
        "YX" for an image, which is a sequence of one plane, "ZYX" for a stack, "TYX" for a time-lapse.
    size
        Height and width in pixels.
    channels
        Length of the last axis of a plane, 0 where it is (H, W).
    dtype
        Type of the pixels.
    indices
        Which planes of the file these are.
    scale
        Size of a pixel along each of `axes`: z, y and x in `unit`, t in seconds, or 1 where that is not known. None
        where that of y, x or z is not known.
    unit
        "micrometer", "nanometer", ..., "" where it is not known.
    read
        Reads a plane of the file.
    """

    path: Path
    axes: str
    size: tuple[int, int]
    channels: int
    dtype: np.dtype[Any]
    indices: range
    scale: tuple[float, ...] | None
    unit: str
    read: Callable[[int], NDArray[Any]]

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) of an image, (Z, H, W) of a stack, though it be of one plane: the shape of its labels."""
        return self.size if len(self.axes) == 2 else (len(self.indices), *self.size)

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Planes: ...
    def __getitem__(self, index: int | slice) -> NDArray[Any] | Planes:
        chosen = self.indices[index]
        if isinstance(chosen, range):
            return replace(self, indices=chosen)
        with readable(self.path, f"plane {chosen} of "):
            return self.read(chosen)


@contextmanager
def readable(path: Path, part: str = "") -> Iterator[None]:
    """Turn whatever a reader stumbles over into one error that names the file."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError as error:
        msg = f"got {path}, which does not exist or lacks a part ({error}); check the path"
        raise ImageError(msg) from error
    except PermissionError as error:
        msg = f"got {path}, which may not be read; ask for permission to read it, or copy it"
        raise ImageError(msg) from error
    except MemoryError as error:
        msg = f"got {part}{path}, too large for memory; save it as OME-Zarr or in smaller parts"
        raise ImageError(msg) from error
    except Exception as error:  # readers raise almost anything when a file is not what it seems
        msg = f"got {part}{path}, which cannot be read ({error or type(error).__name__}), expected an image; {REMEDY}"
        raise ImageError(msg) from error


def arrange(path: Path, source: Source, *, channel: int | None = None, time: int | None = None) -> Planes:
    """Find the planes in an image of any axes.

    Raises
    ------
    ImageError
        No pixels, numbers that are not real, no y and x, several axes of planes, or no such channel or time.
    """
    dtype = np.dtype(source.values.dtype)
    _check(path, source, dtype)
    cut = _Cut.of(path, source, channel, time)
    axes = "YX" if cut.stack is None else "TYX" if source.axes[cut.stack] == "T" else "ZYX"
    letters = ("" if cut.stack is None else source.axes[cut.stack]) + "YX"
    shape = source.values.shape
    return Planes(
        path=path,
        axes=axes,
        size=(shape[source.axes.index("Y")], shape[source.axes.index("X")]),
        channels=cut.channels if channel is None else 0,
        dtype=dtype.newbyteorder("="),
        indices=range(1 if cut.stack is None else shape[cut.stack]),
        scale=_scale(letters, source.sizes),
        unit=source.unit,
        read=cut.read,
    )


def guessed_axes(path: Path, shape: tuple[int, ...]) -> str:
    """Name the axes of an array that comes without names: planes first, up to four channels last.

    Examples
    --------
    >>> [guessed_axes(Path("a.npy"), shape) for shape in [(9, 9), (5, 9, 9), (9, 9, 3), (5, 9, 9, 2)]]
    ['YX', 'ZYX', 'YXC', 'ZYXC']
    """
    if len(shape) == 3 and shape[-1] <= MOST_KEPT:
        return "YXC"
    names = {2: "YX", 3: "ZYX", 4: "ZYXC"}
    if len(shape) not in names:
        msg = f"got {path} with an array of shape {shape}, expected (H, W), (Z, H, W), or with channels last"
        raise ImageError(msg)
    return names[len(shape)]


def _check(path: Path, source: Source, dtype: np.dtype[Any]) -> None:
    shape, axes = source.values.shape, source.axes
    if dtype.kind not in "biuf":
        msg = f"got {path} with values of type {dtype}, expected real numbers; convert it first"
        raise ImageError(msg)
    if axes.count("Y") != 1 or axes.count("X") != 1 or len(axes) != len(shape):
        msg = f"got {path} with axes {axes or 'of no name'}, expected y and x among them; save it with named axes"
        raise ImageError(msg)
    if not math.prod(shape):
        msg = f"got {path} of shape {shape}, expected pixels; there is nothing in it to segment"
        raise ImageError(msg)


def _scale(letters: str, sizes: Mapping[str, float]) -> tuple[float, ...] | None:
    known = {axis: size for axis, size in sizes.items() if math.isfinite(size) and size > 0}
    scale = [known.get(letter, 1.0 if letter == "T" else None) for letter in letters]
    found = tuple(size for size in scale if size is not None)
    return found if len(found) == len(letters) else None


@dataclass(frozen=True, eq=False, slots=True)
class _Cut:
    """How a plane lies in an image.

    Parameters
    ----------
    values
        The pixels.
    index
        An index for every axis: numbers where one place is chosen, slices where all is taken.
    stack
        Position of the axis along which planes follow each other.
    order
        Axes that are left, in the order y, x, channels.
    channels
        How many there are, 0 where there is no axis of them.
    """

    values: Values
    index: tuple[int | slice, ...]
    stack: int | None
    order: tuple[int, ...]
    channels: int

    @classmethod
    def of(cls, path: Path, source: Source, channel: int | None, time: int | None) -> _Cut:
        axes, shape = source.axes, source.values.shape
        chosen = _chosen_time(path, source, time) | _chosen_channel(path, source, channel)
        free = [i for i, letter in enumerate(axes) if letter not in "YXCS" and i not in chosen]
        stack = _stack(path, source, free)
        index = [chosen.get(i, 0 if i in free or n == 1 else slice(None)) for i, n in enumerate(shape)]
        for letter in "YX":
            index[axes.index(letter)] = slice(None)
        left = [axes[i] for i, each in enumerate(index) if isinstance(each, slice)]
        colours = [i for i, letter in enumerate(left) if letter in "CS"]
        order = (left.index("Y"), left.index("X"), *colours)
        channels = math.prod(shape[i] for i, n in enumerate(index) if isinstance(n, slice) and axes[i] in "CS")
        return cls(source.values, tuple(index), stack, order, channels if colours else 0)

    def read(self, plane: int) -> NDArray[Any]:
        """Read a plane: (H, W), or (H, W, C) where there are channels."""
        index = list(self.index)
        if self.stack is not None:
            index[self.stack] = plane
        found = np.asarray(self.values[tuple(index)]).transpose(self.order)
        if self.channels:
            found = found.reshape(*found.shape[:2], self.channels)
        return found.astype(found.dtype.newbyteorder("="), copy=False)


def _stack(path: Path, source: Source, free: list[int]) -> int | None:
    """Choose the axis of the planes. Where there are several, those of length 1 are a matter of form."""
    if len(free) == 1:
        return free[0]
    shape = source.values.shape
    long = [i for i in free if shape[i] > 1]
    if len(long) > 1:
        found = ", ".join(f"{shape[i]} along {source.axes[i].lower()}" for i in long)
        remedy = "choose one time (time=, --time)" if "T" in source.axes else "save one of them by itself"
        msg = f"got {path} with planes along several axes: {found}; expected one axis of planes; {remedy}"
        raise ImageError(msg)
    return long[0] if long else None


def _chosen_time(path: Path, source: Source, time: int | None) -> dict[int, int]:
    if time is None:
        return {}
    count = source.values.shape[source.axes.index("T")] if "T" in source.axes else 0
    if not 0 <= time < count:
        expected = f"0..{count - 1}" if count else "no time, as it is no time-lapse"
        msg = f"got time {time} of {path}, expected {expected}"
        raise ImageError(msg)
    return {source.axes.index("T"): time}


def _chosen_channel(path: Path, source: Source, channel: int | None) -> dict[int, int]:
    """Choose a channel; where samples of channels are an axis of their own, they are counted together."""
    colours = [i for i, letter in enumerate(source.axes) if letter in "CS"]
    lengths = [source.values.shape[i] for i in colours]
    count = math.prod(lengths)
    if channel is None:
        if count > MOST_KEPT:
            msg = f"got {path} with {count} channels, expected 1 to {MOST_KEPT}; choose one (channel=, --channel)"
            raise ImageError(msg)
        return {}
    if not 0 <= channel < count:
        msg = f"got channel {channel} of {path}, expected 0..{count - 1}; channels are counted from 0"
        raise ImageError(msg)
    return dict(zip(colours, map(int, np.unravel_index(channel, lengths)), strict=True)) if colours else {}
