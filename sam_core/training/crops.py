"""Training crops: sampled by set, then by acquisition, then by image, at a random magnification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam_core.training.augment import augment, restain
from sam_core.training.examples import Example
from sam_core.training.resample import cut, turn, warp
from sam_core.training.targets import proposal_targets


@dataclass(frozen=True, eq=False, slots=True)
class Crop:
    """A square training crop and the objects to prompt for.

    Parameters
    ----------
    pixels
        (S, S, 3) uint8.
    labels
        (S, S) int32.
    ids
        (K,) labels of the objects, repeated where there are fewer than K.
    points
        (K, 2) float32 first clicks y, x inside the objects.
    boxes
        (K, 4) float32 half-open boxes y0, x0, y1, x1 of what is visible of them.
    proposals
        (6, S/2, S/2) float32, see `proposal_targets`.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]
    ids: NDArray[np.int32]
    points: NDArray[np.float32]
    boxes: NDArray[np.float32]
    proposals: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CropOptions:
    """How crops are drawn.

    Parameters
    ----------
    size
        Height and width in pixels: the model's window.
    objects
        Objects to prompt for in a crop.
    zoom
        Range of the random magnification (log-uniform).
    diameters
        Range in pixels that the magnification keeps the object of interest in, where the zoom range allows.
    min_area
        Smallest visible area in pixels of an object worth a prompt.
    warped
        Chance that a crop is turned by any angle and stretched, instead of turned by a multiple of 90 degrees.
    stretch
        Times that it is then at most longer in one direction (log-uniform), at the same area.
    stained
        Chance that a crop is shown as other dyes would show it.
    """

    size: int = 256
    objects: int = 8
    zoom: tuple[float, float] = (0.5, 2.0)
    diameters: tuple[float, float] = (9.0, 170.0)
    min_area: int = 24
    warped: float = 0.0
    stretch: float = 4.0
    stained: float = 0.0


class CropSampler:
    """Draws crops without end: a set by its weight, a group and an image by the root of their counts.

    Parameters
    ----------
    sets
        Name to its examples.
    weights
        Name to how often the set is drawn, relative to the others.
    """

    def __init__(
        self, sets: Mapping[str, Sequence[Example]], weights: Mapping[str, float], options: CropOptions
    ) -> None:
        self.options = options
        self._groups = {name: _by_group(examples) for name, examples in sets.items()}
        self._names = list(sets)
        total = np.array([weights[name] for name in self._names], dtype=float)
        self._chance = total / total.sum()

    def crops(self, seed: int) -> Iterator[Crop]:
        """Yield crops, the same ones for the same seed."""
        rng = np.random.default_rng(seed)
        while True:
            crop = draw_crop(self.draw_example(rng), self.options, rng)
            if crop is not None:
                yield crop

    def draw_example(self, rng: np.random.Generator) -> Example:
        """Draw one of all examples."""
        groups = self._groups[self._names[rng.choice(len(self._names), p=self._chance)]]
        root = np.sqrt([len(g) for g in groups])
        group = groups[rng.choice(len(groups), p=root / root.sum())]
        return group[rng.integers(len(group))]


def _by_group(examples: Sequence[Example]) -> list[list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    return list(groups.values())


def draw_crop(example: Example, options: CropOptions, rng: np.random.Generator) -> Crop | None:
    """Cut one augmented crop around a random object; None where too little of any object is left to prompt for."""
    focus = random_object(example.labels, rng)
    if focus is None:
        return None
    zoom = _draw_zoom(focus[2], options, rng)
    if options.warped and rng.random() < options.warped:  # no chance, no draw: recipes without it draw as they did
        ratio = float(np.exp(rng.uniform(0, np.log(options.stretch))))
        image, labels = warp(example, focus[:2], zoom, ratio, options.size, rng)
    else:
        image, labels = turn(*cut(example, focus[:2], zoom, options.size, rng), rng)
    if options.stained and rng.random() < options.stained:
        image = restain(image, rng)
    crop = crop_of(image, labels, options, rng)
    return crop and replace(crop, pixels=augment(image, rng))


def crop_of(
    pixels: NDArray[np.uint8], labels: NDArray[np.int32], options: CropOptions, rng: np.random.Generator
) -> Crop | None:
    """Choose objects to prompt for in pixels (S, S, 3) with labels (S, S); None where there is too little of any."""
    areas = np.bincount(labels.ravel())
    usable = 1 + np.flatnonzero(areas[1:] >= options.min_area)
    if not len(usable):
        return None
    ids = rng.permutation(usable)[: options.objects]
    ids = np.resize(ids, options.objects).astype(np.int32)
    places = ndimage.find_objects(labels)
    return Crop(
        pixels=pixels,
        labels=labels,
        ids=ids,
        points=np.array([_first_click(labels, places[i - 1], i, rng) for i in ids], np.float32),
        boxes=np.array([_box(places[i - 1]) for i in ids], np.float32),
        proposals=proposal_targets(labels),
    )


def random_object(labels: NDArray[np.int32], rng: np.random.Generator) -> tuple[float, float, float] | None:
    """Return y, x and diameter of an object; of several drawn pixels the first on an object, so large ones win."""
    count = int(labels.max(initial=0))
    if count == 0:
        return None
    ys, xs = np.nonzero(labels == rng.integers(1, count + 1))
    if not len(ys):
        return None
    return float(ys.mean()), float(xs.mean()), float(np.sqrt(4 * len(ys) / np.pi))


def _draw_zoom(diameter: float, options: CropOptions, rng: np.random.Generator) -> float:
    low, high = np.log(options.zoom)
    small, large = np.log(np.array(options.diameters) / diameter)
    low, high = max(low, min(small, high)), min(high, max(large, low))
    return float(np.exp(rng.uniform(low, max(low, high))))


def _first_click(
    labels: NDArray[np.int32], place: tuple[slice, slice], index: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return a point inside the object: often near its middle, as people click, sometimes anywhere."""
    inside = labels[place] == index
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1].ravel()
    chance = depth ** rng.choice((0.0, 2.0, 8.0), p=(0.3, 0.3, 0.4)) * (depth > 0)
    y, x = divmod(int(rng.choice(len(chance), p=chance / chance.sum())), inside.shape[1])
    return place[0].start + y, place[1].start + x


def _box(place: tuple[slice, slice]) -> tuple[int, int, int, int]:
    return place[0].start, place[1].start, place[0].stop, place[1].stop
