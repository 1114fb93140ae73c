"""The pictures of docs/napari.md: `python -m tests.napari.pictures`, on a screen of at least 1300 x 900.

All are of synthetic cells, with the embedded model, driven by mouse and keys.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parents[2] / "docs" / "images"
MANIFEST = Path(__file__).parents[2] / "plugins" / "sam_napari" / "napari.yaml"
SIZE = (1280, 860)


def main() -> None:
    """Take all pictures, or those that are named."""
    wanted = sys.argv[1:] or ["click", "review", "stack", "side", "time", "light", "preferences"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["NAPARI_CONFIG"] = str(Path(folder, "settings.yaml"))
        os.environ["SAM_CORE_CACHE"] = str(Path(folder, "cache"))
        for name in wanted:
            globals()[name]()


def click() -> None:
    """Take one of an object under the pointer, one of its candidates, and one of the object after a click."""
    window = opened("cells")
    y, x = closer(window)
    window.move(y, x)
    window.until(lambda: window.panel.desk.stage.shown)
    save(window, "hover")
    candidates(window, y, x)
    window.click(y, x)
    window.until(lambda: window.panel.desk.state.label)
    save(window, "click")
    window.viewer.close()


def candidates(window: Any, y: float, x: float) -> None:
    """Lay what is shown for each turn of the wheel side by side."""
    from PIL import Image

    from tests.napari.hand import SHIFT

    parts, side = [], 260
    for _ in range(window.panel.desk.stage.shown.of):
        window.settle(300)
        place, picture = window.at(y, x), window.viewer.window._qt_viewer.canvas.screenshot()
        ratio = picture.devicePixelRatio()
        cut = picture.copy(
            int(place.x() * ratio) - side // 2, int(place.y() * ratio) - side // 2, side, side
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            cut.save(str(Path(folder, "part.png")))
            parts.append(Image.open(Path(folder, "part.png")).convert("RGB").copy())
        window.wheel(1, SHIFT)
    row = Image.new("RGB", (len(parts) * (side + 8) - 8, side), "white")
    for i, part in enumerate(parts):
        row.paste(part, (i * (side + 8), 0))
    row.save(FOLDER / "napari-candidates.png", optimize=True)


def closer(window: Any) -> tuple[float, float]:
    """Bring a cell near the middle closer, and return where it is, in the world."""
    y, x = middle_of(window)
    camera = window.viewer.scene.camera
    camera.center, camera.zoom = (y, x), camera.zoom * 2.5
    window.settle(1500)
    return y, x


def review() -> None:
    """Everything, with the most doubtful object asked about."""
    window = opened("cells")
    window.panel.review.start("plane")
    window.until(lambda: window.panel.review.batch.items and not window.panel.review.is_running)
    for _ in range(6):
        window.panel.review.skip()
        window.settle(100)
    save(window, "review")
    window.viewer.close()


def light() -> None:
    """The same in the light theme, with all sections open."""
    from sam_napari._ui import Section

    window = opened("cells")
    window.viewer.theme = "light"
    for section in window.panel.findChildren(Section):
        section.heading.setChecked(section.content in (window.panel.axes, window.panel.model, window.panel.object))
    y, x = closer(window)
    window.click(y, x)
    window.until(lambda: window.panel.desk.state.label)
    save(window, "light")
    window.viewer.close()


def stack() -> None:
    """An object that was clicked on one plane, followed through the stack."""
    window = opened("z_stack")
    everything_on_the_plane(window)
    window.panel.pursuit.start(everything=True)
    window.until(lambda: not window.panel.desk.busy)
    window.viewer.dims.set_current_step(0, window.viewer.dims.current_step[0] + 3)
    save(window, "stack")
    window.viewer.dims.order = (1, 0, 2)
    window.viewer.reset_view()
    save(window, "side")
    window.viewer.close()


def side() -> None:
    """Taken together with the stack."""


def time() -> None:
    """Cells that are followed through a time-lapse, while that goes on."""
    window = opened("time_lapse")
    everything_on_the_plane(window)
    window.panel.pursuit.start(everything=True)
    window.until(lambda: window.panel.pursuit.done > 5)
    save(window, "time")
    window.viewer.close()


def preferences() -> None:
    """The page of the preferences."""
    from qtpy.QtWidgets import QListWidget

    window = opened("cells")
    dialog = window.viewer.window._open_preferences_dialog()
    pages = dialog.findChild(QListWidget)
    for i in range(pages.count()):
        if "Segment" in pages.item(i).text():
            pages.setCurrentRow(i)
    dialog.resize(760, 760)
    window.settle(500)
    dialog.grab().save(str(FOLDER / "napari-preferences.png"))
    smaller(FOLDER / "napari-preferences.png")
    dialog.close()
    window.viewer.close()


def everything_on_the_plane(window: Any) -> None:
    """Paint all objects of the plane on screen."""
    window.panel.review.start("plane")
    window.until(lambda: window.panel.review.batch.items and not window.panel.review.is_running)
    window.panel.review.commit()
    window.until(lambda: not window.panel.review.is_open)


def opened(sample: str) -> Any:
    """Open a sample with the panel beside it."""
    import napari
    from npe2 import PluginManager, PluginManifest

    from tests.napari.hand import Window

    manager = PluginManager.instance()
    manager.discover()
    if "sam-core" not in manager:
        manager.register(PluginManifest.from_file(MANIFEST))
    viewer = napari.Viewer(title="napari", show=False)
    viewer.window.show()
    viewer.window.resize(*SIZE)
    viewer.open_sample("sam-core", sample)
    window: Any = Window(viewer)
    _, window.panel = viewer.window.add_plugin_dock_widget("sam-core", "Segment Anything")
    window.settle(500)
    viewer.reset_view()
    window.until(lambda: window.panel.desk.stats.loaded)
    window.settle(2000)
    return window


def middle_of(window: Any) -> tuple[float, float]:
    """Return where a large cell near the middle of the picture is, in the world."""
    from scipy import ndimage

    from sam_core import samples

    labels = samples.cells((512, 512), count=90, diameter=34, seed=1).labels  # as the sample is made
    numbers = np.arange(1, labels.max() + 1)
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, numbers))
    near = np.abs(centres - 256).max(axis=1) < 90
    best = int(np.argmax(np.where(near, np.bincount(labels.ravel())[1:], 0)))
    y, x = window.viewer.layers[0].data_to_world(centres[best])
    return float(y), float(x)


def save(window: Any, name: str) -> None:
    """Save a picture of the whole window."""
    from qtpy.QtWidgets import QApplication

    window.settle(400)
    frame, path = window.viewer.window._qt_window, FOLDER / f"napari-{name}.png"
    QApplication.primaryScreen().grabWindow(frame.winId()).save(str(path))
    smaller(path)


def smaller(path: Path) -> None:
    """Keep 256 colours of a picture, which are enough for a window."""
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
