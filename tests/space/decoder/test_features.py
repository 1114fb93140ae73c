"""What is sent holds the embedding, number by number."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder.features import features_of
from sam_core import Embedding, EmbeddingError, Sam, Tiling, samples


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
    assert (meta["shape"], meta["model"], meta["bytes"]) == ([9, 7], "cell-0", len(content))
    for described, level in zip(meta["levels"], embedding.halved().features, strict=True):
        count = int(np.prod(described["shape"]))
        read = np.frombuffer(content, "<f2", count, described["offset"]).reshape(described["shape"])
        np.testing.assert_array_equal(read.transpose(2, 0, 1), level[0])
        assert np.isfinite(read).all()


def test_an_embedding_in_tiles_is_refused(sam: Sam) -> None:
    embedding = sam.encode(samples.cells((300, 300)).image, tiling=Tiling((256, 256), (16, 16)))
    with pytest.raises(EmbeddingError, match=r"got an embedding of 4 tiles, expected .* whole"):
        features_of(embedding)
