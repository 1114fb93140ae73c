"""Where a model does worst, as pictures: the truth in green, the answer in magenta."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage.measure import find_contours

from sam_core.contrast import stretch
from sam_core.embedding import Embedding
from sam_core.evaluation import asking
from sam_core.evaluation.dataset import Item
from sam_core.evaluation.protocol import EvaluateOptions, ImageResult, asked_objects
from sam_core.image import to_rgb8
from sam_core.masks import Masks
from sam_core.overlay import INK, montage
from sam_core.prompt import Prompt
from sam_core.segment_all import segment_all
from sam_core.types import Mask, Segmenter

COUNT = 12  # objects on a sheet, or a third as many whole images
AN_IMAGE = 2  # objects of one image on a sheet: several images tell more
SIDE = 256  # pixels of the picture of one object
MARGIN = 0.5  # of its size, that is shown around an object
LEAST = 48  # pixels of the plane, at least, that are shown
TRUTH, ANSWER = (80, 255, 120), (255, 70, 230)
CLICKS = {True: (255, 255, 255), False: (255, 60, 60)}

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Case:
    """One picture of a sheet: an object of an image, or with `index` -1 all of it, and how bad it is."""

    sheet: str
    image: int
    index: int
    score: float


def worst_cases(results: Sequence[ImageResult], count: int = COUNT) -> list[Case]:
    """Choose the worst objects of each set, after one click, after the last one and by a box, and the worst images."""
    cases: list[Case] = []
    for name in dict.fromkeys(r.set for r in results):
        of_set = [(i, r) for i, r in enumerate(results) if r.set == name]
        for clicks in sorted({1, of_set[0][1].clicks.shape[1]}):
            ious = {i: r.clicks[:, clicks - 1] for i, r in of_set}
            cases += _worst_objects(f"{name}, {clicks} click{'s' * (clicks > 1)}", ious, count)
        cases += _worst_objects(f"{name}, box", {i: r.box for i, r in of_set}, count)
        whole = sorted((r.msa, i) for i, r in of_set if np.isfinite(r.msa))
        cases += [Case(f"{name}, everything", i, -1, score) for score, i in whole[: max(1, count // 3)]]
    return cases


def worst_sheets(
    model: Segmenter,
    items: Sequence[Item],
    results: Sequence[ImageResult],
    options: EvaluateOptions | None = None,
    *,
    count: int = COUNT,
) -> Iterator[tuple[str, Picture]]:
    """Draw sheets of the worst cases: the model is asked about them again, in the same way.

    Items whose pictures may not be shown to others are left out.

    Parameters
    ----------
    model, items, options
        What was measured, and how.
    results
        What came of it, a result an item.
    count
        Objects on a sheet.

    Yields
    ------
    name, sheet
        Set and question, and (H, W, 3) uint8.

    Examples
    --------
    >>> from sam_core import Sam, samples
    >>> from sam_core.evaluation import Item, evaluate_items
    >>> sam, sample = Sam.from_pretrained("cell"), samples.cells((128, 128), count=4, seed=1)
    >>> items = [Item.of(sample.image, sample.labels, set="made up")]
    >>> [name for name, _ in worst_sheets(sam, items, list(evaluate_items(sam, items)))]
    ['made up, 1 click', 'made up, 8 clicks', 'made up, box', 'made up, everything']
    """
    options = options or EvaluateOptions()
    shown = [i for i, item in enumerate(items) if item.shareable]
    items, cases = [items[i] for i in shown], worst_cases([results[i] for i in shown], count)
    pictures: dict[Case, Picture] = {}
    for image in sorted({case.image for case in cases}):
        mine = [case for case in cases if case.image == image]
        pictures |= zip(mine, _draw_cases(model, items[image], mine, options), strict=True)
    for sheet in dict.fromkeys(case.sheet for case in cases):
        chosen = [case for case in cases if case.sheet == sheet]
        captions = [f"{case.score:.2f} {items[case.image].name[:22]}" for case in chosen]
        yield sheet, montage([pictures[case] for case in chosen], captions)


def _worst_objects(sheet: str, ious: dict[int, NDArray[np.float64]], count: int) -> list[Case]:
    """Choose objects by the IoUs of each image, the worst first, only so many of one image."""
    worst = {i: np.argsort(values, kind="stable")[:AN_IMAGE] for i, values in ious.items()}
    cases = [Case(sheet, i, int(j), float(ious[i][j])) for i, chosen in worst.items() for j in chosen]
    return sorted(cases, key=lambda case: case.score)[:count]


def _draw_cases(model: Segmenter, item: Item, cases: Sequence[Case], options: EvaluateOptions) -> Iterator[Picture]:
    image, labels = item.read()
    rgb8, embedding = stretch(to_rgb8(image)), model.encode(image)
    truth = asked_objects(labels, options.max_objects)
    for case in cases:
        if case.index < 0:
            parts = list(segment_all(model, embedding, options.segment_all))
            found = Masks.merge([Masks.empty(embedding.image_shape), *parts])
            yield _whole(rgb8, Masks.from_labels(labels), found)
        else:
            object_ = truth[[case.index]]
            prompt, answer = _ask(model, embedding, object_, case.sheet.rsplit(", ", 1)[1])
            yield _close_up(rgb8, object_, answer, prompt)


def _ask(model: Segmenter, embedding: Embedding, truth: Masks, kind: str) -> tuple[Prompt, Masks]:
    if kind == "box":
        last = asking.box(model, embedding, truth)
    else:
        *_, last = asking.click(model, embedding, truth, int(kind.split()[0]))
    return last.prompts[0], last.answers[0]


def _close_up(rgb8: Picture, truth: Masks, answer: Masks, prompt: Prompt) -> Picture:
    """Draw an object, the answer and the clicks in a square window around them."""
    boxes = np.concatenate([truth.boxes, answer.boxes[answer.areas > 0]])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    side = max(LEAST, round((1 + MARGIN) * int((high - low).max())))
    y, x = ((low + high - side) // 2).tolist()
    window = (y, x, y + side, x + side)
    picture = Image.fromarray(_cut(rgb8, window)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pen, scale = ImageDraw.Draw(picture), SIDE / side
    _outline(pen, asking.drawn(truth, window), scale, TRUTH)
    _outline(pen, asking.drawn(answer, window), scale, ANSWER)
    for (row, column), positive in zip(prompt.points - (y, x), prompt.positive, strict=True):
        middle = np.array([column + 0.5, row + 0.5]) * scale
        pen.ellipse([*(middle - 4), *(middle + 4)], fill=CLICKS[bool(positive)], outline=INK)
    return np.asarray(picture)


def _whole(rgb8: Picture, truth: Masks, found: Masks) -> Picture:
    """Draw all objects and all that was found, the plane in the corner of a square."""
    scale = 2 * SIDE / max(rgb8.shape[:2])
    size = (max(1, round(rgb8.shape[1] * scale)), max(1, round(rgb8.shape[0] * scale)))
    picture = Image.new("RGB", (2 * SIDE, 2 * SIDE), INK)
    picture.paste(Image.fromarray(rgb8).resize(size, Image.Resampling.BICUBIC))
    pen = ImageDraw.Draw(picture)
    for masks, colour in ((truth, TRUTH), (found, ANSWER)):
        for crop, offset in zip(masks.crops, masks.offsets, strict=True):
            _outline(pen, crop, scale, colour, offset)
    return np.asarray(picture)


def _outline(pen: ImageDraw.ImageDraw, mask: Mask, scale: float, colour: tuple[int, ...], offset: Any = (0, 0)) -> None:
    for contour in find_contours(np.pad(mask, 1).astype(np.float32), 0.5) if mask.size else ():
        points = (contour - 1 + offset + 0.5) * scale
        pen.line([(x, y) for y, x in points.tolist()], fill=colour, width=2, joint="curve")


def _cut(rgb8: Picture, window: Sequence[int]) -> Picture:
    """Cut a window y0, x0, y1, x1 that may reach outside the plane."""
    y0, x0, y1, x1 = window
    height, width = rgb8.shape[:2]
    inside = rgb8[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)]
    before, after = (max(0, -y0), max(0, -x0)), (max(0, y1 - height), max(0, x1 - width))
    return np.pad(inside, [*zip(before, after, strict=True), (0, 0)], constant_values=INK[0])
