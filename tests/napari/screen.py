"""A screen for napari's windows, where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

SIZE = "1400x1000x24"


def has_display() -> bool:
    """Whether windows can be opened."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def start() -> subprocess.Popen[bytes] | None:
    """Start Xvfb where there is no display; None where there is one, or no Xvfb."""
    if has_display() or shutil.which("Xvfb") is None:
        return None
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", SIZE, "+extension", "GLX", "-nolisten", "tcp"]
    screen = subprocess.Popen(command, pass_fds=(write,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as ready:
        number = ready.readline().strip()  # empty where Xvfb ended instead of starting
    if number:
        os.environ["DISPLAY"] = f":{number}"
    return screen


def stop(screen: subprocess.Popen[bytes] | None) -> None:
    """End a screen that was started."""
    if screen is not None:
        screen.terminate()
        screen.wait()
