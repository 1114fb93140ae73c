"""Where a model is: shipped with this package, on disk, or on the Hugging Face Hub; and how it gets there."""

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

    try:
        # A pattern also matches in folders, where other things than the model are.
        found = snapshot_download(repository, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"])
    except _errors() as error:
        where = f"{repository!r} at revision {revision!r}" if revision else repr(repository)
        raise CheckpointError(_why_not(error, repository, where)) from error
    return Path(found)


def _why_not(error: BaseException, repository: str, where: str) -> str:
    """Say why a repository could not be had, and what to do."""
    from huggingface_hub import errors

    status = _status(error)
    if isinstance(error, errors.GatedRepoError):
        return (
            f"got Hub repository {repository!r}, which asks for permission, expected one that may be read; do accept "
            f"its terms at https://huggingface.co/{repository} and log in with `hf auth login`"
        )
    absent = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError)
    if isinstance(error, absent) or status == 404:
        return (
            f"got {where}, which the Hub does not have or does not show, expected an existing repository, or one of "
            f"{', '.join(embedded_models()) or 'no embedded models'}; do check the spelling, and log in with "
            "`hf auth login` if it is private"
        )
    if status in (401, 403):
        return (
            f"got a refusal of the Hub ({status}) for {where}, expected that it may be read; do log in with "
            "`hf auth login`, or set HF_TOKEN to a token with permission to read it"
        )
    # A bare OSError is one of this machine, such as a full disk; errors of the HTTP client may or may not be any.
    unreachable = (ConnectionError, errors.LocalEntryNotFoundError)
    if status is None and (isinstance(error, unreachable) or not isinstance(error, OSError)):
        return (
            f"got Hub repository {repository!r}, which is not in the cache, and the Hub cannot be reached; expected "
            "either; do connect once and load it, or give the path of a folder that holds it"
        )
    return (
        f"got an error while loading {repository!r} from the Hub ({_said(error)}), expected a whole "
        "download; do check the connection, and the space and the permissions of the Hub cache, and try again"
    )


def _errors() -> tuple[type[BaseException], ...]:
    """Return what a call of the Hub may raise: its own, those of its HTTP client in this version, and wrapped ones."""
    from huggingface_hub.errors import HfHubHTTPError

    return (*HfHubHTTPError.__bases__, OSError, ValueError, RuntimeError)


def _said(error: BaseException) -> str:
    """Return the first line of an error, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status of an error, or of what it was raised from."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return int(status)
        error = error.__cause__
    return None


def add_card(folder: Path, card: Path) -> None:
    """Put a model card into a folder as its `README.md`.

    Raises
    ------
    CheckpointError
        The card is absent, or says nothing, or its front matter names no licence.
    """
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    cause: Exception | None = None
    try:
        text = card.expanduser().read_text(encoding="utf-8")
        read = ModelCard(text)
        wrong = "" if read.data.get("license") else "without a licence"
        wrong = wrong if read.text.strip() else "without a text"
    except (OSError, ValueError, YAMLError) as error:
        wrong, cause = f"that cannot be read ({error})", error
    if wrong:
        msg = (
            f"got a model card {wrong}, {card}, expected a Markdown file that opens with `---`, `license: ...`, `---` "
            "and says what the model is for; do write one, others must know what they load"
        )
        raise CheckpointError(msg) from cause
    (folder / "README.md").write_text(text, encoding="utf-8")


def upload(
    folder: Path, repository: str, *, private: bool | None, revision: str | None, message: str, token: str | None
) -> str:
    """Upload a folder into a model repository, made where it is absent, and return the commit.

    Raises
    ------
    CheckpointError
        The Hub did not take it.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token, library_name="sam-core")
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        if private and not api.repo_info(repository).private:
            msg = (
                f"got {repository!r}, which is there and public, expected a private repository; do make it private on "
                "its page, or leave `private` out if everybody may see the model"
            )
            raise CheckpointError(msg)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=folder, revision=revision, commit_message=message)
    except _errors() as error:
        msg = f"got no upload to {repository!r} ({_said(error)}), expected one; do {_remedy(_status(error))}"
        raise CheckpointError(msg) from error
    return str(done.oid)


def _remedy(status: int | None) -> str:
    """Say what helps against a refusal of the Hub."""
    return {
        401: "log in with `hf auth login`, or give a token that may write",
        403: "take a token that may write there, or a repository of your own",
        404: "check the name, and that your token may see it",
        429: "wait some minutes, and try again",
    }.get(status or 0, "check the name and the connection, and try again: what has arrived is not sent twice")
