"""The lines of Python that make the same objects again with `sam_core`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sam_space.export import Result
from sam_space.work import Box, Choose, Click, Drawn, Followed, Found, Object, Step, Stroke

CORE = ("Masks", "Prompt", "Sam", "propagate", "read_planes", "samples", "segment", "segment_all", "to_rgb8")

PEN = (
    """
def pen(points, radius, shape):
    y, x = np.ogrid[: shape[0], : shape[1]]
    painted = np.zeros(shape[:2], bool)
    for (ay, ax), (by, bx) in zip(points, points[1:] or points):
        length = max((by - ay) ** 2 + (bx - ax) ** 2, 1e-9)
        along = np.clip(((y - ay) * (by - ay) + (x - ax) * (bx - ax)) / length, 0, 1)
        painted |= np.hypot(y - ay - along * (by - ay), x - ax - along * (bx - ax)) <= radius
    return painted


""".rstrip("\n")
    + "\n"
)


def script(result: Result, model: str = "cell", dtype: str = "auto") -> str:
    """Return Python that answers what the visitor asked, object by object.

    What was painted by hand is no answer of a model: the lines paint it again.
    """
    body = list(_body(result))
    pen = [PEN] if any("pen(" in line for line in body) else []
    # Another machine computes in what it is quickest in, unless it is told: the pixels are to be the same.
    told = "" if dtype == "auto" else f', dtype="{dtype}"'
    lines = [*pen, f'sam = Sam.from_pretrained("{model}"{told})', result.picture.source, *body]
    text = "\n".join(lines)
    names = [name for name in CORE if re.search(rf"\b{name}\b[.(]", text)]
    drawing = ["Image"] if "Image." in text else []
    others = (["import numpy as np"] if "np." in text else []) + (
        [f"from PIL import {', '.join(drawing)}"] if drawing else []
    )
    head = [*others, "", *_core(names)] if others else _core(names)
    return "\n".join([*head, "", text, ""])


def _core(names: list[str]) -> list[str]:
    return [f"from sam_core import {', '.join(names)}"]


def _body(result: Result) -> Iterator[str]:
    planes = sorted({plane for each in result.objects for plane in each.drawn})
    everything = {p for each in result.objects for p, d in each.drawn.items() if isinstance(d.steps[0], Found)}
    if any(isinstance(drawn.steps[0], Followed) for each in result.objects for drawn in each.drawn.values()):
        yield "embeddings = [sam.encode(plane).halved() for plane in planes]"
    else:
        yield f"embeddings = {{{', '.join(f'{p}: sam.encode(planes[{p}]).halved()' for p in planes)}}}"
    for plane in sorted(everything):
        yield f"found_{plane} = Masks.merge(list(segment_all(sam, embeddings[{plane}])))"
    yield "objects = {}  # (number, plane) -> one mask"
    for each in result.objects:
        # What was followed needs the drawing that it was followed from.
        for plane, drawn in sorted(each.drawn.items(), key=lambda item: isinstance(item[1].steps[0], Followed)):
            yield from _drawn(each, plane, drawn)


def _drawn(each: Object, plane: int, drawn: Drawn) -> Iterator[str]:
    yield ""
    yield f"# {each.name!r}, plane {plane}"
    clicks: list[Click] = []
    box: Box | None = None
    for number, step in enumerate(drawn.steps):
        if isinstance(step, Click):
            clicks.append(step)
        box = step if isinstance(step, Box) else box
        yield from _step(each, plane, step, clicks, box, first=number == 0)
    yield f"objects[{each.number}, {plane}] = mask"


def _step(each: Object, plane: int, step: Step, clicks: list[Click], box: Box | None, *, first: bool) -> Iterator[str]:
    match step:
        case Click() if first:
            yield f"masks = segment(sam, embeddings[{plane}], Prompt.of([{_point(step)}]), candidates=3)"
            yield "mask = masks.best()"
        case Click():
            points, signs = ", ".join(map(_point, clicks)), ", ".join(str(c.positive) for c in clicks)
            around = f", box={_box(box)}" if box else ""
            yield f"prompt = Prompt.of([{points}], [{signs}]{around}).refine(mask)"
            yield f"mask = segment(sam, embeddings[{plane}], prompt)"
        case Box():
            yield f"mask = segment(sam, embeddings[{plane}], Prompt.of(box={_box(step)}))"
        case Choose(index):
            yield "masks = masks[(-masks.scores).argsort(kind='stable')]  # best first"
            yield f"mask = masks[[{index}]]"
        case Found(index):
            yield f"mask = found_{plane}[[{index}]]"
        case Followed(seeds):
            known = ", ".join(f"{seed}: objects[{each.number}, {seed}]" for seed in seeds)
            yield f"mask = dict(propagate(sam, embeddings, {{{known}}}))[{plane}]"
        case Stroke():
            yield from _stroke(step, first=first)


def _stroke(step: Stroke, *, first: bool) -> Iterator[str]:
    before = "np.zeros(planes[0].shape[:2], bool)" if first else "mask.dense()[0]"
    how = "|" if step.add else "& ~"
    painted = f"pen({list(step.points)}, {step.radius}, planes[0].shape)"
    yield f"mask = Masks.from_labels(({before} {how} {painted}).astype(np.uint8))"


def _point(step: Click) -> str:
    return f"({step.y!r}, {step.x!r})"


def _box(step: Box) -> str:
    return f"({step.y0!r}, {step.x0!r}, {step.y1!r}, {step.x1!r})"
