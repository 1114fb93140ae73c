"""Everything: each object once, whole, whatever the patches are and in whatever order they come."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from sam_core import Embedding, Masks, Prompt, Sam, SegmentAllOptions, Tiling, samples, stitch
from sam_napari import _view
from sam_napari._engine import Engine
from sam_napari._everything import Found, Options, everything, stitched
from sam_napari._seams import Seams
from sam_napari._source import Plane, Source
from sam_napari._view import Patch, patches_of
from tests.fake import FakeSegmenter

DATA = Path(os.environ.get("SAM_CORE_DATA", Path(__file__).parents[3] / "shared" / "data"))
STACK = DATA / "qcanet_3d" / "16_cell_stage.npz"
SMALL = Tiling((32, 32), (8, 8))
FLAT = Plane((0, 1), (0, 0))


class Exact(FakeSegmenter):
    """Sees each object of a picture, one gray value each, and proposes a click on each."""

    segment_all_options = SegmentAllOptions(min_score=0.6, min_stability=0.5, max_covered=0.5)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    def encode(self, image: NDArray[Any], *, tiling: Tiling | None = None) -> Embedding:
        self.seen.append(image.shape[:2])
        return super().encode(image, tiling=tiling)

    def propose(self, embedding: Embedding) -> list[Prompt]:
        regions = self._regions(embedding)
        found = [np.argwhere(regions == number) for number in range(1, regions.max() + 1)]
        return [Prompt.of([points[len(points) // 2]]) for points in found]

    def _regions(self, embedding: Embedding) -> NDArray[np.int32]:
        gray = embedding.features[0][0, 0].astype(int)
        out = np.zeros(gray.shape, np.int32)
        for value in np.unique(gray[gray > 0]):
            parts, _ = ndimage.label(gray == value)
            out[parts > 0] = parts[parts > 0] + out.max()
        return out


class Bright(Exact):
    """Sees what is brighter than half, whatever the resolution."""

    def _regions(self, embedding: Embedding) -> NDArray[np.int32]:
        return FakeSegmenter._regions(self, embedding)


class Hollow(Bright):
    """Takes a picture that is all object for ground."""

    def _regions(self, embedding: Embedding) -> NDArray[np.int32]:
        regions = super()._regions(embedding)
        return regions * (not regions.all())


class Direct:
    """Encodes and answers at once, as an engine's thread does for its jobs."""

    def __init__(self, model: Any = None) -> None:
        self.model = model or Exact()
        self.kept: dict[tuple[int, Patch], Embedding] = {}
        self.patches: list[Patch] = []

    def embedding(self, source: Source, patch: Patch) -> Embedding:
        self.patches.append(patch)
        key = (source.version, patch)
        if key not in self.kept:
            self.kept[key] = self.model.encode(source.read(patch.plane, patch.box, patch.step))
        return self.kept[key]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patches of 32 pixels with a halo of 8."""
    monkeypatch.setattr(_view, "TILE", SMALL)
    monkeypatch.setattr(_view, "LARGEST", 48)


def drawn(shape: tuple[int, int], *boxes: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Draw ellipses, one value each; none over another."""
    out = np.zeros(shape, np.uint8)
    y, x = np.ogrid[: shape[0], : shape[1]]
    for value, (y0, x0, y1, x1) in enumerate(boxes, start=10):
        inside = ((2 * y - y0 - y1 + 1) / (y1 - y0)) ** 2 + ((2 * x - x0 - x1 + 1) / (x1 - x0)) ** 2 <= 1
        if not (ndimage.binary_dilation(inside) & (out > 0)).any():
            out[inside] = value
    return out


def outlines(found: Sequence[Masks]) -> set[tuple[tuple[int, ...], bytes]]:
    """Return what tells masks apart: their boxes and pixels."""
    every = Masks.merge(found)
    return {
        (tuple(box), np.packbits(crop).tobytes()) for box, crop in zip(every.boxes.tolist(), every.crops, strict=True)
    }


def truth(image: NDArray[np.uint8]) -> set[tuple[tuple[int, ...], bytes]]:
    return outlines([Masks.from_labels(image.astype(np.int32))])


def look(image: NDArray[Any], options: Options | None = None, model: Any = None) -> list[Found]:
    return list(everything(Direct(model), Source.of([image]), [FLAT], options))


