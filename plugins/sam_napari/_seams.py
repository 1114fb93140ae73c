"""Objects that several patches see: all views of one brought together, whatever the order in which patches come.

Neighbouring patches overlap, so an object near a seam is seen by several, by some of them in part. It is given as soon
as every patch that sees it has been looked at; what no seam touches, at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from sam_core import Masks
from sam_napari._boxes import united
from sam_napari._change import box_of, cropped, spread
from sam_napari._draft import common
from sam_napari._source import Box
from sam_napari._view import Patch

SAME_OBJECT = 0.5  # IoU from which two views are of the same object, in what both patches see of it
COVERED = 0.5  # part of an object that others cover, from which it is none
NEARLY = 0.9  # part of an object that one patch has to see, for it to be seen well enough with what others see


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """An object as one patch sees it.

    Parameters
    ----------
    patch
        The patch.
    mask
        1 mask, in the plane frame.
    cut
        Whether it runs out of the patch, but not out of the plane.
    home
        Whether the patch owns the middle of it.
    """

    patch: Patch
    mask: Masks
    cut: bool
    home: bool

    @classmethod
    def of(cls, patch: Patch, mask: Masks) -> View:
        """Look at a mask of a patch."""
        y0, x0, y1, x1 = box_of(mask)
        return cls(patch, mask, _is_cut((y0, x0, y1, x1), patch), patch.owns(((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2)))

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """The larger, the more it is believed."""
        return not self.cut, self.home, float(self.mask.scores[0])


class Seams:
    """Brings together what the patches of a plane see, in whatever order they come.

    Two views are of the same object where they agree in what both patches can see of it. Of these the best is taken:
    one that is whole, of the patch that owns its middle. An object that no patch sees whole is put together from its
    parts.

    Parameters
    ----------
    patches
        All that will be added.
    """

    def __init__(self, patches: Iterable[Patch]) -> None:
        self._patches = tuple(patches)
        self._left = list(self._patches)
        self._open: list[View] = []
        self._pairs: list[tuple[int, int, bool]] = []

    def add(self, patch: Patch, masks: Masks) -> list[View]:
        """Add what a patch sees, in the plane frame; return the objects that no patch to come will see."""
        self._left.remove(patch)
        views = [View.of(patch, masks[[i]]) for i in np.flatnonzero(masks.areas > 0).tolist()]
        self._pair(views)
        return self._settled()

    def _pair(self, views: Sequence[View]) -> None:
        """Note which of the views, which come from one patch, are of objects that others see, or lie over them."""
        near = meeting(_boxes(views), _boxes(self._open))
        for i, j in np.argwhere(near).tolist():
            view, other = views[i], self._open[j]
            same = _same(view, other)
            if same or _covers(view.mask, other.mask):
                self._pairs.append((len(self._open) + i, j, same))
        self._open += views

    def _settled(self) -> list[View]:
        """Take out the groups of views that belong together of which none is still to be seen by another patch."""
        if not self._open:
            return []
        group = _groups(len(self._open), [(i, j) for i, j, _ in self._pairs])
        waiting = meeting(_boxes(self._open), np.array([patch.box for patch in self._left]).reshape(-1, 4)).any(axis=1)
        stays = np.isin(group, group[waiting])
        settled = [view for each in np.unique(group[~stays]) for view in self._resolved(np.flatnonzero(group == each))]
        kept = np.flatnonzero(stays)
        place = {int(old): new for new, old in enumerate(kept)}
        self._open = [self._open[i] for i in kept]
        self._pairs = [(place[i], place[j], same) for i, j, same in self._pairs if i in place]
        return settled

    def _resolved(self, chosen: NDArray[np.intp]) -> list[View]:
        """Make of views that are of the same objects, or lie over each other, one view of each object."""
        if len(chosen) == 1:
            lone = self._open[int(chosen[0])]
            return [lone] if self._is_believed(lone) else []
        members = {int(i): at for at, i in enumerate(chosen)}
        pairs = [(members[i], members[j]) for i, j, same in self._pairs if same and i in members]
        same = _groups(len(chosen), pairs)
        alike = [[self._open[i] for i in chosen[same == each]] for each in np.unique(same)]
        objects = [one for views in alike for one in _told_apart(views)]
        kept: list[View] = []
        for one in sorted(objects, key=lambda view: view.rank, reverse=True):
            if self._is_believed(one) and not any(_covered(one.mask, other.mask) for other in kept):
                kept.append(one)
        return kept

    def _is_believed(self, view: View) -> bool:
        """Tell whether an object is one of these patches: part of it, or whole in one that does not own it."""
        y0, x0, y1, x1 = box_of(view.mask)
        middle = ((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2)
        return view.home or (not view.cut and any(patch.owns(middle) for patch in self._patches))


def _told_apart(views: Sequence[View]) -> list[View]:
    """Make one of several views of an object; where others lie beside it after all, they are objects of their own."""
    best = _best(views)
    others = [view for view in views if view.home and not view.cut and not _covers(view.mask, best.mask)]
    return [best, *others]


def _best(views: Sequence[View]) -> View:
    """Return the best view of an object that is whole, or else all its parts together."""
    best = max(views, key=lambda view: view.rank)
    if not best.cut or len(views) == 1:
        return best
    box = box_of(best.mask)
    for view in views:
        box = united(box, box_of(view.mask))
    inside = np.zeros((box[2] - box[0], box[3] - box[1]), bool)
    for view in views:
        inside |= spread(view.mask, box)
    mask = cropped(inside, box, best.mask.shape, best.mask)
    worst = [np.array([min(float(getattr(v.mask, n)[0]) for v in views)], np.float32) for n in ("scores", "stability")]
    cut = max(int(view.mask.areas[0]) for view in views) < NEARLY * int(np.count_nonzero(inside))
    return replace(best, mask=replace(mask, scores=worst[0], stability=worst[1]), home=True, cut=cut)


def _same(one: View, other: View) -> bool:
    """Tell whether two views agree in what both patches see."""
    y0, x0, y1, x1 = _shared(one.patch.box, other.patch.box)
    if one.patch == other.patch or y0 >= y1 or x0 >= x1:
        return False
    a, b = box_of(one.mask), box_of(other.mask)
    box = _shared((y0, x0, y1, x1), united(a, b))
    first, second = spread(one.mask, box), spread(other.mask, box)
    either = np.count_nonzero(first | second)
    return bool(either and np.count_nonzero(first & second) >= SAME_OBJECT * either)


def _covers(one: Masks, other: Masks) -> bool:
    return _covered(one, other) or _covered(other, one)


def _covered(one: Masks, other: Masks) -> bool:
    """Tell whether a mask is mostly covered by another one."""
    return common(one, other) > COVERED * int(one.areas[0])


def _groups(n: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.intp]:
    """Return for n things a number for the group of those that pairs connect: (n,)."""
    rows, columns = np.array(pairs, np.intp).reshape(-1, 2).T
    graph = csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.intp)


def _is_cut(box: Box, patch: Patch) -> bool:
    near = 2 * patch.step  # what ends so near to the border of the patch may go on behind it
    height, width = patch.plane_shape
    top, left, bottom, right = patch.box
    low = (top > 0 and box[0] - top < near) or (left > 0 and box[1] - left < near)
    return low or (bottom < height and bottom - box[2] < near) or (right < width and right - box[3] < near)


def _boxes(views: Sequence[View]) -> NDArray[np.intp]:
    return np.array([box_of(view.mask) for view in views], np.intp).reshape(-1, 4)


def meeting(a: NDArray[np.integer], b: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Tell which boxes (n, 4) and (m, 4) share a pixel: (n, m)."""
    meeting = np.ones((len(a), len(b)), bool)
    for axis in (0, 1):
        meeting &= a[:, axis, None] < b[:, axis + 2]
        meeting &= b[:, axis] < a[:, axis + 2, None]
    return meeting


def _shared(one: Box, other: Box) -> Box:
    """Return what two boxes share; of no area, or turned round, where that is nothing."""
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])
