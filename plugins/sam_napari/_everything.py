"""Everything on planes: patch by patch, each object once, and in a stack with one number through all its planes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from sam_core import Masks, SegmentAllOptions, segment_all
from sam_napari._change import box_of
from sam_napari._draft import iou
from sam_napari._follow import Looking, asked_again
from sam_napari._seams import Seams, View, meeting
from sam_napari._source import Plane, Region, Shape, Source
from sam_napari._view import Patch, patch_at, patch_for, patches_in_view, patches_of

SAME_OBJECT = 0.5  # IoU from which a coarser look is at the same object
AGREES = 0.8  # part of an object from which what was seen of it is all of it, as far as a coarse look can tell
LEAST = 0.3  # score and stability from which objects are given, so that the limits of a batch can be lowered


@dataclass(frozen=True, slots=True)
class Options:
    """How everything is looked for.

    Parameters
    ----------
    step
        Pixels along each side of a pixel that is encoded: as on screen, or 1.
    view
        Half-open region that is on screen: patches there come first.
    cursor
        y, x; of these, the patch nearest to it.
    only_view
        Whether nothing is looked for but what patches on screen own.
    segment
        How each patch is searched; None: as the model recommends, but with objects that are less certain as well, which
        the limits of a `Batch` then leave out.
    min_iou
        Least IoU of an object on neighbouring planes, as in `sam_core.stitch`.
    """

    step: int = 1
    view: Region | None = None
    cursor: tuple[float, float] | None = None
    only_view: bool = False
    segment: SegmentAllOptions | None = None
    min_iou: float = 0.25


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """Objects that are found, each once.

    Parameters
    ----------
    plane
        Where.
    masks
        In the plane frame, without logits; `prompt` is the number of an object, the same on all its planes.
    done, of
        How many patches have been looked at, and how many there are.
    min_score, min_stability
        What the model recommends as the least.
    """

    plane: Plane
    masks: Masks
    done: int
    of: int
    min_score: float = 0.0
    min_stability: float = 0.0


def everything(
    engine: Looking, source: Source, planes: Sequence[Plane], options: Options | None = None
) -> Iterator[Found]:
    """Find everything on planes, one after the other; each object of each plane has a number of its own.

    Parameters
    ----------
    engine
        Who is asked.
    source, planes
        The image, and its planes in the order in which they are wanted.
    options
        How.

    Yields
    ------
    Found
        One a patch, with the objects that are certain by then; those at a seam come with the last patch that sees them.
        Stop asking to cancel.

    Raises
    ------
    ImageError
        A plane cannot be read.
    """
    options = options or Options()
    numbers = count()
    patches = {plane: _patches(source, plane, options) for plane in planes}
    done, of = 0, sum(map(len, patches.values()))
    for plane in planes:
        seams = Seams(patches[plane])
        for patch in patches[plane]:
            settled = seams.add(patch, _looked(engine, source, patch, options))
            masks = _merged(source.shape(plane), (_whole(engine, source, view, options) for view in settled))
            done += 1
            named = np.fromiter(numbers, np.int32, len(masks))
            yield _told(engine, Found(plane, replace(masks, prompt=named), done, of), options)


def stitched(
    engine: Looking, source: Source, planes: Sequence[Plane], options: Options | None = None, *, start: int = 0
) -> Iterator[Found]:
    """Find everything in a stack: the same number for the same object on all its planes, as `sam_core.stitch` has it.

    Of the pairs of objects of neighbouring planes whose IoU is at least `options.min_iou`, those are taken that
    together have the largest IoU. Only the objects of two planes, at most, are remembered for that.

    Parameters
    ----------
    engine
        Who is asked.
    source, planes
        The image, and all its planes in order, as `Source.planes` gives them.
    options
        How.
    start
        Number of the plane that is looked at first, usually that on screen. From there it goes to the last plane, then
        from there to the first.

    Yields
    ------
    Found
        One a patch; the objects of a plane come with its last patch. Stop asking to cancel.
    """
    options = options or Options()
    numbers = count()
    order = [*planes[start:], *reversed(planes[:start])]
    first: Masks | None = None
    before: Masks | None = None
    parts: list[Masks] = []
    for found in everything(engine, source, order, options):
        parts.append(found.masks)
        if found.done % (found.of // len(order)):
            yield replace(found, masks=found.masks[:0])
            continue
        here = _merged(source.shape(found.plane), parts)
        parts = []
        before = first if start and found.plane == planes[start - 1] else before
        here = replace(here, prompt=_names(before, here, options.min_iou, numbers))
        first, before = here if first is None else first, here
        yield replace(found, masks=here)


# -- patches ---------------------------------------------------------------------------------------------------------


def _patches(source: Source, plane: Plane, options: Options) -> tuple[Patch, ...]:
    """Return the patches of a plane in the order in which they are looked at."""
    shape = source.shape(plane)
    everywhere = patches_of(plane, shape, options.step)
    if options.view is None or not everywhere:
        return everywhere
    order = patches_in_view(plane, shape, options.step, options.view, options.cursor)
    if options.only_view:
        # Around those that own what is on screen there is a ring of others, which own nothing of it.
        owners = {patch_at(plane, shape, options.step, point) for point in _points(options.view, everywhere[0])}
        return tuple(patch for patch in order if patch in owners)
    return tuple(dict.fromkeys((*order, *everywhere)))


def _points(view: Region, patch: Patch) -> Iterator[tuple[int, int]]:
    """Yield pixels all over a view, its corners among them, so close that a patch owns none only if it sees none."""
    sides = []
    for axis in (0, 1):
        first, last = math.floor(view[axis]), math.ceil(view[axis + 2]) - 1
        sides.append([*range(first, last, max(1, patch.shape[axis] * patch.step // 2)), last])
    yield from product(*sides)


def _looked(engine: Looking, source: Source, patch: Patch, options: Options) -> Masks:
    """Find all that a patch sees, in the plane frame."""
    embedding = engine.embedding(source, patch)
    chosen = options.segment or _generous(engine)
    parts = segment_all(engine.model, embedding, chosen)
    found = Masks.merge([Masks.empty(embedding.image_shape), *parts])
    placed = patch.masks_out(found)
    return replace(placed, scores=found.scores, stability=found.stability, logits=(None,) * len(found))


def _recommended(engine: Looking) -> SegmentAllOptions:
    return getattr(engine.model, "segment_all_options", None) or SegmentAllOptions()


def _generous(engine: Looking) -> SegmentAllOptions:
    usual = _recommended(engine)
    return replace(usual, min_score=min(usual.min_score, LEAST), min_stability=min(usual.min_stability, LEAST))


def _told(engine: Looking, found: Found, options: Options) -> Found:
    if options.segment is not None:
        return found
    usual = _recommended(engine)
    return replace(found, min_score=usual.min_score, min_stability=usual.min_stability)


def _whole(engine: Looking, source: Source, view: View, options: Options) -> Masks:
    """Look again, more coarsely, at an object that no patch sees whole; return its mask.

    That may show parts of it that no patch recognised. Otherwise what was seen stays: it has the finer edges.
    """
    if not view.cut:
        return view.mask
    y0, x0, y1, x1 = (float(edge) for edge in box_of(view.mask))
    dy, dx = (y1 - y0) / 8, (x1 - x0) / 8
    patch = patch_for(view.patch.plane, view.mask.shape, 2 * options.step, (y0 - dy, x0 - dx, y1 + dy, x1 + dx))
    answer = asked_again(engine, source, patch, view.mask, SAME_OBJECT)
    more = len(answer) and AGREES * answer.areas[0] > view.mask.areas[0]
    return replace(answer, logits=(None,)) if more else view.mask


def _merged(shape: Shape, parts: Iterable[Masks]) -> Masks:
    return Masks.merge([Masks.empty(shape), *parts])


# -- from plane to plane ---------------------------------------------------------------------------------------------


def _names(before: Masks | None, here: Masks, min_iou: float, numbers: Iterator[int]) -> NDArray[np.int32]:
    """Return the numbers of the objects of a plane: those of their partners on the plane before, or new ones."""
    partners = np.full(len(here), -1) if before is None else _partners(before, here, min_iou)
    known = np.zeros(0, np.int32) if before is None else before.prompt
    return np.array([next(numbers) if old < 0 else known[old] for old in partners], np.int32)


def _partners(before: Masks, here: Masks, min_iou: float) -> NDArray[np.intp]:
    """Return for each object which one of the plane before it is; -1 for none. The sum of IoU is the largest."""
    pairs = [(i, j, iou(before[[i]], here[[j]])) for i, j in _neighbours(before.boxes, here.boxes)]
    close = [pair for pair in pairs if pair[2] >= min_iou and pair[2] > 0]
    partners = np.full(len(here), -1, np.intp)
    if close:
        olds, news, alike = (np.array(column) for column in zip(*close, strict=True))
        # As in sam_core.stitch: each can also stay alone, at a column of its own, which costs 2; a pair costs 2 - IoU.
        names, rows = np.unique(olds, return_inverse=True)
        rows, columns = np.append(rows, np.arange(len(names))), np.append(news, len(here) + np.arange(len(names)))
        used, columns = np.unique(columns, return_inverse=True)
        row, column = min_weight_full_bipartite_matching(
            csr_array((np.append(2 - alike, np.full(len(names), 2.0)), (rows, columns)))
        )
        paired = used[column] < len(here)
        partners[used[column[paired]]] = names[row[paired]]
    return partners


def _neighbours(a: NDArray[np.int32], b: NDArray[np.int32]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of boxes (n, 4) and (m, 4) that meet."""
    order = np.argsort(b[:, 0], kind="stable")  # of boxes in the order of their tops, only a stretch is near
    sorted_b, tallest = b[order], int((b[:, 2] - b[:, 0]).max(initial=0))
    for i, box in enumerate(a):
        first, last = np.searchsorted(sorted_b[:, 0], (box[0] - tallest, box[2]))
        near = meeting(box[None], sorted_b[first:last])[0]
        yield from ((i, int(j)) for j in order[first:last][near])
