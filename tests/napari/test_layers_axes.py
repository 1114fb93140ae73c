from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image

from sam_core import ImageError
from sam_napari._layers import Axes, Over, new_target, roles_of, source_of, view_of, where
from sam_napari._layers_view import resolution
from sam_napari._source import Plane

ROLES = [
    # shape, axis labels, units, roles
    ((64, 48), None, None, "yx"),
    ((64, 48), ("x", "y"), None, "xy"),
    ((30, 64, 48), None, None, "zyx"),
    ((3, 64, 48), None, None, "zyx"),  # few planes are a stack, not channels
    ((30, 64, 48), ("Time", "y", "x"), None, "tyx"),
    ((30, 64, 48), ("frame", "row", "col"), None, "tyx"),
    ((30, 64, 48), ("pln", "row", "col"), None, "zyx"),
    ((30, 64, 48), None, ("s", "um", "um"), "tyx"),
    ((3, 64, 48), ("Channel", "Y", "X"), None, "cyx"),
    ((64, 48, 30), ("y", "x", "z"), None, "yxz"),
    ((20, 30, 64, 48), None, None, "tzyx"),
    ((2, 30, 64, 48), None, None, "czyx"),
    ((20, 2, 64, 48), None, None, "zcyx"),
    ((20, 2, 30, 64, 48), None, None, "tczyx"),
    ((2, 3, 64, 48), None, None, "tzyx"),  # nothing tells which of two short axes holds channels
    ((3, 30, 64, 48), None, ("um", "s", "um", "um"), "ztyx"),
    ((3, 30, 64, 48), ("t", "z", "y", "x"), None, "tzyx"),
    ((3, 30, 64, 48), ("", "z-axis", "y", "x"), None, "czyx"),
    ((5, 6, 7, 64, 48), None, None, "?tzyx"),
    ((5, 6, 64, 48), ("position", "time", "y", "x"), None, "ztyx"),
]


@pytest.mark.parametrize(("shape", "labels", "units", "roles"), ROLES)
def test_roles(
    shape: tuple[int, ...], labels: tuple[str, ...] | None, units: tuple[str, ...] | None, roles: str
) -> None:
    layer = Image(np.zeros(shape, np.uint8), axis_labels=labels, units=units)
    assert "".join(roles_of(layer)) == roles


def test_the_user_knows_better_than_names() -> None:
    layer = Image(np.zeros((3, 30, 64, 48), np.uint8), axis_labels=("t", "z", "y", "x"))
    assert roles_of(layer, {0: "c"}) == ("c", "z", "y", "x")
    assert roles_of(layer, {-3: "t"}) == ("z", "t", "y", "x")
    assert roles_of(layer, {3: "y", 2: "x"}) == ("t", "z", "x", "y")


def test_colours_are_no_axis() -> None:
    layer = Image(np.zeros((30, 64, 48, 3), np.uint8), rgb=True)
    assert roles_of(layer) == ("z", "y", "x")
    assert source_of(layer).sizes == (30, 64, 48)


@pytest.mark.parametrize("roles", [("y", "y", "x"), ("c", "x"), ("c", "c", "y", "x")])
def test_roles_that_show_nothing_are_refused(roles: tuple[str, ...]) -> None:
    with pytest.raises(ImageError, match="say which axis is which"):
        Axes(roles)


STACK = np.random.default_rng(0).integers(0, 255, (2, 3, 4, 40, 32), dtype=np.uint8)  # t c z y x


@pytest.mark.parametrize(
    "wrap",
    [
        np.asarray,
        lambda a: da.from_array(a, chunks=(1, 1, 2, 16, 16)),
        lambda a: zarr.array(a, chunks=(1, 1, 2, 16, 16)),
    ],
    ids=["numpy", "dask", "zarr"],
)
def test_a_channel_is_read_lazily(wrap: object) -> None:
    layer = Image(wrap(STACK), axis_labels=("t", "c", "z", "y", "x"))  # type: ignore[operator]
    source = source_of(layer, channel=2)
    assert source.roles == ("t", "z", "y", "x")
    assert source.sizes == (2, 4, 40, 32)
    plane = Plane((1, 3), (1, 0, 7, 0))  # seen from the side
    np.testing.assert_array_equal(source.read(plane, (0, 5, 4, 30)), STACK[1, 2, :, 7, 5:30])
    with pytest.raises(ImageError, match="choose another channel"):
        source_of(layer, channel=3)


def test_levels_and_contrast_are_taken_over() -> None:
    fine = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    layer = Image([fine, fine[::2, ::2]], multiscale=True, contrast_limits=(100, 300))
    source = source_of(layer, as_displayed=True)
    assert [level.shape for level in source.levels] == [(64, 64), (32, 32)]
    assert source.limits == (100.0, 300.0)
    assert source_of(layer).limits is None
    assert source_of(layer).version != source_of(layer).version


def shown(shape: tuple[int, ...], **arguments: object) -> tuple[ViewerModel, Image]:
    viewer = ViewerModel()
    return viewer, viewer.add_image(np.zeros(shape, np.uint8), **arguments)


orders = st.permutations(range(3))
places = st.tuples(st.integers(0, 4), st.floats(-0.49, 29.49), st.floats(-0.49, 19.49))
positive = st.floats(0.1, 10)


