"""What a visitor has made of a picture: objects, and how they came about. Values; undo is a list of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from sam_core import Masks, Prompt

COLOURS = (
    "#ff4d6d", "#2ec4b6", "#ffb703", "#7b8cff", "#80ed99", "#ff8fab", "#00b4d8", "#f4845f", "#b388eb", "#c6e377",
    "#4cc9f0", "#f9c74f", "#43aa8b", "#f72585",
)  # fmt: skip
_keys = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Click:
    """A click at y, x on the object, or beside it; `by` names the model that answered it."""

    y: float
    x: float
    positive: bool
    by: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open box around the object."""

    y0: float
    x0: float
    y1: float
    x1: float
    by: str = ""


@dataclass(frozen=True, slots=True)
class Choose:
    """One of three candidates was taken."""

    index: int


@dataclass(frozen=True, slots=True)
class Stroke:
    """Pixels painted or erased by hand."""

    points: tuple[tuple[float, float], ...]
    radius: float
    add: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Mask `index` of everything."""

    index: int
    by: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Followed:
    """Followed from drawings on other planes, as they were then."""

    seeds: Mapping[int, Drawn]
    by: str = ""


Step: TypeAlias = Click | Box | Choose | Stroke | Found | Followed


@dataclass(frozen=True, eq=False, slots=True)
class Drawn:
    """An object on one plane.

    Parameters
    ----------
    mask
        One mask.
    steps
        How it came about, from the start.
    candidates
        What a lone click may have meant, best first; none where there is nothing to choose.
    chosen
        Which of them it is.
    key
        A number that no other drawing has: a page that has seen it need not be sent it again.
    """

    mask: Masks
    steps: tuple[Step, ...]
    candidates: Masks
    chosen: int = 0
    key: int = field(default_factory=lambda: next(_keys))

    @property
    def clicks(self) -> tuple[Click, ...]:
        """Those that count: all since it was last begun anew."""
        return tuple(step for step in self.steps if isinstance(step, Click))

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that answered, each once, the first first; none where it was painted alone."""
        return tuple(dict.fromkeys(each.by for each in self.steps if not isinstance(each, Choose | Stroke)))

    @property
    def box(self) -> Box | None:
        """The last one given."""
        return next((step for step in reversed(self.steps) if isinstance(step, Box)), None)

    def prompt(self, click: Click) -> Prompt:
        """Return what is asked when one more click corrects it."""
        clicks = (*self.clicks, click)
        box = self.box
        asked = Prompt.of(
            [(each.y, each.x) for each in clicks],
            [each.positive for each in clicks],
            box=None if box is None else (box.y0, box.x0, box.y1, box.x1),
        )
        return asked.refine(self.mask)


@dataclass(frozen=True, eq=False, slots=True)
class Object:
    """Something that has a name, a colour, and a drawing on one plane or several."""

    number: int
    name: str
    colour: str
    drawn: Mapping[int, Drawn]

    def on(self, plane: int, drawn: Drawn) -> Object:
        """Return it with another drawing on a plane."""
        return replace(self, drawn={**self.drawn, plane: drawn})


@dataclass(frozen=True, eq=False, slots=True)
class Work:
    """All objects on a picture, the last one on top.

    Parameters
    ----------
    objects
        In the order they were made.
    active
        Number of the one that clicks correct; None: a click begins a new one.
    next_number
        Of the next object; numbers are never used again.
    """

    objects: tuple[Object, ...] = ()
    active: int | None = None
    next_number: int = 1

    def find(self, number: int | None) -> Object | None:
        """Return the object of a number, or None."""
        return next((each for each in self.objects if each.number == number), None)

    def current(self, plane: int) -> Drawn | None:
        """Return what the active object looks like on a plane, or None."""
        active = self.find(self.active)
        return None if active is None else active.drawn.get(plane)

    def draw(self, plane: int, drawn: Drawn, *, fresh: bool = False) -> Work:
        """Return the work with a drawing of the active object, or of a new one, on a plane."""
        active = None if fresh else self.find(self.active)
        if active is None:
            return self.add(plane, [drawn])
        return self.put(active.on(plane, drawn))

    def add(self, plane: int, drawings: list[Drawn]) -> Work:
        """Return the work with new objects, of which the last is active."""
        new = tuple(
            Object(number, f"object {number}", COLOURS[(number - 1) % len(COLOURS)], {plane: drawn})
            for number, drawn in enumerate(drawings, start=self.next_number)
        )
        count = self.next_number + len(new)
        return Work((*self.objects, *new), count - 1 if new else self.active, count)

    def put(self, changed: Object) -> Work:
        """Return the work with an object in place of the one with its number."""
        objects = tuple(changed if each.number == changed.number else each for each in self.objects)
        return replace(self, objects=objects, active=changed.number)

    def without(self, number: int) -> Work:
        """Return the work without an object."""
        objects = tuple(each for each in self.objects if each.number != number)
        return replace(self, objects=objects, active=None if self.active == number else self.active)


@dataclass(frozen=True, eq=False, slots=True)
class History:
    """Work as it is, as it was, and as it was before it was undone.

    Examples
    --------
    >>> history = History().then(Work(active=1)).undo()
    >>> history.now.active, history.redo().now.active
    (None, 1)
    """

    now: Work = field(default_factory=Work)
    before: tuple[Work, ...] = ()
    after: tuple[Work, ...] = ()

    def then(self, work: Work, most: int = 60) -> History:
        """Go on to other work; what was undone is gone."""
        return History(work, (*self.before, self.now)[-most:], ())

    def aside(self, work: Work) -> History:
        """Change what is no step of its own, such as what is active."""
        return replace(self, now=work)

    def undo(self) -> History:
        """Go back, where there is something to go back to."""
        if not self.before:
            return self
        return History(self.before[-1], self.before[:-1], (self.now, *self.after))

    def redo(self) -> History:
        """Go forth again."""
        if not self.after:
            return self
        return History(self.after[0], (*self.before, self.now), self.after[1:])
