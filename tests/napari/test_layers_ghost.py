from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from numpy.typing import NDArray

from sam_core import Masks
from sam_napari._layers import Ghost, Preview, bare, is_own, new_target
from sam_napari._layers_ghost import FILL, LINE, RIM, WINDOW, drawn
from sam_napari._layers_preview import TILE
from sam_napari._source import Plane

Viewer = Any
FLAT = Plane((0, 1), (0, 0))


def disk(shape: tuple[int, int], y: int, x: int, radius: int) -> Masks:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return Masks.from_labels(((rows - y) ** 2 + (columns - x) ** 2 <= radius**2).astype(np.uint8))


def ghost_layer(viewer: Viewer) -> Any:
    (layer,) = [bare(layer) for layer in viewer.layers if is_own(layer)]
    return layer


def covered(viewer: Viewer, place: tuple[float, ...]) -> int:
    """Return what the ghost draws at a place of the world; 0 beside its layer."""
    layer = ghost_layer(viewer)
    index = np.round(layer.world_to_data(place)).astype(int)
    inside = (index >= 0).all() and (index < layer.data.shape).all()
    return int(layer.data[tuple(index)]) if inside else 0


def test_a_mask_is_filled_lined_and_rimmed() -> None:
    pixels, box = drawn(disk((50, 60), 20, 30, 8), 1, 1, dashed=False)
    assert box == (11, 21, 30, 40)
    inside = disk((50, 60), 20, 30, 8).dense()[0][11:30, 21:40]
    np.testing.assert_array_equal((pixels == FILL) | (pixels == LINE), inside)
    assert pixels[9, 9] == FILL
    assert pixels[9, 1] == LINE
    assert pixels[9, 0] == RIM
    dashed, _ = drawn(disk((50, 60), 20, 30, 8), 1, 1, dashed=True)
    assert 0.3 < np.count_nonzero(dashed == LINE) / np.count_nonzero(pixels == LINE) < 0.7
    coarse, box = drawn(disk((500, 600), 200, 300, 80), 8, 1, dashed=False)
    assert box == (14, 26, 37, 49)
    assert coarse[11, 11] == FILL


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0)])
def test_a_ghost_lies_on_its_pixels_from_any_side(order: tuple[int, ...]) -> None:
    viewer = ViewerModel()
    affine = np.array([[1, 0, 0, 3], [0, 0.8, -0.6, 1], [0, 0.6, 0.8, 2], [0, 0, 0, 1.0]])
    image = viewer.add_image(
        np.zeros((40, 60, 70), np.uint8),
        scale=(2, 1, 0.5),
        translate=(1, 2, 3),
        affine=affine if order[0] == 0 else None,
    )
    viewer.dims.order = order
    viewer.dims.set_point(order[0], viewer.dims.range[order[0]].start + 11 * viewer.dims.range[order[0]].step)
    rows, columns = order[1:]
    index = [0, 0, 0]
    index[order[0]] = 11
    plane = Plane((rows, columns), tuple(index))
    ghost = Ghost(viewer, image)
    ghost.show(plane, disk((image.data.shape[rows], image.data.shape[columns]), 15, 21, 6))
    for y, x, expected in [(15, 21, True), (15, 25, True), (15, 33, False), (27, 21, False), (21, 15, False)]:
        index[rows], index[columns] = y, x
        assert (covered(viewer, image.data_to_world(index)) in (FILL, LINE)) == expected
    index[rows], index[columns] = 15, 21
    index[order[0]] = 12
    assert covered(viewer, image.data_to_world(index)) == 0  # only on its plane
    ghost.hide()
    assert not ghost_layer(viewer).data.any()
    ghost.close()
    assert list(viewer.layers) == [image]


def test_what_a_viewer_shows_stays_as_it_was() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(
        np.zeros((3, 5, 1300, 1500), np.uint8), axis_labels=("c", "z", "y", "x"), scale=(1, 4, 1, 1)
    )
    target = new_target(viewer, image)
    viewer.dims.set_point(1, 8)
    before = (viewer.dims.range, viewer.dims.point, viewer.dims.axis_labels, set(viewer.layers.selection))
    ghost = Ghost(viewer, image)
    plane = Plane((1, 2), (2, 0, 0))
    for y, x, radius in ((50, 60, 20), (1290, 1490, 40), (700, 700, 600), (5, 1499, 3)):
        ghost.show(plane, disk((1300, 1500), y, x, radius), 0.9, 0, 3)
        assert (viewer.dims.range, viewer.dims.point, viewer.dims.axis_labels) == before[:3]
        assert viewer.layers[-1] is ghost_layer(viewer)
        assert covered(viewer, image.data_to_world((1, 2, y, x))) in (FILL, LINE)
    assert set(viewer.layers.selection) == before[3] == {target}
    ghost.close()