@settings(max_examples=60, deadline=None)
@given(
    orders, st.tuples(st.integers(0, 4), st.integers(0, 29), st.integers(0, 19)), st.tuples(*[positive] * 3), st.data()
)
def test_a_place_of_the_world_is_found_again(
    order: list[int], index: tuple[int, ...], scale: tuple[float, ...], data: st.DataObject
) -> None:
    angle = data.draw(st.floats(-180, 180)) if order[0] == 0 else 0.0  # turned within the plane on screen
    turned = np.eye(3)
    turned[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = np.eye(4)
    affine[:3, 3] = data.draw(st.tuples(*[st.floats(-50, 50)] * 3))
    viewer, layer = shown((5, 30, 20), scale=scale, translate=(3, -7, 1), rotate=turned, affine=affine)
    viewer.dims.order = tuple(order)
    shift = [data.draw(st.floats(-0.45, 0.45)) if axis in order[1:] else 0.0 for axis in range(3)]
    place = np.add(index, shift)
    found = where(viewer, layer, layer.data_to_world(place))
    assert found is not None
    plane, point = found
    rows, columns = order[1:]
    assert plane.axes == (rows, columns)
    assert [plane.index[axis] for axis in order] == [index[order[0]], 0, 0]
    np.testing.assert_allclose(point, (place[rows], place[columns]), atol=1e-6)


def test_beside_the_layer_and_in_3d_there_is_nothing() -> None:
    viewer, layer = shown((5, 30, 20))
    assert where(viewer, layer, (2, -0.4, 19.4)) is not None
    assert where(viewer, layer, (2, -0.6, 5)) is None
    assert where(viewer, layer, (5, 4, 5)) is None  # the slider of a longer stack
    assert where(viewer, layer, (2, -9, 40), clip=True) == (Plane((1, 2), (2, 0, 0)), (0.0, 19.0))
    viewer.dims.ndisplay = 3
    assert where(viewer, layer, (2, 4, 5)) is None
    assert view_of(viewer, layer) is None


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # napari divides by the length of the axes
def test_in_an_empty_image_there_is_nothing() -> None:
    viewer, layer = shown((0, 30, 20), contrast_limits=(0, 1))
    assert where(viewer, layer, (0, 4, 5)) is None
    assert view_of(viewer, layer) is None
    with pytest.raises(ImageError, match="expected an image with pixels"):
        new_target(viewer, layer)


def test_a_layer_of_fewer_axes_is_seen_only_from_the_front() -> None:
    viewer, _ = shown((5, 30, 20))
    flat = viewer.add_image(np.zeros((30, 20), np.uint8))
    assert where(viewer, flat, (3, 4, 5)) == (Plane((0, 1), (0, 0)), (4.0, 5.0))
    viewer.dims.order = (1, 0, 2)
    assert where(viewer, flat, (3, 4, 5)) is None
    assert view_of(viewer, flat) is None


def test_channels_are_no_axis_of_a_plane() -> None:
    viewer, layer = shown((4, 3, 5, 30, 20), axis_labels=("t", "c", "z", "y", "x"))
    assert where(viewer, layer, (3, 1, 2, 4, 5)) == (Plane((2, 3), (3, 2, 0, 0)), (4.0, 5.0))
    viewer.dims.order = (0, 3, 4, 1, 2)
    assert where(viewer, layer, (3, 1, 2, 4, 5)) is None  # channels against z


def test_layers_of_other_units_are_found() -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((100, 100), np.uint8), scale=(20, 20), units=("nm", "nm"))
    layer = viewer.add_image(np.zeros((50, 50), np.uint8), scale=(0.04, 0.04), units=("um", "um"))
    assert [str(unit) for unit in viewer.dims.units] == ["nanometer", "nanometer"]
    _, point = where(viewer, layer, (400, 800)) or pytest.fail("beside it")
    np.testing.assert_allclose(point, (10, 20))
    viewer.scene.camera.zoom = 0.1
    assert resolution(viewer, layer, Axes(("y", "x")), (0, 1)) == pytest.approx(0.25)


def test_what_is_on_screen() -> None:
    viewer, layer = shown((1000, 800), scale=(2, 2))
    viewer.canvas.size = (300, 400)
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0, 600.0, 200.0), 0.5
    plane, region, resolved = view_of(viewer, layer) or pytest.fail("nothing on screen")
    assert plane == Plane((0, 1), (0, 0))
    np.testing.assert_allclose(region, (150.5, 0, 450.5, 300.5))
    assert resolved == pytest.approx(1.0)
    viewer.scene.camera.center = (0, 9000.0, 9000.0)
    assert view_of(viewer, layer) is None


@pytest.mark.parametrize(
    ("roles", "shape"),
    [
        ("yx", (30, 20)),
        ("cyx", (30, 20)),
        ("zyx", (9, 30, 20)),
        ("zcyx", (9, 1, 30, 20)),
        ("tczyx", (4, 1, 9, 30, 20)),
        ("yxc", (30, 20, 1)),
    ],
)
def test_a_layer_over_an_image_covers_it_at_all_channels(roles: str, shape: tuple[int, ...]) -> None:
    sizes = {"t": 4, "c": 3, "z": 9, "y": 30, "x": 20}
    full = tuple(sizes[role] for role in roles)
    viewer, image = shown(full, axis_labels=tuple(roles), scale=range(1, len(full) + 1), translate=[5] * len(full))
    over = Over.of(image, Axes(tuple(roles)))
    assert over.shape == shape
    layer = viewer.add_labels(np.zeros(shape, np.uint8), **over.arguments)
    offset = len(full) - len(shape)
    for place in ([0] * len(full), [n - 1 for n in full]):
        own = layer.world_to_data(image.data_to_world(place))
        for axis, value in enumerate(own):
            expected = 0 if roles[axis + offset] == "c" else place[axis + offset]
            assert round(value) == expected
            assert roles[axis + offset] == "c" or value == pytest.approx(expected)
    np.testing.assert_allclose(over.matrix @ np.ones(len(shape) + 1), [*layer.data_to_world(np.ones(len(shape))), 1])
