"""Start the server: what has to be said before gradio is imported, and how it is launched."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from sam_core import Sam, Segmenter
from sam_space.catalogue import offers
from sam_space.desk import Desk
from sam_space.gpu import Encode, Lent, borrowed
from sam_space.limits import Limits
from sam_space.runtime import prepare


def settle() -> None:
    """Tell gradio to report nothing to anybody, and to keep uploads in a folder of their own that goes with us."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if "GRADIO_TEMP_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="sam-space-uploads-")
        os.environ["GRADIO_TEMP_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def make_desk(
    model: str = "cell",
    *,
    revision: str | None = None,
    device: str = "auto",
    models: Iterable[str] | None = None,
    runtime: Path | None = None,
) -> Desk:
    """Load the model and begin to encode the examples, and to prepare what browsers need.

    Parameters
    ----------
    model, revision, device
        As `Sam.from_pretrained` takes them.
    models
        Names of others that visitors may choose; None for all of the catalogue, "none" for none.
    runtime
        A folder that `sam_space.runtime.save` wrote; None where all is to be made.

    Raises
    ------
    ValueError
        A name in `models` is none of a model.
    """
    offered = offers(models)
    encode = borrowed()
    if encode is not None and device == "auto":
        device = "cpu"  # ZeroGPU pretends that there is a GPU where there is none between two calls
    # Browsers answer in float32: only so is what is shown what a click takes.
    loaded = Sam.from_pretrained(model, revision=revision, device=device, dtype="mixed")
    desk = Desk(
        loaded,
        Limits(),
        source=model,
        revision=revision,
        offered=[each for each in offered if each.source != model],
        load=partial(_load, device=device, encode=encode),
    )
    desk.prepare()
    desk.runtime = prepare(loaded, runtime)
    # The page need not wait for the planes of the other examples.
    threading.Thread(target=desk.prepare_all, daemon=True, name="examples").start()
    return desk


def _load(source: str, *, device: str, encode: Encode | None) -> Segmenter:
    if encode is None:
        return Sam.from_pretrained(source, device=device)
    return Lent(Sam.from_pretrained(source, device=device, dtype="float32"), source, encode)


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
