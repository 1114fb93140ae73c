"""The lines of Python that make the same objects again with `sam_core`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sam_space.export import Result
from sam_space.work import Box, Choose, Click, Drawn, Followed, Found, Step, Stroke

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


def script(result: Result, calls: Mapping[str, str] | None = None) -> str:
    """Return Python that answers what the visitor asked, object by object.

    What was painted by hand is no answer of a model: the lines paint it again.

    Parameters
    ----------
    result
        What there is.
    calls
        Python that loads a model, by the names in the steps.
    """
    body = _Script(calls or {}).of(result)
    pen = [PEN] if any("pen(" in line for line in body) else []
    text = "\n".join([*pen, *body])
    names = [name for name in CORE if re.search(rf"\b{name}\b[.(]", text)]
    drawing = ["Image"] if "Image." in text else []
    others = (["import numpy as np"] if "np." in text else []) + (
        [f"from PIL import {', '.join(drawing)}"] if drawing else []
    )
    head = [*others, "", *_core(names)] if others else _core(names)
    return "\n".join([*head, "", text, ""])


def _core(names: list[str]) -> list[str]:
    return [f"from sam_core import {', '.join(names)}"]


class _Script:
    """Writes lines, and remembers what is made already.

    Each drawing is one variable `mask` when its lines are done; those that others were followed from are kept.
    """

    def __init__(self, calls: Mapping[str, str]) -> None:
        self._calls = calls
        self._models: list[str] = []  # in the order of their first use
        self._planes: dict[str, set[int]] = {}  # that a model has to encode
        self._stacks: set[str] = set()  # models that have to encode all planes
        self._everything: dict[tuple[str, int], str] = {}
        self._made: dict[int, str] = {}  # key of a drawing -> where its mask is kept
        self._followed: dict[tuple[str, tuple[int, ...]], str] = {}

    def of(self, result: Result) -> list[str]:
        drawings: list[str] = []
        for each in result.objects:
            # What was followed comes after what it was followed from.
            for plane, drawn in sorted(each.drawn.items(), key=lambda item: isinstance(item[1].steps[0], Followed)):
                drawings += ["", f"# {each.name!r}, plane {plane}", *self._drawn(plane, drawn)]
                drawings.append(f"objects[{each.number}, {plane}] = mask")
                self._made.setdefault(drawn.key, f"objects[{each.number}, {plane}]")
        loads = [f"{self._sam(by)} = {self._calls.get(by, DEFAULT)}" for by in self._models]
        encodes = [line for by in self._models for line in self._encodes(by)]
        start = ["objects = {}  # (number, plane) -> one mask"]
        return [*loads, result.picture.source, *encodes, *start, *drawings, *_own_size(result)]

    def _sam(self, by: str) -> str:
        if by not in self._models:
            self._models.append(by)
        number = self._models.index(by) + 1
        return "sam" if number == 1 else f"sam_{number}"

    def _embeddings(self, by: str, plane: int | None = None) -> str:
        if plane is None:
            self._stacks.add(by)
        else:
            self._planes.setdefault(by, set()).add(plane)
        return self._sam(by).replace("sam", "embeddings") + ("" if plane is None else f"[{plane}]")

    def _encodes(self, by: str) -> Iterator[str]:
        sam = self._sam(by)
        name = sam.replace("sam", "embeddings")
        if by in self._stacks:
            yield f"{name} = [{sam}.encode(plane).halved() for plane in planes]"
        else:
            planes = sorted(self._planes.get(by, ()))
            yield f"{name} = {{{', '.join(f'{p}: {sam}.encode(planes[{p}]).halved()' for p in planes)}}}"
        for (model, plane), found in self._everything.items():
            if model == by:
                yield f"{found} = Masks.merge(list(segment_all({sam}, {name}[{plane}])))"

    def _drawn(self, plane: int, drawn: Drawn) -> Iterator[str]:
        if drawn.key in self._made:
            yield f"mask = {self._made[drawn.key]}"
            return
        clicks: list[Click] = []
        box: Box | None = None
        for number, step in enumerate(drawn.steps):
            if isinstance(step, Click):
                clicks.append(step)
            box = step if isinstance(step, Box) else box
            yield from self._step(plane, step, clicks, box, first=number == 0)

    def _step(self, plane: int, step: Step, clicks: list[Click], box: Box | None, *, first: bool) -> Iterator[str]:
        match step:
            case Click() if first:
                asked = f"{self._sam(step.by)}, {self._embeddings(step.by, plane)}"
                yield f"masks = segment({asked}, Prompt.of([{_point(step)}]), candidates=3)"
                yield "mask = masks.best()"
            case Click():
                points, signs = ", ".join(map(_point, clicks)), ", ".join(str(c.positive) for c in clicks)
                around = f", box={_box(box)}" if box else ""
                yield f"prompt = Prompt.of([{points}], [{signs}]{around}).refine(mask)"
                yield f"mask = segment({self._sam(step.by)}, {self._embeddings(step.by, plane)}, prompt)"
            case Box():
                asked = f"{self._sam(step.by)}, {self._embeddings(step.by, plane)}"
                yield f"mask = segment({asked}, Prompt.of(box={_box(step)}))"
            case Choose(index):
                yield "masks = masks[(-masks.scores).argsort(kind='stable')]  # best first"
                yield f"mask = masks[[{index}]]"
            case Found(index):
                yield f"mask = {self._found(step.by, plane)}[[{index}]]"
            case Followed():
                yield from self._follow(plane, step)
            case Stroke():
                yield from _stroke(step, first=first)

    def _found(self, by: str, plane: int) -> str:
        self._embeddings(by, plane)
        name = f"found_{plane}" if self._sam(by) == "sam" else f"{self._sam(by).replace('sam', 'found')}_{plane}"
        return self._everything.setdefault((by, plane), name)

    def _follow(self, plane: int, step: Followed) -> Iterator[str]:
        key = (step.by, tuple(drawn.key for drawn in step.seeds.values()))
        if key not in self._followed:
            for at, seed in step.seeds.items():
                if seed.key not in self._made:  # it was changed after it was followed
                    yield from self._drawn(at, seed)
                    self._made[seed.key] = f"seed_{len(self._made) + 1}"
                    yield f"{self._made[seed.key]} = mask"
            known = ", ".join(f"{at}: {self._made[seed.key]}" for at, seed in step.seeds.items())
            self._followed[key] = name = f"followed_{len(self._followed) + 1}"
            yield f"{name} = dict(propagate({self._sam(step.by)}, {self._embeddings(step.by)}, {{{known}}}))"
        yield f"mask = {self._followed[key]}[{plane}]"


DEFAULT = 'Sam.from_pretrained("cell")'


def _own_size(result: Result) -> Iterator[str]:
    """Say how the masks come to the size of the image, where it was shrunk; numpy does that alone."""
    factor, (height, width) = result.picture.shrunk, result.picture.own_shape
    if factor > 1:
        yield ""
        yield f"# it was shrunk {factor} times to be worked on: at its own size"
        yield "own_size = {"
        yield f"    at: mask.dense()[0].repeat({factor}, 0).repeat({factor}, 1)[:{height}, :{width}]"
        yield "    for at, mask in objects.items()"
        yield "}"


def _stroke(step: Stroke, *, first: bool) -> Iterator[str]:
    before = "np.zeros(planes[0].shape[:2], bool)" if first else "mask.dense()[0]"
    how = "|" if step.add else "& ~"
    painted = f"pen({list(step.points)}, {step.radius}, planes[0].shape)"
    yield f"mask = Masks.from_labels(({before} {how} {painted}).astype(np.uint8))"


def _point(step: Click) -> str:
    return f"({step.y!r}, {step.x!r})"


def _box(step: Box) -> str:
    return f"({step.y0!r}, {step.x0!r}, {step.y1!r}, {step.x1!r})"
