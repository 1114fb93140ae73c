"""Start the server: what has to be said before gradio is imported, and how it is launched."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from typing import Any

from sam_core import Sam
from sam_space.desk import Desk
from sam_space.limits import Limits


def settle() -> None:
    """Tell gradio to report nothing to anybody, and to keep uploads in a folder of their own that goes with us."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if "GRADIO_TEMP_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="sam-space-uploads-")
        os.environ["GRADIO_TEMP_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def make_desk(model: str = "cell", *, revision: str | None = None, device: str = "auto") -> Desk:
    """Load the model and begin to encode the examples."""
    desk = Desk(Sam.from_pretrained(model, revision=revision, device=device), Limits(), source=model)
    desk.prepare()
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
