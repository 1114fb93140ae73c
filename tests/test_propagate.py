"""From plane to plane: found, lost, met half-way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_core import Embedding, EmbeddingCache, EmbeddingError, Masks, Prompt, propagate
from sam_core.propagate import project
from tests.fake import FakeSegmenter
from tests.pictures import draw, picture

SHAPE = (40, 50)
HERE = (10, 10, 22, 26)
Boxes = Sequence[tuple[int, int, int, int]]


class Recording(FakeSegmenter):
    """Keeps the prompts of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Sequence[Prompt]] = []

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt], **options: Any) -> Masks:  # type: ignore[override]
        self.calls.append(prompts)
        return super().decode(embedding, prompts, **options)


class Asked(list[Embedding]):
    """A stack that remembers which planes were asked for."""

    def __init__(self, planes: Sequence[Embedding]) -> None:
        super().__init__(planes)
        self.asked: list[int] = []

    def __getitem__(self, index: Any) -> Any:
        self.asked.append(index)
        return super().__getitem__(index)


def stack_of(*planes: Boxes, model: FakeSegmenter | None = None) -> Asked:
    """Encode planes, each with the given rectangles."""
    return Asked([(model or FakeSegmenter()).encode(picture(draw(*boxes, shape=SHAPE))) for boxes in planes])


def seed(*boxes: tuple[int, int, int, int], identities: Sequence[int] = ()) -> Masks:
    masks = Masks.from_labels(draw(*boxes, shape=SHAPE))
    return replace(masks, prompt=np.array(identities, np.int32)) if identities else masks


def boxes_of(found: Iterator[tuple[int, Masks]]) -> list[tuple[int, list[int], list[list[int]]]]:
    return [(plane, masks.prompt.tolist(), masks.boxes.tolist()) for plane, masks in found]


def planes_of(found: Iterator[tuple[int, Masks]]) -> list[int]:
    return [plane for plane, _ in found]


class TestFollowing:
    def test_an_object_is_followed_up_then_down(self) -> None:
        drifting = [(10 + z, 10, 22 + z, 26 + z) for z in range(6)]
        stack = stack_of(*([box] for box in drifting))
        found = boxes_of(propagate(FakeSegmenter(), stack, {2: seed(drifting[2], identities=[7])}))
        assert found == [(z, [7], [list(drifting[z])]) for z in (3, 4, 5, 1, 0)]

    @pytest.mark.parametrize(("start", "planes"), [(0, [1, 2, 3]), (3, [2, 1, 0])])
    def test_from_the_first_and_the_last_plane(self, start: int, planes: list[int]) -> None:
        assert planes_of(propagate(FakeSegmenter(), stack_of(*[[HERE]] * 4), {start: seed(HERE)})) == planes

    def test_one_plane_has_no_neighbours(self) -> None:
        assert planes_of(propagate(FakeSegmenter(), stack_of([HERE]), {0: seed(HERE)})) == []

    def test_where_it_is_lost_nothing_more_is_asked(self) -> None:
        stack = stack_of([], [], [HERE], [HERE], [HERE], [], [HERE], [])
        assert planes_of(propagate(FakeSegmenter(), stack, {3: seed(HERE)})) == [4, 2]
        assert set(stack.asked) == {4, 5, 2, 1}

    @pytest.mark.parametrize(("min_iou", "planes"), [(0.0, [1]), (0.42, [1]), (0.44, []), (1.0, [])])
    def test_it_is_lost_where_it_overlaps_too_little(self, min_iou: float, planes: list[int]) -> None:
        stack = stack_of([(10, 10, 20, 20)], [(10, 14, 20, 24)])  # 6 of 14 columns
        assert planes_of(propagate(FakeSegmenter(), stack, {0: seed((10, 10, 20, 20))}, min_iou=min_iou)) == planes

    def test_a_missing_answer_is_lost_even_if_any_overlap_will_do(self) -> None:
        assert planes_of(propagate(FakeSegmenter(), stack_of([HERE], []), {0: seed(HERE)}, min_iou=0)) == []

    def test_each_is_followed_as_far_as_it_goes(self) -> None:
        short, long = (4, 4, 12, 12), (20, 20, 36, 40)
        stack = stack_of([long], [short, long], [short, long], [long], [long])
        found = boxes_of(propagate(FakeSegmenter(), stack, {1: seed(short, long, identities=[42, 5])}))
        both, one = ([42, 5], [list(short), list(long)]), ([5], [list(long)])
        assert found == [(2, *both), (3, *one), (4, *one), (0, *one)]

    def test_an_object_that_swallows_another_stays_itself(self) -> None:
        large, small, merged = (4, 4, 24, 30), (26, 4, 30, 30), (4, 4, 30, 30)
        stack = stack_of([large, small], [merged])
        assert boxes_of(propagate(FakeSegmenter(), stack, {0: seed(large, small)})) == [(1, [0], [list(merged)])]

    def test_two_objects_do_not_follow_the_same_mask(self) -> None:
        left, right, merged = (10, 4, 20, 15), (10, 18, 20, 30), (10, 4, 20, 30)
        found = boxes_of(
            propagate(FakeSegmenter(), stack_of([left, right], [merged]), {0: seed(left, right)}, min_iou=0.2)
        )
        assert found == [(1, [1], [list(merged)])]  # the right one is the larger part of it

    def test_of_an_object_that_divides_the_part_under_its_middle_is_followed(self) -> None:
        whole, upper, lower = (4, 4, 34, 20), (4, 4, 24, 20), (26, 4, 34, 20)
        assert boxes_of(propagate(FakeSegmenter(), stack_of([whole], [upper, lower]), {0: seed(whole)})) == [
            (1, [0], [list(upper)])
        ]


