"""One encoded plane."""

from __future__ import annotations

import weakref
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from sam_core import Embedding, Tiling


def _embedding(tiles: int = 1, tiling: Tiling | None = None) -> Embedding:
    levels = np.zeros((tiles, 8, 4, 4), np.float16), np.zeros((tiles, 2, 8, 8), np.float32)
    return Embedding(levels, (30, 40), tiling, "model")


def test_its_size_is_that_of_all_levels_and_of_the_overview() -> None:
    one = _embedding()
    assert one.nbytes == 8 * 16 * 2 + 2 * 64 * 4
    assert replace(_embedding(4), overview=one).nbytes == 5 * one.nbytes


def test_without_tiling_it_is_one_window() -> None:
    assert _embedding().windows == ((0, 0, 30, 40),)


def test_its_windows_are_those_of_its_tiling() -> None:
    tiling = Tiling((20, 20), (5, 5))
    assert _embedding(4, tiling).windows == tiling.windows((30, 40))
    assert len(_embedding(4, tiling).windows) == 4


def test_it_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        _embedding().model = "other"


def test_it_is_itself_alone_and_can_be_a_weak_key() -> None:
    one, other = _embedding(), _embedding()
    assert one != other
    kept = weakref.WeakKeyDictionary({one: 1, other: 2})
    assert (kept[one], len(kept)) == (1, 2)
    del other
    assert len(kept) == 1


def test_half_an_embedding_is_the_same_but_for_what_float16_cannot_hold() -> None:
    features = (np.array([[[[0.5, 1e9, -np.inf]]]], np.float32),)
    overview = Embedding((np.full((1, 1, 1, 1), 2, np.float32),), (1, 3), None, "a")
    halved = Embedding(features, (1, 3), None, "a", overview).halved()
    assert halved.features[0].dtype == np.float16
    assert halved.features[0].ravel().tolist() == [0.5, 65504, -65504]
    assert halved.overview is not None
    assert halved.overview.features[0].dtype == np.float16
    assert halved.halved().features[0] is halved.features[0]  # nothing is copied that is as it should be


@pytest.mark.parametrize(
    ("values", "halved"),
    [
        ([1.5, -2.0, 65504], [1.5, -2.0, 65504]),
        ([np.inf, 1.0, -65504], [65504, 1.0, -65504]),
        ([0.0, -np.inf, -0.0], [0.0, -65504, 0.0]),
    ],
)
def test_what_is_infinite_in_float16_becomes_the_largest_there_is(values: list[float], halved: list[float]) -> None:
    embedding = Embedding((np.array(values, np.float16).reshape(1, 1, 1, 3),), (1, 3), None, "a").halved()
    assert embedding.features[0].ravel().tolist() == halved
