"""`sam-core napari`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

BAD_INPUT = 2


class OpenByDefault(TyperGroup):
    """Takes what is no command for the files to open."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `open` before anything that does not begin with a command."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["open", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=OpenByDefault,
    help="Segment Anything in napari: point at a cell, see it; click, have it.",
    epilog="`sam-core napari FILE` is short for `sam-core napari open FILE`.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def napari() -> None:
    """Segment Anything in napari: point at a cell, see it; click, have it."""


@app.command("open")
def open_napari(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Images to open, or one folder of them.", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Objects to begin with, such as those of another program.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Model, as for `sam-core segment`; as in the preferences if left out."),
    ] = None,
) -> None:
    """Open napari with the panel beside the picture. This is what happens without a command, too."""
    for path in [*(files or []), *([labels] if labels else [])]:
        if not path.exists():
            msg = f"got {path}, which does not exist; give image files or a folder of them"
            raise _bad(msg)
    try:
        from sam_napari._start import start
    except ImportError as error:
        raise _incomplete(error) from None
    start(files or [], labels, model)


@app.command()
def replay(
    journal: Annotated[Path, typer.Argument(help="The journal of an image (.jsonl).", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Label image to write (.tif).")],
) -> None:
    """Paint again what was painted, from the journal alone: no window, no model, the same labels to the pixel."""
    from sam_core import SamError, save_labels
    from sam_napari._journal import entry_of
    from sam_napari._replay import replay as replayed

    if not journal.is_file():
        msg = f"got {journal}, which is no file; journals end in .jsonl"
        raise _bad(msg)
    try:
        scale = entry_of(journal).opened.get("scale")
        save_labels(out, replayed(journal), scale=scale)
    except (SamError, OSError) as error:
        raise _bad(str(error)) from None
    typer.echo(str(out))


def _bad(message: str) -> typer.Exit:
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(BAD_INPUT)


def _incomplete(error: ImportError) -> typer.Exit:
    missing = error.name or "napari"
    return _bad(
        f'{missing} is missing: pip install "sam-core[napari]" and a Qt binding, such as pip install "napari[pyqt6]"'
    )
