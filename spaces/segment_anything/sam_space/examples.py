"""Pictures to begin with: made by simulation, so they are nobody's, and encoded before anybody comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sam_core import samples
from sam_space.picture import Picture


@dataclass(frozen=True, slots=True)
class Example:
    """A picture that can be made again.

    Parameters
    ----------
    name
        What it is called in an address.
    title
        What it is called on the page.
    call
        Python that makes it.
    """

    name: str
    title: str
    call: str
    make: Callable[[], samples.Sample]

    def picture(self) -> Picture:
        """Make it."""
        sample = self.make()
        planes = [sample.image] if sample.axes == "YX" else list(sample.image)
        shown = f"[{self.call}.image]" if sample.axes == "YX" else f"list({self.call}.image)"
        return Picture.of(f"{self.name}.tif", planes, sample.axes, f"planes = {shown}")


EXAMPLES = (
    Example(
        "cells",
        "Bright cells",
        "samples.cells((320, 384), count=60, diameter=28.0, seed=3)",
        lambda: samples.cells((320, 384), count=60, diameter=28.0, seed=3),
    ),
    Example(
        "dark",
        "Dark cells, crowded",
        "samples.cells((320, 384), count=110, diameter=23.0, dark=True, seed=5)",
        lambda: samples.cells((320, 384), count=110, diameter=23.0, dark=True, seed=5),
    ),
    Example(
        "stack",
        "Stack of 16 planes",
        "samples.z_stack((16, 240, 288), count=60, diameter=34.0, seed=2)",
        lambda: samples.z_stack((16, 240, 288), count=60, diameter=34.0, seed=2),
    ),
    Example(
        "time",
        "Time-lapse",
        "samples.time_lapse((12, 240, 288), count=32, diameter=27.0, seed=4)",
        lambda: samples.time_lapse((12, 240, 288), count=32, diameter=27.0, seed=4),
    ),
)
"""All of them, the first one is open when the page opens."""
