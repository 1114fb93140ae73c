"""Start the server: what has to be said before gradio is imported, and how it is launched."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

from sam_core import Sam
from sam_space.desk import Desk
from sam_space.limits import Limits
from sam_space.runtime import in_browser, prepare


def settle() -> None:
    """Tell gradio to report nothing to anybody, and to keep uploads in a folder of their own that goes with us."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if "GRADIO_TEMP_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="sam-space-uploads-")
        os.environ["GRADIO_TEMP_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def make_desk(
    model: str = "cell", *, revision: str | None = None, device: str = "auto", runtime: Path | None = None
) -> Desk:
    """Load the model and begin to encode the examples, and to prepare what browsers need.

    Parameters
    ----------
    model, revision, device
        As `Sam.from_pretrained` takes them.
    runtime
        A folder that `sam_space.runtime.save` wrote; None where all is to be made.
    """
    loaded = Sam.from_pretrained(model, revision=revision, device=device)
    if in_browser(loaded) and loaded.dtype != "float32":
        # A browser computes in float32: only so is what is shown what a click takes.
        loaded = Sam.from_pretrained(model, revision=revision, device=device, dtype="float32")
    desk = Desk(loaded, Limits(), source=model)
    desk.prepare()
    desk.runtime = prepare(loaded, runtime)
    # The page need not wait for the planes of the other examples.
    threading.Thread(target=desk.prepare_all, daemon=True, name="examples").start()
    return desk


def serve(desk: Desk, **options: Any) -> Any:
    """Show the page; `options` go to `launch` of gradio.

    Returns
    -------
    Any
        The `gradio.Blocks`, which `close` ends where `prevent_thread_lock=True` was given.
    """
    settle()
    from sam_space.page import build, launching

    demo = build(desk)
    demo.launch(**launching(desk) | options)
    return demo
