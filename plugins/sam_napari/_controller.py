"""From pointing and clicking to painted objects: what the mouse means, in which order, and what becomes of answers.

The controller knows no window: it is told where the pointer is and what was clicked, asks the engine, and paints on a
canvas. All of it runs on one thread, to which the engine brings its answers through `post`.

What the user wants done is a wish. Wishes are done one after the other in the order in which they came, because one may
be about the object that the one before it makes. A click while the image is still being read is such a wish: it waits,
and hovering does not replace it. An answer is only taken for what was asked last, and a correction only if the pixels
that it corrects are still as they were then; otherwise the model is asked again, or, where the object is gone, the wish
is given up and the user is told.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sam_core import Masks, Prompt, SamError
from sam_napari._change import Canvas, CanvasBusy, CanvasError, CanvasGone, Change, box_of, standing, under
from sam_napari._draft import (
    Draft,
    Plan,
    Point,
    best_of,
    candidates_of,
    fitted,
    objection,
    plan_box,
    plan_click,
    plan_section,
    stands,
    thing_of,
    without,
)
from sam_napari._journal import Journal, prompt_facts
from sam_napari._local import meant
from sam_napari._sight import Seen, Sight, Spot
from sam_napari._source import Plane, Region, Source
from sam_napari._target import Target
from sam_napari._view import Patch, patch_at, patch_for, region_of

if TYPE_CHECKING:
    from sam_napari._engine import Answer

log = logging.getLogger(__name__)

HALF = 0.5  # of an object; a click that would take away more than that probably means something else

Kind = Literal["click", "exclude", "include", "box", "cycle", "select", "erase"]
Count = Literal[1, 3]


class Ghost(Protocol):
    """Shows what a click would take."""

    def show(self, plane: Plane, masks: Masks, score: float, chosen: int, of: int) -> None:
        """Draw a mask (of 1): candidate number `chosen` of `of`; `of` is 0 for an object that a click would select."""
        ...

    def hide(self) -> None:
        """Draw nothing."""
        ...


class Asks(Protocol):
    """What the controller needs of an engine; `done` is called with an `Answer` or an exception."""

    def look(self, who: Any, source: Source, patch: Patch, prompt: Prompt, candidates: Count, done: Any) -> None:
        """Ask something that may be replaced by a later look."""
        ...

    def ask(self, who: Any, source: Source, patch: Patch, prompt: Prompt, candidates: Count, done: Any) -> None:
        """Ask something that is answered in any case, before all looks."""
        ...

    def forget(self, who: Any) -> None:
        """Drop what was asked and is not answered."""
        ...


@dataclass(frozen=True, slots=True)
class State:
    """What the panel shows.

    Parameters
    ----------
    label
        Number of the active object; 0: none.
    plane
        Where it is.
    clicks
        How many clicks it is made of; 0 for one that others made.
    scores
        Of its candidates, smallest candidate first.
    chosen
        Which of them was taken.
    waiting
        Clicks that wait for the model.
    objection
        Why the last correction was not taken; "" when it was.
    """

    label: int = 0
    plane: Plane | None = None
    clicks: int = 0
    scores: tuple[float, ...] = ()
    chosen: int = 0
    waiting: int = 0
    objection: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Wish:
    """Something that the user wants done, and what was shown there when they wanted it."""

    kind: Kind
    plane: Plane
    point: Point = (0.0, 0.0)
    step: int = 1
    box: Region | None = None
    turn: int = 0
    sight: Sight | None = None

    @property
    def spot(self) -> Spot:
        """The pixel that it is about."""
        return Spot.of(self.plane, self.point, self.step)


NOWHERE = Plane((0, 1), (0, 0))


class Controller:
    """Turns what the mouse does into objects.

    Parameters
    ----------
    engine
        Answers prompts.
    canvas
        What is painted.
    ghost
        Shows what a click would take.
    journal
        Where all is noted; None: nowhere. It is closed with the controller.
    tell
        Called with one line for the user.
    post
        Calls a function on the thread of the controller: the engine brings its answers through it.
    changed
        Called whenever `state` may have changed.
    """

    def __init__(
        self,
        engine: Asks,
        canvas: Canvas,
        ghost: Ghost,
        journal: Journal | None,
        tell: Callable[[str], None],
        *,
        post: Callable[[Callable[[], None]], None] = lambda fn: fn(),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.post = post
        self._engine, self._ghost, self._tell, self._changed = engine, ghost, tell, changed
        self._source: Source | None = None
        self._generation = 0
        self._pointer: tuple[Spot, Point] | None = None
        self._sight: Sight | None = None
        self._seen = Seen()
        self._wishes: deque[Wish] = deque()
        self._asked: object | None = None
        self._busy = False  # whether the first wish waits for the canvas
        self._objection = self._trouble = ""
        self._target = Target(canvas, journal, self._refresh)

    # -- what it works with ------------------------------------------------------------------------------------------

    @property
    def source(self) -> Source | None:
        """The image; when it is replaced, clicks that wait are asked again of the new one."""
        return self._source

    @source.setter
    def source(self, source: Source | None) -> None:
        self._engine.forget(self)
        self._source = source
        self._start_over()

    @property
    def engine(self) -> Asks:
        """The model; when it is replaced, clicks that wait are asked again of the new one."""
        return self._engine

    @engine.setter
    def engine(self, engine: Asks) -> None:
        self._engine.forget(self)
        self._engine = engine
        self._start_over()

    @property
    def target(self) -> Target:
        """What is painted, and what is known of the objects on it."""
        return self._target

    def retarget(self, canvas: Canvas, journal: Journal | None) -> None:
        """Paint on another canvas from now on, with a journal of its own; what waits was about the old one.

        On the same canvas only the journal begins: nothing is forgotten.
        """
        if canvas is self._target.canvas.canvas:
            self._target.begin(journal)
            return
        advance = self._target.advance
        self._close_target()
        self._target = Target(canvas, journal, self._refresh)
        self._target.advance = advance
        self._wishes.clear()
        self._start_over()

    def close(self) -> None:
        """Let go of engine, canvas and journal."""
        self._wishes.clear()
        self._asked = self._source = None
        self._engine.forget(self)
        self.leave()
        self._close_target()

    @property
    def state(self) -> State:
        """What the panel shows; an object that was undone is not active."""
        waiting, draft = len(self._wishes), None
        with self._guarded(once=True):
            draft = self._target.draft()
        if draft is None:
            return State(waiting=waiting, objection=self._objection)
        scores = tuple(float(score) for score in draft.masks.scores)
        return State(draft.label, draft.plane, draft.clicks, scores, draft.chosen, waiting, self._objection)

    # -- what the user does ------------------------------------------------------------------------------------------

    def hover(self, plane: Plane, point: Point, step: int) -> None:
        """Show what a click at y, x of the plane would take, as soon as it is known.

        What is shown stays while the pointer is on it and nothing better is known; a candidate that the user turned to
        stays as long as the pointer is on it.
        """
        spot = Spot.of(plane, point, step)
        if self._source is None or (self._pointer is not None and spot == self._pointer[0]):
            return
        self._pointer = (spot, point)
        self._generation += 1
        with self._guarded(once=True):
            held = None if self._sight is None else self._sight.moved(spot, point)
            if spot in self._seen and not (held is not None and held.turned):
                held = self._seen.sight(spot, point)
            self._see(held)
            if spot not in self._seen and not (held is not None and held.turned):
                self._look(spot, point)

    def leave(self) -> None:
        """Show nothing: the pointer is elsewhere, or another plane is shown."""
        self._generation += 1
        self._pointer = None
        self._hide()

    def click(self, plane: Plane, point: Point, step: int) -> None:
        """Take what is under the pointer: a new object, or one that is there, to correct it; see `_draft`."""
        self._wish(Wish("click", plane, point, step, sight=self._sight_at(Spot.of(plane, point, step), point)))

    def exclude(self, plane: Plane, point: Point, step: int) -> None:
        """Take this spot away from the active object, or from the object that it belongs to."""
        self._wish(Wish("exclude", plane, point, step, sight=self._sight_at(Spot.of(plane, point, step), point)))

    def include(self, plane: Plane, point: Point, step: int) -> None:
        """Add this spot to the active object, also on another plane; without one this is a click."""
        self._wish(Wish("include", plane, point, step, sight=self._sight_at(Spot.of(plane, point, step), point)))

    def box(self, plane: Plane, box: Region, step: int) -> None:
        """Make the object in a half-open box y0, x0, y1, x1, or do the one again that is there."""
        y0, x0, y1, x1 = box
        if y0 < y1 and x0 < x1:
            self._wish(Wish("box", plane, step=step, box=box))

    def cycle(self, turn: int) -> None:
        """Go to the next larger (1) or smaller (-1) candidate: of what is shown, or else of the active object."""
        sight = self._sight
        plan = None
        if sight is not None and not self._wishes:
            with self._guarded():
                plan = self._plan(sight)
        if sight is None or plan is None or (plan.kind == "select" and self._is_active(sight, plan)):
            self._wish(Wish("cycle", NOWHERE, turn=turn))
        else:
            self._sight = replace(sight, chosen=(sight.chosen + turn) % len(sight.candidates), turned=True)
            self._refresh()

    def select(self, plane: Plane, point: Point) -> None:
        """Make the object at y, x the active one, whoever made it."""
        self._wish(Wish("select", plane, point))

    def erase(self) -> None:
        """Erase the active object on its plane."""
        self._wish(Wish("erase", NOWHERE))

    def release(self) -> None:
        """Give up clicks that wait; where there are none, let go of the active object."""
        if self._wishes:
            self._wishes.clear()
            self._asked, self._busy = None, False
        else:
            self._target.active = None
        self._objection = ""
        self._changed()

    # -- what others do ----------------------------------------------------------------------------------------------

    def commit(self, kind: str, changes: Sequence[Change], **facts: Any) -> None:
        """Write changes that others decided on, a batch or an object that was followed: one step of undo, one event.

        Raises
        ------
        CanvasError, OSError
            They cannot be written.
        """
        for _ in self.committing(kind, changes, **facts):
            pass

    def committing(self, kind: str, changes: Sequence[Change], **facts: Any) -> Iterator[int]:
        """Write changes as `commit` does, bit by bit: yields how many pixels changed, some milliseconds apart."""
        yield from self._target.committing(kind, changes, **facts)
        self._refresh()

    def tidy(self) -> bool:
        """Do some of what can wait, whenever there is time; whether there may be more.

        The journal gets what it still lacks, and what the canvas was too busy for is tried again.
        """
        more = False
        with self._guarded(once=True):
            more = self._target.tidy()
        if self._busy:
            self._busy = False
            self._go_on()
            self._changed()
        return more or self._busy

    # -- hovering ----------------------------------------------------------------------------------------------------

    def _look(self, spot: Spot, point: Point) -> None:
        source = self._checked(spot.plane)
        shape = source.shape(spot.plane)
        if not _is_inside(point, shape):
            self._hide()
            return
        patch = patch_at(spot.plane, shape, spot.step, point)
        done = partial(self._looked, self._generation, source, spot, point)
        self._engine.look(self, source, patch, Prompt.of([point]), 3, done)

    def _looked(self, generation: int, source: Source, spot: Spot, point: Point, answer: Answer | Exception) -> None:
        if source is not self._source:
            return
        with self._guarded(once=True):
            candidates = candidates_of(_masks(answer), point)
            self._trouble = ""
            self._seen.add(spot, candidates)
            wish = self._wishes[0] if self._wishes and self._asked is not None else None
            if wish is not None and wish.kind == "click" and wish.spot == spot:
                self._asked = None  # the click was on what was being looked at: it need not be asked for again
                self._go_on()
                self._changed()
            elif generation == self._generation:
                self._see(self._seen.sight(spot, point))
            else:
                self._look_late(self._seen.sight(spot, point))

    def _look_late(self, sight: Sight | None) -> None:
        """Show what was asked for a little earlier, if it holds the pointer.

        Or else nothing would be shown while the pointer moves: there is always something newer to ask for.
        """
        turned = self._sight is not None and self._sight.turned
        if sight is None or self._pointer is None or self._pointer[0] in self._seen or turned:
            return
        sight = sight.moved(*self._pointer)
        if sight is not None:
            self._see(sight)

    def _see(self, sight: Sight | None) -> None:
        self._sight = sight
        self._show()

    def _show(self) -> None:
        """Draw what a click would take, exactly as it would be painted."""
        sight = self._sight
        plan = None if sight is None else self._plan(sight)
        if sight is None or plan is None or plan.kind == "nothing":
            self._ghost.hide()
        elif plan.kind != "select":
            of = len(sight.candidates)
            self._ghost.show(sight.spot.plane, plan.shown, float(sight.mask.scores[0]), sight.chosen, of)
        elif self._is_active(sight, plan):
            self._ghost.hide()
        else:
            self._ghost.show(sight.spot.plane, plan.shown, 1.0, 0, 0)

    def _hide(self) -> None:
        self._sight = None
        self._ghost.hide()

    def _refresh(self) -> None:
        """Draw anew what depends on the pixels that are painted."""
        with self._guarded(once=True):
            self._show()
        self._changed()

    def _plan(self, sight: Sight) -> Plan:
        return plan_click(self._target.canvas, sight.spot.plane, sight.point, sight.mask)

    def _is_active(self, sight: Sight, plan: Plan) -> bool:
        return self._target.active == (sight.spot.plane, plan.label)

    def _sight_at(self, spot: Spot, point: Point) -> Sight | None:
        """Return what is known of a pixel without asking; the candidate that is shown where it is shown."""
        if self._sight is not None and self._sight.spot == spot:
            return self._sight
        return self._seen.sight(spot, point)

    # -- wishes, one after the other ---------------------------------------------------------------------------------

    def _wish(self, wish: Wish) -> None:
        self._objection = ""
        self._wishes.append(wish)
        self._go_on()
        self._changed()

    def _go_on(self) -> None:
        """Do wishes until one has to wait for the model."""
        while self._wishes and self._asked is None and not self._busy:
            wish, waits = self._wishes[0], False
            with self._guarded():
                waits = self._begin(wish)
            if not waits and not self._busy:
                self._finish(wish)

    def _finish(self, wish: Wish) -> None:
        if self._wishes and self._wishes[0] is wish:
            self._wishes.popleft()

    def _begin(self, wish: Wish) -> bool:
        """Do a wish, or ask for what it needs; whether an answer finishes it."""
        self._target.heed()
        if wish.kind == "cycle":
            return self._cycle(wish)
        if wish.kind == "erase":
            return self._erase()
        if wish.kind == "box":
            prompt = Prompt.of(box=wish.box)
            return self._ask(wish, prompt, 1, partial(self._boxed, wish, prompt))
        shape = self._target.canvas.shape(wish.plane)
        if not _is_inside(wish.point, shape):
            return False
        if wish.kind == "select":
            return self._select(wish)
        return self._begin_click(wish) if wish.kind == "click" else self._begin_correction(wish)

    def _ask(self, wish: Wish, prompt: Prompt, count: Count, done: Callable[[Masks], bool]) -> bool:
        """Ask the model; `done` is called with its answer and returns whether it asked again. Always True."""
        source = self._checked(wish.plane)
        shape = source.shape(wish.plane)
        if prompt.is_lone_click:
            patch = patch_at(wish.plane, shape, wish.step, wish.point)
        else:
            patch = patch_for(wish.plane, shape, wish.step, region_of(prompt))
        ticket = self._asked = object()
        try:
            self._engine.ask(self, source, patch, prompt, count, partial(self._answered, ticket, wish, done))
        except BaseException:
            self._asked = None
            raise
        return True

    def _answered(self, ticket: object, wish: Wish, done: Callable[[Masks], bool], answer: Answer | Exception) -> None:
        """Go on with what the model answered; an answer to what is no longer asked is dropped."""
        if ticket is not self._asked:
            return
        self._asked, waits = None, False
        with self._guarded():
            waits = done(_masks(answer))
        if not waits and not self._busy:
            self._finish(wish)
        self._go_on()
        self._changed()

    # -- clicks and boxes --------------------------------------------------------------------------------------------

    def _begin_click(self, wish: Wish) -> bool:
        sight = wish.sight or self._sight_at(wish.spot, wish.point)
        if sight is not None:
            return self._take(sight)
        return self._ask(wish, Prompt.of([wish.point]), 3, partial(self._clicked, wish))

    def _clicked(self, wish: Wish, masks: Masks) -> bool:
        self._seen.add(wish.spot, candidates_of(masks, wish.point))
        sight = self._seen.sight(wish.spot, wish.point)
        if sight is not None:
            return self._take(sight)
        return self._say("The model sees nothing at this spot. Draw a box around it, or zoom in and click again.")

    def _take(self, sight: Sight) -> bool:
        plane, plan = sight.spot.plane, self._plan(sight)
        if plan.kind == "nothing":
            self._say("All of this belongs to other objects: click on the one to be divided, or erase it.")
        elif plan.kind == "select":
            self._activate(plane, plan.label, sight.point)
        else:
            self._paint_plan("take", plane, plan, Prompt.of([sight.point]), sight.candidates, sight.chosen)
        return self._taken(sight.spot)

    def _taken(self, spot: Spot) -> bool:
        """Show nothing at a spot where all is done; what is shown elsewhere may look otherwise now."""
        if self._sight is not None and self._sight.spot == spot:
            self._sight = None
        self._refresh()
        return False

    def _boxed(self, wish: Wish, prompt: Prompt, masks: Masks) -> bool:
        candidates = candidates_of(masks)
        if not len(candidates):
            return self._say("The model sees nothing in this box. Draw it tightly around one object.")
        chosen = best_of(candidates)
        plan = plan_box(self._target.canvas, wish.plane, candidates[chosen])
        if plan.kind == "nothing":
            return self._say("All of this belongs to other objects: erase them first, or correct them.")
        self._paint_plan("box", wish.plane, plan, prompt, candidates, chosen)
        return self._taken(wish.spot)

    def _paint_plan(self, kind: str, plane: Plane, plan: Plan, prompt: Prompt, masks: Masks, chosen: int) -> None:
        label = plan.label or self._target.number()
        self._paint(kind, Draft(plane, label, prompt, masks, chosen, plan.shown, plan.over), plan.old)

    def _paint(self, kind: str, draft: Draft, old: Masks) -> None:
        if not self._target.paint(kind, draft, old):
            self._say("This changes nothing: the object is like that already.")

    # -- corrections -------------------------------------------------------------------------------------------------

    def _begin_correction(self, wish: Wish) -> bool:
        label = self._aim(wish)
        if not label and wish.kind == "include":
            return self._begin_click(wish)
        draft = self._target.draft_of(wish.plane, label, wish.point) if label else None
        if draft is not None:
            return self._begin_include(wish, draft) if wish.kind == "include" else self._begin_exclude(wish, draft)
        if wish.kind == "include":
            return self._begin_section(wish, label)
        return self._say("Nothing to take away here: Shift and click where an object is too large.")

    def _begin_include(self, wish: Wish, draft: Draft) -> bool:
        prompt = draft.click(wish.point, True)
        return self._ask(wish, prompt, 1, partial(self._corrected, wish, prompt, draft, Masks.empty(draft.mask.shape)))

    def _begin_exclude(self, wish: Wish, draft: Draft) -> bool:
        """Take away the thing under the click, once it is known whether there is one, or ask for a correction."""
        sight = wish.sight or self._sight_at(wish.spot, wish.point)
        if sight is None and draft.prompt is None and wish.spot not in self._seen:
            return self._ask(wish, Prompt.of([wish.point]), 3, partial(self._looked_under, wish, draft))
        prompt = draft.click(wish.point, False)
        things = Masks.empty(draft.mask.shape) if sight is None else sight.candidates
        thing = sight.mask if sight is not None and sight.turned else thing_of(things, draft, sure=True)
        if thing is not None:
            return self._correct(wish, prompt, draft, without(draft, thing))
        return self._ask(wish, prompt, 1, partial(self._corrected, wish, prompt, draft, things))

    def _looked_under(self, wish: Wish, before: Draft, masks: Masks) -> bool:
        self._seen.add(wish.spot, candidates_of(masks, wish.point))
        return self._begin(wish) if stands(before, self._target.canvas) else self._again(wish, before)

    def _aim(self, wish: Wish) -> int:
        """Return the number of the object that a correction is about; 0: none."""
        there, active = under(self._target.canvas, wish.plane, wish.point), self._target.active
        if active is None:
            return there
        # What is to be taken away from another object is: the active one has nothing there that could be.
        return there if wish.kind == "exclude" and there not in (0, active[1]) else active[1]

    def _corrected(self, wish: Wish, prompt: Prompt, before: Draft, things: Masks, masks: Masks) -> bool:
        if not stands(before, self._target.canvas):
            return self._again(wish, before)
        after = candidates_of(masks)
        after = after[best_of(after)] if len(after) else after
        if before.prompt is None:
            after = meant(before.mask, after, wish.point, wish.kind == "include")
        if wish.kind == "exclude" and after.areas.sum() < HALF * before.mask.areas[0]:
            thing = thing_of(things, before, sure=False)
            after = after if thing is None else without(before, thing)
        return self._correct(wish, prompt, before, after)

    def _correct(self, wish: Wish, prompt: Prompt, before: Draft, after: Masks) -> bool:
        """Paint a correction, unless it makes the object worse."""
        why = objection(prompt, before.mask, after)
        if why is not None:
            return self._object(why, before, prompt)
        over = before.over
        if wish.kind == "include":
            over |= {under(self._target.canvas, wish.plane, wish.point)} - {0, before.label}
        return self._repaint("refine", before, replace(before, prompt=prompt, masks=after, chosen=0, over=over))

    def _again(self, wish: Wish, before: Draft) -> bool:
        """Begin a wish anew whose object changed while the model was asked, if it is still there."""
        if len(standing(self._target.canvas, before.plane, before.label, box_of(before.shown))):
            return self._begin(wish)
        return self._say("The object was undone or erased before the answer came; the click was not taken.")

    def _repaint(self, kind: str, before: Draft, after: Draft) -> bool:
        points = [] if after.prompt is None else after.prompt.points[after.prompt.positive].tolist()
        shown = fitted(self._target.canvas, after.plane, after.label, after.mask, after.over, points)
        if not len(shown):
            return self._object("All of this belongs to other objects; nothing was changed.", before, after.prompt)
        self._paint(kind, replace(after, shown=shown), before.shown)
        self._refresh()
        return False

    def _object(self, why: str, draft: Draft, prompt: Prompt | None) -> bool:
        self._objection = why
        asked = None if prompt is None else prompt_facts(prompt)
        self._target.note("objection", label=draft.label, plane=draft.plane, why=why, prompt=asked)
        return self._say(why)

    def _begin_section(self, wish: Wish, label: int) -> bool:
        """Add to an object on a plane, or at a place, where it is not yet."""
        sight = wish.sight or self._sight_at(wish.spot, wish.point)
        if sight is not None:
            return self._take_section(wish, label, sight.candidates, sight.chosen)
        return self._ask(wish, Prompt.of([wish.point]), 3, partial(self._sectioned, wish, label))

    def _sectioned(self, wish: Wish, label: int, masks: Masks) -> bool:
        candidates = candidates_of(masks, wish.point)
        if len(candidates):
            return self._take_section(wish, label, candidates, best_of(candidates))
        return self._say("The model sees nothing at this spot.")

    def _take_section(self, wish: Wish, label: int, candidates: Masks, chosen: int) -> bool:
        plan = plan_section(self._target.canvas, wish.plane, label, wish.point, candidates[chosen])
        if plan.kind == "nothing":
            return self._say("All of this belongs to other objects; nothing was changed.")
        self._paint_plan("take", wish.plane, plan, Prompt.of([wish.point]), candidates, chosen)
        return self._taken(wish.spot)

    # -- what needs no model -----------------------------------------------------------------------------------------

    def _cycle(self, wish: Wish) -> bool:
        draft = self._target.draft()
        if draft is None or len(draft.masks) < 2:
            return self._say("There is no other candidate; a first click on an object has some.")
        return self._repaint("cycle", draft, replace(draft, chosen=(draft.chosen + wish.turn) % len(draft.masks)))

    def _select(self, wish: Wish) -> bool:
        label = under(self._target.canvas, wish.plane, wish.point)
        if not label:
            return self._say("There is no object at this spot.")
        self._activate(wish.plane, label, wish.point)
        self._refresh()
        return False

    def _activate(self, plane: Plane, label: int, point: Point) -> None:
        self._target.draft_of(plane, label, point)  # from now on it is known where the object is
        self._target.activate(plane, label)
        self._target.note("select", label=label, plane=plane)

    def _erase(self) -> bool:
        draft = self._target.draft()
        if draft is None:
            return self._say("No object is active; click on one first.")
        self._target.erase(draft)
        self._refresh()
        return False

    # -- what can go wrong -------------------------------------------------------------------------------------------

    def _start_over(self) -> None:
        """Forget what was seen, and ask again for what waits."""
        if self._source is None:
            self._wishes.clear()
        self._generation += 1
        self._pointer = self._asked = None
        self._busy = False
        self._seen.clear()
        self._objection = self._trouble = ""
        self._hide()
        self._go_on()
        self._changed()

    def _checked(self, plane: Plane) -> Source:
        """Return the image, if its planes are those of the target."""
        if self._source is None:
            msg = "got no image, expected one to segment; choose an image layer"
            raise CanvasError(msg)
        sizes, shape = self._source.sizes, self._target.canvas.array_shape
        if tuple(sizes) != tuple(shape):
            msg = f"got a target of {shape} pixels, expected {sizes} as the image; choose another target, or a new one"
            raise CanvasError(msg)
        return self._source

    def _say(self, text: str) -> bool:
        self._tell(text)
        return False

    @contextmanager
    def _guarded(self, once: bool = False) -> Iterator[None]:
        """Turn what goes wrong into a line for the user; only once where it would come with each move of the mouse."""
        self._target.canvas.forget()
        try:
            yield
        except CanvasBusy:
            self._busy = True
        except Exception as error:
            if isinstance(error, CanvasGone):
                self._lose()
            text = _sentence(error)
            if not once or text != self._trouble:
                self._trouble = text
                self._tell(text)

    def _lose(self) -> None:
        """Give up what was about a target that is no longer there."""
        self._wishes.clear()
        self._asked, self._busy, self._target.active = None, False, None
        self._hide()

    def _close_target(self) -> None:
        with self._guarded():
            self._target.close()


def _masks(answer: Answer | Exception) -> Masks:
    if isinstance(answer, Exception):
        raise answer
    masks: Masks = answer.masks
    return masks


def _is_inside(point: Point, shape: tuple[int, int]) -> bool:
    return all(-0.5 <= value < size - 0.5 for value, size in zip(point, shape, strict=True))


def _sentence(error: Exception) -> str:
    if isinstance(error, SamError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror or error}: nothing was painted. Free some space, or choose another target."
    log.error("while segmenting", exc_info=error)
    return f"Something unexpected happened ({type(error).__name__}: {error}). Nothing is lost; please try again."