class TestSeveralSeeds:
    @pytest.mark.parametrize(
        ("low", "high", "order"),
        [
            (2, 6, [3, 4, 1, 0, 7, 5]),
            (2, 5, [3, 1, 0, 6, 7, 4]),
            (2, 3, [1, 0, 4, 5, 6, 7]),
            (0, 7, [1, 2, 3, 6, 5, 4]),
        ],
    )
    def test_an_object_known_twice_is_followed_from_the_nearer_plane(
        self, low: int, high: int, order: list[int]
    ) -> None:
        stack = stack_of(*[[HERE]] * 8)
        assert planes_of(propagate(FakeSegmenter(), stack, {high: seed(HERE), low: seed(HERE)})) == order

    @given(st.sets(st.integers(0, 9), min_size=1))
    @settings(max_examples=30, deadline=None)
    def test_every_other_plane_is_answered_once_from_the_nearest_seed(self, seeded: set[int]) -> None:
        widths = {z: 20 + z for z in seeded}
        stack = stack_of(*[[HERE]] * 10)

        class Tracing(FakeSegmenter):
            """Answers with the mask it is asked about, so that it tells where it came from."""

            def decode(self, embedding: Embedding, prompts: Sequence[Prompt], **_: Any) -> Masks:  # type: ignore[override]
                previous = [prompt.previous for prompt in prompts]
                assert all(previous)
                return Masks.from_logits(SHAPE, [p for p in previous if p], [1.0] * len(prompts), range(len(prompts)))

        seeds = {z: seed((10, 10, 20, width)) for z, width in widths.items()}
        found = list(propagate(Tracing(), stack, seeds))
        assert sorted(plane for plane, _ in found) == sorted(set(range(10)) - seeded)
        for plane, masks in found:
            nearest = min(seeded, key=lambda z, plane=plane: (abs(z - plane), z))
            assert masks.boxes[0, 3] == widths[nearest]

    def test_objects_known_on_different_planes_do_not_stop_each_other(self) -> None:
        other = (26, 30, 36, 44)
        stack = stack_of(*[[HERE, other]] * 4)
        seeds = {0: seed(HERE, identities=[1]), 3: seed(other, identities=[2])}
        found = [(plane, masks.prompt.tolist()) for plane, masks in propagate(FakeSegmenter(), stack, seeds)]
        assert found == [(1, [1]), (2, [1]), (3, [1]), (2, [2]), (1, [2]), (0, [2])]

    def test_where_all_is_known_nothing_is_asked(self) -> None:
        stack, model = stack_of(*[[HERE]] * 4), FakeSegmenter()
        assert planes_of(propagate(model, stack, dict.fromkeys(range(4), seed(HERE)))) == []
        assert (model.decoded, stack.asked) == (0, [])

    @pytest.mark.parametrize("seeds", [{}, {1: Masks.empty(SHAPE)}])
    def test_nothing_to_follow(self, seeds: dict[int, Masks]) -> None:
        assert planes_of(propagate(FakeSegmenter(), stack_of(*[[HERE]] * 3), seeds)) == []

    def test_empty_masks_among_the_seeds_are_left_out(self) -> None:
        masks = seed((4, 4, 8, 8), HERE)
        masks = replace(masks, crops=(np.zeros((0, 0), bool), masks.crops[1]))
        found = boxes_of(propagate(FakeSegmenter(), stack_of(*[[HERE]] * 2), {0: masks}))
        assert found == [(1, [1], [list(HERE)])]


