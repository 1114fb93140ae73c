"""Everything at once, and the decisions about what was found; without a widget."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Literal

from sam_core import Prompt
from sam_napari._batch import Batch, Item, Limits, unpainted
from sam_napari._boxes import grown
from sam_napari._change import Change, box_of
from sam_napari._draft import Draft, best_of, candidates_of, objection
from sam_napari._everything import Found, Options, everything, stitched
from sam_napari._layers_go import go_to, standpoint
from sam_napari._notify import sentence
from sam_napari._source import Plane
from sam_napari._view import patch_at, patch_for, region_of

if TYPE_CHECKING:
    from sam_napari._desk import Desk
    from sam_napari._engine import Answer
    from sam_napari._turns import Job

Scope = Literal["screen", "plane", "stack"]
PAST = 200  # decisions that can be taken back
HINT = (
    "Nothing is painted yet. A click inside the outlined object asks the model anew, Shift-click takes a spot away, "
    "Ctrl-click adds one; a click on another object asks about that one."
)
BUDGET = 0.015  # seconds that the windows may wait at a time


class Review:
    """A run over the picture, what it found, and which of that is to be painted.

    Nothing is painted before `commit`, which is one step of undo.

    Parameters
    ----------
    desk
        What is worked on.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.batch = Batch()
        self.parts, self.done = 0, 0
        """How many parts there are to look at, and how many have been."""
        self.current: int | None = None
        """The item that is asked about."""
        self._past: list[tuple[Batch, int | None]] = []
        self._drafts: dict[int, Draft] = {}
        self._open = False
        self._job: Job | None = None
        self._painting: Generator[int, None, None] | None = None
        self._asked = 0
        self._return: Callable[[], None] | None = None
        desk.attend(self)

    # -- where it stands ---------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether there is something to be reviewed, or being looked for."""
        return self._open

    @property
    def is_running(self) -> bool:
        """Whether something is still being looked for or painted."""
        return self._job is not None or self._painting is not None

    @property
    def sentence(self) -> str:
        """What the review is about, for the user."""
        if self._painting is not None:
            return "Painting …"
        item = self.item
        counts = (
            f"{self.batch.objects} objects, {len(self.batch.queue)} to look at, {self.batch.count('dropped')} dropped."
        )
        if item is None:
            return counts + (" Nothing more to decide: paint them." if len(self.batch) and not self._job else "")
        return (
            f"{counts}\nIs this one right? Score {item.score:.2f}, stability {item.stability:.2f}, {item.area} pixels."
        )

    @property
    def item(self) -> Item | None:
        """What is asked about."""
        return None if self.current is None else self.batch.items[self.current]

    # -- the run -----------------------------------------------------------------------------------------------------

    def start(self, scope: Scope) -> None:
        """Look for everything on screen, on the plane, or in the stack."""
        desk = self.desk
        view = None if desk.picture is None else desk.picture.view()
        if desk.picture is None or desk.canvas is None or view is None or desk.busy:
            return
        source, (plane, region, _) = desk.picture.source, view
        options = Options(desk.step, region, None, scope == "screen")
        desk.act("release")
        desk.busy, desk.hint, self._open = True, HINT, True
        self._return = standpoint(desk.viewer)
        planes = source.planes(plane) if scope == "stack" else (plane,)
        self.batch, self.parts, self.done = Batch(), 0, 0
        found = (
            stitched(desk.engine, source, planes, options, start=source.position(plane))
            if len(planes) > 1
            else everything(desk.engine, source, planes, options)
        )
        self._job = desk.engine.run(desk, found, self._add, self._end)
        if desk.stage.preview is not None:
            desk.stage.preview.prepare()
        desk.changed()

    def stop(self) -> None:
        """Look no further; what was found stays."""
        if self._job is not None:
            self._job.cancel()

    def halt(self) -> None:
        """Look no further, now; what was found stays."""
        if self._job is not None:
            self._job.cancel()
            self._end(None)

    def abandon(self) -> None:
        """Throw everything away: the target is gone."""
        if self._job is not None:
            self._job.cancel()
            self._job = None
        if self._open:
            self._return = None  # whatever is looked at now, it is something else
            self._close()

    def settle(self) -> bool:
        """Do a small piece of what can wait: painting, showing; whether there is more."""
        if self._painting is not None:
            self._paint_on()
            return True
        if self._job is not None and self.current is None and self.batch.queue:
            self._ask_about(self.batch.queue[0], go=False)
            return True
        return self._open and self.desk.stage.preview is not None and not self.desk.stage.preview.settle()

    # -- the decisions -----------------------------------------------------------------------------------------------

    def limit(self, limits: Limits) -> None:
        """Show only what is like this; nothing is looked for again."""
        self._become(self.batch.with_limits(limits))
        if self.current is not None and self.current not in self.batch.visible:
            self._ask_next()

    def keep(self) -> None:
        """Keep the object that is asked about, and go on to the next."""
        if self.current is not None:
            self._decide(self.batch.keep(self.current))

    def drop(self) -> None:
        """Drop the object that is asked about, and go on to the next."""
        if self.current is not None:
            self._decide(self.batch.drop(self.current))

    def skip(self) -> None:
        """Go on to the next without deciding."""
        queue = self.batch.queue
        if queue:
            at = queue.index(self.current) if self.current in queue else -1
            self._ask_about(queue[(at + 1) % len(queue)])

    def back(self) -> None:
        """Take the last decision back."""
        if self._past:
            batch, current = self._past.pop()
            self._drafts.clear()
            for i, (old, new) in enumerate(zip(batch.items, self.batch.items, strict=False)):
                if old is not new and self.desk.stage.preview is not None:
                    self.desk.stage.preview.replace(i, old.mask)
            self._become(batch)
            self._ask_about(current)

    def commit(self) -> None:
        """Paint all that is shown, as one step of undo."""
        canvas, controller = self.desk.canvas, self.desk.controller
        if canvas is None or controller is None or not self.is_open or self._painting is not None:
            return
        self.halt()
        if self._open:
            self._painting = self._paint()
        self.desk.changed()

    def discard(self) -> None:
        """Throw everything away."""
        if self._job is not None:
            self._job.cancel()
            self._job = None
        if self._open:
            self._close()
        self.desk.changed()

    def fix(self, plane: Plane, point: tuple[float, float], step: int, sign: int) -> bool:
        """Correct the object that is asked about by a click, or ask about the one that was clicked on.

        A plain click inside it asks the model anew, one with a sign corrects it. A plain click on another object asks
        about that one; a click beside all of them is not for the review.
        """
        at, item = self.batch.at(plane, point), self.item
        if sign == 0 and at is not None and self.current is not None and at not in self.batch.planes_of(self.current):
            self._ask_about(at, go=False)
            return True
        if item is None or item.plane != plane or self.current is None:
            return False
        near = grown(box_of(item.mask), max(item.mask.crops[0].shape), item.mask.shape)
        if not (near[0] <= point[0] < near[2] and near[1] <= point[1] < near[3]) or (sign == 0 and at is None):
            return False
        draft = self._drafts.get(self.current) or Draft.of_pixels(plane, 1, item.mask)
        prompt = Prompt.of([point]) if sign == 0 else draft.click(point, sign > 0)
        self._correct(self.current, draft, prompt, step)
        return True

    # -- inside: the run ---------------------------------------------------------------------------------------------

    def _add(self, found: Found) -> None:
        canvas, preview = self.desk.canvas, self.desk.stage.preview
        if canvas is None or preview is None or not self._open:
            return
        self.parts, self.done = found.of, found.done
        fresh = unpainted(canvas, found)
        self.batch = self.batch.add(fresh)
        preview.add(fresh.plane, fresh.masks)
        preview.set_visible(self.batch.visible)
        self.desk.changed()

    def _end(self, error: Exception | None) -> None:
        if self._job is None:
            return
        self._job = None
        if error is not None:
            self.desk.tell(sentence(error))
        if not len(self.batch):
            if error is None:
                self.desk.tell("Nothing was found that is not painted yet. Zoom in to look more closely.")
            self._close()
        elif self.batch.queue:
            self._ask_next()
        self.desk.changed()

    # -- inside: one after the other ---------------------------------------------------------------------------------

    def _decide(self, batch: Batch) -> None:
        self._past = [*self._past[1 - PAST :], (self.batch, self.current)]
        self._become(batch)
        self._ask_next()

    def _become(self, batch: Batch) -> None:
        self.batch = batch
        if self.desk.stage.preview is not None:
            self.desk.stage.preview.set_visible(batch.visible)
        self.desk.changed()

    def _ask_next(self) -> None:
        queue = self.batch.queue
        self._ask_about(queue[0] if queue else None)

    def _ask_about(self, item: int | None, *, go: bool = True) -> None:
        """Point an object out, and bring it to the middle of the screen."""
        self.current, self._asked = item, self._asked + 1
        about, picture = self.item, self.desk.picture
        if about is not None and picture is not None and go:
            go_to(self.desk.viewer, picture.layer, about.plane, box_of(about.mask), picture.roles)
        if about is None:
            self.desk.stage.let_go()
        else:
            self.desk.stage.point_out(about.plane, about.mask, about.score)
        self.desk.changed()

    def _correct(self, item: int, draft: Draft, prompt: Prompt, step: int) -> None:
        """Ask for another mask of an object."""
        source = self.desk.source
        if source is None:
            return
        plane, shape = draft.plane, source.shape(draft.plane)
        alone = prompt.is_lone_click
        patch = (
            patch_at(plane, shape, step, (float(prompt.points[0, 0]), float(prompt.points[0, 1])))
            if alone
            else patch_for(plane, shape, step, region_of(prompt))
        )
        asked = self._asked = self._asked + 1

        def answered(answer: Answer | Exception) -> None:
            if asked == self._asked and self.current == item:
                self._take(item, draft, prompt, answer)

        self.desk.engine.ask(self.desk, source, patch, prompt, 3 if alone else 1, answered)

    def _take(self, item: int, draft: Draft, prompt: Prompt, answer: Answer | Exception) -> None:
        """Put another mask in the place of the former, unless it is worse."""
        if isinstance(answer, Exception):
            self.desk.tell(sentence(answer))
            return
        masks = candidates_of(answer.masks)
        after = masks[best_of(masks)] if len(masks) else masks
        why = objection(prompt, draft.mask, after)
        if why is not None:
            self.desk.tell(why)
            return
        self._drafts[item] = Draft(draft.plane, 1, prompt, after, 0, after)
        self._past = [*self._past[1 - PAST :], (self.batch, item)]
        if self.desk.stage.preview is not None:
            self.desk.stage.preview.replace(item, after)
        self._become(self.batch.replace(item, after))
        self.desk.stage.point_out(draft.plane, after, float(after.scores[0]))

    # -- inside: painting --------------------------------------------------------------------------------------------

    def _paint(self) -> Generator[int, None, None]:
        canvas, controller = self.desk.canvas, self.desk.controller
        assert canvas is not None
        assert controller is not None
        changes: list[Change] = []
        for change in self.batch.changing(canvas):
            changes.append(change)
            yield 0
        facts = {"objects": self.batch.objects, "dropped": self.batch.count("dropped")}
        yield from controller.committing("batch", changes, **facts)

    def _paint_on(self) -> None:
        """Paint for as long as the windows may wait."""
        assert self._painting is not None
        end = time.perf_counter() + BUDGET
        try:
            while time.perf_counter() < end:
                next(self._painting)
        except StopIteration:
            self._close()
            self.desk.changed()
        except Exception as error:  # nothing is lost: what was found is still there
            self._painting = None
            self.desk.tell(sentence(error))

    def _close(self) -> None:
        if self._open and self.desk.stage.preview is not None:
            self.desk.stage.preview.clear()
        if self._painting is not None:
            self._painting.close()  # which completes the step of undo
        self.desk.busy, self.desk.hint, self._open = False, "", False
        self._painting = self.current = None
        self.batch, self._past = Batch(), []
        self._drafts.clear()
        self.desk.stage.let_go()
        if self._return is not None:
            self._return()
        self._return = None
