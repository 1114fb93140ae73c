"""Which axis of a layer is which: told by the user, by names, by units, or guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sam_core import ImageError
from sam_napari._source import Plane

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

T = TypeVar("T")

ROLES = ("t", "c", "z", "y", "x")
NAMES = {
    "t": ("t", "time", "times", "frame", "frames", "timepoint", "timepoints", "tp"),
    "c": ("c", "ch", "channel", "channels", "wavelength", "band", "bands", "stain"),
    "z": ("z", "depth", "plane", "planes", "pln", "slice", "slices", "section", "sections"),
    "y": ("y", "row", "rows", "height", "h"),
    "x": ("x", "col", "cols", "column", "columns", "width", "w"),
}
FEW = 4  # channels at most, where nothing but the length of an axis tells that it holds channels


@dataclass(frozen=True, slots=True)
class Axes:
    """Which axis of a layer is which of its source, from which the axis of the channels is left out.

    Parameters
    ----------
    roles
        What each axis of the layer is: "t", "c", "z", "y", "x" or "?"; an axis of colours is not one of them.

    Raises
    ------
    ImageError
        Two axes have the same role, or there are not two axes besides that of the channels.

    Examples
    --------
    >>> axes = Axes(("t", "c", "y", "x"))
    >>> axes.channel, axes.kept, axes.without_channel
    (1, (0, 2, 3), ('t', 'y', 'x'))
    """

    roles: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse roles with which nothing could be shown."""
        known = [role for role in self.roles if role != "?"]
        if len(set(known)) < len(known) or len(self.kept) < 2:
            msg = (
                f"got axes {', '.join(self.roles)}, expected each of t, c, z, y and x once at most, and at least two "
                "besides c; say which axis is which"
            )
            raise ImageError(msg)

    @property
    def channel(self) -> int | None:
        """Which axis of the layer holds the channels."""
        return self.roles.index("c") if "c" in self.roles else None

    @property
    def kept(self) -> tuple[int, ...]:
        """Axes of the layer that are those of its source."""
        return tuple(axis for axis, role in enumerate(self.roles) if role != "c")

    @property
    def without_channel(self) -> tuple[str, ...]:
        """Roles of the axes of the source."""
        return tuple(self.roles[axis] for axis in self.kept)

    def shown(self, viewer: Viewer) -> tuple[int, int] | None:
        """Return the axes of the source that are rows and columns on screen; None in 3D, or where they are others."""
        if viewer.dims.ndisplay != 2:
            return None
        offset = viewer.dims.ndim - len(self.roles)
        kept = {axis: i for i, axis in enumerate(self.kept)}
        rows, columns = (kept.get(axis - offset) for axis in viewer.dims.displayed)
        return None if rows is None or columns is None else (rows, columns)

    def place(self, shown: tuple[int, int], place: NDArray[np.floating]) -> tuple[Plane, tuple[float, float]]:
        """Return the plane at a place on the axes of the layer, and y, x on that plane."""
        kept = place[list(self.kept)]
        rows, columns = shown
        index = [round(float(value)) for value in kept]  # halves to the even number, as napari does
        index[rows] = index[columns] = 0
        return Plane(shown, tuple(index)), (float(kept[rows]), float(kept[columns]))


def bare(obj: T) -> T:
    """Return a viewer or layer without the proxy in which napari hands it to plugins.

    The proxy looks at the call stack whenever an attribute is read, which takes too long where the mouse moves.
    """
    return cast("T", getattr(obj, "__wrapped__", obj))


def roles_of(layer: Layer, chosen: Mapping[int, str] | None = None) -> tuple[str, ...]:
    """Return what each axis of a layer is: "t", "c", "z", "y", "x" or "?".

    The user's choice comes first, then the names of the axes (t, time, Channel, "plane", ...), then their units, then
    their order: the last two are y and x; of the others the one beside them is z and the one before t. A short axis
    among long ones holds channels.

    Parameters
    ----------
    layer
        Of images or labels.
    chosen
        Roles that the user chose, by axis.
    """
    layer = bare(layer)
    given = {axis % layer.ndim: role for axis, role in (chosen or {}).items()}
    roles: list[str | None] = [given.get(axis) for axis in range(layer.ndim)]
    _assign(roles, ((axis, _named(label)) for axis, label in enumerate(layer.axis_labels)))
    _assign(roles, ((axis, "t") for axis in range(layer.ndim) if _unit_is(layer, axis, "[time]")))
    for role in "xy":
        _assign(roles, [(max(_free(roles), default=-1), role)])
    _assign(roles, [(_channels(layer, roles), "c")])
    for role in "zt":
        _assign(roles, [(max(_free(roles), default=-1), role)])
    return tuple(role or "?" for role in roles)


def _assign(roles: list[str | None], pairs: Iterable[tuple[int, str | None]]) -> None:
    """Give roles to axes that have none, each role once; an axis of -1 is none."""
    for axis, role in pairs:
        if axis >= 0 and roles[axis] is None and role is not None and role not in roles:
            roles[axis] = role


def _free(roles: Sequence[str | None]) -> list[int]:
    return [axis for axis, role in enumerate(roles) if role is None]


def _named(label: str) -> str | None:
    """Return the role that the name of an axis tells."""
    plain = label.strip().lower().removesuffix("axis").strip(" _-")
    return next((role for role, names in NAMES.items() if plain in names), None)


def _channels(layer: Layer, roles: Sequence[str | None]) -> int:
    """Return the axis that holds channels by the looks of it; -1 for none.

    A lone short axis is more likely to be a stack of few planes, unless another axis is known to be one of planes.
    """
    free = _free(roles)
    sizes = sizes_of(layer)
    untold = [
        axis for axis in free if not _unit_is(layer, axis, "[length]") and _named(layer.axis_labels[axis]) is None
    ]
    short = [axis for axis in untold if 2 <= sizes[axis] <= FEW]
    others = [axis for axis in range(layer.ndim) if roles[axis] in ("t", "z") or (axis in free and axis not in short)]
    return short[0] if len(short) == 1 and others else -1


def sizes_of(layer: Layer) -> tuple[int, ...]:
    """Return the length of each axis of a layer, colours left out, at its finest level."""
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return tuple(int(n) for n in data.shape[: layer.ndim])


def _unit_is(layer: Layer, axis: int, dimension: str) -> bool:
    units = getattr(layer, "units", None)
    return units is not None and str(getattr(units[axis], "dimensionality", "")) == dimension
