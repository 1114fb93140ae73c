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
        There is none by this name, it cannot be reached, or it holds no weights that can be used; or a revision was
        given of what has none.
    """
    path = EMBEDDED / source if str(source) in embedded_models() else Path(source).expanduser()
    if str(source) and path.exists():
        if revision is not None:
            msg = (
                f"got revision {revision!r} of {path}, expected one only of a Hub repository; do leave it out, or use "
                "another name where the repository is meant"
            )
            raise CheckpointError(msg)
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
            f"got Hub repository {repository!r} without weights, expected *.safetensors, *.bin or *.pth in it; do take "
            "a repository of model_type 'sam' or one that sam-core wrote, or connect if only a part is in the cache"
        )
        raise CheckpointError(msg)
    return folder


def _snapshot(repository: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        # A pattern also matches in folders, where other things than the model are.
        found = snapshot_download(repository, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"])
    except GatedRepoError as error:
        msg = (
            f"got Hub repository {repository!r}, which asks for permission, expected one that may be read; do accept "
            f"its terms at https://huggingface.co/{repository} and log in with `hf auth login`"
        )
        raise CheckpointError(msg) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        where = f"{repository!r} at revision {revision!r}" if revision else repr(repository)
        msg = (
            f"got {where}, which the Hub does not have, expected an existing repository, or one of "
            f"{', '.join(embedded_models()) or 'no embedded models'}; do check the spelling"
        )
        raise CheckpointError(msg) from error
    except (LocalEntryNotFoundError, ConnectionError) as error:
        msg = (
            f"got Hub repository {repository!r}, which is not in the cache, and the Hub cannot be reached; expected "
            "either; do connect once and load it, or give the path of a folder that holds it"
        )
        raise CheckpointError(msg) from error
    except OSError as error:
        msg = (
            f"got an error while loading {repository!r} from the Hub ({error}), expected a whole download; do check "
            "the connection, and the space and the permissions of the Hub cache, and try again"
        )
        raise CheckpointError(msg) from error
    return Path(found)
