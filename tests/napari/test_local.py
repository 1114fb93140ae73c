"""What of a correction is about the click."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from sam_core import Masks
from sam_napari._local import meant

SHAPE = (60, 60)


def mask_of(pixels: NDArray[np.bool_]) -> Masks:
    return Masks.from_labels(pixels.astype(np.int32))


def disk(radius: float, y: float = 30, x: float = 30) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


CELL, LEAK, BITE = disk(15), disk(6, 30, 46), disk(8, 30, 41)


@pytest.mark.parametrize(
    ("before", "after", "click", "positive", "expected"),
    [
        pytest.param(CELL | LEAK, disk(13), (30, 48), False, CELL, id="a leak goes, the rim stays"),
        pytest.param(disk(18), CELL, (30, 46), False, CELL, id="a rim goes all around"),
        pytest.param(CELL & ~BITE, disk(16), (30, 40), True, CELL, id="a bite is filled, no rim is added"),
        pytest.param(CELL, CELL | disk(5, 30, 50), (30, 50), True, CELL | disk(5, 30, 50), id="a piece is joined"),
        pytest.param(CELL, disk(13), (30, 30), False, disk(13), id="a change elsewhere is left to whoever looks"),
        pytest.param(CELL, np.zeros(SHAPE, bool), (30, 30), False, np.zeros(SHAPE, bool), id="all of it goes"),
    ],
)
def test_the_part_that_is_meant(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    click: tuple[float, float],
    positive: bool,
    expected: NDArray[np.bool_],
) -> None:
    found = meant(mask_of(before), mask_of(after), click, positive)
    found_pixels = found.dense()[0] if len(found) else np.zeros(SHAPE, bool)
    wrong, size = np.count_nonzero(found_pixels != expected), np.count_nonzero(before)
    assert wrong <= 0.07 * size, "but for what is at the seam"


@given(
    before=arrays(bool, (9, 9)),
    after=arrays(bool, (9, 9)),
    y=st.integers(0, 8),
    x=st.integers(0, 8),
    adds=st.booleans(),
)
def test_only_pixels_that_the_model_changes_change_and_the_click_is_obeyed(
    before: NDArray[np.bool_], after: NDArray[np.bool_], y: int, x: int, adds: bool
) -> None:
    before[0, 0] = True
    found = meant(mask_of(before), mask_of(after), (y, x), adds)
    pixels = found.dense()[0] if len(found) else np.zeros_like(before)
    assert (pixels != before)[before == after].sum() == 0
    assert pixels[y, x] == after[y, x] or before[y, x] == pixels[y, x] == adds
