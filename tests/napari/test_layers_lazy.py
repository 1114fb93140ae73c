from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_napari._layers_highest import Highest
from sam_napari._layers_lazy import SIDE, Channel, Edited

SHAPE = (3, SIDE + 40, 2 * SIDE + 5)
BASE = np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.int32)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[Any, ...]:
    index: list[Any] = []
    for n in SHAPE:
        low, high = sorted(draw(st.tuples(st.integers(-n, n), st.integers(-n, n))))
        index.append(
            draw(st.sampled_from([slice(low, high), slice(None), slice(low, None, 3), draw(st.integers(-n, n - 1))]))
        )
    return tuple(index[: draw(st.integers(1, 3))])


@st.composite
def points(draw: st.DrawFn) -> tuple[Any, ...]:
    count = draw(st.integers(1, 9))
    return tuple(np.array(draw(st.lists(st.integers(-n, n - 1), min_size=count, max_size=count))) for n in SHAPE)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(boxes(), points()), min_size=1, max_size=6), st.one_of(boxes(), points()))
def test_an_edited_array_is_an_array(written: list[Any], read: Any) -> None:
    edited, expected = Edited(BASE), BASE.copy()
    for value, index in enumerate(written, 1000):
        edited[index] = value
        expected[index] = value
    np.testing.assert_array_equal(edited[read], expected[read])
    np.testing.assert_array_equal(np.asarray(edited), expected)
    assert BASE.max() < 1000


def test_what_is_not_painted_is_not_loaded_twice() -> None:
    reads: list[Any] = []

    class Base:
        shape, dtype = SHAPE, BASE.dtype

        def __getitem__(self, index: Any) -> Any:
            reads.append(index)
            return BASE[index]

    edited = Edited(Base())
    edited[0, 10:20, 10:20] = 5
    count = len(reads)
    edited[0, 12:30, 12:30] = 6
    assert (edited[0, 15, 15], len(reads)) == (6, count)  # the block is ours by now
    assert edited[-1, 0, 0] == BASE[-1, 0, 0]
    assert (edited.size, edited.nbytes, len(edited)) == (BASE.size, BASE.nbytes, 3)
    np.testing.assert_array_equal(edited[..., 7], [*BASE[..., 7]])
    for wrong in ((3, 0, 0), (0, np.array([0, SIDE + 40]), np.array([0, 0]))):
        with pytest.raises(IndexError):
            edited[wrong]


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_a_channel_is_indexed_as_what_is_left(axis: int) -> None:
    full = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    one, expected = Channel(full, axis, 1), full.take(1, axis)
    assert one.shape == expected.shape
    for index in ((0, 1), (slice(None), 1, slice(0, 2)), (1,), slice(1, 2), (0, 0, 1)):
        np.testing.assert_array_equal(one[index], expected[index])


@pytest.mark.parametrize("kind", ["slabs", "chunks", "blocks", "empty"])
def test_the_largest_number_is_found_wherever_it_is(kind: str) -> None:
    shape = (5, 3000, 3000) if kind == "slabs" else (0, 9) if kind == "empty" else (5, 300, 300)
    data = np.zeros(shape, np.uint16)
    if data.size:
        data[tuple(n - 1 for n in shape)] = 9
    wrapped: Any = {"chunks": lambda: zarr.array(data, chunks=(2, 128, 128)), "blocks": lambda: Edited(data)}.get(
        kind, lambda: data
    )()
    highest = Highest(wrapped)
    highest.learn(3)
    assert highest.value(60.0) == (9 if data.size else 3)
    assert highest.part == (1.0 if data.size else 0.0)
    highest.learn(12)
    assert highest.value() == 12
    highest.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "sam-napari-labels"]
