"""Following objects through a stack or through time; without a widget."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sam_core import Masks
from sam_napari._boxes import whole
from sam_napari._change import Canvas, Change, box_of, standing
from sam_napari._follow import Trail, follow, repainting
from sam_napari._notify import sentence
from sam_napari._source import Plane

if TYPE_CHECKING:
    from sam_napari._desk import Desk
    from sam_napari._turns import Job

BUDGET = 0.015  # seconds that the windows may wait at a time


class Pursuit:
    """Follows the active object, or all objects of a plane, from the planes on which the user made them.

    What is found is shown at once and painted at the end, as one step of undo. When an object is corrected on some
    plane and followed again, only the planes that depend on that one are looked at anew.

    Parameters
    ----------
    desk
        What is worked on.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.done = 0
        """How many planes have been looked at."""
        self._trails: dict[int, Trail] = {}
        self._visited: dict[int, set[Plane]] = {}
        self._job: Job | None = None
        self._painting: Generator[int, None, None] | None = None
        self._canvas: object = None
        self._labels: list[int] = []
        self._complete = True  # whether following came, or will come, to its end
        desk.listen(self._notice)
        desk.attend(self)

    # -- where it stands ---------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether something is being followed or painted."""
        return self._job is not None or self._painting is not None

    @property
    def axis(self) -> str:
        """What objects are followed through: "z", "t", ...; "" where there is but one plane."""
        plane, source = self.desk.plane, self.desk.source
        along = None if source is None or plane is None else source.along(plane)
        return "" if along is None or source is None else source.roles[along]

    @property
    def sentence(self) -> str:
        """What is known of the active object, for the user."""
        if self.is_running:
            return f"{self.done} planes …"
        label = self.desk.state.label
        trail = self._trails.get(label)
        if not label:
            return "Click on an object first."
        if trail is None:
            return f"Object {label} is followed from where you clicked, both ways."
        known = ", ".join(str(place) for place in sorted(trail.known))
        return f"Object {label}: yours on {known}, followed to {len(trail.found)} more. Correct it on any, then follow."

    # -- the run -----------------------------------------------------------------------------------------------------

    def start(self, everything: bool = False) -> None:
        """Follow the active object; or all objects of the plane on screen."""
        desk = self.desk
        source, canvas, plane = desk.source, desk.canvas, desk.plane
        if source is None or canvas is None or plane is None or desk.busy:
            return
        on = functools.cache(self._objects_on)
        labels = list(on(plane)) if everything else [desk.state.label] if desk.state.label else []
        if not labels:
            desk.tell("There is no object to follow: click on one first.")
            return
        planes = source.planes(plane)
        trails = [self._trail(label, planes, plane, on) for label in labels]
        trails = [trail for trail in trails if trail.starts]
        if not trails:
            desk.tell("Nothing has changed since this was followed. Correct it on some plane first.")
            return
        self._trails.update({trail.label: trail for trail in trails})
        self._begin(planes, trails)

    def stop(self) -> None:
        """Follow no further; what was found is painted."""
        self._complete = False
        if self._job is not None:
            self._job.cancel()

    def halt(self) -> None:
        """Follow no further, now; what was found is painted."""
        if self._job is not None:
            self.stop()
            self._end(None)

    def abandon(self) -> None:
        """End with nothing: the target is gone."""
        if self._job is not None:
            self._job.cancel()
            self._job = None
            self._finish()
        elif self._painting is not None:
            self._painting.close()  # which completes the step of undo
            self._finish()

    def settle(self) -> bool:
        """Do a small piece of what can wait; whether there is more."""
        if self._painting is not None:
            self._paint_on()
            return True
        return self._job is not None and self.desk.stage.preview is not None and not self.desk.stage.preview.settle()

    # -- inside: what is known ---------------------------------------------------------------------------------------

    def _notice(self) -> None:
        """Note on which planes the user works on an object; forget all when the target is another one."""
        if self.desk.canvas is not self._canvas:
            self._canvas = self.desk.canvas
            self._trails.clear()
            self._visited.clear()
        state = self.desk.state
        if state.label and state.plane is not None:
            self._visited.setdefault(state.label, set()).add(state.plane)

    def _objects_on(self, plane: Plane) -> dict[int, Masks]:
        """Return what is painted on a plane: masks of 1, by number."""
        canvas = self.desk.canvas
        assert canvas is not None
        labels = np.maximum(canvas.read(plane, whole(canvas.shape(plane))), 0)
        masks = Masks.from_labels(labels)
        masks = replace(masks, prompt=np.zeros_like(masks.prompt))
        return {int(label): masks[[i]] for i, label in enumerate(np.unique(labels[labels > 0]))}

    def _trail(
        self, label: int, planes: Sequence[Plane], here: Plane, on: Callable[[Plane], dict[int, Masks]]
    ) -> Trail:
        """Return the way of an object with all that the user did since it was followed last."""
        canvas, trail = self.desk.canvas, self._trails.get(label)
        assert canvas is not None
        if trail is None or trail.planes != tuple(planes) or _is_undone(trail, canvas):
            trail = Trail(label, tuple(planes))
        for plane in sorted({here, *self._visited.get(label, ())} & set(planes), key=planes.index):
            place = planes.index(plane)
            before, now = trail.known.get(place, trail.found.get(place)), on(plane).get(label)
            if now is None and before is None:
                continue  # it never was there
            after = Masks.empty(canvas.shape(plane)) if now is None else now
            if before is None or not _alike(before, after):
                trail = trail.know(plane, after)
        return trail

    # -- inside: the run ---------------------------------------------------------------------------------------------

    def _begin(self, planes: Sequence[Plane], trails: Sequence[Trail]) -> None:
        desk = self.desk
        assert desk.picture is not None
        seeds: dict[int, list[Masks]] = {}
        for trail in trails:
            for place, masks in trail.seeds.items():
                seeds.setdefault(place, []).append(masks)
        starts = {place for trail in trails for place in trail.starts}
        self.done = 0
        desk.busy = True
        joined = {place: _joined(masks) for place, masks in seeds.items()}
        found = follow(
            desk.engine, desk.picture.source, planes, joined, desk.min_iou, step=desk.step, starts=starts
        )  # fmt: skip
        self._labels, self._complete = [trail.label for trail in trails], True
        self._job = desk.engine.run(desk, found, self._add, self._end)
        if desk.stage.preview is not None:
            desk.stage.preview.prepare()
        desk.changed()

    def _add(self, found: tuple[Plane, Masks]) -> None:
        plane, masks = found
        self.done += 1
        for label in {int(number) for number in masks.prompt}:
            self._trails[label] = self._trails[label].add(plane, masks)
        if self.desk.stage.preview is not None:
            self.desk.stage.preview.add(plane, masks)
        self.desk.changed()

    def _end(self, error: Exception | None) -> None:
        if self._job is None:
            return
        self._job = None
        if error is not None:
            self._complete = False
            self.desk.tell(sentence(error))
        self._painting = self._paint(self._labels)
        self.desk.changed()

    def _paint(self, labels: Sequence[int]) -> Generator[int, None, None]:
        canvas, controller = self.desk.canvas, self.desk.controller
        if canvas is None or controller is None:
            return
        changes: list[Change] = []
        for change in repainting([self._trails[label] for label in labels], canvas, complete=self._complete):
            changes.append(change)
            yield 0
        yield from controller.committing("follow", changes, labels=list(labels), planes=self.done)
        for label in labels:
            self._trails[label] = self._trails[label].settled(complete=self._complete)

    def _paint_on(self) -> None:
        """Paint for as long as the windows may wait."""
        assert self._painting is not None
        end, over = time.perf_counter() + BUDGET, False
        try:
            while time.perf_counter() < end:
                next(self._painting)
        except StopIteration:
            over = True
        except Exception as error:  # told to the user, who can follow again
            over = True
            self.desk.tell(sentence(error))
        if over:
            self._finish()
            self.desk.changed()

    def _finish(self) -> None:
        self._painting, self.desk.busy = None, False
        if self.desk.stage.preview is not None:
            self.desk.stage.preview.clear()


def _is_undone(trail: Trail, canvas: Canvas) -> bool:
    """Whether nothing is left of what was painted."""
    painted = ((trail.planes[place], masks) for place, masks in trail.painted.items())
    return bool(trail.painted) and not any(
        len(standing(canvas, plane, trail.label, box_of(masks))) for plane, masks in painted
    )


def _joined(parts: Sequence[Masks]) -> Masks:
    """Join masks of one plane, each with the number of its object."""
    numbers = np.concatenate([part.prompt for part in parts])
    return replace(Masks.merge(parts), prompt=numbers)


def _alike(one: Masks, other: Masks) -> bool:
    """Whether two masks, 0 or 1 each, have the same pixels."""
    if not len(one) or not len(other):
        return len(one) == len(other)
    return box_of(one) == box_of(other) and bool(np.array_equal(one.crops[0], other.crops[0]))
