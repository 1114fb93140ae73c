"""onnxruntime-web, which runs the decoder in the browser: one pinned version, fetched once, served by the app."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
import tarfile
import urllib.request
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

VERSION = "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # sha512
ARCHIVE_BYTES = 33_106_585
REGISTRY = "https://registry.npmjs.org"

# What the browser loads, and the sha256 of each: 14.3 MB of the 138 MB that are in the archive.
FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
ENTRY = "ort.wasm.min.mjs"


class RuntimeUnavailableError(Exception):
    """onnxruntime-web is not at hand; hover previews are then to be answered by the server."""


def ort_folder(given: str | Path | None = None, *, download: bool = True) -> Path:
    """Return a folder that holds `FILES`, checked byte by byte.

    Parameters
    ----------
    given
        A folder that holds them already, such as one that was published with the app. None for the user's cache, which
        is filled when it is empty.
    download
        Whether the cache may be filled from the npm registry, or from the mirror that ``$NPM_CONFIG_REGISTRY`` names.

    Raises
    ------
    RuntimeUnavailableError
        The files are not there and cannot be fetched, or are not the pinned ones.
    """
    folder = Path(given) if given is not None else cache_folder()
    wrong = _wrong(folder)
    if not wrong:
        return folder
    if given is not None:
        msg = (
            f"got {folder}, where {', '.join(wrong)} is missing or another version; expected the files of "
            f"onnxruntime-web {VERSION}; copy them from the folder dist of its npm package"
        )
        raise RuntimeUnavailableError(msg)
    if not download:
        msg = (
            f"got no onnxruntime-web {VERSION} in {folder}, and was not to download it; expected {', '.join(wrong)}; "
            "run once with a connection, or give a folder that holds it"
        )
        raise RuntimeUnavailableError(msg)
    install(fetch(), folder)
    return folder


def cache_folder() -> Path:
    """Return where the files are kept between runs: the folder that the system has for caches."""
    home = Path.home()
    if sys.platform == "darwin":
        root = home / "Library" / "Caches"
    elif sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME", home / ".cache"))
    return root / "sam-core-web" / f"onnxruntime-web-{VERSION}"


def fetch(registry: str | None = None, *, timeout: float = 60.0) -> bytes:
    """Download the archive of the npm package.

    Parameters
    ----------
    registry
        Address of the registry; None for ``$NPM_CONFIG_REGISTRY``, or else npm's own.
    timeout
        Seconds that the connection may be silent.

    Raises
    ------
    RuntimeUnavailableError
        It cannot be reached, or does not have the package.
    """
    base = (registry or os.environ.get("NPM_CONFIG_REGISTRY") or REGISTRY).rstrip("/")
    address = f"{base}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    try:
        if not address.startswith(("https://", "http://")):
            msg = "not an http address"
            raise ValueError(msg)
        with urllib.request.urlopen(address, timeout=timeout) as answer:
            return bytes(answer.read(ARCHIVE_BYTES + 1))
    except (OSError, HTTPException, ValueError) as error:
        msg = (
            f"got {error} from {address}, expected the archive of onnxruntime-web {VERSION}; check the connection, "
            "name a mirror in $NPM_CONFIG_REGISTRY, or give a folder that holds the files"
        )
        raise RuntimeUnavailableError(msg) from error


def install(archive: bytes, folder: Path) -> None:
    """Unpack the files that are needed from an npm archive; the folder appears whole or not at all.

    Raises
    ------
    RuntimeUnavailableError
        The archive is not the pinned one, or the folder cannot be written.
    """
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if digest != INTEGRITY:
        msg = (
            f"got an archive of {len(archive)} bytes with sha512 {digest}, expected {ARCHIVE_BYTES} bytes with "
            f"{INTEGRITY}: it was cut off or altered on the way; try again, or another registry"
        )
        raise RuntimeUnavailableError(msg)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as unfinished:
            _unpack(archive, Path(unfinished))
            _put_in_place(Path(unfinished), folder)
    except OSError as error:
        msg = f"got {error} while writing {folder}, expected to keep 14 MB there; free some space, or give a folder"
        raise RuntimeUnavailableError(msg) from error


def _unpack(archive: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as package:
        for name in FILES:
            member = package.extractfile(f"package/dist/{name}")
            if member is not None:
                (folder / name).write_bytes(member.read())


def _put_in_place(unfinished: Path, folder: Path) -> None:
    """Move file by file: another process may be doing the same, and both write the same bytes."""
    folder.mkdir(exist_ok=True)
    for name in FILES:
        (unfinished / name).replace(folder / name)


def _wrong(folder: Path) -> list[str]:
    return [name for name, digest in FILES.items() if _sha256(folder / name) != digest]


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