def test_it_is_not_to_be_selected_deleted_or_undone() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((60, 70), np.uint8))
    target = new_target(viewer, image)
    ghost = Ghost(viewer, image)
    ghost.show(FLAT, disk((60, 70), 20, 20, 8))
    layer = ghost_layer(viewer)
    assert ghost.owns(layer)
    assert not ghost.owns(target)
    assert not ghost.owns(None)
    viewer.layers.selection.active = layer
    assert viewer.layers.selection.active is target
    viewer.layers.selection = {image, layer}
    assert set(viewer.layers.selection) == {image}
    viewer.layers.selection.clear()
    viewer.layers.selection = {layer}
    assert layer not in viewer.layers.selection
    drawing = layer.data.copy()
    layer.undo()
    np.testing.assert_array_equal(layer.data, drawing)
    viewer.layers.select_all()
    viewer.layers.remove_selected()
    assert list(viewer.layers) == [layer]
    ghost.hide()
    viewer.layers.remove(layer)
    ghost.hide()
    ghost.show(FLAT, disk((60, 70), 20, 20, 8))  # added again
    assert covered(viewer, (20, 20)) == FILL
    ghost.close()
    ghost.close()
    assert not len(viewer.layers)


def test_other_layers_do_not_cover_it_and_another_image_moves_it() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((60, 70), np.uint8))
    ghost = Ghost(viewer)
    ghost.prepare()
    ghost.show(FLAT, disk((60, 70), 20, 20, 8))
    assert list(viewer.layers) == [image]  # there is nothing yet that it could lie over
    ghost.over(image)
    ghost.prepare()
    assert ghost_layer(viewer) is viewer.layers[-1]
    stack = viewer.add_image(np.zeros((4, 80, 90), np.uint8), translate=(0, 100, 100), units=("um", "um", "um"))
    ghost.over(stack)
    viewer.dims.set_point(0, 3)
    ghost.show(Plane((1, 2), (3, 0, 0)), disk((80, 90), 20, 20, 8))
    assert covered(viewer, (3, 120, 120)) == FILL
    assert viewer.layers[-1] is ghost_layer(viewer)
    stack.translate = (0, 200, 200)
    assert not ghost_layer(viewer).data.any()  # until the pointer moves
    ghost.show(Plane((1, 2), (3, 0, 0)), disk((80, 90), 20, 20, 8), 1.0, 0, 0)
    assert (covered(viewer, (3, 220, 220)), covered(viewer, (3, 220, 212))) == (0, LINE)  # an object already: outlined
    viewer.dims.order = (1, 0, 2)
    ghost.show(Plane((1, 2), (3, 0, 0)), disk((80, 90), 20, 20, 8))
    assert not ghost_layer(viewer).data.any()  # of a plane that is not on screen any more
    events = stack.events
    connected = len(events.scale.callbacks)
    ghost.close()
    assert len(events.scale.callbacks) == connected - 1


def pixels_of(viewer: Viewer) -> NDArray[np.int64]:
    return bare(viewer).screenshot(canvas_only=True, flash=False)[..., :3].astype(int)


