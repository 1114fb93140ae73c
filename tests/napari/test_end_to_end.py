"""The embedded model in a real window: what a user does, by mouse and keys, on cells whose outlines are known."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from scipy import ndimage

from sam_core import samples
from sam_napari._replay import replay
from tests.napari.hand import SHIFT
from tests.napari.test_widget import Panel

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.slow


@pytest.fixture
def opened(make_napari_viewer: Any) -> Iterator[Any]:
    panels: list[Panel] = []

    def make(image: NDArray[Any], **kwargs: Any) -> Panel:
        viewer = make_napari_viewer(show=True)
        viewer.add_image(image, **kwargs)
        panels.append(Panel(viewer))
        viewer.reset_view()  # the panel has taken some of the room
        panels[-1].until(lambda: panels[-1].desk.stats.loaded)
        return panels[-1]

    yield make
    for panel in panels:
        panel.panel.shut()


def middles(labels: NDArray[np.int32], count: int) -> list[tuple[int, float, float]]:
    """Return number and middle of the largest objects of a plane."""
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    numbers = [int(i) for i in np.argsort(-sizes)[:count] if sizes[i]]
    places = ndimage.center_of_mass(labels > 0, labels, numbers)
    return [(number, *place) for number, place in zip(numbers, places, strict=True)]


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))


def test_one_click_an_object(opened: Any) -> None:
    sample = samples.cells((300, 300), count=24, diameter=40, seed=4)
    window = opened(sample.image, scale=(0.5, 0.5), units=("um", "um"))
    found = []
    for number, y, x in middles(sample.labels, 8):
        window.move(y / 2, x / 2)
        window.until(lambda: window.desk.stage.shown)
        before = np.count_nonzero(window.labels)
        window.click(y / 2, x / 2)
        window.until(lambda before=before: np.count_nonzero(window.labels) > before)
        taken = int(window.labels[round(y), round(x)])
        found.append(iou(window.labels == taken, sample.labels == number))
    assert np.median(found) > 0.8
    assert len(np.unique(window.labels)) == 9

    after = window.labels.copy()
    for _ in range(8):
        window.layer.undo()
    assert window.labels.max() == 0
    for _ in range(8):
        window.layer.redo()
    np.testing.assert_array_equal(window.labels, after)
    assert tuple(window.layer.scale) == (0.5, 0.5)

    journal = window.desk.settings.journal_folder
    window.panel.shut()
    (path,) = journal.glob("*.jsonl")
    np.testing.assert_array_equal(replay(path), after)


def test_the_wheel_goes_through_the_candidates(opened: Any) -> None:
    sample = samples.cells((300, 300), count=24, diameter=40, seed=4)
    window = opened(sample.image)
    _, y, x = middles(sample.labels, 1)[0]
    window.move(y, x)
    window.until(lambda: window.desk.stage.shown and window.desk.stage.shown.of > 1)
    first = window.desk.stage.shown.chosen
    window.wheel(1, SHIFT)
    assert window.desk.stage.shown.chosen != first
    window.click(y, x)
    window.until(lambda: window.desk.state.label)
    chosen = window.desk.state.chosen
    assert chosen == (first + 1) % len(window.desk.state.scores), "what was shown is what is taken"
    painted = window.labels.copy()
    window.press(Qt.Key.Key_Comma)
    window.until(lambda: window.desk.state.chosen == first)
    window.layer.undo()
    np.testing.assert_array_equal(window.labels, painted)


def test_what_is_shown_is_on_screen(opened: Any) -> None:
    sample = samples.cells((300, 300), count=24, diameter=40, seed=4)
    window = opened(sample.image)
    _, y, x = middles(sample.labels, 1)[0]
    window.settle(200)
    before = window.viewer.screenshot(canvas_only=True, flash=False).astype(int)
    window.move(y, x)
    window.until(lambda: window.desk.stage.shown)
    window.settle(200)
    shown = window.viewer.screenshot(canvas_only=True, flash=False).astype(int)
    changed = np.abs(shown - before).max(axis=2) > 30
    place = window.at(y, x)
    ratio = shown.shape[0] / window.canvas.height()
    row, column = round(place.y() * ratio), round(place.x() * ratio)
    assert changed[row, column], "the object under the pointer is filled"
    assert 0.0005 < changed.mean() < 0.1, "and nothing else"


def test_everything_is_found_reviewed_and_one_step(opened: Any) -> None:
    sample = samples.cells((300, 300), count=24, diameter=40, seed=4)
    window = opened(sample.image)
    window.review.start("plane")
    window.until(lambda: window.review.batch.items and not window.review.is_running)
    for key in (Qt.Key.Key_Space, Qt.Key.Key_N, Qt.Key.Key_X, Qt.Key.Key_Return):
        window.press(key)
    window.until(lambda: not window.review.is_open)
    assert 0.6 < (len(np.unique(window.labels)) - 1) / len(np.unique(sample.labels[sample.labels > 0])) < 1.2
    assert iou(window.labels > 0, sample.labels > 0) > 0.75
    window.layer.undo()
    assert window.labels.max() == 0


def test_a_time_lapse_is_followed_and_corrected(opened: Any) -> None:
    sample = samples.time_lapse((6, 128, 128), count=8, diameter=30, seed=2)
    window = opened(sample.image, axis_labels=("t", "y", "x"))
    window.viewer.dims.set_current_step(0, 0)
    window.settle(200)
    number, y, x = middles(sample.labels[0], 1)[0]
    window.take(y, x)
    window.panel.pursuit.start()
    window.until(lambda: not window.desk.busy)
    scores = [iou(frame == 1, truth == number) for frame, truth in zip(window.labels, sample.labels, strict=True)]
    assert np.median(scores) > 0.75

    window.viewer.dims.set_current_step(0, 3)
    window.settle(200)
    window.layer.data_setitem((np.full(9, 3), *np.mgrid[0:3, 0:3].reshape(2, -1)), 1)  # a stroke of the brush
    before = window.labels.copy()
    window.desk.act("select", window.desk.plane, (float(y), float(x)))
    window.until(lambda: window.desk.state.plane == window.desk.plane)
    window.panel.pursuit.start()
    window.until(lambda: not window.desk.busy)
    np.testing.assert_array_equal(window.labels[3], before[3])
    np.testing.assert_array_equal(window.labels[:2], before[:2])


@pytest.mark.skipif(not (DATA / "qcanet_3d").is_dir(), reason="needs the image sets in ../shared/data")
def test_a_stack_of_real_nuclei(opened: Any) -> None:
    about = json.loads((DATA / "qcanet_3d" / "items.json").read_text(encoding="utf-8"))
    item = next(each for each in about if each.get("split") == "test")
    stack = np.load(DATA / "qcanet_3d" / f"{item['name']}.npz")
    image, truth = stack["image"], stack["label"]
    number = int(np.argmax(np.bincount(truth[truth > 0])))
    z = int(np.argmax((truth == number).sum(axis=(1, 2))))
    spacing = item.get("spacing_um") or (1, 1, 1)
    window = opened(image, scale=spacing, axis_labels=("z", "y", "x"), units=("um",) * 3)
    window.viewer.dims.set_current_step(0, z)
    window.settle(300)
    y, x = ndimage.center_of_mass(truth[z] == number)
    window.take(y * spacing[1], x * spacing[2])
    assert iou(window.labels[z] > 0, truth[z] == number) > 0.5
    window.panel.pursuit.start()
    window.until(lambda: not window.desk.busy)
    assert iou(window.labels > 0, truth == number) > 0.4
    assert tuple(window.layer.scale) == tuple(spacing)
    window.panel.shut()
    window.until(lambda: not [each for each in threading.enumerate() if each.name == "sam-napari"])
