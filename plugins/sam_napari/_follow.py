"""Objects followed through z or t, from the planes where they are known, plane by plane and both ways.

`sam_core.propagate` takes each step. What is added here: the patch that is looked at moves along with the object,
planes come in the order in which one wants to see them, and after a correction only what depends on it is followed
again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam_core import Embedding, Logits, Masks, Prompt, Segmenter, propagate
from sam_napari._boxes import within
from sam_napari._change import Canvas, Change, box_of, cropped, erased, painted, standing
from sam_napari._draft import iou
from sam_napari._source import Box, Plane, Region, Source
from sam_napari._view import Patch, patch_for

ROOM = 32  # pixels of the picture around an object that are looked at with it, at least
SAME_OBJECT = 0.5  # IoU from which two answers on one plane are taken for the same object
SEEN = 0.5  # see `follow`
LEFT = 0.5  # part of a mask that no other object has, from which it is painted


class Looking(Protocol):
    """Who encodes and answers: the engine, for its jobs."""

    @property
    def model(self) -> Segmenter:
        """The model."""
        ...

    def embedding(self, source: Source, patch: Patch) -> Embedding:
        """Return the embedding of a patch."""
        ...


def follow(
    engine: Looking,
    source: Source,
    planes: Sequence[Plane],
    seeds: Mapping[int, Masks],
    min_iou: float = 0.5,
    *,
    min_seen: float = SEEN,
    step: int = 1,
    starts: Collection[int] | None = None,
) -> Iterator[tuple[Plane, Masks]]:
    """Follow objects through planes, from those where they are known, in both directions.

    An object is lost where it overlaps its last mask by less than `min_iou`, where a click alone would not find it (see
    `min_seen`), or where another one that resembles it more is found in the same place. Between two planes where it is
    known, each half is followed from its nearer end.

    Parameters
    ----------
    engine
        Who is asked.
    source, planes
        The image, and its planes in order, as `Source.planes` gives them.
    seeds
        Number of a plane, counted from 0, to the masks known there; `prompt` is the number of an object, the same on
        all planes. A mask without pixels says that the object is known not to be there.
    min_iou
        Least IoU of the masks of an object on neighbouring planes, in 0..1; the thicker the planes, the less.
    min_seen
        How sure one who does not know the plane before has to be of the object, in 0..1: the predicted IoU of what a
        click in its middle finds, times its IoU with what was followed. A model that knows where an object was sees it
        for long after its end; of embryos in 3D, with their ends, twice as much is right with this as without (0).
        Chosen on stacks that the model was trained on and on synthetic ones: mean IoU of 0, 0.3, 0.4, 0.5, 0.6 is 0.70,
        0.73, 0.76, 0.76, 0.71.
    step
        Pixels along each side of a pixel that is encoded; objects that are too large for that are seen more coarsely.
    starts
        Seeds that are followed; the others only say how far. None: all.

    Yields
    ------
    plane, masks
        What was found, in the plane frame; `prompt` as in the seeds. Neighbours of the seeds come first, then theirs;
        a plane may come several times, with different objects. Stop asking to cancel.

    Raises
    ------
    ValueError
        A seed is on no plane, is of another shape than its plane, or `min_iou` is not in 0..1.
    ImageError
        A plane cannot be read.
    """
    _check(source, planes, seeds, min_iou)
    reach = _reach(seeds)
    ways = deque(
        _walk(_Eye(engine, source, min_iou, min_seen, step), planes, seeds[start], range(start, end, way), reach)
        for start in sorted(seeds if starts is None else starts)
        for way, end in ((1, len(planes)), (-1, -1))
    )
    while ways:
        way = ways.popleft()
        found = next(way, None)
        if found is not None:
            yield found
            ways.append(way)


def stale(known: Iterable[int], position: int, count: int) -> tuple[int, ...]:
    """Return which of `count` planes follow from a plane where an object is known: half-way to the next known ones.

    Examples
    --------
    >>> stale([2, 8], 2, 12), stale([2, 8], 8, 12)
    ((0, 1, 3, 4, 5), (6, 7, 9, 10, 11))
    """
    others = sorted({*known, position})
    at = others.index(position)
    low = 0 if not at else position - (position - others[at - 1] - 1) // 2
    high = count - 1 if at == len(others) - 1 else position + (others[at + 1] - position) // 2
    return tuple(place for place in range(low, high + 1) if place != position)


@dataclass(frozen=True, eq=False, slots=True)
class Trail:
    """One object on its way through planes: where it is known, where it was followed to, what is painted. A value.

    Parameters
    ----------
    label
        Number of the object on the canvas.
    planes
        Planes, in order.
    known
        Number of a plane to the mask (1, or 0 where it is known not to be) that the user gave.
    found
        Number of a plane to the mask of 1 to which it was followed.
    painted
        Number of a plane to the mask of 1 that was painted there, by `changes` of an earlier time.
    starts
        Known planes that are still to be followed from.

    Examples
    --------
    >>> planes = [Plane((1, 2), (z, 0, 0)) for z in range(9)]
    >>> trail = Trail(7, tuple(planes)).know(planes[4], Masks.from_labels(np.eye(5, dtype=int)))
    >>> list(trail.seeds), trail.starts
    ([4], (4,))
    """

    label: int
    planes: tuple[Plane, ...]
    known: Mapping[int, Masks] = field(default_factory=dict)
    found: Mapping[int, Masks] = field(default_factory=dict)
    painted: Mapping[int, Masks] = field(default_factory=dict)
    starts: tuple[int, ...] = ()

    @property
    def seeds(self) -> dict[int, Masks]:
        """What `follow` is given, with `starts`."""
        return {place: _named(masks, self.label) for place, masks in self.known.items()}

    def know(self, plane: Plane, masks: Masks) -> Trail:
        """Note what the object is on a plane; what follows from it is forgotten, until it is followed again.

        Parameters
        ----------
        plane
            One of the planes.
        masks
            1, or 0 where the object is not there.
        """
        place = self.planes.index(plane)
        out = {place, *stale(self.known, place, len(self.planes))}
        left = {other: found for other, found in self.found.items() if other not in out}
        starts = tuple(sorted({*self.starts, place}))
        return replace(self, known={**self.known, place: masks}, found=left, starts=starts)

    def add(self, plane: Plane, masks: Masks) -> Trail:
        """Note what was found of the object on a plane; masks of other objects are left out."""
        own = masks[masks.prompt == self.label]
        return replace(self, found={**self.found, self.planes.index(plane): own}) if len(own) else self

    def changes(self, canvas: Canvas, *, complete: bool = True) -> list[Change]:
        """Return all that `repainting` yields for this object alone."""
        return list(repainting([self], canvas, complete=complete))

    def settled(self, *, complete: bool = True) -> Trail:
        """Return the trail once all that was found is painted; where it was stopped, it still has its starts."""
        if not complete:
            return replace(self, painted={**self.painted, **self.found})
        return replace(self, painted=self.found, starts=())


def repainting(trails: Iterable[Trail], canvas: Canvas, *, complete: bool = True) -> Iterator[Change]:
    """Yield what paints objects where they were found, and erases what was painted where they are not found any more.

    Planes where an object is known are left as they are, and so are other objects: of an object of which others have
    half, nothing is painted.

    Parameters
    ----------
    trails
        Objects; where two of them overlap, the first one has it.
    canvas
        What is painted; not written. Some changes may be asked for at a time.
    complete
        Whether following came to its end. If it was stopped, nothing is erased: what was not found was perhaps not
        looked for.
    """
    shares: dict[Plane, list[tuple[Box, NDArray[np.bool_]]]] = {}
    for trail in trails:
        places = {*trail.found, *trail.painted} if complete else set(trail.found)
        for place in sorted(places - set(trail.known)):
            plane, mask, before = trail.planes[place], trail.found.get(place), trail.painted.get(place)
            if mask is before:
                continue
            old = None if before is None else standing(canvas, plane, trail.label, box_of(before))
            change = _change(canvas, plane, trail.label, mask, old, shares.setdefault(plane, []))
            if change is not None:
                yield change


def _change(
    canvas: Canvas,
    plane: Plane,
    label: int,
    mask: Masks | None,
    old: Masks | None,
    shares: list[tuple[Box, NDArray[np.bool_]]],
) -> Change | None:
    """Return what paints a mask, as far as no other object and none of the shares has its pixels, or else erases."""
    if mask is not None:
        box = box_of(mask)
        there = canvas.read(plane, box)
        where = mask.crops[0] & ((there == 0) | (there == label))
        for other, taken in shares:
            shared = max(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), min(box[3], other[3])
            if shared[0] < shared[2] and shared[1] < shared[3]:
                where[within(shared, box)] &= ~taken[within(shared, other)]
        if np.count_nonzero(where) >= LEFT * mask.areas[0]:
            shares.append((box, where))
            return painted(canvas, plane, label, cropped(where, box, mask.shape, mask), old=old)
    return erased(canvas, plane, label, box_of(old)) if old is not None and len(old) else None


def masks_into(patch: Patch, masks: Masks) -> Masks:
    """Convert masks on the plane into masks on a patch that holds them.

    Where the patch is coarser they are drawn anew, from their logits where they have some.
    """
    logits = tuple(one and _into(patch, one) for one in masks.logits)
    if patch.step == 1:
        corner = np.array(patch.box[:2], np.int32)
        return replace(masks, shape=patch.shape, offsets=masks.offsets - corner, logits=logits)
    drawn = [_into(patch, _logits_of(masks, i)) if one is None else one for i, one in enumerate(logits)]
    return Masks.from_logits(patch.shape, drawn, masks.scores, masks.prompt)


def asked_again(engine: Looking, source: Source, patch: Patch, masks: Masks, min_iou: float) -> Masks:
    """Ask a patch for objects whose masks are known from elsewhere: from the plane before, or a finer look.

    Returns
    -------
    Masks
        In the plane frame, those that resemble the given ones; `prompt` as there.
    """
    return patch.masks_out(_answers(engine.model, engine.embedding(source, patch), masks_into(patch, masks), min_iou))


# -- inside ----------------------------------------------------------------------------------------------------------


def _check(source: Source, planes: Sequence[Plane], seeds: Mapping[int, Masks], min_iou: float) -> None:
    if not 0 <= min_iou <= 1:
        msg = f"got min_iou={min_iou}, expected an IoU in 0..1; the lower, the longer objects are followed"
        raise ValueError(msg)
    outside = [place for place in seeds if not 0 <= place < len(planes)]
    if outside:
        msg = f"got objects on planes {outside}, expected planes 0..{len(planes) - 1}; count planes from 0"
        raise ValueError(msg)
    for place, masks in seeds.items():
        if masks.shape != source.shape(planes[place]):
            expected = source.shape(planes[place])
            msg = f"got masks of a plane of {masks.shape} pixels, expected {expected}; choose objects of this image"
            raise ValueError(msg)


def _reach(seeds: Mapping[int, Masks]) -> dict[tuple[int, int, int], int]:
    """Say how far an object is followed: number, plane it is known on, way to how many planes; missing: to the end.

    Half-way to the next plane that it is known on; a plane in the middle is reached upwards.
    """
    known: dict[int, list[int]] = {}
    for place in sorted(seeds):
        for number in np.unique(seeds[place].prompt):
            known.setdefault(int(number), []).append(place)
    reach = {}
    for number, places in known.items():
        for low, high in pairwise(places):
            reach[number, low, 1] = (high - low) // 2
            reach[number, high, -1] = (high - low - 1) // 2
    return reach


def _answers(model: Segmenter, embedding: Embedding, masks: Masks, min_iou: float) -> Masks:
    # A step from anywhere to this patch is a stack of two planes, of which the first is not looked at.
    for _, answers in propagate(model, (embedding, embedding), {0: masks}, min_iou=min_iou):
        return answers
    return Masks.empty(masks.shape)


@dataclass(frozen=True, eq=False, slots=True)
class _Eye:
    """How planes are looked at. The parameters of `follow`."""

    engine: Looking
    source: Source
    min_iou: float
    min_seen: float
    step: int

    def find(self, plane: Plane, masks: Masks) -> Masks:
        """Find objects of the plane before on this one, each in a patch that holds it with room."""
        patches: dict[Patch, list[int]] = {}
        for i, box in enumerate(masks.boxes.tolist()):
            patches.setdefault(_patch_around(plane, self.source.shape(plane), self.step, box), []).append(i)
        parts = [self._in_patch(patch, masks[chosen]) for patch, chosen in patches.items()]
        if len(parts) == 1:
            return parts[0]
        numbers = np.concatenate([part.prompt for part in parts])
        return _unshared(replace(Masks.merge(parts), prompt=numbers), masks)

    def _in_patch(self, patch: Patch, masks: Masks) -> Masks:
        embedding, model = self.engine.embedding(self.source, patch), self.engine.model
        answers = _answers(model, embedding, masks_into(patch, masks), self.min_iou)
        return patch.masks_out(answers[_seen(model, embedding, answers) >= self.min_seen])


def _seen(model: Segmenter, embedding: Embedding, masks: Masks) -> NDArray[np.float64]:
    """Tell how sure one is of objects who clicks in their middles, and knows no more: (n,) in 0..1."""
    if not len(masks):
        return np.zeros(0)
    found = model.decode(embedding, [Prompt.of([_deepest(masks[[i]])]) for i in range(len(masks))], candidates=3)
    seen = np.zeros(len(masks))
    for k, i in enumerate(found.prompt):
        seen[i] = max(seen[i], float(found.scores[k]) * iou(found[[k]], masks[[int(i)]]))
    return seen


def _deepest(mask: Masks) -> tuple[float, float]:
    """Return the point of a mask of 1 that is farthest from its border."""
    depth = ndimage.distance_transform_edt(np.pad(mask.crops[0], 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(mask.offsets[0, 0] + y), float(mask.offsets[0, 1] + x)


def _walk(
    eye: _Eye, planes: Sequence[Plane], seed: Masks, places: range, reach: Mapping[tuple[int, int, int], int]
) -> Iterator[tuple[Plane, Masks]]:
    """Follow the objects of a seed one way, until the last one is lost or has come to where another seed begins."""
    start, masks = places.start, seed[seed.areas > 0]
    for place in places[1:]:
        far = [reach.get((int(number), start, places.step), len(planes)) for number in masks.prompt]
        masks = masks[np.array(far, int) >= abs(place - start)]
        if len(masks):
            masks = eye.find(planes[place], masks)
        if not len(masks):
            return
        yield planes[place], masks


def _patch_around(plane: Plane, shape: tuple[int, int], step: int, box: Sequence[int]) -> Patch:
    """Choose a patch that holds an object with room to move and grow, or at least itself where that is finer."""
    y0, x0, y1, x1 = (float(edge) for edge in box)
    dy, dx = (ROOM * step + (high - low) / 4 for low, high in ((y0, y1), (x0, x1)))
    roomy: Region = (y0 - dy, x0 - dx, y1 + dy, x1 + dx)
    patch = patch_for(plane, shape, step, roomy)
    return patch if patch.step == step else patch_for(plane, shape, step, (y0, x0, y1, x1))


def _unshared(answers: Masks, before: Masks) -> Masks:
    """Leave out, of answers of several patches that are the same mask, all but that which resembles its object most."""
    places = {int(number): i for i, number in enumerate(before.prompt)}
    alike = [iou(answers[[i]], before[[places[int(number)]]]) for i, number in enumerate(answers.prompt)]
    kept: list[int] = []
    for i in sorted(range(len(answers)), key=lambda i: -alike[i]):
        if all(iou(answers[[i]], answers[[j]]) <= SAME_OBJECT for j in kept):
            kept.append(i)
    return answers[np.array(sorted(kept), np.intp)]


def _named(masks: Masks, number: int) -> Masks:
    """Return a mask of 1 as that of an object; where there is none, one without pixels."""
    if not len(masks):
        masks = Masks.from_logits(masks.shape, [Logits.of_mask(np.zeros(masks.shape, bool))], [1.0], [0])
    return replace(masks, prompt=np.array([number], np.int32))


def _into(patch: Patch, logits: Logits) -> Logits:
    return Logits(logits.values, patch.frame.box_into(logits.box), patch.shape)


def _logits_of(masks: Masks, i: int) -> Logits:
    y, x = masks.offsets[i]
    return Logits.of_crop(masks.crops[i], (int(y), int(x)), masks.shape)
