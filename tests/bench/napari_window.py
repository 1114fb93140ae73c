"""Speed of the napari plugin in its window, by mouse and keys, and how long the window stands still meanwhile.

The window is a real one, on the display or, where there is none, on Xvfb with software OpenGL. A timer of Qt ticks
there every millisecond; the longest time between two ticks is how long the window was blocked, by whatever: by us, by
napari, or by the drawing of the picture. What napari blocks on its own is measured beside it, without the plugin.
"""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from scipy import ndimage

from sam_core import samples
from tests.bench.measure import Row, product
from tests.napari import screen

SIZE = (1280, 860)  # of the window, in pixels of the screen
HOVER = 6.0  # seconds
CLICKS = 40
BAR = 50  # milliseconds


class Pulse:
    """Ticks every millisecond in the thread of the window, and knows between which ticks it was kept from it."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.longest: dict[str, float] = {}
        self._name, self._last = "", 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(1)

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Take note of the longest block meanwhile, in seconds."""
        from qtpy.QtTest import QTest

        self._last, self._name = time.perf_counter(), name
        yield
        QTest.qWait(20)
        self._name = ""

    def stop(self) -> None:
        self._timer.stop()

    def _tick(self) -> None:
        now = time.perf_counter()
        if self._name:
            self.longest[self._name] = max(self.longest.get(self._name, 0.0), now - self._last)
        self._last = now


class Painted:
    """When the pixels of a target last changed, and when the picture was drawn after that."""

    def __init__(self, window: Any) -> None:
        self._changed = self.drawn = 0.0
        events = window.panel.desk.canvas.layer.events
        for event in (events.labels_update, events.set_data):
            event.connect(self._on_change)
        window.viewer.window._qt_viewer.canvas._scene_canvas.events.draw.connect(self._on_draw, position="last")

    def _on_change(self, _: object) -> None:
        self._changed = time.perf_counter()

    def _on_draw(self, _: object) -> None:
        if self._changed > self.drawn:
            self.drawn = time.perf_counter()


def rows() -> Iterator[Row]:
    """Use the plugin as a user does."""
    display = screen.start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["NAPARI_CONFIG"] = str(Path(folder, "settings.yaml"))
        os.environ["SAM_CORE_CACHE"] = str(Path(folder, "cache"))
        try:
            yield from _in_window(product())
            yield _memory()
        finally:
            screen.stop(display)


def _in_window(p: float) -> Iterator[Row]:
    alone = _alone()
    window = _window()
    pulse = Pulse()
    gc.collect()
    gc.freeze()  # what this program has imported: a user's napari has less, and it has nothing to do with the plugin
    yield _open(window, pulse, p)
    yield _hover(window, pulse)
    yield from _clicks(window, pulse, "512 x 512")
    _corrections(window, pulse)
    _undo(window, pulse)
    _everything(window, pulse)
    _open_large(window, pulse)
    yield from _clicks(window, pulse, "8192 x 8192, zarr")
    _time_lapse(window, pulse)
    pulse.stop()
    window.viewer.close()
    yield from _blocks(pulse.longest, alone)


# -- what a user does -------------------------------------------------------------------------------------------------


def _window(*, panel: bool = True) -> Any:
    """Return a window of napari with the panel, its model loaded."""
    import napari

    from sam_napari._widget import SegmentAnything
    from tests.napari.hand import Window

    viewer = napari.Viewer(title="napari", show=False)
    viewer.window.show()
    viewer.window.resize(*SIZE)
    window: Any = Window(viewer)
    if panel:
        window.panel = SegmentAnything(viewer)
        viewer.window.add_dock_widget(window.panel, name="Segment Anything")
        _warm(window)
    return window


def _warm(window: Any) -> None:
    """Open an image and take an object, once: the model is loaded, and Python has imported what it needs."""
    image, middles = _cells(9)
    _show(window, image)
    _take(window, *middles[7])
    window.viewer.layers.clear()
    window.settle(500)