CASES = {
    "nothing": [],
    "inside a patch": [(4, 4, 14, 16)],
    "on a seam": [(26, 4, 40, 16)],
    "on a corner": [(26, 27, 38, 39)],
    "its middle on a seam": [(27, 4, 37, 14), (22, 27, 30, 37)],
    "as large as the halo lets it be": [(16, 16, 48, 48)],
    "larger than a patch": [(2, 2, 90, 120)],
    "as long as the plane": [(40, 0, 50, 128)],
    "at the border of the plane": [(0, 0, 9, 9), (85, 118, 96, 128)],
    "neighbours at a seam": [(24, 20, 32, 31), (33, 20, 41, 31), (24, 33, 32, 44), (33, 33, 41, 44)],
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("boxes", CASES.values(), ids=CASES)
def test_each_object_is_found_once_and_whole(boxes: list[tuple[int, int, int, int]]) -> None:
    image = drawn((96, 128), *boxes)
    found = look(image, model=Bright())
    assert outlines([each.masks for each in found]) == truth(image)
    numbers = np.concatenate([each.masks.prompt for each in found])
    assert numbers.tolist() == list(range(len(boxes)))
    assert [each.done for each in found] == list(range(1, found[0].of + 1))


@st.composite
def pictures(draw: st.DrawFn) -> NDArray[np.uint8]:
    height, width = draw(st.integers(30, 120)), draw(st.integers(30, 120))
    boxes = []
    for _ in range(draw(st.integers(1, 12))):
        h, w = draw(st.integers(5, min(height, 60))), draw(st.integers(5, min(width, 60)))
        y, x = draw(st.integers(0, height - h)), draw(st.integers(0, width - w))
        boxes.append((y, x, y + h, x + w))
    return drawn((height, width), *boxes)


@settings(deadline=None, max_examples=60)
@given(image=pictures(), order=st.randoms(use_true_random=False))
def test_no_seam_shows_in_any_picture_and_order(image: NDArray[np.uint8], order: Any) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_view, "TILE", SMALL)
        patched.setattr(_view, "LARGEST", 48)
        patches = list(patches_of(FLAT, image.shape))
        order.shuffle(patches)
        seams, engine, source = Seams(patches), Direct(), Source.of([image])
        found = []
        for patch in patches:
            picture = engine.embedding(source, patch)
            masks = engine.model.decode(picture, engine.model.propose(picture))
            found += [view.mask for view in seams.add(patch, patch.masks_out(masks))]
    assert outlines([Masks.empty(image.shape), *found]) == truth(image)


@pytest.mark.usefixtures("small")
def test_what_no_seam_touches_comes_at_once_and_the_rest_with_the_last_patch_that_sees_it() -> None:
    image = drawn((96, 96), (4, 4, 14, 14), (28, 4, 36, 14), (70, 70, 80, 80))
    found = look(image)
    assert [len(each.masks) for each in found] == [1, 0, 0, 1, 0, 0, 0, 0, 1]


@pytest.mark.usefixtures("small")
def test_what_is_on_screen_comes_first() -> None:
    engine = Direct()
    source = Source.of([np.zeros((96, 128), np.uint8)])
    options = Options(view=(40.0, 40.0, 90.0, 90.0), cursor=(45.0, 80.0))
    list(everything(engine, source, [FLAT], options))
    assert [patch.tile for patch in engine.patches[:4]] == [6, 5, 10, 9]
    assert sorted(patch.tile for patch in engine.patches) == list(range(12))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("view", "tiles"),
    [
        ((0.0, 0.0, 32.0, 32.0), [0]),
        ((0.0, 0.0, 32.2, 32.0), [0, 4]),
        ((31.5, 33.0, 33.0, 63.0), [1, 5]),
        ((0.0, 0.0, 96.0, 128.0), list(range(12))),
        ((95.0, 127.0, 96.0, 128.0), [11]),
    ],
)
def test_on_screen_alone(view: tuple[float, float, float, float], tiles: list[int]) -> None:
    engine = Direct()
    source = Source.of([np.zeros((96, 128), np.uint8)])
    list(everything(engine, source, [FLAT], Options(view=view, only_view=True)))
    assert sorted(patch.tile for patch in engine.patches) == tiles


@pytest.mark.usefixtures("small")
def test_on_screen_alone_takes_objects_whose_middle_is_there() -> None:
    image = drawn((96, 128), (10, 10, 20, 20), (20, 26, 30, 36), (20, 2, 46, 10), (4, 33, 12, 41))
    found = look(image, Options(view=(0.0, 0.0, 32.0, 32.0), only_view=True))
    every = Masks.merge([each.masks for each in found])
    assert sorted(every.boxes[:, :2].tolist()) == [[10, 10], [20, 26]]


