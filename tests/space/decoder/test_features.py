"""What is sent holds the embedding, number by number."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_core import Embedding, EmbeddingError, Sam, Tiling, samples
from sam_space.decoder.features import features_of


@given(
    shapes=st.lists(st.tuples(*[st.integers(1, 6)] * 3), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    kind=st.sampled_from([np.float16, np.float32]),
)
def test_every_level_can_be_read_back(shapes: list[tuple[int, int, int]], seed: int, kind: type[np.floating]) -> None:
    random = np.random.default_rng(seed)
    with np.errstate(over="ignore"):  # some are beyond float16
        levels = tuple(random.normal(scale=3e4, size=(1, *shape)).astype(kind) for shape in shapes)
    embedding = Embedding(levels, (9, 7), None, "cell-0")

    content, meta = features_of(embedding)

    assert json.loads(json.dumps(meta)) == meta
    assert (meta["shape"], meta["model"], meta["bits"], meta["bytes"]) == ([9, 7], "cell-0", 16, len(content))
    for described, level in zip(meta["levels"], embedding.halved().features, strict=True):
        count = int(np.prod(described["shape"]))
        read = np.frombuffer(content, "<f2", count, described["offset"]).reshape(described["shape"])
        np.testing.assert_array_equal(read.transpose(2, 0, 1), level[0])
        assert np.isfinite(read).all()


@given(seed=st.integers(0, 99), scale=st.sampled_from([1e-3, 1.0, 40.0]))
def test_eight_bits_are_half_a_step_off_at_most_but_for_what_lies_far_out(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    level = (scale * random.normal(loc=3, size=(1, 4, 9, 11))).astype(np.float32)
    level[0, 2] = scale  # a channel that says nothing
    level[0, 3, 0, 0] = 50 * scale
    embedding = Embedding((level,), (9, 7), None, "cell-0")

    content, meta = features_of(embedding, bits=8)

    assert json.loads(json.dumps(meta)) == meta
    assert meta["bytes"] == len(content) == level.size
    (described,) = meta["levels"]
    steps = np.frombuffer(content, np.uint8).reshape(described["shape"])
    read = np.array(described["low"]) + np.array(described["step"]) * steps
    expected = embedding.halved().features[0][0].astype(float).transpose(1, 2, 0)
    off = np.abs(read - expected)
    off[0, 0, 3] = 0
    assert (off <= 0.5001 * np.array(described["step"])).all()
    assert max(described["step"][:2]) < 10 * scale / 255


def test_an_embedding_in_tiles_is_refused(sam: Sam) -> None:
    embedding = sam.encode(samples.cells((300, 300)).image, tiling=Tiling((256, 256), (16, 16)))
    with pytest.raises(EmbeddingError, match=r"got an embedding of 4 tiles, expected .* whole"):
        features_of(embedding)
