"""One prompt, one mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sam_core import EmbeddingError, Masks, Prompt, PromptError, Tiling, segment
from tests.fake import FakeSegmenter
from tests.pictures import draw, picture

LABELS = draw((4, 6, 20, 24), (28, 2, 38, 30), shape=(40, 50))


class Recording(FakeSegmenter):
    """Keeps how many candidates were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.candidates: list[int] = []

    def decode(self, *args: Any, **options: Any) -> Masks:
        self.candidates.append(options["candidates"])
        return super().decode(*args, **options)


def test_a_lone_click_gets_the_best_of_three() -> None:
    model = Recording()
    masks = segment(model, model.encode(picture(LABELS)), Prompt.of([(10, 10)]))
    assert model.candidates == [3]
    assert masks.scores.tolist() == pytest.approx([0.95])
    np.testing.assert_array_equal(masks.dense()[0], LABELS == 1)


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt.of([(10, 10), (12, 20)]),
        Prompt.of([(10, 10)]).click((30, 4), positive=False),
        Prompt.of([(10, 10), (30, 4)], [True, False]),
        Prompt.of(box=(4, 6, 20, 24)),
        Prompt.of([(10, 10)], box=(4, 6, 20, 24)),
        Prompt.of([(10, 10)], previous=LABELS == 1),
        Prompt.of(previous=LABELS == 1),
    ],
    ids=["two clicks", "with a negative", "only a negative", "box", "box and click", "correction", "mask"],
)
def test_any_other_prompt_is_asked_for_one_mask(prompt: Prompt) -> None:
    model = Recording()
    masks = segment(model, model.encode(picture(LABELS)), prompt)
    assert model.candidates == [1]
    np.testing.assert_array_equal(masks.dense()[0], LABELS == 1)


def test_where_nothing_is_there_is_no_mask() -> None:
    model = FakeSegmenter()
    masks = segment(model, model.encode(picture(LABELS)), Prompt.of([(1, 1)]))
    assert len(masks) == 0
    assert masks.shape == (40, 50)


def test_an_empty_mask_is_no_mask() -> None:
    class Empty(FakeSegmenter):
        def decode(self, *args: Any, **options: Any) -> Masks:
            masks = super().decode(*args, **options)
            return replace(masks, crops=(np.zeros((0, 0), bool),) * len(masks))

    model = Empty()
    assert len(segment(model, model.encode(picture(LABELS)), Prompt.of([(10, 10)]))) == 0


@pytest.mark.parametrize("value", [0, 255])
def test_a_plane_of_one_pixel(value: int) -> None:
    model = FakeSegmenter()
    masks = segment(model, model.encode(np.full((1, 1), value, np.uint8)), Prompt.of([(0, 0)]))
    assert masks.areas.tolist() == ([1] if value else [])


def test_the_answer_to_be_refined_is_that_of_before() -> None:
    model = FakeSegmenter()
    embedding = model.encode(picture(LABELS))
    prompt = Prompt.of([(10, 10)])
    first = segment(model, embedding, prompt)
    second = segment(model, embedding, prompt.refine(first).click((12, 12)))
    np.testing.assert_array_equal(first.dense(), second.dense())


def test_a_tiled_plane_answers_as_a_whole_one() -> None:
    model = FakeSegmenter()
    whole, tiled = (model.encode(picture(LABELS), tiling=t) for t in (None, Tiling((16, 16), (4, 4))))
    for click in [(15, 15), (16, 16), (36, 20)]:
        masks = [segment(model, each, Prompt.of([click])).dense() for each in (whole, tiled)]
        np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (Prompt.of([(40, 1)]), r"got a point at y=40, x=1, expected 0 <= y < 40 and 0 <= x < 50: y comes first"),
        (Prompt.of([(1, 1), (-1, 1)]), "got a point at y=-1, x=1"),
        (Prompt.of(box=(50, 60, 70, 80)), "outside the plane of 40 x 50 pixels"),
        (Prompt.of(previous=np.ones((50, 40), bool)), r"a plane of shape \(50, 40\), expected \(40, 50\)"),
    ],
)
def test_a_prompt_off_the_plane_is_refused(prompt: Prompt, said: str) -> None:
    model = FakeSegmenter()
    with pytest.raises(PromptError, match=said):
        segment(model, model.encode(picture(LABELS)), prompt)


def test_an_embedding_of_another_model_is_refused() -> None:
    embedding = FakeSegmenter("one").encode(picture(LABELS))
    with pytest.raises(EmbeddingError, match="'one', expected one of 'two'"):
        segment(FakeSegmenter("two"), embedding, Prompt.of([(10, 10)]))
