"""`sam-core segment`: files in, labels out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam_core.cli import common
from sam_core.cli.common import (
    Channel,
    Device,
    Json,
    Model,
    Revision,
    Time,
    cache_folder,
    image_files,
    numbers,
    output_names,
)
from sam_core.cli.job import Format, Job
from sam_core.cli.screen import BAD_INPUT, SOME_FAILED, Screen, complain

if TYPE_CHECKING:
    from collections.abc import Callable

    from sam_core.cli.work import Encoder
    from sam_core.prompt import Prompt
    from sam_core.types import Segmenter


Points = Annotated[
    list[str] | None,
    typer.Option("--point", "-p", metavar="Y,X", help="A click on an object. Each is an object of its own."),
]
Excluded = Annotated[
    list[str] | None, typer.Option("--not", metavar="Y,X", help="A click on what is not to be part of it.")
]
Boxes = Annotated[
    list[str] | None,
    typer.Option("--box", "-b", metavar="Y0,X0,Y1,X1", help="Rows Y0 to Y1 - 1 and columns X0 to X1 - 1."),
]


def segment(
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders of them.", show_default=False)],
    point: Points = None,
    exclude: Excluded = None,
    box: Boxes = None,
    one: Annotated[bool, typer.Option("--one", help="All clicks, and the box, are about one object.")] = False,
    everything: Annotated[
        bool, typer.Option("--everything", help="Segment everything; so it is without clicks and boxes.")
    ] = False,
    plane: Annotated[
        int | None, typer.Option(help="Plane of a stack that was clicked; the middle one if left out.")
    ] = None,
    model: Model = "cell",
    revision: Revision = None,
    device: Device = "auto",
    tile: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Side of the tiles that planes are cut into; 0: never cut. Large ones are.",
            show_default=False,
        ),
    ] = None,
    channel: Channel = None,
    time: Time = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("segmented"),
    format: Annotated[
        list[Format] | None, typer.Option("--format", "-f", help="What to write; may be given several times.")
    ] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Write a picture of the objects as well.")] = False,
    cache: Annotated[
        bool | None,
        typer.Option(
            "--cache/--no-cache",
            help="Keep what was encoded. With clicks and boxes it is, else not.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Segment images: everything in them, or what was clicked or boxed."""
    prompts = _prompts(point or [], exclude or [], box or [], one)
    if everything and prompts:
        msg = "got --everything together with clicks or boxes; give one or the other"
        raise typer.BadParameter(msg)
    files = image_files(paths, leave_out=out)
    out.mkdir(parents=True, exist_ok=True)
    segmenter = common.load_model(model, revision=revision, device=device)
    encoder = _encoder(segmenter, tile, bool(prompts) if cache is None else cache)
    job = Job(encoder, out, format or [Format.TIFF], overlay, prompts, plane, channel, time)
    with Screen(as_json) as screen:
        names = output_names(files)
        failed = sum(
            not job.run(*pair, screen) for pair in screen.follow(list(zip(files, names, strict=True)), "files")
        )
    if failed:
        if len(files) > 1:
            complain(f"{failed} of {len(files)} files failed")
        raise typer.Exit(BAD_INPUT if failed == len(files) else SOME_FAILED)


def _encoder(model: Segmenter, tile: int | None, keep: bool) -> Callable[[], Encoder]:
    from sam_core.cache import EmbeddingCache
    from sam_core.cli.work import Encoder

    cached = EmbeddingCache(cache_folder()).encode if keep else None
    return lambda: Encoder(model, tile, cached)


def _prompts(points: list[str], excluded: list[str], boxes: list[str], one: bool) -> list[Prompt]:
    """Read the clicks and boxes: an object for each, or one for all of them."""
    from sam_core.prompt import Prompt

    clicks = [numbers(text, 2, "--point") for text in points]
    negative = [numbers(text, 2, "--not") for text in excluded]
    corners = [numbers(text, 4, "--box") for text in boxes]
    if negative and not clicks and not corners:
        msg = "got only what is not the object; add a --point or a --box that says what is"
        raise typer.BadParameter(msg, param_hint="--not")
    if one and len(corners) > 1:
        msg = f"got {len(corners)} boxes for one object; give at most one, or leave out --one"
        raise typer.BadParameter(msg, param_hint="--one")
    signs = [True] * len(clicks) + [False] * len(negative)
    if one and (clicks or corners):
        return [Prompt.of(clicks + negative, signs, box=corners[0] if corners else None)]
    against = [False] * len(negative)
    return [Prompt.of([click, *negative], [True, *against]) for click in clicks] + [
        Prompt.of(negative, against, box=box) for box in corners
    ]
