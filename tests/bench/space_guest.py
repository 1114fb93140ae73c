"""The Space as the Hub starts it, and those who ask it over HTTP as its page does."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
from PIL import Image
from scipy import ndimage

from sam_core import samples

ROOT = Path(__file__).parents[2]
APP = ROOT / "spaces" / "segment_anything" / "app.py"
START = 600.0  # seconds in which the decoder is exported the first time


@dataclass(frozen=True)
class Place:
    """An image as a file, and where the middles of its cells are, y, x."""

    name: str
    content: bytes
    middles: np.ndarray


def picture(seed: int, side: int = 1024, count: int = 220) -> Place:
    """Make an image like no other."""
    sample = samples.cells((side, side), count=count, diameter=32.0, seed=seed)
    low, high = np.percentile(sample.image, (0.1, 99.9))
    out = io.BytesIO()
    Image.fromarray((((sample.image - low) / (high - low)).clip(0, 1) * 255).astype(np.uint8)).save(out, "PNG")
    numbers = np.unique(sample.labels)[1:]
    middles = np.round(ndimage.center_of_mass(sample.labels > 0, sample.labels, numbers))
    return Place(f"{seed}.png", out.getvalue(), np.random.default_rng(seed).permutation(middles))


@dataclass(frozen=True)
class Server:
    """A Space that runs."""

    url: str
    process: int

    @property
    def resident(self) -> float:
        """MiB of memory of its process."""
        status = Path(f"/proc/{self.process}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def serving() -> Iterator[Server]:
    """Run it until the block ends; it is warm, and browsers can answer the pointer."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        env = {
            "GRADIO_SERVER_PORT": str(port),
            "GRADIO_TEMP_DIR": f"{folder}/uploads",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "OMP_WAIT_POLICY": "passive",
        }
        with (Path(folder) / "log").open("w+b") as log:
            process = subprocess.Popen([sys.executable, str(APP)], env=os.environ | env, stdout=log, stderr=log)
            try:
                _wait(f"http://127.0.0.1:{port}", process, Path(log.name))
                yield Server(f"http://127.0.0.1:{port}", process.pid)
            finally:
                process.terminate()
                process.wait(20)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it answers, and browsers can be told how to answer the pointer."""
    end = time.monotonic() + START
    while time.monotonic() < end and process.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.post(f"{url}/sam/visit", timeout=5).json()["previewer"] != "later":
                return
        time.sleep(2)  # visits of one address are counted
    msg = f"the Space did not start:\n{log.read_text(errors='replace')[-4000:]}"
    raise RuntimeError(msg)


class Guest:
    """A page without a page.

    Parameters
    ----------
    server
        Where to.
    number
        Of the address that it comes from, one of this machine's: visits of one address are counted.
    """

    def __init__(self, server: Server, number: int = 0) -> None:
        address = f"127.0.{1 + number // 200}.{1 + number % 200}"
        transport = httpx.HTTPTransport(local_address=address)
        self.http = httpx.Client(base_url=f"{server.url}/sam/", timeout=120, transport=transport)
        self.http.headers["x-visitor"] = self.http.post("visit").json()["visitor"]

    def post(self, path: str, given: Any) -> Any:
        """Ask, and raise where that is refused."""
        answer = self.http.post(path, json={"plane": 0, **given}).raise_for_status().json()
        if "refused" in answer:
            raise RuntimeError(answer["refused"])
        return answer

    def open(self, picture: Place) -> None:
        """Bring an image, and wait until it is encoded."""
        told = self.http.post("open", content=picture.content, headers={"x-name": quote(picture.name)})
        told.raise_for_status()
        self.http.post("picture", json={"plane": 0}).raise_for_status()
        self.http.post("encode", json={"plane": 0}).raise_for_status()

    def features(self) -> bytes:
        """Take what a browser needs of the image."""
        return self.http.post("features", json={"plane": 0}).raise_for_status().content

    def preview(self, place: np.ndarray) -> Any:
        """Return the mask that is shown there; None where it takes a closer look."""
        return self.post("preview", {**_at(place), "positive": True, "fresh": True}).get("mask")

    def click(self, place: np.ndarray) -> Any:
        """Take what is there, and return its mask."""
        drawn = self.post("act", {"action": "click", **_at(place), "positive": True, "fresh": True})["drawn"]
        (mask,) = drawn.values()
        return mask

    def clear(self) -> None:
        """Put all objects away."""
        self.post("act", {"action": "clear"})

    def leave(self) -> None:
        """Close the page."""
        self.http.post("leave", content=self.http.headers["x-visitor"])
        self.http.close()


def busy() -> str:
    """Say how busy the machine was in the last minute."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def _at(place: np.ndarray) -> dict[str, float]:
    return {"y": float(place[0]) + 0.5, "x": float(place[1]) + 0.5}