@pytest.mark.usefixtures("small")
def test_an_object_whose_middle_no_patch_recognises_is_filled_by_a_coarser_look() -> None:
    image = drawn((96, 128), (2, 2, 94, 126))
    engine = Direct(Hollow())
    (whole,) = [each.masks for each in everything(engine, Source.of([image]), [FLAT]) if len(each.masks)]
    assert engine.patches[-1].step == 4
    assert engine.patches[-1].holds((2.0, 2.0, 94.0, 126.0))
    assert np.count_nonzero(whole.dense()[0] ^ (image > 0)) < 0.03 * np.count_nonzero(image)


def test_coarse_patches_keep_what_the_model_said_of_each_object() -> None:
    image = drawn((96, 128), (10, 10, 50, 60))
    (found,) = look(image, Options(step=2), Bright())
    assert found.masks.shape == (96, 128)
    assert np.count_nonzero(found.masks.dense()[0] ^ (image > 0)) < 0.05 * np.count_nonzero(image)
    assert found.masks.scores.tolist() == pytest.approx([0.95])
    assert found.masks.logits == (None,)


@pytest.mark.parametrize("options", [Options(), Options(view=(0.0, 0.0, 9.0, 9.0), only_view=True)])
def test_an_image_without_pixels_has_no_objects(options: Options) -> None:
    assert look(np.zeros((0, 20), np.uint8), options) == []


def test_objects_below_the_usual_limits_are_given_too() -> None:
    class Doubtful(Exact):
        def decode(self, *args: Any, **kwargs: Any) -> Masks:
            masks = super().decode(*args, **{**kwargs, "min_score": None})
            return replace(masks, scores=np.full(len(masks), 0.4, np.float32))

    image = drawn((40, 40), (4, 4, 14, 16))
    (found,) = look(image, model=Doubtful())
    assert (len(found.masks), found.min_score, found.min_stability) == (1, 0.6, 0.5)


def test_a_plane_at_a_time_as_asked_for() -> None:
    stack = np.stack([drawn((40, 40), (4, 4, 14, 16))] * 3)
    source = Source.of([stack])
    planes = source.planes(Plane((1, 2), (0, 0, 0)))
    engine = Direct()
    found = list(islice(everything(engine, source, [planes[2], planes[0]]), 1))
    assert [each.plane for each in found] == [planes[2]]
    assert [patch.plane for patch in engine.patches] == [planes[2]]


# -- stacks ----------------------------------------------------------------------------------------------------------


@st.composite
def stacks(draw: st.DrawFn) -> NDArray[np.uint8]:
    """Draw planes of ellipses that move a little from one to the next."""
    count = draw(st.integers(1, 5))
    planes = []
    boxes = [(draw(st.integers(0, 40)), draw(st.integers(0, 40))) for _ in range(draw(st.integers(0, 6)))]
    for _ in range(count):
        moved = [(y + draw(st.integers(-4, 4)), x + draw(st.integers(-4, 4))) for y, x in boxes]
        planes.append(drawn((60, 60), *[(max(y, 0), max(x, 0), max(y, 0) + 14, max(x, 0) + 14) for y, x in moved]))
    return np.stack(planes)


def painted(found: Iterator[Found], shape: tuple[int, ...]) -> NDArray[np.int32]:
    out = np.zeros(shape, np.int32)
    for each in found:
        for i, mask in enumerate(each.masks.dense()):
            out[each.plane.index[0]][mask] = each.masks.prompt[i] + 1
    return out


def renumbered(labels: NDArray[np.integer]) -> NDArray[np.intp]:
    """Number objects in the order in which they appear, so that partitions can be compared."""
    values, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    ranks = np.zeros(len(values), np.intp)
    order = [i for i in np.argsort(first) if values[i] != 0]
    ranks[order] = np.arange(1, len(order) + 1)
    return ranks[inverse].reshape(labels.shape)


@settings(deadline=None, max_examples=40)
@given(stack=stacks(), min_iou=st.sampled_from([0.0, 0.2, 0.5, 0.8]), data=st.data())
def test_a_stack_has_the_numbers_that_stitch_gives_wherever_one_begins(
    stack: NDArray[np.uint8], min_iou: float, data: Any
) -> None:
    source = Source.of([stack])
    planes = source.planes(Plane((1, 2), (0, 0, 0)))
    start = data.draw(st.integers(0, len(planes) - 1))
    found = list(stitched(Direct(), source, planes, Options(min_iou=min_iou), start=start))
    assert [each.plane for each in found] == [*planes[start:], *reversed(planes[:start])]
    expected = stitch([plane.astype(np.int32) for plane in stack], min_iou=min_iou)
    np.testing.assert_array_equal(renumbered(painted(iter(found), stack.shape)), renumbered(expected))


