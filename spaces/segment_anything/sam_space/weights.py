"""Where the weights of a model are: in the cache of the Hub, or on the Hub, from where they are fetched."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from sam_space.catalogue import Offer
from sam_space.engine import Stopped
from sam_space.fetch import told
from sam_space.refusal import Refusal

CONFIG = "config.json"
KINDS = (("*.safetensors",), ("*.bin", "*.pth"))  # in the order in which `Sam.from_pretrained` looks for them
SECONDS = 8.0  # that the Hub may take to tell about a repository
POLL = 0.2  # seconds between two looks at a download
ROOM = 512 << 20  # bytes of the disk that are left to others


@dataclass(frozen=True, slots=True)
class Known:
    """What the Hub, or its cache, tells of a model.

    Parameters
    ----------
    commit
        Which one it is.
    nbytes
        Of the files of weights.
    patterns
        Names of the files that are needed.
    licence
        "" where it is not told.
    folder
        Where it lies, None where it is not on this machine.
    """

    commit: str
    nbytes: int
    patterns: tuple[str, ...]
    licence: str = ""
    folder: Path | None = None


def ask(offer: Offer) -> Known:
    """Ask the Hub about a repository.

    Raises
    ------
    Refusal
        It cannot be reached, or does not show the repository.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi(library_name="sam-core").model_info(
            offer.source, revision=offer.revision, files_metadata=True, timeout=SECONDS
        )
    except Exception as error:  # of this version of the client, of the one below it, of the machine
        raise _refusal(offer, told(error)) from error
    sizes = {each.rfilename: each.size or 0 for each in info.siblings or []}
    patterns = _needed(sizes)
    if not patterns:
        msg = f"{offer.name} holds no weights that sam-core reads; choose another model"
        raise Refusal(msg, HTTPStatus.OK)
    licence = str(info.card_data.get("license") or "") if info.card_data else ""
    nbytes = sum(size for name, size in sizes.items() if name in patterns and name != CONFIG)
    return Known(str(info.sha), nbytes, patterns, licence)


def _needed(names: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the files that `Sam.from_pretrained` would take; none where it could not load them."""
    own = [name for name in names if "/" not in name]
    for kinds in KINDS:
        found = [name for name in own if any(fnmatch(name, kind) for kind in kinds)]
        if found:
            return (*([CONFIG] if CONFIG in own else []), *found)
    return ()


def cached(offer: Offer) -> Known | None:
    """Look for a model on this machine: None where it is not there, or not whole."""
    from huggingface_hub import snapshot_download

    if not offer.is_remote:
        folder = Path(offer.source)
        return _known_folder(folder, "") if folder.is_dir() else None
    for kinds in KINDS:
        try:
            found = snapshot_download(
                offer.source,
                revision=offer.revision,
                allow_patterns=[CONFIG, *kinds],
                ignore_patterns=["*/*"],
                local_files_only=True,
            )
        except Exception:  # it says in many ways that it is not there, or not whole
            continue
        known = _known_folder(Path(found), Path(found).name)
        if known is not None:
            return known
    return None


def _known_folder(folder: Path, commit: str) -> Known | None:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    needed = _needed(sizes)
    nbytes = sum(size for name, size in sizes.items() if name in needed and name != CONFIG)
    return Known(commit, nbytes, needed, folder=folder) if needed else None


def fetch(offer: Offer, known: Known, tell: Callable[[int], None], stop: Callable[[], bool]) -> Path:
    """Download what is not there yet, telling how many bytes have arrived, and return the folder.

    What has arrived when it is stopped is kept by the Hub's client, and the next attempt goes on from there.

    Raises
    ------
    Stopped
        `stop` said so.
    Refusal
        It did not work.
    """
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    _check_disk(offer, known, cache)
    environment = os.environ | {
        "HF_ENDPOINT": constants.ENDPOINT,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    script = Path(__file__).with_name("fetch.py")
    # -P: the folder of this package is no place to import from.
    # By its branch and not by the commit: the cache then knows where that branch is, and needs no network to find it.
    command = [sys.executable, "-P", str(script), offer.source, offer.revision or "main", *known.patterns]
    with TemporaryFile() as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.DEVNULL)
        try:
            for _ in _waiting(process):
                if stop():
                    raise Stopped
                tell(_arrived(cache, offer.source, known))
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        out.seek(0)
        return _folder(offer, out.read())


def _waiting(process: subprocess.Popen[bytes]) -> Iterator[None]:
    while True:
        try:
            process.wait(POLL)
        except subprocess.TimeoutExpired:
            yield
        else:
            return


def _folder(offer: Offer, said: bytes) -> Path:
    try:
        ended = json.loads(said.splitlines()[-1])
    except (ValueError, IndexError):
        ended = {}
    if "folder" not in ended:
        raise _refusal(offer, ended)
    return Path(ended["folder"])


def _arrived(cache: Path, repository: str, known: Known) -> int:
    """Count the bytes of a repository in the cache; those of older commits are there too, so it is an upper bound."""
    folder = cache / f"models--{repository.replace('/', '--')}" / "blobs"
    try:
        return min(known.nbytes, sum(path.stat().st_size for path in folder.iterdir()))
    except OSError:  # not there yet, or renamed in between
        return 0


def _check_disk(offer: Offer, known: Known, cache: Path) -> None:
    place = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < known.nbytes + ROOM:
        msg = (
            f"{offer.name} has {known.nbytes / 1e6:.0f} MB and the disk here has {free / 1e6:.0f} MB left; choose a "
            "smaller model, or run sam-core space on your own machine"
        )
        raise Refusal(msg, HTTPStatus.OK)


class UnreachableRefusal(Refusal):
    """The Hub cannot be reached."""


NO_HUB = (
    "The Hugging Face Hub cannot be reached from here. What is on this machine can be used; load another model once "
    "where there is a connection, and copy that cache here (HF_HOME), or name a mirror (HF_ENDPOINT)."
)
UNREACHABLE = (
    "the Hugging Face Hub cannot be reached from here, and the model is not on this machine. Load it once where there "
    "is a connection (`hf download {name}`), copy that cache here (HF_HOME), or name a mirror (HF_ENDPOINT)"
)


def _refusal(offer: Offer, about: Mapping[str, Any]) -> Refusal:
    """Say why a model could not be had, and how to go on, without an address or a path of the server."""
    kinds, status, name = about.get("kinds", ()), about.get("status"), offer.name
    if "GatedRepoError" in kinds:
        why = (
            f"{name} asks for permission: whoever runs this server has to accept its terms and log in (`hf auth login`)"
        )
    elif {"RepositoryNotFoundError", "RevisionNotFoundError"} & set(kinds) or status == 404:
        why = f"the Hub does not have {name}, or does not show it to this server; choose another model"
    elif status in (401, 403):
        why = f"the Hub refuses {name} to this server ({status}); its owner or whoever runs this has to allow it"
    elif status == 429:
        why = f"the Hub has had too many requests from here; try {name} again in some minutes"
    elif status is not None:
        why = f"the Hub answered {status} for {name}; try again later"
    elif about.get("errno") == errno.ENOSPC:
        why = f"the disk here is full, so that {name} could not be kept; choose a smaller model"
    elif not kinds:
        why = f"the download of {name} broke off; try again, it goes on where it stopped"
    else:
        return unreachable(offer)
    return Refusal(why, HTTPStatus.OK)


def unreachable(offer: Offer) -> UnreachableRefusal:
    """Say that the Hub cannot be reached, and how to go on."""
    return UnreachableRefusal(UNREACHABLE.format(name=offer.name), HTTPStatus.OK)
