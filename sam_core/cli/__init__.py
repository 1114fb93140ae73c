"""The command `sam-core`.

Nothing heavy is imported before a command runs. A plugin adds a command of its own through an entry point in
the group `sam_core.commands`: a function that typer can read, or a `typer.Typer` with several.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import typer

from sam_core.cli.cache import app as cache
from sam_core.cli.demo import demo
from sam_core.cli.evaluate import evaluate
from sam_core.cli.info import info
from sam_core.cli.screen import guarded, warn
from sam_core.cli.segment import segment
from sam_core.cli.train import train

EPILOG = "Exit status: 0 done, 1 some files failed, 2 bad usage or input, 130 interrupted. Coordinates are y,x."

app = typer.Typer(
    name="sam-core",
    help="Segment Anything where you already work: encode an image once, ask anything about it.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (segment, evaluate, train, info, demo):
    app.command()(guarded(command))
app.add_typer(cache, name="cache")


def add_plugins(to: typer.Typer) -> None:
    """Add the commands of installed plugins; one that is broken costs a warning, not the command line."""
    for entry in entry_points(group="sam_core.commands"):
        try:
            _add_plugin(to, entry)
        except Exception as error:  # whatever a plugin does wrong
            warn(f"the command {entry.name!r} of {entry.value!r} is left out: {type(error).__name__}: {error}")


def _add_plugin(to: typer.Typer, entry: EntryPoint) -> None:
    command = entry.load()
    if isinstance(command, typer.Typer):
        to.add_typer(command, name=entry.name)
    else:
        to.command(name=entry.name)(guarded(command))


def main() -> None:
    """Run `sam-core`."""
    try:
        add_plugins(app)
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
