"""The panel in a real window, with a model that sees regions brighter than half."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QPushButton, QWidget

from sam_napari._journal import journals
from sam_napari._settings import Settings
from sam_napari._widget import SegmentAnything
from tests.napari.hand import CONTROL, SHIFT, Window

if TYPE_CHECKING:
    from tests.fake import FakeSegmenter


def squares(shape: tuple[int, ...] = (100, 120)) -> NDArray[np.uint8]:
    """Return two bright squares on a dark ground, on the last two axes."""
    image = np.zeros(shape, np.uint8)
    image[..., 10:40, 10:40] = 200
    image[..., 50:90, 60:100] = 255
    return image


class Panel(Window):
    """A window with the panel beside the picture."""

    def __init__(self, viewer: Any, settings: Settings | None = None) -> None:
        super().__init__(viewer)
        self.panel = SegmentAnything(viewer, settings)
        self.dock = viewer.window.add_dock_widget(self.panel, name="Segment Anything")
        self.desk, self.review = self.panel.desk, self.panel.review
        self.settle(50)

    @property
    def labels(self) -> NDArray[Any]:
        canvas = self.desk.canvas
        assert canvas is not None
        return np.asarray(canvas.layer.data)

    @property
    def layer(self) -> Any:
        canvas = self.desk.canvas
        assert canvas is not None
        return canvas.layer

    def take(self, y: float, x: float, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
        self.click(y, x, modifier)
        self.until(lambda: not self.desk.state.waiting)
        self.settle()


Open = Callable[..., Panel]


@pytest.fixture
def open_panel(make_napari_viewer: Any, fake: FakeSegmenter) -> Any:
    """Open a window with an image and the panel; all are shut at the end."""
    opened: list[Panel] = []

    def make(image: Any = None, settings: Settings | None = None, **kwargs: Any) -> Panel:
        viewer = make_napari_viewer(show=True)
        if image is not False:
            viewer.add_image(squares() if image is None else image, name="cells", **kwargs)
        opened.append(Panel(viewer, settings))
        return opened[-1]

    yield make
    for each in opened:
        each.panel.shut()


def test_opening_it_on_an_image_is_enough(open_panel: Open, fake: FakeSegmenter) -> None:
    window = open_panel()
    window.until(lambda: fake.encoded)
    assert window.layer.name == "cells objects"
    assert window.viewer.layers.selection.active is window.layer
    window.move(20, 20)
    window.until(lambda: window.desk.stage.shown)
    assert window.labels.max() == 0, "a ghost is not painted"
    window.take(20, 20)
    np.testing.assert_array_equal(window.labels[:45, :45], squares()[:45, :45] > 0)
    assert window.desk.state.label == 1
    assert "Object 1" in window.panel.object.title.text()
    window.layer.undo()
    assert window.labels.max() == 0


def test_each_object_has_a_number_of_its_own_unless_it_is_a_class(open_panel: Open) -> None:
    window = open_panel()
    window.take(20, 20)
    window.take(70, 80)
    assert (window.labels[20, 20], window.labels[70, 80]) == (1, 2)
    window.panel.object.numbers.click()
    window.layer.undo()
    window.take(70, 80)
    assert window.labels[70, 80] == window.layer.selected_label


def test_a_box_and_the_keys(open_panel: Open) -> None:
    window = open_panel()
    before = window.viewer.scene.camera.center
    window.drag((48, 58), (92, 102))
    window.until(lambda: window.labels.max())
    assert window.labels[70, 80] == 1
    assert window.viewer.scene.camera.center == before
    window.press(Qt.Key.Key_Delete)
    assert window.labels.max() == 0
    window.layer.undo()
    assert window.labels[70, 80] == 1


def test_escape_lets_go_and_space_moves_the_picture(open_panel: Open) -> None:
    window = open_panel()
    window.take(20, 20)
    window.press(Qt.Key.Key_Escape)
    assert not window.desk.state.label
    before = window.viewer.scene.camera.center
    hand = window.panel.hand
    hand.press("move")
    window.drag((48, 58), (72, 82))
    hand.release("move")
    assert window.viewer.scene.camera.center != before
    assert window.labels.max() == 1


def test_napari_s_tools_keep_working(open_panel: Open) -> None:
    window = open_panel()
    window.take(20, 20)
    window.layer.mode = "paint"
    window.layer.selected_label = 7
    window.click(5, 100)
    assert window.labels[5, 100] == 7
    assert "Select" in window.desk.message
    window.layer.mode = "pan_zoom"
    window.take(70, 80)
    assert window.labels[70, 80] > 0


def test_an_image_that_is_opened_beside_the_panel(open_panel: Open) -> None:
    window = open_panel(False)
    assert not window.desk.is_ready
    first = window.viewer.add_image(squares(), name="cells")
    window.until(lambda: window.desk.is_ready)
    window.viewer.reset_view()
    window.take(20, 20)
    assert window.labels[20, 20] == 1
    window.viewer.add_image(squares() // 2, name="another")
    window.settle(50)
    assert window.desk.picture is not None
    assert window.desk.picture.layer is first, "work goes on where it was"


def test_a_layer_of_mine_is_the_target_and_is_corrected(open_panel: Open) -> None:
    window = open_panel(False)
    window.viewer.add_image(squares(), name="cells")
    mine = np.zeros((100, 120), np.int32)
    mine[15:35, 15:35] = 40
    layer = window.viewer.add_labels(mine, name="from Cellpose")
    window.until(lambda: window.desk.is_ready)
    assert window.layer is layer
    window.take(20, 20)
    assert set(np.unique(window.labels)) == {0, 40}, "the object grew, and kept its number"
    assert window.labels[11, 11] == 40


def test_everything_and_its_review(open_panel: Open, qtbot: Any) -> None:
    window = open_panel()
    window.until(lambda: window.desk.stats.loaded)
    buttons = {each.accessibleName(): each for each in window.panel.findChildren(QPushButton)}
    buttons["On screen"].click()
    window.until(lambda: window.review.batch.items and not window.review.is_running)
    assert window.labels.max() == 0
    assert window.review.batch.objects == 2
    window.press(Qt.Key.Key_X)
    assert window.review.batch.count("dropped") == 1
    window.press(Qt.Key.Key_Z, CONTROL)
    assert window.review.batch.count("dropped") == 0
    window.press(Qt.Key.Key_X)
    window.press(Qt.Key.Key_Space)
    assert not window.review.batch.queue
    window.press(Qt.Key.Key_Return)
    window.until(lambda: not window.review.is_open)
    assert len(np.unique(window.labels)) == 2
    window.layer.undo()
    assert window.labels.max() == 0, "the batch is one step"
    assert not np.any(window.viewer.layers["found objects"].data)


def test_filters_act_at_once_and_nothing_is_decoded_again(open_panel: Open, fake: FakeSegmenter) -> None:
    window = open_panel()
    window.until(lambda: window.desk.stats.loaded)
    window.review.start("plane")
    window.until(lambda: window.review.batch.items and not window.review.is_running)
    window.settle(50)
    decoded = fake.decoded
    window.panel.everything.smallest.slider.setValue(21)  # 1448 pixels: only the larger of the two
    assert window.review.batch.objects == 1
    window.panel.everything.smallest.slider.setValue(0)
    assert window.review.batch.objects == 2
    assert fake.decoded == decoded
    window.review.discard()
    assert not window.review.is_open
    assert window.labels.max() == 0


def test_following_through_a_stack(open_panel: Open) -> None:
    window = open_panel(squares((5, 100, 120)), axis_labels=("z", "y", "x"))
    window.until(window.panel.stack.isVisible)
    window.take(20, 20)
    window.panel.pursuit.start()
    window.until(lambda: not window.panel.pursuit.is_running)
    assert (window.labels[:, 20, 20] == 1).all()
    window.layer.undo()
    assert np.count_nonzero(window.labels[:, 20, 20]) == 1, "what was followed is one step"
    window.panel.pursuit.start()
    window.until(lambda: not window.panel.pursuit.is_running)
    assert (window.labels[:, 20, 20] == 1).all(), "after undo it can be followed again"
    window.panel.pursuit.start()
    assert "Nothing has changed" in window.desk.message


def test_following_that_is_stopped_erases_nothing(open_panel: Open) -> None:
    window = open_panel(squares((9, 100, 120)), axis_labels=("z", "y", "x"))
    window.take(20, 20)
    window.panel.pursuit.start()
    window.until(lambda: not window.panel.pursuit.is_running)
    before = window.labels.copy()
    layer, middle = window.layer, int(window.viewer.dims.current_step[0])
    layer.data_setitem((np.full(3, middle), np.array([10, 10, 10]), np.array([10, 11, 12])), 0)
    window.panel.pursuit.start()
    assert window.panel.pursuit.is_running
    window.panel.pursuit.stop()
    window.until(lambda: not window.panel.pursuit.is_running)
    others = [plane for plane in range(9) if plane != middle]
    np.testing.assert_array_equal(window.labels[others], before[others])


def test_all_of_a_plane_are_followed(open_panel: Open) -> None:
    window = open_panel(squares((4, 100, 120)), axis_labels=("z", "y", "x"))
    window.take(20, 20)
    window.take(70, 80)
    window.panel.pursuit.start(everything=True)
    window.until(lambda: not window.panel.pursuit.is_running)
    assert (window.labels[:, 20, 20] == 1).all()
    assert (window.labels[:, 70, 80] == 2).all()


def test_one_plane_has_nothing_to_follow(open_panel: Open) -> None:
    window = open_panel()
    assert not window.panel.stack.isVisible()
    window.panel.pursuit.start()
    assert "no object to follow" in window.desk.message


def test_clicks_that_come_to_nothing_say_so(open_panel: Open) -> None:
    window = open_panel()
    window.take(95, 5)
    assert "sees nothing" in window.desk.message
    window.take(20, 20)
    window.take(25, 25, SHIFT)
    assert window.desk.message != ""
    assert window.labels[20, 20] == 1, "a correction that is worse is not taken"


def test_axes_channel_and_contrast(open_panel: Open) -> None:
    window = open_panel(squares((3, 4, 100, 120)))
    axes = window.panel.axes
    assert window.desk.picture is not None
    axes._choose_role(1, "c")
    assert window.desk.picture.channels == 4
    assert window.labels.shape == (3, 1, 100, 120), "the objects lie over all channels"
    version = window.desk.picture.source.version
    axes._choose_channel(2)
    assert window.desk.picture.channel == 2
    axes.contrast.click()
    assert window.desk.picture.source.limits == tuple(window.desk.picture.layer.contrast_limits)
    window.desk.picture.layer.contrast_limits = (0, 100)
    assert window.desk.picture.source.limits == (0, 100)
    assert window.desk.picture.source.version > version


@pytest.mark.parametrize(
    ("image", "kwargs"),
    [
        (np.zeros((30, 40, 3), np.uint8), {"rgb": True}),
        (np.full((30, 40), np.nan, np.float32), {}),
        (squares().astype(np.uint16) * 200, {}),
        (squares((1, 100, 120)), {}),
        (np.zeros((30, 40), bool), {}),
        ([squares((400, 400)), squares((200, 200))], {"multiscale": True}),
        (squares((2, 3, 4, 100, 120)), {}),
        (np.zeros((30, 40), np.uint16), {}),
        (np.zeros((1, 1), np.uint8), {}),
    ],
    ids=["rgb", "nan", "uint16", "one plane", "bool", "pyramid", "5d", "empty", "pixel"],
)
def test_images_of_all_kinds(open_panel: Open, image: Any, kwargs: dict[str, Any]) -> None:
    window = open_panel(image, **kwargs)
    window.take(20, 20)
    window.review.start("plane")
    window.until(lambda: not window.review.is_running)
    assert window.panel.isVisible()


def test_layers_that_go_and_change_names(open_panel: Open) -> None:
    window = open_panel()
    window.take(20, 20)
    window.layer.name = "my cells"
    window.desk.picture.layer.name = "my image"
    window.settle(30)
    assert window.panel.layers.target.currentText() == "my cells"
    assert window.panel.layers.image.currentText() == "my image"
    window.viewer.layers.remove(window.layer)
    window.settle(30)
    assert not window.desk.is_ready
    assert "removed" in window.desk.message
    window.desk.use_target(None)
    window.take(20, 20)
    assert window.labels[20, 20] == 1
    window.viewer.layers.remove(window.desk.picture.layer)
    window.settle(30)
    assert window.desk.picture is None
    window.click(20, 20)
    window.viewer.layers.clear()


def test_layers_of_other_shapes_are_refused_with_a_sentence(open_panel: Open) -> None:
    window = open_panel()
    other = window.viewer.add_labels(np.zeros((7, 7), np.int32), name="other")
    before = window.layer
    window.desk.use_target(other)
    assert "got" in window.desk.message
    assert window.layer is before


def test_a_model_that_cannot_be_loaded(open_panel: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    from sam_core import CheckpointError

    window = open_panel()

    def broken(*_: Any, **__: Any) -> None:
        msg = "got no weights in /nowhere, expected a model; choose another one"
        raise CheckpointError(msg)

    monkeypatch.setattr("sam_core.Sam.from_pretrained", broken, raising=False)
    window.desk.use_model("/nowhere")
    window.click(20, 20)
    window.until(lambda: "no weights" in window.desk.message)
    assert window.labels.max() == 0


def test_what_was_done_is_resumed(open_panel: Open) -> None:
    first = open_panel()
    first.take(20, 20)
    first.take(70, 80)
    first.layer.mode = "paint"
    first.layer.selected_label = 9
    first.click(5, 100)
    expected = first.labels.copy()
    first.panel.shut()

    second = open_panel()
    second.settle(50)
    assert second.desk.archive.record is not None
    assert len(second.desk.archive.record.entries) == 1
    second.panel.save.resume.click()
    second.until(lambda: second.layer.data.max() == 9)
    np.testing.assert_array_equal(second.labels, expected)
    second.take(25, 25)
    assert second.desk.state.label == 1, "objects go on as they were"


def test_no_journal_where_none_is_wanted(open_panel: Open) -> None:
    window = open_panel(None, Settings(keep=False))
    window.take(20, 20)
    window.panel.shut()
    assert journals(Settings().journal_folder) == []


def test_a_cache_that_cannot_be_written(open_panel: Open, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    window = open_panel(None, Settings(folder=str(blocked / "cache")))
    window.take(20, 20)
    assert window.labels[20, 20] == 1, "work goes on"


def test_two_viewers_at_once(open_panel: Open, fake: FakeSegmenter) -> None:
    one, other = open_panel(), open_panel(squares()[::-1].copy())
    assert one.desk.engine is other.desk.engine
    one.take(20, 20)
    other.take(80, 20)
    assert (one.labels.max(), other.labels.max()) == (1, 1)
    one.desk.engine.forget(one.desk)
    other.take(30, 80)
    assert other.labels[30, 80] == 2
    # No more than that: napari 0.9 itself cannot draw one of two windows after a layer was removed from the other.
    one.panel.shut()
    assert [each.name for each in threading.enumerate() if each.name == "sam-napari"] == ["sam-napari"]


def _callbacks(viewer: Any) -> list[Any]:
    emitters = [
        viewer.dims.events.point, viewer.dims.events.ndisplay, viewer.scene.camera.events.zoom,
        viewer.layers.events.removed, viewer.layers.events.inserted, viewer.layers.selection.events.active,
        viewer.layers.selection.events.changed, viewer.layers[0].events.data, viewer.layers[0].events.contrast_limits,
    ]  # fmt: skip
    mouse = [*viewer.mouse_move_callbacks, *viewer.mouse_drag_callbacks, *viewer.mouse_wheel_callbacks]
    return [len(emitter.callbacks) for emitter in emitters] + mouse


@pytest.mark.parametrize("way", ["shut", "dock"])
def test_nothing_is_left_behind(make_napari_viewer: Any, fake: FakeSegmenter, way: str) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(squares(), name="cells")
    QApplication.processEvents()
    before = _callbacks(viewer)
    window = Panel(viewer)
    window.take(20, 20)
    if way == "shut":
        window.panel.shut()
    viewer.window.remove_dock_widget(window.panel)
    desk = weakref.ref(window.desk)
    del window
    assert _callbacks(viewer) == before
    assert [layer.name for layer in viewer.layers] == ["cells", "cells objects"]
    end = Window(viewer)
    end.until(lambda: not [t for t in threading.enumerate() if t.name.startswith("sam-napari")])
    if way == "dock":  # as napari closes it
        end.until(lambda: (gc.collect(), desk())[1] is None)


def test_closing_the_window_ends_everything(make_napari_viewer: Any, fake: FakeSegmenter, qtbot: Any) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(squares(), name="cells")
    window = Panel(viewer)
    window.take(20, 20)
    desk = window.desk
    viewer.close()
    assert not desk.is_ready
    window.until(lambda: not [t for t in threading.enumerate() if t.name.startswith("sam-napari")])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "plate"
    made.mkdir()
    for i in (1, 2, 10):
        tifffile.imwrite(made / f"well {i}.tif", squares())
    return made


def test_a_folder_image_by_image(open_panel: Open, folder: Path) -> None:
    window = open_panel(False)
    panel = window.panel.folder
    window.panel.open_folder(folder)
    window.until(lambda: "1 of 3, 0 finished" in panel.where.text())
    window.take(20, 20)
    panel.finished.click()
    window.until(lambda: (folder / "sam-core.json").exists())
    panel.next.click()
    window.until(lambda: window.viewer.layers[0].name == "well 2")
    saved = tifffile.imread(folder / "labels" / "well 1.tif.tif")
    np.testing.assert_array_equal(saved[:45, :45] > 0, squares()[:45, :45] > 0)
    assert window.labels.max() == 0
    window.settle(50)
    panel.next.click()
    window.until(lambda: window.viewer.layers[0].name == "well 10")
    window.settle(50)
    panel.unfinished.click()
    window.until(lambda: window.viewer.layers[0].name == "well 2")
    window.settle(50)
    panel.previous.click()
    window.until(lambda: window.viewer.layers[0].name == "well 1")
    assert window.labels[20, 20] == 1, "with its objects"
    window.settle(50)
    assert panel.finished.isChecked()


def test_labels_of_something_else_are_not_overwritten(open_panel: Open, folder: Path) -> None:
    (folder / "labels").mkdir()
    tifffile.imwrite(folder / "labels" / "well 1.tif.tif", np.ones((3, 3), np.uint8))
    window = open_panel(False)
    window.panel.open_folder(folder)
    assert "move the file away" in window.desk.message
    window.take(20, 20)
    window.panel.tour.go(1)
    assert tifffile.imread(folder / "labels" / "well 1.tif.tif").shape == (3, 3)


def test_a_folder_without_images(open_panel: Open, tmp_path: Path) -> None:
    window = open_panel()
    window.panel.open_folder(tmp_path)
    assert "no image" in window.desk.message


@pytest.mark.parametrize("ending", [".tif", ".zarr", ".json", ".csv"])
def test_export(open_panel: Open, tmp_path: Path, ending: str) -> None:
    window = open_panel()
    window.take(20, 20)
    path = tmp_path / f"out{ending}"
    window.desk.archive.export(path)
    window.until(path.exists)
    window.until(lambda: "is written" in window.desk.message)
    window.desk.archive.export(tmp_path / "no" / f"out{ending}")
    window.until(lambda: "is written" not in window.desk.message)


def test_reachable_without_a_mouse(open_panel: Open) -> None:
    window = open_panel(squares((3, 100, 120)))
    window.until(window.panel.stack.isVisible)
    reachable = [
        each
        for each in window.panel.findChildren(QWidget)
        if each.focusPolicy() & Qt.FocusPolicy.TabFocus and each.isVisible() and each.isEnabled()
    ]
    names = {each.accessibleName() for each in reachable}
    assert {"Image", "Objects", "On screen", "Whole stack", "All on this plane"} <= names
