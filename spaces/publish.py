"""Publish the model, or the Space, on the Hugging Face Hub.

    python spaces/publish.py model me/cell --dry-run
    python spaces/publish.py model me/cell
    python spaces/publish.py space me/segment-anything --private

It builds a folder, prints what is in it, refuses what would embarrass, uploads and verifies. It is safe to repeat: what
is there already is not sent again.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from huggingface_hub import HfApi

import sam_core
from publisher.checks import commit_of, faults, tree_faults
from publisher.model import build_model
from publisher.plan import Kind, Plan, PublishError
from publisher.remote import publish
from publisher.space import build_space, build_wheel
from sam_core import SamError

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"[A-Za-z0-9][\w-]*/[A-Za-z0-9][\w.-]{0,95}")
APP = ROOT / "spaces" / "segment_anything"

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Repository = Annotated[str, typer.Argument(help='Where to, such as "me/cell".')]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Build, check and print, but send nothing.")]
Private = Annotated[bool | None, typer.Option("--private/--public", help="Of a repository that is made.")]
Prune = Annotated[bool, typer.Option("--prune", help="Remove files that are there and not in the plan.")]
Out = Annotated[Path | None, typer.Option("--out", help="Keep the folder here; it must be new or empty.")]


@app.command("model")
def publish_model(
    repository: Repository,
    source: Annotated[str, typer.Option("--from", help="Embedded model, folder, file or Hub repository.")] = "cell",
    revision: Annotated[str | None, typer.Option("--revision", help="Commit of a Hub repository.")] = None,
    card: Annotated[Path | None, typer.Option("--card", help="Model card; else the README.md beside it.")] = None,
    dry_run: DryRun = False,
    private: Private = None,
    prune: Prune = False,
    out: Out = None,
) -> None:
    """Publish weights, config, model card, and the code by which plain transformers loads them."""
    with _folder(out) as name:
        folder = Path(name)
        build_model(folder, repository, source=source, revision=revision, card=card)
        _finish(Plan.of("model", repository, folder), dry_run=dry_run, private=private, prune=prune)


@app.command("space")
def publish_space(
    repository: Repository,
    source: Annotated[Path, typer.Option("--from", help="Folder of the app.")] = APP,
    wheel: Annotated[Path | None, typer.Option("--wheel", help="Of sam-core; else one is built.")] = None,
    dry_run: DryRun = False,
    private: Private = None,
    prune: Prune = False,
    out: Out = None,
) -> None:
    """Publish the app with its card, pinned requirements and a wheel of sam-core."""
    with _folder(out) as name, TemporaryDirectory() as wheels:
        folder = Path(name)
        build_space(folder, app=source, wheel=wheel or build_wheel(ROOT, Path(wheels)))
        _finish(Plan.of("space", repository, folder), dry_run=dry_run, private=private, prune=prune)


class _Kept:
    """A folder that stays, where `TemporaryDirectory` is one that goes."""

    def __init__(self, folder: Path) -> None:
        if folder.is_dir() and any(folder.iterdir()):
            msg = f"got a folder that is not empty, {folder}, expected a new one; remove it or name another"
            raise PublishError(msg)
        folder.mkdir(parents=True, exist_ok=True)
        self._name = str(folder)

    def __enter__(self) -> str:
        return self._name

    def __exit__(self, *_: object) -> None:
        """Leave everything where it is."""


def _folder(out: Path | None) -> _Kept | TemporaryDirectory[str]:
    return TemporaryDirectory() if out is None else _Kept(out)


def _finish(plan: Plan, *, dry_run: bool, private: bool | None, prune: bool) -> None:
    """Print a plan; refuse it, or leave it at that, or upload it."""
    for line in plan.lines():
        typer.echo(line)
    found = [*_name_faults(plan.repository), *faults(plan), *tree_faults(ROOT)]
    if found:
        listed = "".join(f"\n  - {fault}" for fault in found)
        msg = f"got {len(found)} reasons not to publish this, expected none:{listed}"
        raise PublishError(msg)
    if dry_run:
        typer.echo("dry run: nothing was sent")
        return
    message = f"sam-core {sam_core.__version__} at {commit_of(ROOT)}"
    done = publish(plan, HfApi(library_name="sam-core"), private=private, prune=prune, message=message)
    changed = [*(f"sent {path}" for path in done.uploaded), *(f"removed {path}" for path in done.removed)]
    typer.echo("\n".join(changed) or "all was there already")
    typer.echo(f"verified: {_url(plan.kind, plan.repository)} at {done.commit}")


def _name_faults(repository: str) -> list[str]:
    if NAME.fullmatch(repository):
        return []
    return [f"{repository!r} is no name of a repository; write owner/name, of letters, digits, `-`, `_` and `.`"]


def _url(kind: Kind, repository: str) -> str:
    return f"{HfApi().endpoint}/{'spaces/' if kind == 'space' else ''}{repository}"


def main() -> None:
    """Run the command line; what is refused on purpose is said in a line, without a traceback."""
    try:
        app()
    except (PublishError, SamError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
