"""`sam-core label-studio`."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="Smart clicks and pre-annotation in Label Studio.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def label_studio() -> None:
    """Smart clicks and pre-annotation in Label Studio."""
