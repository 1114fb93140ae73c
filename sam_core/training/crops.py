"""Training crops: sampled by set, then by acquisition, then by image, at a random magnification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from sam_core.training.augment import augment
from sam_core.training.targets import proposal_targets


@dataclass(frozen=True, eq=False, slots=True)
class Example:
    """One labelled plane, ready to be cropped.

    Parameters
    ----------
    image
        (H, W, 3) uint8, contrast already stretched as the model will see it.
    labels
        (H, W) int32, 0 = background, consecutive.
    group
        What was imaged and how: sampling balances groups before images.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    group: str


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
    """

    size: int = 256
    objects: int = 8
    zoom: tuple[float, float] = (0.5, 2.0)
    diameters: tuple[float, float] = (9.0, 170.0)
    min_area: int = 24
    warped: float = 0.0
    stretch: float = 4.0


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
            crop = draw_crop(self._draw_example(rng), self.options, rng)
            if crop is not None:
                yield crop

    def _draw_example(self, rng: np.random.Generator) -> Example:
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
    if options.warped and rng.random() < options.warped:
        ratio = float(np.exp(rng.uniform(0, np.log(options.stretch))))
        image, labels = warp(example, focus[:2], zoom, ratio, options.size, rng)
    else:
        image, labels = turn(*cut(example, focus[:2], zoom, options.size, rng), rng)
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


def cut(
    example: Example, focus: tuple[float, float], zoom: float, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Resample a square of `size` / `zoom` source pixels around the focus (y, x); black where it leaves the plane."""
    side = size / zoom
    origin = np.array(focus) - side * rng.uniform(0.15, 0.85, 2)
    for axis, extent in enumerate(example.labels.shape):
        # Stay inside where the plane is large enough; else let it lie anywhere in the crop.
        low, high = sorted((0.0, extent - side))
        origin[axis] = np.clip(origin[axis], low, high)
    # Labels are not blended: begin where their samples fall on the middles of pixels, or pixels on whole samples.
    middle = min(0.0, 0.5 - 0.5 / zoom)
    origin = np.floor(origin - middle) + middle
    rows, cols = (np.floor(o + (np.arange(size) + 0.5) / zoom).astype(int) for o in origin)
    keep_rows, keep_cols = ((i >= 0) & (i < n) for i, n in zip((rows, cols), example.labels.shape, strict=True))
    image = np.zeros((size, size, 3), np.uint8)
    labels = np.zeros((size, size), np.int32)
    inner = np.ix_(keep_rows, keep_cols)
    labels[inner] = example.labels[np.ix_(rows[keep_rows], cols[keep_cols])]
    (top, bottom), (left, right) = _span(keep_rows, origin[0], zoom), _span(keep_cols, origin[1], zoom)
    height, width = int(keep_rows.sum()), int(keep_cols.sum())
    # The float box keeps pixels and labels aligned; whole pixels would shift edges by up to one of the source's.
    resized = Image.fromarray(example.image).resize(
        (width, height), Image.Resampling.BILINEAR, box=_inside((left, top, right, bottom), example.labels.shape)
    )
    image[inner] = np.asarray(resized)
    return image, labels


def warp(
    example: Example, focus: tuple[float, float], zoom: float, ratio: float, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Resample a square of `size` around the focus (y, x), turned, flipped or not, and `ratio` times as long as wide.

    Area is magnified by the square of `zoom`. Cells of other laboratories are long: rods, fibres, spindles.
    """
    longer, shorter = zoom * np.sqrt(ratio), zoom / np.sqrt(ratio)
    flip = np.diag([1.0, rng.choice((-1.0, 1.0))])
    # From pixels x, y of the crop to those of the plane.
    back = (
        _turned(rng.uniform(0, 2 * np.pi)) @ np.diag([1 / longer, 1 / shorter]) @ _turned(rng.uniform(0, np.pi)) @ flip
    )
    beside = back @ (size * (0.5 - rng.uniform(0.15, 0.85, 2)))
    reach = 0.35 * size * np.abs(back).sum(axis=1)
    middle = _held(np.array(focus)[::-1] + 0.5 + beside, reach, example.labels.shape)
    shift = middle - back @ (size / 2, size / 2)
    coarse = max(1, int(1 / shorter))  # pixels that are averaged first, so that none is passed over
    pixels = _resampled(Image.fromarray(example.image).reduce(coarse), back / coarse, shift / coarse, size, smooth=True)
    labels = _resampled(Image.fromarray(example.labels), back, shift, size, smooth=False)
    return np.array(pixels), np.array(labels)


def _held(middle: NDArray[np.float64], reach: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Move the middle x, y of a crop until it reaches so far without leaving the plane, where that is large enough."""
    bounds = np.sort(np.stack([reach, np.array(shape)[::-1] - reach]), axis=0)
    return middle.clip(*bounds)


def _turned(angle: float) -> NDArray[np.float64]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _resampled(
    plane: Image.Image, back: NDArray[np.float64], shift: NDArray[np.float64], size: int, *, smooth: bool
) -> Image.Image:
    """Look each pixel (x, y) of a crop up at `back` @ (x, y) + `shift` of a plane, both from their outer edges."""
    kind = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    coefficients = np.column_stack([back, shift]).ravel().tolist()
    return plane.transform((size, size), Image.Transform.AFFINE, coefficients, kind)


def _span(keep: NDArray[np.bool_], origin: float, zoom: float) -> tuple[float, float]:
    """Return where the kept ones of the crop's rows or columns begin and end in the source, in pixels from its edge."""
    kept = np.flatnonzero(keep)
    return origin + kept[0] / zoom, origin + (kept[-1] + 1) / zoom


def _inside(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, float(shape[1])), min(bottom, float(shape[0]))


def turn(
    image: NDArray[np.uint8], labels: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Turn pixels and labels by a random multiple of 90 degrees, and flip them or not."""
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if flip:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


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