def yellow(picture: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (picture[..., 0] > 150) & (picture[..., 1] > 130) & (picture[..., 2] < 110)


@pytest.fixture
def window(make_napari_viewer_proxy: Callable[..., Viewer]) -> Viewer:
    return make_napari_viewer_proxy(show=True)


def test_the_screen_shows_the_ghost_where_it_is(window: Viewer, qtbot: Any) -> None:
    image = window.add_image(np.zeros((200, 200), np.uint8), contrast_limits=(0, 255))
    target = new_target(window, image)
    ghost = Ghost(window, image)
    ghost.prepare()
    qtbot.wait(1)
    seen = []
    for x in (50, 150):
        ghost.show(FLAT, disk((200, 200), 100, x, 20))
        marked = yellow(pixels_of(window))
        columns = np.argwhere(marked)[:, 1]
        seen.append(columns.mean())
        assert np.ptp(columns) < marked.shape[1] / 3  # the former one is gone
    assert seen[1] - seen[0] > 100
    ghost.hide()
    assert not yellow(pixels_of(window)).any()
    assert bare(window).layers.selection.active is bare(target)
    ghost.close()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
def test_the_screen_shows_objects_as_they_are_found(window: Viewer, order: tuple[int, ...]) -> None:
    image = window.add_image(np.zeros((100, 120, 140), np.uint8), contrast_limits=(0, 255))
    window.dims.order = order
    window.dims.set_point(order[0], 30)
    rows, columns = order[1:]
    plane = Plane((rows, columns), (30, 0, 0) if order[0] == 0 else (0, 30, 0))
    shape = (image.data.shape[rows], image.data.shape[columns])
    preview = Preview(window, image)
    preview.prepare()
    pixels_of(window)
    dark = np.count_nonzero(pixels_of(window).sum(axis=-1) > 60)
    found = Masks.merge([disk(shape, 20, 20, 12), disk(shape, 70, 70, 15)])
    preview.add(plane, found)
    preview.add(plane.at(order[0], 31), disk(shape, 40, 90, 30))  # on another plane
    while not preview.settle():
        pass
    both = np.count_nonzero(pixels_of(window).sum(axis=-1) > 60) - dark
    assert both > 1000
    preview.set_visible({0, 2})
    one = np.count_nonzero(pixels_of(window).sum(axis=-1) > 60) - dark
    assert 0.3 < one / both < 0.5
    preview.set_visible({0, 1, 2})
    assert np.count_nonzero(pixels_of(window).sum(axis=-1) > 60) - dark == both
    preview.clear()
    assert np.count_nonzero(pixels_of(window).sum(axis=-1) > 60) == dark
    preview.close()
    assert len(window.layers) == 1


def shown_labels(viewer: ViewerModel) -> NDArray[Any]:
    return np.asarray(ghost_layer(viewer).data)


@pytest.mark.parametrize("shape", [(5, 400, 500), (600, 400, 600)])
def test_a_preview_hides_and_shows_and_replaces(shape: tuple[int, ...]) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.broadcast_to(np.zeros((), np.uint8), shape), contrast_limits=(0, 255))
    preview = Preview(viewer, image)
    plane, side = Plane((1, 2), (3, 0, 0)), Plane((2, 0), (0, 9, 0))
    masks = Masks.merge([disk(shape[1:], 50, 60, 20), disk(shape[1:], 50, 85, 20), disk(shape[1:], 300, 300, 9)])
    assert preview.add(plane, masks) == range(3)
    assert preview.add(side, disk((shape[2], shape[0]), 30, 2, 2)) == range(3, 4)
    while not preview.settle():
        pass
    drawn_plane = np.asarray(ghost_layer(viewer).data[3])
    assert drawn_plane[50, 60] == 1
    assert drawn_plane[50, 72] == 1
    assert drawn_plane[50, 85] == 2
    assert np.asarray(ghost_layer(viewer).data[:, 9, 30])[2] == 4
    preview.set_visible({1, 2})
    while not preview.settle():
        pass
    drawn_plane = np.asarray(ghost_layer(viewer).data[3])
    assert not (drawn_plane == 1).any()
    assert (drawn_plane == 3).sum() == masks.areas[2]
    preview.replace(2, disk(shape[1:], 200, 200, 5))
    drawn_plane = np.asarray(ghost_layer(viewer).data[3])
    assert drawn_plane[300, 300] == 0
    assert drawn_plane[200, 200] == 3
    assert len(preview) == 4
    preview.clear()
    assert len(preview) == 0
    assert not np.asarray(ghost_layer(viewer).data[3]).any()
    preview.close()


def test_a_preview_paints_no_longer_than_the_windows_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(0.0)
    monkeypatch.setattr("sam_napari._layers_preview.time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    viewer = ViewerModel()
    preview = Preview(viewer, viewer.add_image(np.zeros((5200, 200), np.uint8)))
    preview.add(FLAT, Masks.merge([disk((5200, 200), 50 + TILE * i, 100, 5) for i in range(20)]))
    preview.set_visible(range(0, 20, 2))
    rounds = 1
    while not preview.settle():
        rounds += 1
    assert 9 <= rounds <= 10  # a tile at a time; what was hidden before it was painted takes none
    assert np.unique(ghost_layer(viewer).data)[1:].tolist() == list(range(1, 21, 2))
    preview.close()


def test_the_ghost_stays_small() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.broadcast_to(np.zeros((), np.uint8), (9000, 9000)), contrast_limits=(0, 255))
    ghost = Ghost(viewer, image)
    ghost.show(FLAT, disk((9000, 9000), 4500, 4500, 3000))
    assert max(ghost_layer(viewer).data.shape) <= WINDOW
    assert covered(viewer, (4500, 4500)) == FILL
    assert covered(viewer, (4500, 1510)) != 0
    ghost.close()
