"""What File > Open Sample shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from napari.layers import Image, Layer

from sam_napari import _samples
from sam_napari._layers_axes import roles_of


@pytest.mark.parametrize(
    ("make", "roles", "units"),
    [
        (_samples.cells, ("y", "x"), ["micrometer"] * 2),
        (_samples.z_stack, ("z", "y", "x"), ["micrometer"] * 3),
        (_samples.time_lapse, ("t", "y", "x"), ["second", "micrometer", "micrometer"]),
    ],
)
def test_samples_are_images_whose_axes_are_known(
    make: Callable[[], list[Any]], roles: tuple[str, ...], units: list[str]
) -> None:
    ((data, about, kind),) = make()
    layer = Layer.create(data, about, kind)
    assert isinstance(layer, Image)
    assert roles_of(layer) == roles
    assert [str(unit) for unit in layer.units] == units
    assert layer.data.nbytes < 4 << 20
