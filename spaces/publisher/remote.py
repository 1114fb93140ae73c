"""Makes a repository of the Hub hold what a plan says, and nothing else where that is wanted.

The hashes of what is there are read first and compared with the plan, and again afterwards. So a second run changes
nothing, and an upload whose answer was lost is recognised as done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoFile

from publisher.plan import Plan, PlannedFile, PublishError

T = TypeVar("T")

KEPT = (".gitattributes",)  # the Hub's own
ATTEMPTS = 4
PASSING = (408, 412, 429, 500, 502, 503, 504)  # 412: somebody else committed meanwhile
ERRORS: tuple[type[BaseException], ...] = (
    *HfHubHTTPError.__bases__,
    OSError,
    RuntimeError,
    ValueError,
)  # of the HTTP client, and of what wraps it
ADVICE = {
    401: "log in with `hf auth login`, or set HF_TOKEN to a token that may write",
    403: "take a token that may write to this repository, or a repository of your own",
    404: "check the name, and that your token may see the repository",
    413: "leave large files out",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """What makes a repository other than a plan.

    Parameters
    ----------
    head
        Its newest commit.
    add
        Files that are absent or of other content.
    extra
        Paths that the plan does not have.
    """

    head: str
    add: tuple[PlannedFile, ...]
    extra: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """A repository that holds what was planned.

    Parameters
    ----------
    commit
        Of the repository.
    uploaded, removed
        Paths; both empty where all was there already.
    """

    commit: str
    uploaded: tuple[str, ...]
    removed: tuple[str, ...]


def publish(
    plan: Plan,
    api: HfApi,
    *,
    private: bool | None,
    prune: bool,
    message: str,
    sleep: Callable[[float], None] = time.sleep,
) -> Published:
    """Upload a plan, and verify what arrived.

    Parameters
    ----------
    plan
        What is to be there.
    api
        Of the Hub.
    private
        Whether a repository that is made is private; None leaves it to the settings of its owner.
    prune
        Remove files that the plan does not have.
    message
        What the history says of it.
    sleep
        Waits some seconds before another attempt.

    Raises
    ------
    PublishError
        The Hub refuses, cannot be reached, or holds something else afterwards.
    """
    sdk = "gradio" if plan.kind == "space" else None
    _retried(
        lambda: api.create_repo(plan.repository, repo_type=plan.kind, private=private, exist_ok=True, space_sdk=sdk),
        sleep,
    )
    if private and not _retried(lambda: api.repo_info(plan.repository, repo_type=plan.kind).private, sleep):
        msg = (
            f"got {plan.repository}, which is there and public, expected a private one; make it private on its page, "
            "or publish with --public if everybody may see it"
        )
        raise PublishError(msg)
    before = _retried(lambda: difference(plan, api), sleep)
    pruned = before.extra if prune else ()
    if before.add or pruned:
        _retried(lambda: _commit(plan, api, prune=prune, message=message), sleep)
    after = _retried(lambda: difference(plan, api), sleep)
    wrong = [*(file.path for file in after.add), *(after.extra if prune else ())]
    if wrong:
        msg = (
            f"got other content than was sent for {', '.join(wrong[:5])} at commit {after.head}, expected what "
            "the plan says; run it again, and look whether somebody else commits there"
        )
        raise PublishError(msg)
    return Published(after.head, tuple(file.path for file in before.add), pruned)


def difference(plan: Plan, api: HfApi) -> Difference:
    """Compare a repository with a plan by the hashes of all files."""
    head = str(api.repo_info(plan.repository, repo_type=plan.kind).sha)
    tree = api.list_repo_tree(plan.repository, recursive=True, revision=head, repo_type=plan.kind)
    remote = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    add = tuple(file for file in plan.files if not _same(file, remote.get(file.path)))
    planned = {file.path for file in plan.files}
    return Difference(head, add, tuple(sorted(set(remote) - planned - set(KEPT))))


def _same(file: PlannedFile, entry: RepoFile | None) -> bool:
    if entry is None:
        return False
    return entry.lfs.sha256 == file.sha256 if entry.lfs is not None else entry.blob_id == file.blob


def _commit(plan: Plan, api: HfApi, *, prune: bool, message: str) -> None:
    """Commit what is missing now: after a lost answer that may be nothing."""
    now = difference(plan, api)
    operations = list(_operations(plan, now, prune=prune))
    if operations:
        api.create_commit(
            plan.repository, operations, commit_message=message, repo_type=plan.kind, parent_commit=now.head
        )


def _operations(plan: Plan, now: Difference, *, prune: bool) -> Iterator[CommitOperationAdd | CommitOperationDelete]:
    for file in now.add:
        yield CommitOperationAdd(file.path, plan.folder / file.path)
    for path in now.extra if prune else ():
        yield CommitOperationDelete(path)


def _retried(call: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """Call, again after a while where the Hub or the connection was at fault; else say what to do."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except ERRORS as error:
            status = _status(error)
            passing = status in PASSING or (status is None and not isinstance(error, OfflineModeIsEnabled | ValueError))
            if not passing or attempt == ATTEMPTS:
                raise _refused(error, status, attempt) from error
            sleep(_pause(error, attempt))
    raise AssertionError


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that is behind an error, where one is."""
    codes = [getattr(getattr(link, "response", None), "status_code", None) for link in _causes(error)]
    return next((int(code) for code in codes if code is not None), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised from: an upload of a large file says by itself only that it failed."""
    while error is not None:
        yield error
        error = error.__cause__


def _pause(error: BaseException, attempt: int) -> float:
    """Return the seconds that the Hub asks for, or twice as many at each attempt."""
    headers = [getattr(getattr(link, "response", None), "headers", {}) for link in _causes(error)]
    asked = next((one["Retry-After"] for one in headers if "Retry-After" in one), "")
    return min(float(asked), 300.0) if asked.isdigit() else float(2**attempt)


def _refused(error: BaseException, status: int | None, attempts: int) -> PublishError:
    what = ": ".join((str(link).strip() or type(link).__name__).splitlines()[0] for link in _causes(error))
    tried = f" {attempts} times" if attempts > 1 else ""
    todo = ADVICE.get(status or 0, "check the connection and try again: what has arrived is not sent twice")
    return PublishError(f"got no answer that helps{tried} ({what}), expected the Hub to take the files; {todo}")
