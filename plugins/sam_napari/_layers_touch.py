"""Who else changes a Labels layer, and where.

napari says so when somebody paints, but of undo and redo only that the picture is drawn anew, as it is when the user
goes to another plane. So we keep, for each step that could be undone or redone, one pixel that it changed, and look at
that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari.layers import Labels

Span: TypeAlias = tuple[slice, ...]
"""A box on all axes of the labels."""

STEPS = 100  # as many as napari keeps
LOOKED_AT = 1 << 14  # pixels of a plane that are compared where somebody may have written without telling


@dataclass(frozen=True, eq=False, slots=True)
class OnScreen:
    """The plane on screen, or some of its pixels.

    Parameters
    ----------
    name
        Tells it from others.
    pixels
        Of the box, on all axes of the labels; where there is a stride, some of them.
    span
        The box.
    strides
        Pixels from one to the next, along each axis.
    """

    name: object
    pixels: NDArray[Any]
    span: Span
    strides: tuple[int, ...] = ()

    def sample(self) -> OnScreen:
        """Take some of the pixels."""
        stride = max(1, int(np.ceil(np.sqrt(self.pixels.size / LOOKED_AT))))
        strides = tuple(stride if n > 1 else 1 for n in self.pixels.shape)
        some = self.pixels[tuple(slice(None, None, each) for each in strides)]
        return OnScreen(self.name, some.copy(), self.span, strides)

    def differs(self, other: OnScreen) -> bool:
        """Tell whether two samples are of the same plane, but not of the same pixels."""
        same = self.name == other.name and self.pixels.shape == other.pixels.shape
        return same and not np.array_equal(self.pixels, other.pixels)

    def take(self, plane: OnScreen, span: Span) -> None:
        """Take, of the plane that this is a sample of, what lies in a box."""
        mine, its = [], []
        for own, other, stride in zip(self.span, span, self.strides, strict=True):
            low, high = max(own.start, other.start) - own.start, min(own.stop, other.stop) - own.start
            first = -(-low // stride)
            mine.append(slice(first, max(first, -(-high // stride))))
            its.append(slice(first * stride, max(first * stride, high), stride))
        self.pixels[tuple(mine)] = plane.pixels[tuple(its)]


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """A step that can be undone.

    Parameters
    ----------
    atoms
        What napari keeps of it: one entry for each call that painted.
    pixel
        Index of a pixel that it changed.
    before, after
        The label numbers there.
    """

    atoms: Sequence[Any]
    pixel: tuple[int, ...]
    before: int
    after: int

    @classmethod
    def of(cls, atoms: Sequence[Any], data: Any) -> Step | None:
        """Look at a step that has just been made; None where nothing has become of it."""
        for atom in atoms:
            for pixel, before in _pixels(atom):
                after = _at(data, pixel)
                if after != before:
                    return cls(atoms, pixel, before, after)
        return None

    @property
    def spans(self) -> list[Span]:
        """The boxes that it changed, one for each call that painted."""
        return [span_of(atom) for atom in self.atoms]


class Touches:
    """Watches one Labels layer until it is closed.

    Parameters
    ----------
    layer
        What is watched.
    tell
        Called with boxes that somebody else may have changed; None: all of it.
    learn
        Called with the largest number that a step painted.
    plane
        Returns what is on screen, or None: what is compared where somebody may have written to the array without
        telling.
    """

    def __init__(
        self,
        layer: Labels,
        tell: Callable[[list[Span] | None], None],
        learn: Callable[[int], None],
        plane: Callable[[], OnScreen | None],
    ) -> None:
        self._layer, self._tell, self._learn, self._plane = layer, tell, learn, plane
        self._data = layer.data
        self._undo: deque[Step] = deque(maxlen=STEPS)
        self._redo: deque[Step] = deque(maxlen=STEPS)
        self._announced: list[list[Any]] = []
        self._own: list[Span] | None = None
        self._sample = self._sampled()
        layer.events.paint.connect(self._painted)
        layer.events.labels_update.connect(self._written)
        layer.events.set_data.connect(self.look)
        layer.events.data.connect(self._replaced)

    def close(self) -> None:
        """Stop watching."""
        self._layer.events.paint.disconnect(self._painted)
        self._layer.events.labels_update.disconnect(self._written)
        self._layer.events.set_data.disconnect(self.look)
        self._layer.events.data.disconnect(self._replaced)

    @contextmanager
    def own(self) -> Iterator[None]:
        """Write meanwhile without being told of it; announce each entry of the history by `wrote`."""
        self._own = []
        try:
            yield
        finally:
            own, self._own = self._own, None
            touched = self._stepped()
            self._resample([*own, *touched])
            if touched:
                self._tell(touched)

    def wrote(self, span: Span) -> None:
        """Announce an entry of the history as our own: the box that it will have."""
        if self._own is not None:
            self._own.append(span)

    def look(self, _event: object = None) -> None:
        """Find out what was undone, redone, or written without telling; napari calls it whenever it draws."""
        if self._own is not None or self._layer.data is not self._data:
            return
        self._written(last=True)
        touched = self._stepped()
        if touched:
            self._resample(touched)
        else:
            former, self._sample = self._sample, self._sampled()
            if former is not None and self._sample is not None and self._sample.differs(former):
                self._learn(int(self._sample.pixels.max(initial=0)))
                touched = [self._sample.span]
        if touched:
            self._tell(touched)

    def _stepped(self) -> list[Span]:
        """Return where steps were undone or redone since we looked last."""
        undone = self._moved(self._undo, self._redo, undone=True)
        return undone or self._moved(self._redo, self._undo, undone=False)

    def _moved(self, source: deque[Step], other: deque[Step], *, undone: bool) -> list[Span]:
        """Move steps that were undone or redone from one stack to the other."""
        touched: list[Span] = []
        while count := self._gone(source, undone):
            for _ in range(count):
                other.append(source.pop())
                touched += other[-1].spans
        return touched

    def _gone(self, steps: deque[Step], undone: bool) -> int:
        """Return how many of the last steps were undone or redone; several at once where napari had nothing to draw."""
        for count, step in enumerate(reversed(steps), 1):
            value = _at(self._data, step.pixel)
            if value == (step.after if undone else step.before):
                return 0
            if value == (step.before if undone else step.after):
                return count
        return 0

    def _painted(self, event: Any) -> None:
        """Take note of a step; outside `block_history` napari announces it before it writes it."""
        self._written()
        atoms = list(event.value)
        self._redo.clear()
        if Step.of(atoms, self._layer.data) is None:
            self._announced.append(atoms)
        else:
            self._accept(atoms)

    def _written(self, _event: object = None, *, last: bool = False) -> None:
        """Accept steps that were announced and now are written; with `last`, all that were announced."""
        announced, self._announced = self._announced, []
        for atoms in announced:
            if last or Step.of(atoms, self._layer.data) is not None:
                self._accept(atoms)
            else:
                self._announced.append(atoms)

    def _accept(self, atoms: list[Any]) -> None:
        step = Step.of(atoms, self._layer.data)
        if step is not None:
            self._undo.append(step)
        foreign = self._foreign(atoms)
        for atom in foreign:
            self._learn(_largest(atom))
        if foreign:
            spans = [span_of(atom) for atom in foreign]
            self._resample(spans)
            self._tell(spans)

    def _foreign(self, atoms: list[Any]) -> list[Any]:
        """Return entries that are not our own: a stroke of the user's may have been begun before we wrote."""
        if self._own is None:
            return atoms
        if len(atoms) == len(self._own):
            return []
        own = [*self._own]
        return [atom for atom in atoms if not _removed(own, span_of(atom))]

    def _replaced(self, _event: object = None) -> None:
        self._data = self._layer.data
        if self._own is None:
            self._sample = self._sampled()
            self._tell(None)

    def _looked_at(self) -> OnScreen | None:
        """Return what is on screen; only of numpy arrays, of which others load them."""
        return self._plane() if isinstance(self._layer.data, np.ndarray) else None

    def _sampled(self) -> OnScreen | None:
        plane = self._looked_at()
        return None if plane is None else plane.sample()

    def _resample(self, spans: Sequence[Span]) -> None:
        """Accept what is in these boxes now."""
        plane = self._looked_at()
        if plane is None or self._sample is None or plane.name != self._sample.name:
            self._sample = None if plane is None else plane.sample()
            return
        for span in spans:
            self._sample.take(plane, span)


