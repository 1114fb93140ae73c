"""Where a model is: shipped with this package, on disk, or on the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from sam_core.errors import CheckpointError

EMBEDDED = Path(__file__).parent / "weights"

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_PICKLES = ("*.bin", "*.pth")


def embedded_models() -> list[str]:
    """List the models that come with this package.

    Examples
    --------
    >>> isinstance(embedded_models(), list)
    True
    """
    return sorted(config.parent.name for config in EMBEDDED.glob("*/config.json"))


def locate(source: str | Path, *, revision: str | None = None) -> Path:
    """Find a model, downloading it where it is on the Hub and not yet on this machine.

    Parameters
    ----------
    source
        Name of an embedded model, folder, checkpoint file or Hub repository id, tried in this order.
    revision
        Branch, tag or commit of a Hub repository.

    Returns
    -------
    Path
        A folder with `config.json` and weights, or a checkpoint file.

    Raises
    ------
    CheckpointError
        There is none by this name, it cannot be reached, or it holds no weights that can be used.
    """
    if str(source) in embedded_models():
        return EMBEDDED / str(source)
    path = Path(source).expanduser()
    if path.exists():
        return path
    if isinstance(source, str) and _REPOSITORY.fullmatch(source):
        return _download(source, revision)
    msg = (
        f"got {str(source)!r}, expected one of {', '.join(embedded_models()) or 'no embedded models'}, an existing "
        "folder or checkpoint file, or a Hub repository such as facebook/sam-vit-base; do check the spelling"
    )
    raise CheckpointError(msg)


def _download(repository: str, revision: str | None) -> Path:
    folder = _snapshot(repository, revision, ["config.json", "*.safetensors"])
    if not any(folder.glob("*.safetensors")):
        folder = _snapshot(repository, revision, ["config.json", *_PICKLES])
    if not any(file for kind in ("*.safetensors", *_PICKLES) for file in folder.glob(kind)):
        msg = (
            f"got Hub repository {repository!r} without weights, expected *.safetensors, *.bin or *.pth in it; "
            "do choose a repository of model_type 'sam' or one that sam-core wrote"
        )
        raise CheckpointError(msg)
    return folder


def _snapshot(repository: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except GatedRepoError as error:
        msg = (
            f"got Hub repository {repository!r}, which asks for permission, expected one that may be read; do accept "
            f"its terms at https://huggingface.co/{repository} and log in with `hf auth login`"
        )
        raise CheckpointError(msg) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        where = f"{repository!r} at revision {revision!r}" if revision else repr(repository)
        msg = (
            f"got {where}, which the Hub does not have, expected an existing repository, or one of "
            f"{', '.join(embedded_models()) or 'no embedded models'}; do check the spelling"
        )
        raise CheckpointError(msg) from error
    except (LocalEntryNotFoundError, OSError) as error:
        msg = (
            f"got Hub repository {repository!r}, which is not in the cache, and the Hub cannot be reached; expected "
            "either; do connect once and load it, or give the path of a folder that holds it"
        )
        raise CheckpointError(msg) from error
