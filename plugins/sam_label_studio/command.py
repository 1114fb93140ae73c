"""`sam-core label-studio`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam_label_studio import commands

if TYPE_CHECKING:
    from sam_label_studio.settings import Settings

BAD_INPUT = 2

app = typer.Typer(
    help="Smart clicks and pre-annotation in Label Studio.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def label_studio() -> None:
    """Smart clicks and pre-annotation in Label Studio."""


@app.command()
def serve(
    url: Annotated[str | None, typer.Option(help="Label Studio, as seen from here. [http://localhost:8080]")] = None,
    key: Annotated[str | None, typer.Option(help="Personal access token or legacy token.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 9090,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help='Model, as for `sam-core segment`. ["cell"]')
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub repository.")] = None,
    device: Annotated[str | None, typer.Option(help='"cpu", "cuda", "mps", ..., or "auto".')] = None,
    mode: Annotated[str | None, typer.Option(help="Whole tasks: everything, boxes, refine or off.")] = None,
    output: Annotated[str | None, typer.Option(help="brush, polygon, bitmask, rectangle or ellipse.")] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Pixels that polygons may lie beside the outline. [1]")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Label of objects nobody asked for one by one.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Host that images may be fetched from; several times.")
    ] = None,
    root: Annotated[list[Path] | None, typer.Option(help="Folder of local files; may be given several times.")] = None,
) -> None:
    """Answer Label Studio. All settings can also be given as variables; see docs/label-studio.md."""
    try:
        from sam_label_studio.errors import LabelStudioError
        from sam_label_studio.settings import Settings
    except ImportError as error:
        raise _incomplete(error) from None
    try:
        settings = Settings.of(
            os.environ,
            url=url,
            key=key,
            model=model,
            revision=revision,
            device=device,
            mode=mode,
            output=output,
            tolerance=tolerance,
            label=label,
            hosts=tuple(allow) if allow else None,
            roots=tuple(root) if root else None,
        )
    except LabelStudioError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    _serve(settings, host, port)


def _serve(settings: Settings, host: str, port: int) -> None:
    try:
        from sam_label_studio.app import create_app
        from sam_label_studio.run import run
    except ImportError as error:
        raise _incomplete(error) from None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log addresses, which may hold signatures
    typer.echo(f"model version: {settings.model_version}\nLabel Studio: {settings.url}\nconnect http://{host}:{port}")
    run(create_app(settings), host=host, port=port)


def _incomplete(error: ImportError) -> typer.Exit:
    typer.echo(f'error: {error.name} is missing: pip install "sam-core[label-studio]"', err=True)
    return typer.Exit(BAD_INPUT)


commands.add_to(app)
