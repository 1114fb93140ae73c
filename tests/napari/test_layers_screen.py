from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from sam_napari._change import Change
from sam_napari._layers import Ghost, LabelsCanvas, Preview, bare, new_target, view_of
from sam_napari._source import Plane

Viewer = Any
SHAPE = (20, 120, 140)


@pytest.fixture
def window(make_napari_viewer_proxy: Callable[..., Viewer]) -> Viewer:
    return make_napari_viewer_proxy(show=True)


def coloured(window: Viewer) -> NDArray[np.bool_]:
    picture = bare(window).screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    return np.ptp(picture, axis=-1) > 40


@pytest.mark.parametrize("kind", ["numpy", "int32", "zarr", "dask"])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
def test_what_is_painted_is_on_screen_and_what_is_undone_is_not(
    window: Viewer, kind: str, order: tuple[int, ...]
) -> None:
    data = {
        "numpy": lambda: np.zeros(SHAPE, np.uint16),
        "int32": lambda: np.zeros(SHAPE, np.int32),
        "zarr": lambda: zarr.zeros(shape=SHAPE, chunks=(1, 64, 64), dtype="uint16"),
        "dask": lambda: da.zeros(SHAPE, chunks=(1, 64, 64), dtype=np.uint16),
    }[kind]()
    image = window.add_image(np.full(SHAPE, 60, np.uint8), contrast_limits=(0, 255))
    window.dims.order = order
    window.dims.set_point(order[0], 10)
    canvas = LabelsCanvas(window, window.add_labels(data, opacity=1.0), image)
    rows, columns = order[1:]
    plane = Plane((rows, columns), (10, 0, 0) if order[0] == 0 else (0, 10, 0))
    height, width = canvas.shape(plane)
    box = (0, 0, height // 2, width)
    assert not coloured(window).any()
    canvas.write([Change(plane, box, np.full((height // 2, width), 3, canvas.dtype))])
    painted = coloured(window)
    # Half of the plane is painted: the upper half of what is on screen.
    _, region, _ = view_of(window, image) or pytest.fail("nothing on screen")
    assert region == (0, 0, height, width)
    places = np.argwhere(painted)
    assert places[:, 0].max() < painted.shape[0] * 0.52
    assert painted[places[:, 0].min() : places[:, 0].max(), places[:, 1].min() : places[:, 1].max()].mean() > 0.97
    canvas.layer.undo()
    assert not coloured(window).any()
    canvas.layer.redo()
    np.testing.assert_array_equal(coloured(window), painted)
    canvas.write([Change(plane.at(order[0], 11), box, np.full((height // 2, width), 4, canvas.dtype))])
    np.testing.assert_array_equal(coloured(window), painted)  # that is another plane
    window.dims.ndisplay = 3
    canvas.write([Change(plane, box, np.full((height // 2, width), 5, canvas.dtype))])
    window.dims.ndisplay = 2
    np.testing.assert_array_equal(canvas.read(plane, box), 5)
    canvas.close()


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2)])
@pytest.mark.parametrize("multiscale", [False, True])
def test_the_view_is_the_one_that_napari_draws(window: Viewer, order: tuple[int, ...], multiscale: bool) -> None:
    data = np.zeros((100, 900, 700), np.uint8)
    levels = [data, data[:, ::2, ::2], data[:, ::4, ::4]] if multiscale else data
    image = window.add_image(levels, scale=(3, 0.5, 0.5), translate=(5, 6, 7), contrast_limits=(0, 255))
    window.dims.order = order
    camera = window.scene.camera
    camera.zoom *= 3
    y, x = (np.mean(window.dims.range[axis][:2]) for axis in order[1:])
    camera.center = (0, y * 0.9, x * 1.05)
    coloured(window)  # draws
    plane, region, resolution = view_of(window, image) or pytest.fail("nothing on screen")
    level = bare(image).data_level
    factors = bare(image).downsample_factors[level]
    axes = list(plane.axes)
    corners = bare(image).corner_pixels[:, axes] * factors[axes]
    (top, left), (bottom, right) = corners.tolist()
    slack = 2 * factors[axes].max() + 1
    if multiscale:  # napari loads a little more than what is on screen
        assert top <= region[0] + slack
        assert left <= region[1] + slack
        assert bottom >= region[2] - slack
        assert right >= region[3] - slack
    else:
        np.testing.assert_allclose(region, (top, left, bottom + 1, right + 1), atol=slack)
    height, width = (region[2] - region[0], region[3] - region[1])
    assert min(height, width) > 0
    assert resolution > 0


def test_closing_the_window_first_does_no_harm(make_napari_viewer: Callable[..., Any]) -> None:
    viewer = make_napari_viewer(show=True)
    image = viewer.add_image(np.zeros((60, 70), np.uint8))
    canvas = LabelsCanvas(viewer, new_target(viewer, image), image)
    ghost, preview = Ghost(viewer, image), Preview(viewer, image)
    ghost.prepare()
    preview.prepare()
    viewer.close()
    for each in (ghost, preview, canvas):
        each.close()


def test_the_list_of_layers_shows_what_is_selected(window: Viewer) -> None:
    image = window.add_image(np.zeros((60, 70), np.uint8))
    target = bare(new_target(window, image))
    ghost = Ghost(window, image)
    ghost.prepare()
    layers = bare(window).window._qt_viewer.layers
    model, selected = layers.model(), layers.selectionModel()

    def layer_at(index: Any) -> Any:
        return model.sourceModel().getItem(model.mapToSource(index))

    assert ghost.owns(layer_at(model.index(0, 0)))
    layers.setCurrentIndex(model.index(0, 0))  # as a click on it does
    assert [layer_at(index) for index in selected.selectedIndexes()] == [target]
    assert list(bare(window).layers.selection) == [target]
    ghost.close()