@pytest.mark.usefixtures("small")
def test_a_stack_of_several_patches_comes_plane_by_plane() -> None:
    stack = np.stack([drawn((60, 90), (20 + z, 26, 40 + z, 50)) for z in range(4)])
    source = Source.of([stack])
    found = list(stitched(Direct(), source, source.planes(Plane((1, 2), (0, 0, 0))), start=2))
    assert [(each.plane.index[0], len(each.masks)) for each in found if len(each.masks)] == [
        (2, 1),
        (3, 1),
        (1, 1),
        (0, 1),
    ]
    assert {int(number) for each in found for number in each.masks.prompt} == {0}
    assert found[-1].done == found[-1].of == len(found)


# -- the embedded model, in an engine's thread -----------------------------------------------------------------------


class Waiting:
    """One who waits for what an engine posts."""

    def __init__(self) -> None:
        self.posted: queue.Queue[Callable[[], None]] = queue.Queue()
        self.parts: list[Found] = []
        self.ends: list[Exception | None] = []

    def post(self, call: Callable[[], None]) -> None:
        self.posted.put(call)

    def wait(self, until: Callable[[], bool]) -> None:
        while not until():
            self.posted.get(timeout=300)()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(lambda: Sam.from_pretrained("cell"), None)
    yield made
    made.close()


def found_in(engine: Engine, image: NDArray[Any]) -> NDArray[np.int32]:
    """Label a stack, from its middle on."""
    source, who = Source.of([image]), Waiting()
    planes = source.planes(Plane((1, 2), (0, 0, 0)))
    options = Options(segment=Sam.from_pretrained("cell").segment_all_options)
    engine.run(
        who, stitched(engine, source, planes, options, start=len(planes) // 2), who.parts.append, who.ends.append
    )
    who.wait(lambda: bool(who.ends))
    assert who.ends == [None]
    return painted(iter(who.parts), image.shape)


def best_iou(labels: NDArray[np.integer], truth: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return for each true object the IoU of the object that has most of it."""
    out = []
    for number in np.unique(truth[truth > 0]):
        there = truth == number
        most = np.bincount(labels[there], minlength=2)
        most[0] = 0
        mine = labels == most.argmax() if most.any() else np.zeros(labels.shape, bool)
        out.append(np.count_nonzero(there & mine) / np.count_nonzero(there | mine))
    return np.array(out)


@pytest.mark.slow
def test_a_synthetic_stack(engine: Engine) -> None:
    """Measured: 0.92 on average, each cell found as one."""
    sample = samples.z_stack(seed=1)
    iou = best_iou(found_in(engine, sample.image), sample.labels)
    assert iou.mean() > 0.85
    assert iou.min() > 0.5


@pytest.mark.slow
def test_a_synthetic_time_lapse(engine: Engine) -> None:
    """Measured: 0.94 on average, and exactly as many objects as there are cells."""
    sample = samples.time_lapse(seed=1)
    labels = found_in(engine, sample.image)
    assert best_iou(labels, sample.labels).mean() > 0.88
    assert len(np.unique(labels)) - 1 <= len(np.unique(sample.labels)) + 1


@pytest.mark.slow
@pytest.mark.skipif(not STACK.exists(), reason=f"no {STACK}: set SAM_CORE_DATA to the folder of real images")
def test_a_real_stack(engine: Engine) -> None:
    """Measured: 0.74 on average over the 16 nuclei of an embryo, all of them above 0.5."""
    with np.load(STACK) as file:
        iou = best_iou(found_in(engine, file["image"]), file["label"])
    assert iou.mean() > 0.65
    assert np.count_nonzero(iou > 0.5) >= 14


@pytest.mark.slow
def test_cancelled_between_planes_and_clicks_are_answered_meanwhile(engine: Engine) -> None:
    image = samples.z_stack(seed=1).image
    source, who, answers = Source.of([image]), Waiting(), []
    planes = source.planes(Plane((1, 2), (0, 0, 0)))
    job = engine.run(who, stitched(engine, source, planes), who.parts.append, who.ends.append)
    who.wait(lambda: len(who.parts) >= 2)
    patch = patches_of(planes[0], source.shape(planes[0]))[0]
    engine.ask(who, source, patch, Prompt.of([(64, 64)]), 3, answers.append)
    who.wait(lambda: bool(answers))
    assert not isinstance(answers[0], Exception)
    assert not who.ends
    job.cancel()
    who.wait(lambda: bool(who.ends))
    assert who.ends == [None]
    assert len(who.parts) < len(planes)
