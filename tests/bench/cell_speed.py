"""Speed of the embedded model, in P: products of two 2048 x 2048 matrices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam_core import Prompt, Sam, samples, segment, segment_all
from tests.bench.measure import Row, product, seconds


def rows() -> Iterator[Row]:
    """Encode, one click, and everything, on a plane of 512 x 512 with about 50 cells."""
    sam = Sam.from_pretrained("cell")
    sample = samples.cells((512, 512), count=55, diameter=32, seed=3)
    image = sample.image
    embedding = sam.encode(image)
    cell, ground = (Prompt.of([np.argwhere(sample.labels == index).mean(axis=0).round()]) for index in (1, 0))
    found = sum(len(part) for part in segment_all(sam, embedding))
    p = product()
    for what, bar, work in (
        ('"cell" encode, 512 x 512', 1.0, lambda: sam.encode(image)),
        ('"cell" one click on it, on a cell', 0.25, lambda: segment(sam, embedding, cell)),
        (
            '"cell" one click beside all cells, which is asked at two sizes',
            0.25,
            lambda: segment(sam, embedding, ground),
        ),
        (f'"cell" encode and segment_all of it ({found} objects)', 8.0, lambda: _everything(sam, image)),
    ):
        took = seconds(work)
        yield Row(what, took / p, "P", bar, False, f"{1000 * took:.0f} ms, P = {1000 * p:.0f} ms")


def _everything(sam: Sam, image: object) -> int:
    return sum(len(part) for part in segment_all(sam, sam.encode(image)))  # type: ignore[arg-type]
