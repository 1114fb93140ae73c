"""What is painted on: a canvas with its journal, the active object on it, and the drafts of the objects.

A new object gets the next free number, which becomes napari's selected label, so that the brush goes on with it. A
number that the user selected since (M, the picker, the spin box) is used as it is, as napari's own tools do.

Everything that changes pixels goes through here or is heard of here, so the journal has it all.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sam_core import Masks
from sam_napari._boxes import TILE, at, tiles
from sam_napari._change import Canvas, Change, Touched, box_of, buried, erased, painted, pieces, standing, under
from sam_napari._draft import Draft, Point, matching
from sam_napari._glance import Glance
from sam_napari._journal import Journal, prompt_facts
from sam_napari._source import Box, Plane

OBJECTS = 256  # whose drafts are remembered, for when they are selected again
DRAFTS = 64  # of an object
AT_ONCE = 4 * TILE * TILE  # pixels that are read for the journal in one go; more, a piece at a time
SLICE = 0.004  # seconds of work for the journal at a time
LAST = 0.5  # seconds that closing spends on what the journal still lacks


class Target:
    """A canvas, and what is known of the objects on it.

    Parameters
    ----------
    canvas
        What is painted.
    journal
        Where all is noted; None: nowhere. It is closed with the target.
    touched
        Called when somebody else changed pixels.
    """

    def __init__(self, canvas: Canvas, journal: Journal | None, touched: Callable[[], None]) -> None:
        self.canvas = Glance(canvas)
        self.advance = True
        """Whether each new object gets a new number; if not, all get the selected one, which then is a class."""
        self.active: tuple[Plane, int] | None = None
        self._journal: Journal | None = None
        self._heard = touched
        self._given = int(canvas.selected)
        self._drafts: OrderedDict[tuple[Plane, int], list[Draft]] = OrderedDict()
        self._fresh: dict[tuple[Plane, Box], None] = {}
        self._lacking: deque[tuple[Iterator[tuple[Plane, Box]], bool]] = deque()
        self.begin(journal)
        self._off = canvas.on_touched(self._touched)

    def begin(self, journal: Journal | None) -> None:
        """Note all in a journal from now on, and the labels that are there already when there is time."""
        self._finish()
        self._journal = journal
        self._lacking = deque([(pieces(self.canvas), True)] if journal is not None else [])

    def close(self) -> None:
        """Let go of the canvas and close the journal."""
        self._off()
        self._finish()

    # -- which object ------------------------------------------------------------------------------------------------

    def activate(self, plane: Plane, label: int) -> None:
        """Make an object the active one, and its number the one that napari's brush paints with."""
        self.active = (plane, label)
        self.canvas.selected = self._given = label

    def heed(self) -> None:
        """Let go of the active object when the user chose another number."""
        if self.canvas.selected != self._given:
            self.active = None

    def is_active(self, plane: Plane, label: int) -> bool:
        """Whether this is the active object."""
        return self.active == (plane, label)

    def number(self) -> int:
        """Return the number of a new object.

        Raises
        ------
        CanvasFull
            There is none left.
        """
        chosen = int(self.canvas.selected)
        return chosen if chosen > 0 and (not self.advance or chosen != self._given) else self.canvas.next_label()

    def draft(self) -> Draft | None:
        """Return what the active object is now; None where there is none, or it was undone."""
        return None if self.active is None else self.draft_of(*self.active)

    def draft_of(self, plane: Plane, label: int, point: Point | None = None) -> Draft | None:
        """Return what an object is now, made of its pixels where no draft matches; looked for at y, x as well."""
        drafts = self._drafts.get((plane, label), [])
        draft = matching(drafts, self.canvas)
        if draft is not None:
            return draft
        for place in self._places(plane, label, point, drafts):
            pixels = standing(self.canvas, plane, label, place)
            if len(pixels):
                return self._kept(Draft.of_pixels(plane, label, pixels))
        return None

    # -- what is painted ---------------------------------------------------------------------------------------------

    def paint(self, kind: str, draft: Draft, old: Masks) -> bool:
        """Paint a draft as one step of undo, and make its object the active one; whether a pixel changed.

        Parameters
        ----------
        kind
            What it is called in the journal.
        draft
            What the object is from now on.
        old
            The pixels that it had: 0 or 1 masks.
        """
        change = painted(self.canvas, draft.plane, draft.label, draft.shown, old=old, ground=draft.ground)
        if change is not None:
            draft = replace(draft, ground=buried(self.canvas, change, draft.label, draft.ground))
        self.commit(kind, [] if change is None else [change], **_facts(draft))
        self._kept(draft)
        self.activate(draft.plane, draft.label)
        return change is not None

    def erase(self, draft: Draft) -> None:
        """Erase an object on its plane."""
        pixels = standing(self.canvas, draft.plane, draft.label, box_of(draft.shown))
        change = erased(self.canvas, draft.plane, draft.label, box_of(pixels)) if len(pixels) else None
        if change is not None:
            self.commit("erase", [change], label=draft.label, plane=draft.plane)
        self.active = None

    def commit(self, kind: str, changes: Sequence[Change], **facts: Any) -> None:
        """Write changes as one step of undo, and note them as one event."""
        for _ in self.committing(kind, changes, **facts):
            pass

    def committing(self, kind: str, changes: Sequence[Change], **facts: Any) -> Iterator[int]:
        """Write changes as `commit` does, bit by bit: yields how many pixels changed, some milliseconds apart.

        Where it is not gone through to its end, what was painted until then is one step of undo, and noted.
        """
        whole = False
        try:
            yield from self.canvas.writing(changes)
            whole = True
        finally:
            if whole:
                self.note(kind, changes, **facts)
            else:
                # Nobody knows how much of it was written: what is there now is noted.
                self._note_touched([(change.plane, change.box) for change in changes])

    # -- what is noted -----------------------------------------------------------------------------------------------

    def note(self, kind: str, changes: Sequence[Change] = (), **facts: Any) -> None:
        """Note an event."""
        if self._journal is not None:
            self._catch_up()
            self._journal.note(kind, changes, **facts)

    def tidy(self) -> bool:
        """Note some of what the journal still lacks; whether there may be more."""
        self._catch_up()
        end = time.monotonic() + SLICE
        while self._lacking:
            self._note_piece()
            if time.monotonic() > end:
                break
        return bool(self._lacking)

    def _note_piece(self) -> None:
        rest, only_objects = self._lacking[0]
        piece = next(rest, None)
        if piece is None:
            self._lacking.popleft()
            return
        change = self._read(*piece)
        if not only_objects or change.values.any():
            self.note("pixels", [change])

    def _finish(self) -> None:
        """Note what is lacking as far as there is time, and close the journal, also where the canvas is gone."""
        end = time.monotonic() + LAST
        with suppress(Exception):
            while time.monotonic() < end and self.tidy():
                pass
        self._lacking.clear()
        self._fresh.clear()
        if self._journal is not None:
            self._journal.close()

    def _touched(self, touched: Touched) -> None:
        self.canvas.forget()
        self._note_touched(touched)
        self._heard()

    def _note_touched(self, touched: Touched) -> None:
        """Remember where pixels changed; they are read later, because napari tells of some before it paints them."""
        if self._journal is None:
            return
        if touched is None:
            self._fresh.clear()
            self._lacking = deque([(pieces(self.canvas), False)])
        elif sum((y1 - y0) * (x1 - x0) for _, (y0, x0, y1, x1) in touched) > AT_ONCE:
            self._lacking.append((((plane, tile) for plane, box in touched for tile in tiles(box)), False))
        else:
            self._fresh.update(dict.fromkeys(touched))

    def _catch_up(self) -> None:
        """Note what others painted since the last event."""
        if self._fresh and self._journal is not None:
            touched, self._fresh = self._fresh, {}
            self._journal.note("pixels", [self._read(plane, box) for plane, box in touched])

    def _read(self, plane: Plane, box: Box) -> Change:
        return Change(plane, box, self.canvas.canvas.read(plane, box))

    def _kept(self, draft: Draft) -> Draft:
        key = (draft.plane, draft.label)
        self._drafts[key] = [*self._drafts.get(key, [])[1 - DRAFTS :], draft]
        self._drafts.move_to_end(key)
        while len(self._drafts) > OBJECTS:
            self._drafts.popitem(last=False)
        return draft

    def _places(self, plane: Plane, label: int, point: Point | None, drafts: Sequence[Draft]) -> Iterator[Box]:
        if point is not None and under(self.canvas, plane, point) == label:
            yield at(point)
        yield from dict.fromkeys(box_of(draft.shown) for draft in reversed(drafts))


def _facts(draft: Draft) -> dict[str, Any]:
    facts: dict[str, Any] = {"label": draft.label, "plane": draft.plane}
    if draft.prompt is not None:
        facts["prompt"] = prompt_facts(draft.prompt)
    return {**facts, "score": round(float(draft.mask.scores[0]), 4), "chosen": draft.chosen, "of": len(draft.masks)}
