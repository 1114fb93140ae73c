"""What programs sent: deleted soon after it was read."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path


class Uploads:
    """Deletes uploads that were read.

    Gradio keeps the same content in the same place, whoever sent it: while one program is answered, another may have
    sent the same image and wait for its turn. So a file stays for some seconds, counted anew where it was sent anew.

    Parameters
    ----------
    folder
        Where gradio puts uploads, each in a folder of its own; nothing else is ever deleted.
    seconds
        How long a file stays after it was read, or sent.
    later
        Calls a function after so many seconds; a test gives its own.
    """

    def __init__(
        self, folder: Path, seconds: float, later: Callable[[float, Callable[[], None]], None] | None = None
    ) -> None:
        self._folder = folder
        self._seconds = seconds
        self._later = later or _later

    def answered(self, path: Path) -> None:
        """Have a file deleted that was read and is not needed any more."""
        real = path.resolve()
        if self._folder.resolve() in (real.parent, real.parent.parent):
            self._later(self._seconds, lambda: self._delete(real))

    def _delete(self, path: Path) -> None:
        try:
            left = path.stat().st_mtime + self._seconds - time.time()
        except OSError:
            return  # somebody else did
        if left > 0:
            self._later(left, lambda: self._delete(path))
        elif path.parent == self._folder.resolve():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path.parent, ignore_errors=True)


def _later(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
