"""What the browser needs to answer the pointer by itself: the decoder, what runs it, and what says how to ask it."""

from __future__ import annotations

import gzip
import hashlib
import inspect
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sam_core import Sam, SamError, Segmenter
from sam_space.decoder import export, ort

log = logging.getLogger(__name__)

MODULES = Path(ort.__file__).parent / "static"
ONNX, META = "decoder.onnx", "decoder.json"
TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}
EXPORT_SECONDS = 600
Previewer: TypeAlias = Literal["server", "later", "browser"]


@dataclass(frozen=True, eq=False, slots=True)
class Served:
    """A file as it is sent.

    Parameters
    ----------
    content
        As it is.
    packed
        The same, gzipped; None where that saves next to nothing.
    media_type
        What the browser is told that it is.
    """

    content: bytes
    packed: bytes | None
    media_type: str

    @classmethod
    def of(cls, name: str, content: bytes) -> Served:
        """Pack a file once, so that nobody waits for it."""
        packed = gzip.compress(content, 6, mtime=0)
        return cls(content, packed if len(packed) < 0.9 * len(content) else None, TYPES[Path(name).suffix])


@dataclass(frozen=True, eq=False, slots=True)
class Runtime:
    """All that a browser loads once.

    Parameters
    ----------
    files
        By name: the modules of the decoder, onnxruntime-web, and the decoder itself.
    meta
        What the page has to know of the model: see `decoder_meta`.
    stamp
        Changes with any byte of the files: it is in their address, so they may be kept for ever.
    """

    files: Mapping[str, Served]
    meta: Mapping[str, Any]
    stamp: str

    @classmethod
    def of(cls, onnx: bytes, ort_files: Path, meta: Mapping[str, Any]) -> Runtime:
        """Read all files."""
        contents = {file.name: file.read_bytes() for file in sorted(MODULES.glob("*.js"))}
        contents |= {name: (ort_files / name).read_bytes() for name in ort.FILES}
        contents[ONNX] = onnx
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        files = {name: Served.of(name, content) for name, content in contents.items()}
        return cls(files, meta, digest.hexdigest()[:20])

    @property
    def about(self) -> dict[str, Any]:
        """What the page is told: where the files are, beside the page's own, and `meta`."""
        return {"folder": f"decoder/{self.stamp}/", "meta": dict(self.meta)}


class Preparing:
    """A runtime that is being made, in a thread of its own; the page waits for nothing of it.

    Parameters
    ----------
    make
        Makes it; None where the browser is not to answer.

    Examples
    --------
    >>> Preparing(None).previewer
    'server'
    """

    def __init__(self, make: Callable[[], Runtime] | None = None) -> None:
        self._make = make
        self._runtime: Runtime | None = None
        self._thread: threading.Thread | None = None
        if make is not None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="runtime")
            self._thread.start()

    @property
    def runtime(self) -> Runtime | None:
        """What was made; None where it is not yet, or cannot be."""
        return self._runtime

    @property
    def previewer(self) -> Previewer:
        """Who answers a moving pointer; "later" where the browser will."""
        if self._runtime is not None:
            return "browser"
        return "later" if self._thread is not None and self._thread.is_alive() else "server"

    def wait(self, seconds: float | None = None) -> Runtime | None:
        """Wait until it is made, or cannot be."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self._runtime

    def _run(self) -> None:
        if self._make is None:
            return
        try:
            self._runtime = self._make()
        except (ort.RuntimeUnavailableError, SamError) as error:
            log.warning("the server answers the pointer, since the browser cannot: %s", error)
        except Exception:  # whatever it is, there is a way without it
            log.exception("the server answers the pointer, since the decoder could not be prepared")


def prepare(model: Segmenter, folder: str | Path | None = None) -> Preparing:
    """Begin to prepare what the browser needs to ask a model.

    Parameters
    ----------
    model
        A "cell", best one that answers in float32; no other runs in the browser.
    folder
        What `save` wrote, or a folder with the files of onnxruntime-web; None for the user's cache.
    """
    if not isinstance(model, Sam) or not in_browser(model):
        return Preparing(None)
    return Preparing(lambda: make(model, folder))


def in_browser(model: Sam) -> bool:
    """Say whether a model can answer in the browser."""
    return model.fingerprint.startswith("cell-")


def make(model: Sam, folder: str | Path | None = None) -> Runtime:
    """Make it; to export the decoder, where `folder` does not have it, takes about ten seconds.

    Raises
    ------
    RuntimeUnavailableError
        onnxruntime-web is not at hand, or the decoder cannot be exported: the packages for that are not installed.
    CheckpointError
        The model has no decoder that runs elsewhere.
    """
    given = None if folder is None else Path(folder)
    # First: where it is missing, the export would be for nothing.
    ort_files = ort.ort_folder(given if given is not None and (given / ort.ENTRY).exists() else None)
    meta = export.decoder_meta(model)
    return Runtime.of(_kept(given, meta) or _cached(model), ort_files, meta)


def save(model: Sam, folder: str | Path) -> None:
    """Write all that `make` needs into a folder, to be published with the app: it then starts without a connection.

    Raises
    ------
    RuntimeUnavailableError, CheckpointError
        As `make`.
    """
    made, folder = make(model), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*ort.FILES, ONNX):
        (folder / name).write_bytes(made.files[name].content)
    (folder / META).write_text(json.dumps(dict(made.meta), indent=1), "utf-8")


def _kept(folder: Path | None, meta: Mapping[str, Any]) -> bytes | None:
    """Return the decoder that was published with the app, if it is that of the model."""
    if folder is None or not (folder / ONNX).is_file():
        return None
    try:
        same = json.loads((folder / META).read_text("utf-8")) == json.loads(json.dumps(dict(meta)))
    except (OSError, ValueError):
        same = False
    if not same:
        log.warning("%s in %s is of another model, and is made anew", ONNX, folder.name)
        return None
    return (folder / ONNX).read_bytes()


def _cached(model: Sam) -> bytes:
    """Return the decoder as it was exported by the same code from the same weights, or export and keep it."""
    path = ort.cache_folder().parent / f"decoder-{_digest(model)}.onnx"
    if path.is_file():
        return path.read_bytes()
    made = _exported(model)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(made)
        unfinished.replace(path)
    except OSError as error:  # it is at hand all the same
        log.info("the decoder is not kept: %s", error)
    return made


def _digest(model: Sam) -> str:
    """Return what changes with the weights, with any line of the code that exports them, and with torch."""
    digest = hashlib.sha256(f"{model.fingerprint} {_version('torch')} {_version('onnx')}".encode())
    for file in (*sorted(Path(inspect.getfile(Sam)).parent.rglob("*.py")), Path(export.__file__)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:20]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # of which the exporter will complain
        return "none"


def _exported(model: Sam) -> bytes:
    """Write the decoder in a process of its own: while torch exports, nobody else may use a network beside it."""
    with tempfile.TemporaryDirectory(prefix="sam-space-") as folder:
        weights, onnx = Path(folder) / "model", Path(folder) / ONNX
        model.save_pretrained(weights)
        command = [sys.executable, "-m", export.__name__, str(weights), str(onnx)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=EXPORT_SECONDS)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
            msg = f"got no decoder from the exporter: {last}"
            raise ort.RuntimeUnavailableError(msg)
        return onnx.read_bytes()
