"""What one user wants of one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_core.errors import PromptError
from sam_core.logits import Logits
from sam_core.types import Region, Shape

if TYPE_CHECKING:
    from sam_core.masks import Masks


@dataclass(frozen=True, eq=False, slots=True)
class Prompt:
    """Clicks, a box and a previous answer, in any combination. Make one with `Prompt.of`.

    Parameters
    ----------
    points
        (N, 2) float32 y, x in pixels of the plane; an integer is the centre of a pixel. N may be 0.
    positive
        (N,) bool: True for a click on the object, False for one beside it.
    box
        (4,) float32 half-open y0, x0, y1, x1, or None.
    previous
        The answer to be corrected, or None.
    proposed
        Made by a model and not by a person: whether there is an object at all is then part of the score.

    Examples
    --------
    >>> prompt = Prompt.of([(10, 20)]).click((40, 40), positive=False)
    >>> prompt.positive.tolist()
    [True, False]
    """

    points: NDArray[np.float32]
    positive: NDArray[np.bool_]
    box: NDArray[np.float32] | None
    previous: Logits | None
    proposed: bool = False

    @classmethod
    def of(
        cls,
        points: ArrayLike | Sequence[tuple[float, float]] = (),
        positive: ArrayLike | None = None,
        *,
        box: ArrayLike | None = None,
        previous: Logits | NDArray[Any] | None = None,
    ) -> Prompt:
        """Validate and make a prompt.

        Parameters
        ----------
        points
            N points y, x.
        positive
            N signs, True or 1 for a click on the object, False or 0 for one beside it; all True when left out.
        box
            Half-open y0, x0, y1, x1.
        previous
            Logits, or a mask (H, W) bool, or logits (H, W) float of the whole plane.

        Raises
        ------
        PromptError
            Nothing is given, something is not finite or of the wrong type or shape, the box is empty or inverted, or
            points and signs are of different length.
        """
        placed = _points(points)
        signs = _signs(positive, len(placed))
        if not len(placed) and box is None and previous is None:
            msg = "got an empty prompt, expected points, a box or a previous mask; give at least one of them"
            raise PromptError(msg)
        return cls(placed, signs, None if box is None else _box(box), _previous(previous))

    def click(self, point: tuple[float, float], positive: bool = True) -> Prompt:
        """Return the prompt with one more click at y, x.

        Raises
        ------
        PromptError
            The point is none.
        """
        return Prompt.of(
            np.concatenate([self.points, _points([point])]),
            np.append(self.positive, positive),
            box=self.box,
            previous=self.previous,
        )

    def refine(self, masks: Masks) -> Prompt:
        """Return the prompt with one mask as the answer to be corrected.

        Raises
        ------
        PromptError
            `masks` holds none or several.
        """
        if len(masks) != 1:
            msg = f"got {len(masks)} masks to refine, expected exactly one; choose it with masks[i] or masks.best()"
            raise PromptError(msg)
        logits = masks.logits[0]
        if logits is None:
            y, x = masks.offsets[0]
            logits = Logits.of_crop(masks.crops[0], (int(y), int(x)), masks.shape)
        return replace(self, previous=logits, proposed=False)

    @property
    def is_lone_click(self) -> bool:
        """Whether this is a single positive click and nothing else, and so may mean a part, an object or a group."""
        return len(self.points) == 1 and bool(self.positive[0]) and self.box is None and self.previous is None

    @property
    def extent(self) -> Region:
        """The half-open region of the plane that the prompt is about: its box, positive clicks and previous mask.

        Where there is none of these, that of the negative clicks, or else of what a previous answer without a mask saw.
        """
        regions = [] if self.box is None else [self.box]
        regions += [np.concatenate([p, p + 1]) for p in self.points[self.positive]]
        drawn = None if self.previous is None else self.previous.positive_region()
        regions += [] if drawn is None else [np.array(drawn)]
        if not regions:
            regions = [np.concatenate([p, p + 1]) for p in self.points]
        if not regions and self.previous is not None:
            regions = [np.array(self.previous.box)]
        stacked = np.stack(regions).astype(float)
        y0, x0 = stacked[:, :2].min(axis=0)
        y1, x1 = stacked[:, 2:].max(axis=0)
        return float(y0), float(x0), float(y1), float(x1)

    def check(self, shape: Shape) -> None:
        """Refuse a prompt that does not fit a plane of this height and width.

        Raises
        ------
        PromptError
            A point lies outside, the box lies wholly outside, or the previous mask is of another plane.
        """
        height, width = shape
        inside = (self.points >= -0.5) & (self.points < np.array(shape) - 0.5)
        if not inside.all():
            y, x = self.points[~inside.all(axis=1)][0]
            msg = f"got a point at y={y:g}, x={x:g}, expected 0 <= y < {height} and 0 <= x < {width}: y comes first"
            raise PromptError(msg)
        if self.box is not None:
            y0, x0, y1, x1 = self.box
            if y1 <= 0 or x1 <= 0 or y0 >= height or x0 >= width:
                msg = (
                    f"got a box {_plain(self.box)} outside the plane of {height} x {width} pixels; give y0, x0, y1, x1"
                )
                raise PromptError(msg)
        if self.previous is not None and self.previous.shape != (height, width):
            msg = f"got a previous mask of a plane of shape {self.previous.shape}, expected {(height, width)}"
            raise PromptError(msg)


def _points(points: ArrayLike) -> NDArray[np.float32]:
    placed = _copied(points, "points", "a list of (y, x)")
    placed = placed.reshape(0, 2) if placed.size == 0 else placed
    if placed.ndim != 2 or placed.shape[1] != 2:
        msg = f"got points of shape {placed.shape}, expected (N, 2): a list of (y, x)"
        raise PromptError(msg)
    if not np.isfinite(placed).all():
        y, x = placed[~np.isfinite(placed).all(axis=1)][0]
        msg = f"got a point at y={y:g}, x={x:g}, expected finite numbers"
        raise PromptError(msg)
    return placed


def _signs(positive: ArrayLike | None, count: int) -> NDArray[np.bool_]:
    if positive is None:
        return np.ones(count, bool)
    signs = np.atleast_1d(_copied(positive, "signs", "one of True or False for each point"))
    if signs.shape != (count,):
        msg = f"got {count} points and signs of shape {signs.shape}, expected one sign a point"
        raise PromptError(msg)
    if not np.isin(signs, (0, 1)).all():
        msg = f"got signs {sorted(set(signs.tolist()))}, expected True or 1 (on the object), False or 0 (beside it)"
        raise PromptError(msg)
    return signs.astype(bool)


def _box(box: ArrayLike) -> NDArray[np.float32]:
    placed = _copied(box, "a box", "y0, x0, y1, x1")
    if placed.shape != (4,):
        msg = f"got a box of shape {placed.shape}, expected four numbers y0, x0, y1, x1"
        raise PromptError(msg)
    if not np.isfinite(placed).all():
        msg = f"got a box {_plain(placed)}, expected finite numbers y0, x0, y1, x1"
        raise PromptError(msg)
    y0, x0, y1, x1 = placed
    if y1 <= y0 or x1 <= x0:
        msg = f"got a box {_plain(placed)} of no area, expected y0 < y1 and x0 < x1 (half-open, y first)"
        raise PromptError(msg)
    return placed


def _previous(previous: Logits | NDArray[Any] | None) -> Logits | None:
    if previous is None or isinstance(previous, Logits):
        return previous
    if not hasattr(previous, "__array__"):
        msg = (
            f"got a previous mask of type {type(previous).__name__}, expected an array (H, W) or Logits; "
            "for one of Masks see Prompt.refine"
        )
        raise PromptError(msg)
    whole = np.asarray(previous)
    if whole.ndim != 2 or whole.size == 0:
        msg = f"got a previous mask of shape {whole.shape}, expected (H, W) of the whole plane"
        raise PromptError(msg)
    if whole.dtype == bool:
        return Logits.of_mask(whole)
    if whole.dtype.kind != "f":
        msg = f"got a previous mask of dtype {whole.dtype}, expected bool, or floats that are logits; give mask > 0"
        raise PromptError(msg)
    values = _copied(whole, "a previous mask", "logits")
    if not np.isfinite(values).all():
        msg = "got a previous mask with values that are not finite, expected logits; clip them"
        raise PromptError(msg)
    height, width = whole.shape
    return Logits(values, (0.0, 0.0, float(height), float(width)), (height, width))


def _copied(given: ArrayLike, what: str, expected: str) -> NDArray[np.float32]:
    """Copy what is given, so that nobody changes it later."""
    try:
        with np.errstate(over="ignore"):  # becomes infinite, and is refused as such
            return np.array(given, np.float32)
    except (TypeError, ValueError, OverflowError):
        msg = f"got {what} {given!r}, expected numbers: {expected}"
        raise PromptError(msg) from None


def _plain(box: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(round(float(v), 2) for v in box)