def span_of(atom: Any) -> Span:
    """Return the box that one entry of napari's history changed."""
    if hasattr(atom, "slice_key"):
        return tuple(atom.slice_key)
    return tuple(slice(int(places.min()), int(places.max()) + 1) for places in _places(atom))


def _removed(spans: list[Span], span: Span) -> bool:
    """Take a box out of a list; tell whether it was there."""
    found = span in spans
    if found:
        spans.remove(span)
    return found


def _places(atom: Any) -> list[NDArray[Any]]:
    return [np.asarray(places) for places in atom[0]]


def _largest(atom: Any) -> int:
    """Return the largest number that an entry painted."""
    painted = atom.new_value if hasattr(atom, "slice_key") else atom[2]
    return int(np.max(painted, initial=0))


def _pixels(atom: Any) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield the index of pixels that an entry changed, with the number each had."""
    if hasattr(atom, "slice_key"):
        corner = [span.start for span in atom.slice_key]
        old = np.ravel(atom.old_values)
        mask = np.ones([span.stop - span.start for span in atom.slice_key], bool) if atom.mask is None else atom.mask
        inside = zip(np.argwhere(mask), old, strict=True) if mask.size else ()
        for place, before in inside:
            yield tuple(int(i) + start for i, start in zip(place, corner, strict=True)), int(before)
        return
    places, old = _places(atom), np.ravel(atom[1])
    for i in range(len(old)):
        yield tuple(int(each.flat[i]) for each in places), int(old[i])


def _at(data: Any, pixel: tuple[int, ...]) -> int:
    return int(np.asarray(data[pixel]))
