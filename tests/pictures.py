"""Label images with known objects, pictures of them, and whether two label images show the same."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


def draw(*boxes: tuple[int, int, int, int], shape: tuple[int, int]) -> np.ndarray:
    """Draw rectangles as labels 1, 2, 3, ..."""
    labels = np.zeros(shape, np.int32)
    for i, (y0, x0, y1, x1) in enumerate(boxes, start=1):
        labels[y0:y1, x0:x1] = i
    return labels


def picture(labels: np.ndarray) -> np.ndarray:
    return (255 * (labels > 0)).astype(np.uint8)


@st.composite
def separate_rectangles(draw_from: st.DrawFn) -> np.ndarray:
    """Rectangles of 8 to 11 pixels a side, each in a cell of 14: wider than a grid of clicks, smaller than a halo."""
    rows, cols = draw_from(st.integers(1, 4)), draw_from(st.integers(1, 4))
    labels = np.zeros((14 * rows + 1, 14 * cols + 1), np.int32)
    for i in range(rows * cols):
        if draw_from(st.booleans()):
            height, width = (draw_from(st.integers(8, 11)) for _ in range(2))
            y, x = (draw_from(st.integers(1, 13 - side)) for side in (height, width))
            row, col = 14 * (i // cols) + y, 14 * (i % cols) + x
            labels[row : row + height, col : col + width] = labels.max() + 1
    return labels


def same_objects(a: np.ndarray, b: np.ndarray) -> bool:
    """Tell whether two label images show the same objects, however they are numbered."""
    if ((a > 0) != (b > 0)).any():
        return False
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
