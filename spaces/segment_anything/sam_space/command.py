"""`sam-core space`."""

from __future__ import annotations

from typing import Annotated

import typer

BAD_INPUT = 2


def space(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 7860,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name of an embedded model, folder, checkpoint or Hub repository.")
    ] = "cell",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub repository.")] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            help="A model that visitors may choose: Hub repository, owner/name or owner/name@COMMIT, or folder; give "
            'it again for more. "none" for no other model. Default: SAM, MedSAM and SlimSAM from the Hub.'
        ),
    ] = None,
    device: Annotated[str, typer.Option(help='"cpu", "cuda", "mps", ..., or "auto" for the best there is.')] = "auto",
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Segment Anything in a browser: the page of the Space, on this machine."""
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        typer.echo('error: gradio is missing: pip install "sam-core[space]"', err=True)
        raise typer.Exit(BAD_INPUT)
    from sam_space.start import make_desk, serve

    typer.echo(f"loading {model}")
    try:
        desk = make_desk(model, revision=revision, device=device, models=models)
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    typer.echo(f"http://{host}:{port}")
    serve(desk, server_name=host, server_port=port, inbrowser=browser)