def _cells(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture of 512 x 512 with cells, and the middles of these."""
    made = samples.cells((512, 512), count=55, diameter=32, seed=seed)
    numbers = np.unique(made.labels)[1:]
    return made.image, np.array(ndimage.center_of_mass(made.labels > 0, made.labels, numbers))


def _show(window: Any, image: Any, **about: Any) -> None:
    window.viewer.layers.clear()
    window.settle(100)
    window.viewer.add_image(image, **about)
    window.viewer.reset_view()
    window.until(lambda: window.panel.desk.is_ready and window.panel.desk.stats.loaded)
    window.settle(300)


def _take(window: Any, y: float, x: float, *, look: float = 0.0) -> None:
    """Move to a place, look for so many seconds, click, and wait for an object."""
    window.move(y, x)
    if look:
        window.settle(round(1000 * look))
    window.click(y, x)
    window.until(lambda: not window.panel.desk.state.waiting)


def _open(window: Any, pulse: Pulse, p: float) -> Row:
    """Open images while the pointer is where a cell will be."""
    times = []
    for seed in range(5):
        image, middles = _cells(seed)
        window.viewer.layers.clear()
        window.settle(300)
        with pulse.during("open 512 x 512"):
            started = time.perf_counter()
            window.viewer.add_image(image)
            while window.panel.desk.stage.shown is None:
                window.move(*(middles[7] + np.random.default_rng(seed).uniform(-2, 2, 2)))
            times.append(time.perf_counter() - started)
            window.settle(1500)
    note = f"median {_ms(np.median(times))}; P = {_ms(p)}; napari's own time to show the image included"
    return Row("napari window: open 512 x 512, first ghost drawn", float(np.median(times)) / p, "P", 3, False, note)


def _hover(window: Any, pulse: Pulse) -> Row:
    """Move from cell to cell, some 35 times a second; count what is shown."""
    choose = random.Random(0)
    image, middles = _cells(20)
    _show(window, image)
    shown: list[float] = []
    stage = window.panel.desk.stage
    tell = stage.changed

    def changed() -> None:
        tell()
        if stage.shown is not None:
            shown.append(time.perf_counter())

    stage.changed = changed
    started = time.perf_counter()
    with pulse.during("hover"):
        start = middles[0]
        while time.perf_counter() - started < HOVER:
            near = np.argsort(np.hypot(*(middles - start).T))[1:6]
            end = middles[choose.choice(near.tolist())]
            for part in np.linspace(0, 1, 25):
                window.move(*(start + part * (end - start)))
            start = end
    stage.changed = tell
    note = f"{len(shown)} in {HOVER:.0f} s, the pointer moving from cell to cell all the time"
    return Row("napari window: hover, masks drawn", len(shown) / HOVER, "masks/s", 15, True, note)


def _clicks(window: Any, pulse: Pulse, what: str) -> Iterator[Row]:
    """Take objects, with the time for a look before the click, and without."""
    middles = _cells(20)[1]
    offset = 4096 if "8192" in what else 0
    painted = Painted(window)
    for how, look in (("clicked on what is shown", 0.25), ("clicked at once, nothing shown yet", 0.0)):
        times = []
        half = middles[::2] if look else middles[1::2]
        with pulse.during(f"clicks, {what}"):
            for y, x in half[: CLICKS // 2] + offset:
                window.move(y, x) if look else window.canvas.update()
                window.settle(round(1000 * look) or 1)
                before, started = painted.drawn, time.perf_counter()
                window.click(y, x)
                window.until(lambda: not window.panel.desk.state.waiting)
                window.settle(40)
                if painted.drawn > before:
                    times.append(painted.drawn - started)
                window.settle(150)
        worst = float(np.percentile(times, 95))
        note = (
            f"median {_ms(np.median(times))}, longest {_ms(max(times))}, {len(times)} clicks; pixels changed and drawn"
        )
        yield Row(f"napari window: {how}, until painted, p95, {what}", 1000 * worst, "ms", 100, False, note)


def _corrections(window: Any, pulse: Pulse) -> None:
    """Add to objects and take away from them."""
    from tests.napari.hand import CONTROL, SHIFT

    middles = _cells(20)[1]
    with pulse.during("corrections"):
        for y, x in middles[:10]:
            _take(window, y, x, look=0.05)
            for modifier, away in ((CONTROL, 9), (SHIFT, 11)):
                window.click(y + away, x, modifier)
                window.until(lambda: not window.panel.desk.state.waiting)


def _undo(window: Any, pulse: Pulse) -> None:
    from qtpy.QtCore import Qt

    from tests.napari.hand import CONTROL

    with pulse.during("undo"):
        for _ in range(30):
            window.press(Qt.Key.Key_Z, CONTROL)


def _everything(window: Any, pulse: Pulse) -> None:
    """Find all objects of a plane of several patches, look at some, paint them, undo that."""
    from qtpy.QtCore import Qt

    from tests.napari.hand import CONTROL

    _show(window, np.tile(_cells(21)[0], (4, 4)))
    review = window.panel.review
    with pulse.during("everything, 2048 x 2048"):
        review.start("plane")
        window.until(lambda: review.batch.items and not review.is_running)
    with pulse.during("review"):
        for _ in range(10):
            review.skip()
            window.settle(100)
    with pulse.during("painting all"):
        review.commit()
        window.until(lambda: not review.is_open)
        window.settle(500)
    with pulse.during("undo of all"):
        window.press(Qt.Key.Key_Z, CONTROL)
        window.settle(300)


def _open_large(window: Any, pulse: Pulse) -> None:
    """Open a lazily read plane of 8192 x 8192, zoom to its middle, and hover there."""
    store = _zarr()
    window.viewer.layers.clear()
    window.settle(300)
    with pulse.during("open 8192 x 8192, zarr"):
        window.viewer.add_image(store, contrast_limits=(0, 4095))
        window.settle(2000)
    camera = window.viewer.scene.camera
    with pulse.during("zoom into 8192 x 8192"):
        camera.center, camera.zoom = (4352, 4352), 1.2
        window.settle(1000)
        window.until(lambda: not window.panel.desk.stats.doing)  # what is on screen is encoded
    middles = _cells(20)[1] + 4096
    with pulse.during("hover, 8192 x 8192"):
        for y, x in middles[:30]:
            window.move(y, x)
            window.settle(60)


def _time_lapse(window: Any, pulse: Pulse) -> None:
    """Follow all objects of a plane through a stack, and browse through it meanwhile."""
    made = samples.time_lapse((30, 512, 512), seed=3)
    with pulse.during("open a stack of 30 x 512 x 512"):
        _show(window, made.image, axis_labels=("t", "y", "x"))
        window.settle(1000)
    _paint_plane(window)
    pursuit = window.panel.pursuit
    with pulse.during("follow all objects, browsing"):
        pursuit.start(everything=True)
        plane = 0
        while window.panel.desk.busy:
            plane = (plane + 1) % 30
            window.viewer.dims.set_current_step(0, plane)
            window.settle(200)
    with pulse.during("after following"):
        window.settle(1000)


def _paint_plane(window: Any) -> None:
    review = window.panel.review
    review.start("plane")
    window.until(lambda: review.batch.items and not review.is_running)
    review.commit()
    window.until(lambda: not review.is_open)


# -- what napari does without us --------------------------------------------------------------------------------------


def _alone() -> dict[str, float]:
    """Return the longest blocks of napari without the plugin, for what it does in any case, in seconds."""
    window, pulse = _window(panel=False), Pulse()
    for _ in range(2):  # the second time counts: in the first one things are compiled and imported
        pulse.longest.clear()
        for name, act in _napari_acts(window.viewer):
            with pulse.during(name):
                act()
                window.settle(200)
        window.viewer.layers.clear()
        window.settle(300)
    pulse.stop()
    window.viewer.close()
    return pulse.longest


def _napari_acts(viewer: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    image, camera = _cells(0)[0], viewer.scene.camera
    yield "add an image", lambda: viewer.add_image(image)
    yield "add a Labels layer", lambda: viewer.add_labels(np.zeros(image.shape, np.uint16))
    for i in range(5):
        yield "move the view", lambda i=i: setattr(camera, "center", (200 + 20 * i, 250))
        yield "a stroke of the brush", lambda i=i: viewer.layers[1].paint((100 + 20 * i, 100), 1)
    for _ in range(5):
        yield "undo", lambda: viewer.layers[1].undo()
    viewer.layers.clear()
    stack = np.stack([image] * 30)
    yield "add a stack", lambda: viewer.add_image(stack)
    yield "add a Labels layer", lambda: viewer.add_labels(np.zeros(stack.shape, np.uint16))
    for i in range(5):
        yield "go to another plane", lambda i=i: viewer.dims.set_current_step(0, 3 * i)
    viewer.layers.clear()
    large = _zarr()
    yield "add an image of 8192 x 8192, zarr", lambda: viewer.add_image(large, contrast_limits=(0, 4095))
    yield "add its Labels layer", lambda: viewer.add_labels(np.zeros(large.shape, np.uint16))
    for i in range(5):
        yield "a stroke of the brush on 8192 x 8192", lambda i=i: viewer.layers[1].paint((4000 + 20 * i, 4000), 1)


def _zarr() -> Any:
    """Return a plane of 8192 x 8192 that is read lazily."""
    whole = np.tile(_cells(20)[0], (16, 16))
    store = zarr.create_array(zarr.storage.MemoryStore(), shape=whole.shape, chunks=(1024, 1024), dtype=whole.dtype)
    store[...] = whole
    return store


def _blocks(longest: dict[str, float], alone: dict[str, float]) -> Iterator[Row]:
    def opening(name: str) -> bool:
        return name.startswith(("open", "add"))

    for what, is_opening in (("while working", False), ("while an image is opened", True)):
        found, beside = (
            {name: value for name, value in each.items() if opening(name) == is_opening} for each in (longest, alone)
        )
        note = "; ".join(f"{name} {_ms(value)}" for name, value in found.items())
        note += ". napari alone: " + "; ".join(f"{name} {_ms(value)}" for name, value in beside.items())
        row = f"napari window: longest block {what}"
        yield Row(row, 1000 * max(found.values()), "ms", BAR, False, note)


# -- memory -----------------------------------------------------------------------------------------------------------


def _memory() -> Row:
    """Browse a stack of 100 x 512 x 512 and follow objects through it, in a process of its own."""
    code = "from tests.bench.napari_window import stack_memory; stack_memory()"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    before, peak, planes = (float(value) for value in out.split())
    note = f"peak {peak:.2f} GiB, napari with the stack open {before:.2f} GiB; {planes:.0f} planes painted"
    return Row("napari window: memory of 100 x 512 x 512, browsed and followed", peak - before, "GiB", 1.5, False, note)


def stack_memory() -> None:
    """Print GiB of memory with the stack open in napari, the most that there was afterwards, and planes painted."""
    made = samples.time_lapse((100, 512, 512), seed=3)
    window = _window(panel=False)
    window.viewer.add_image(made.image, axis_labels=("t", "y", "x"))
    window.settle(1000)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
    from sam_napari._widget import SegmentAnything

    window.panel = SegmentAnything(window.viewer)
    window.viewer.window.add_dock_widget(window.panel, name="Segment Anything")
    window.until(lambda: window.panel.desk.is_ready and window.panel.desk.stats.loaded)
    _paint_plane(window)
    window.panel.pursuit.start(everything=True)
    plane = 0
    while window.panel.desk.busy:
        plane = (plane + 1) % 100
        window.viewer.dims.set_current_step(0, plane)
        window.settle(100)
    painted = sum(part.any() for part in np.asarray(window.panel.desk.canvas.layer.data))
    print(before, _resident("VmHWM"), painted)  # noqa: T201
    window.viewer.close()


def _resident(what: str) -> float:
    """Return a figure of this process's memory, in GiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 2**20
    msg = f"no {what} in /proc/self/status: memory is only measured on Linux"
    raise RuntimeError(msg)


def _ms(seconds: Any) -> str:
    return f"{1000 * float(seconds):.0f} ms"
