"""What File > Open Sample offers: synthetic cells, made when they are asked for."""

from __future__ import annotations

from typing import Any

from sam_core import samples

PIXEL = 0.5  # micrometers


def cells() -> list[tuple[Any, dict[str, Any], str]]:
    """Return a plane of cells."""
    sample = samples.cells((512, 512), count=90, diameter=34, seed=1)
    about = {"name": "cells", "scale": (PIXEL, PIXEL), "units": ("micrometer",) * 2, "axis_labels": ("y", "x")}
    return [(sample.image, about, "image")]


def z_stack() -> list[tuple[Any, dict[str, Any], str]]:
    """Return a stack of round cells, whose planes are three times as far apart as pixels."""
    sample = samples.z_stack((24, 256, 256), count=40, diameter=36, seed=1)
    scale = (3 * PIXEL, PIXEL, PIXEL)
    about = {"name": "cells, z-stack", "scale": scale, "units": ("micrometer",) * 3, "axis_labels": ("z", "y", "x")}
    return [(sample.image, about, "image")]


def time_lapse() -> list[tuple[Any, dict[str, Any], str]]:
    """Return cells that drift, one picture every five minutes."""
    sample = samples.time_lapse((16, 256, 256), count=28, diameter=30, seed=1)
    about = {
        "name": "cells, time-lapse",
        "scale": (300.0, PIXEL, PIXEL),
        "units": ("second", "micrometer", "micrometer"),
        "axis_labels": ("t", "y", "x"),
    }
    return [(sample.image, about, "image")]
