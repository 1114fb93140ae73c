"""Clicks are kept, and a correction never takes away what it was not about."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_core import Logits, Masks, Prompt
from sam_core.correction import corrected

SHAPE = (48, 40)
POINTS = st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1))


def square(y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def answer(mask: np.ndarray) -> Masks:
    return Masks.from_logits(SHAPE, [Logits.of_mask(mask)], [0.7], [0])


BEFORE, AFTER = square(8, 8, 24, 20), square(16, 8, 32, 28)


@pytest.mark.parametrize(
    ("positive", "expected"), [(True, BEFORE | AFTER), (False, BEFORE & AFTER)], ids=["adds", "takes away"]
)
def test_a_click_on_an_answer(positive: bool, expected: np.ndarray) -> None:
    point = (30, 26) if positive else (10, 10)
    prompt = Prompt.of([(20, 12)]).click(point, positive).refine(answer(BEFORE))
    np.testing.assert_array_equal(corrected([prompt], answer(AFTER)).dense()[0], expected)


@pytest.mark.parametrize("prompt", [Prompt.of([(2, 2)]), Prompt.of(box=(0, 0, 4, 4)), Prompt.of(previous=BEFORE)])
def test_what_is_no_correction_is_left_alone(prompt: Prompt) -> None:
    given = answer(AFTER)
    assert corrected([prompt], given) is given


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (Prompt.of([(10, 10)]), BEFORE),
        (Prompt.of([(10, 10), (44, 4)]), BEFORE | square(40, 0, 48, 8)),
        (Prompt.of([(10, 10)]).click((10, 12)).refine(answer(square(0, 30, 10, 40))), BEFORE | square(0, 30, 10, 40)),
        (Prompt.of([(30, 30)]), BEFORE | square(0, 30, 10, 40) | square(40, 0, 48, 8)),
    ],
    ids=["under the click", "under both clicks", "there before", "nothing under the click"],
)
def test_pieces_that_nobody_clicked_on_are_dropped(prompt: Prompt, expected: np.ndarray) -> None:
    pieces = answer(BEFORE | square(0, 30, 10, 40) | square(40, 0, 48, 8))
    np.testing.assert_array_equal(corrected([prompt], pieces).dense()[0], expected)


def test_answers_keep_their_order_scores_and_prompts() -> None:
    given = Masks.merge([answer(BEFORE), answer(AFTER)])
    prompts = [Prompt.of([(9, 9)]), Prompt.of([(20, 12), (40, 4)])]
    found = corrected(prompts, given)
    assert found.prompt.tolist() == [0, 1]
    assert found.scores.tolist() == given.scores.tolist()
    np.testing.assert_array_equal(found.dense()[0], BEFORE)
    assert found.dense()[1][40, 4]


@settings(max_examples=60, deadline=None)
@given(st.lists(POINTS, min_size=2, max_size=6, unique=True), st.data())
def test_every_click_is_kept(points: list[tuple[int, int]], data: st.DataObject) -> None:
    positive = data.draw(st.lists(st.booleans(), min_size=len(points), max_size=len(points)))
    drawn = answer(AFTER if data.draw(st.booleans()) else BEFORE)
    values = np.kron(np.ones((6, 5)), np.where(np.arange(8)[:, None] < 4, 2.0, -2.0)).astype(np.float32)[:, :5]
    stripes = Masks.from_logits(SHAPE, [Logits(values, (0.0, 0.0, 48.0, 40.0), SHAPE)], [0.5], [0])
    spread = all(max(abs(a[0] - b[0]), abs(a[1] - b[1])) > 2 for a in points for b in points if a != b)
    if not spread:
        return
    mask = corrected([Prompt.of(points, positive).refine(drawn)], stripes).dense()
    inside = mask[0] if len(mask) else np.zeros(SHAPE, bool)
    assert [bool(inside[point]) for point in points] == positive