class TestLazily:
    def test_planes_are_asked_for_when_their_masks_are(self) -> None:
        stack = stack_of(*[[HERE]] * 5)
        found = propagate(FakeSegmenter(), stack, {1: seed(HERE)})
        assert stack.asked == []
        next(found)
        next(found)
        assert stack.asked == [2, 3]
        found.close()  # type: ignore[attr-defined]
        assert stack.asked == [2, 3]

    def test_a_second_pass_over_a_stack_encodes_nothing(self, tmp_path: Path) -> None:
        model = FakeSegmenter()
        planes = [picture(draw((10 + z, 10, 22 + z, 26), shape=SHAPE)) for z in range(6)]
        for _ in range(2):
            stack = EmbeddingCache(tmp_path).stack(model, planes)
            assert len(list(propagate(model, stack, {2: seed((12, 10, 24, 26))}))) == 5
            assert model.encoded == 5  # not the plane of the seed: its mask is known


class TestProject:
    def test_a_mask_is_asked_for_by_click_box_and_mask(self) -> None:
        model = Recording()
        list(propagate(model, stack_of(*[[HERE]] * 2), {0: seed(HERE)}))
        ((prompt,),) = model.calls
        assert prompt.positive.tolist() == [True]
        np.testing.assert_allclose(prompt.points[0], [15.5, 17.5], atol=0.5)
        assert prompt.box is not None
        np.testing.assert_allclose(prompt.box, [8.4, 8.2, 23.6, 27.8], atol=1e-5)
        assert prompt.previous is not None
        assert prompt.previous.mask()[1] == (10, 10)
        assert prompt.previous.mask()[0].shape == (12, 16)

    @pytest.mark.parametrize("box", [(4, 4, 9, 44), (4, 4, 36, 9)])
    def test_an_elongated_object_is_clicked_in_its_middle(self, box: tuple[int, int, int, int]) -> None:
        point = project(seed(box)).points[0]
        np.testing.assert_allclose(point, [(box[0] + box[2] - 1) / 2, (box[1] + box[3] - 1) / 2], atol=0.5)

    def test_the_logits_of_an_answer_are_fed_back(self) -> None:
        model = Recording()
        list(propagate(model, stack_of(*[[HERE]] * 3), {0: seed(HERE)}))
        first, second = (prompts[0].previous for prompts in model.calls)
        assert first is not None
        assert second is not None
        assert second.values is not first.values

    @given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
    @settings(max_examples=60, deadline=None)
    def test_the_prompt_fits_the_plane_and_the_click_the_mask(self, seed_: int, height: int, width: int) -> None:
        rng = np.random.default_rng(seed_)
        mask = rng.random((height, width)) < 0.6
        mask[rng.integers(height), rng.integers(width)] = True
        masks = Masks.from_labels(mask.astype(np.int32))
        prompt = project(masks)
        prompt.check((height, width))
        y, x = prompt.points[0].astype(int)
        assert mask[y, x]
        assert prompt.box is not None
        assert (prompt.box[:2] <= masks.boxes[0, :2]).all()
        assert (prompt.box[2:] >= masks.boxes[0, 2:]).all()
        assert (prompt.box >= 0).all()
        assert (prompt.box <= [height, width] * 2).all()


class TestRefused:
    @pytest.mark.parametrize("plane", [-1, 3, 100])
    def test_seeds_outside_the_stack(self, plane: int) -> None:
        found = propagate(FakeSegmenter(), stack_of(*[[HERE]] * 3), {plane: seed(HERE)})
        with pytest.raises(ValueError, match=rf"got seeds on planes \[{plane}\], expected planes 0\.\.2; count"):
            next(found)

    def test_seeds_of_another_shape(self) -> None:
        seeds = {1: Masks.from_labels(np.ones((9, 9), np.int32))}
        with pytest.raises(ValueError, match=r"masks of shape \(9, 9\) and a plane of \(40, 50\), expected all"):
            next(propagate(FakeSegmenter(), stack_of(*[[HERE]] * 3), seeds))

    @pytest.mark.parametrize("min_iou", [-0.1, 1.5, float("nan")])
    def test_an_iou_that_is_none(self, min_iou: float) -> None:
        with pytest.raises(ValueError, match=rf"got min_iou={min_iou}, expected an IoU in 0\.\.1"):
            next(propagate(FakeSegmenter(), stack_of(*[[HERE]] * 3), {0: seed(HERE)}, min_iou=min_iou))

    def test_embeddings_of_another_model(self) -> None:
        stack = stack_of(*[[HERE]] * 3, model=FakeSegmenter("one"))
        with pytest.raises(EmbeddingError, match="'one', expected one of 'two'"):
            next(propagate(FakeSegmenter("two"), stack, {0: seed(HERE)}))
