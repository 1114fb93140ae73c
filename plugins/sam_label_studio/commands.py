"""`sam-core label-studio prelabel`, `warm` and `export`: whole projects, over Label Studio's API."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec

import typer

from sam_core import SamError
from sam_label_studio.progress import Speaker

if TYPE_CHECKING:
    from sam_label_studio.workbench import Workbench

P = ParamSpec("P")
SOME_FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

Project = Annotated[
    int, typer.Option("--project", "-p", help="Its number, as in the address of its page.", show_default=False)
]
Url = Annotated[str | None, typer.Option(help="Label Studio, as seen from here; http://localhost:8080 if left out.")]
Key = Annotated[str | None, typer.Option(help="Personal access token or legacy token.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Model, as for `sam-core segment`; cell if left out.")]
Device = Annotated[str | None, typer.Option(help='"cpu", "cuda", "mps", ..., or "auto".')]
Allow = Annotated[list[str] | None, typer.Option(help="Host that images may be fetched from; several times.")]
Root = Annotated[list[Path] | None, typer.Option(help="Folder of local files; may be given several times.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, for machines.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (prelabel, warm, export):
        app.command()(_guarded(command))


def prelabel(
    project: Project,
    url: Url = None,
    key: Key = None,
    model: Model = None,
    device: Device = None,
    mode: Annotated[
        Literal["everything", "boxes", "refine"] | None,
        typer.Option(help="Segment everything, turn boxes into masks, or refine masks; everything if left out."),
    ] = None,
    output: Annotated[str | None, typer.Option(help="brush, polygon, bitmask, rectangle or ellipse.")] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Pixels that polygons may lie beside the outline; 1 if left out.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Label of objects nobody asked for one by one.")] = None,
    annotated: Annotated[bool, typer.Option("--annotated", help="Also where people have annotated already.")] = False,
    order: Annotated[
        Literal["doubt"] | None,
        typer.Option(help="Make a tab in the project with the most doubtful tasks first; implies --show."),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Let the project show these predictions and no others.")] = False,
    allow: Allow = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Predict all tasks of a project; called again it goes on where it stopped.

    Tasks that have been annotated, or that already have a prediction of the same model and settings, are skipped.
    """
    from sam_label_studio.prelabel import Rules, doubtful_first
    from sam_label_studio.prelabel import prelabel as predicted

    speaker = Speaker(as_json)
    bench = _bench(
        url=url, key=key, model=model, device=device, mode=mode, output=output, tolerance=tolerance, label=label,
        hosts=allow, roots=root,
    )  # fmt: skip
    version, everything = bench.settings.model_version, bench.settings.mode == "everything"
    counts, some = {"made": 0, "skipped": 0, "failed": 0}, False
    with bench.studio() as studio, bench.kept():
        about = studio.project(project)
        tasks = list(studio.tasks(project))
        # People annotate the boxes and masks that are to be started from.
        rules = Rules(version, annotated=annotated or not everything, empty=everything)
        outcomes = predicted(studio, tasks, bench.predictor(about), rules)
        for outcome in speaker.follow(outcomes, about.title, len(tasks)):
            counts[outcome.state] += 1
            some |= outcome.is_predicted
            _tell(speaker, outcome.task, outcome.why if outcome.state == "failed" else "", _record(outcome))
        speaker.result({"project": project, "model_version": version, **counts}, _counted(counts, version))
        if (show or order) and some and about.shown != version:
            studio.show(project, version)
        if order:
            tab = doubtful_first(studio, project)
            speaker.say(
                f"the most doubtful come first in {studio.credentials.address(f'/projects/{project}/data?tab={tab}')}"
            )
    _finish(counts["failed"])


def warm(
    project: Project,
    url: Url = None,
    key: Key = None,
    model: Model = None,
    device: Device = None,
    allow: Allow = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Encode the images of a project, so that the first click on each is as quick as all others."""
    from sam_label_studio.warm import warm as warmed

    speaker = Speaker(as_json)
    bench = _bench(url=url, key=key, model=model, device=device, hosts=allow, roots=root)
    pages = failed = 0
    with bench.studio() as studio, bench.kept():
        about = studio.project(project)
        encoded = warmed(studio.tasks(project), bench.encoder(about))
        for one in speaker.follow(encoded, about.title, about.tasks):
            pages, failed = pages + one.pages, failed + bool(one.why)
            _tell(speaker, one.task, one.why, _record(one))
    told = {"project": project, "pages": pages, "failed": failed}
    speaker.result(told, f"{pages} images are encoded, {failed} tasks failed")
    _finish(failed)


def export(
    project: Project,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("export"),
    test: Annotated[float, typer.Option(min=0, max=1, help="Part of the tasks that is kept for testing.")] = 0.2,
    url: Url = None,
    key: Key = None,
    allow: Allow = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Write what people annotated as COCO and SA-1B, in a folder for `sam-core train` and `sam-core evaluate`."""
    from sam_label_studio.export import Export

    speaker = Speaker(as_json)
    bench = _bench(url=url, key=key, hosts=allow, roots=root)
    counts = {"objects": 0, "left_out": 0, "failed": 0}
    with bench.studio() as studio:
        about = studio.project(project)
        read, labels = bench.reader(about), bench.labels(about)
        folder = Export(out, test=test, made_by=f"sam-core, {about.title} at {studio.credentials.url}")
        written = (folder.task(task, read) for task in studio.tasks(project, whole=True))
        for one in speaker.follow(written, about.title, about.tasks):
            counts["objects"] += one.objects
            counts["left_out"] += one.left_out
            counts["failed"] += one.failed
            _tell(speaker, one.task, one.why if one.failed else "", _record(one))
    folder.finish(labels)
    if counts["left_out"]:
        speaker.warn(f"{counts['left_out']} rectangles and key points are no masks and were left out")
    told = f"{len(folder.records)} images with {counts['objects']} objects in {out}, {counts['failed']} tasks failed"
    speaker.result({"project": project, "images": len(folder.records), **counts}, told)
    _finish(counts["failed"])


def _bench(**options: Any) -> Workbench:
    """Set up what the settings say, with what was given on the command line before what is in the environment."""
    from sam_label_studio.backend import load_model
    from sam_label_studio.settings import Settings
    from sam_label_studio.workbench import Workbench

    given = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    settings = Settings.of(os.environ, **given)
    return Workbench(settings, lambda: load_model(settings), settings.embeddings())


def _tell(speaker: Speaker, task: int, why: str, record: dict[str, Any]) -> None:
    speaker.result(record, "")
    if why:
        speaker.warn(f"task {task} failed: {why}")


def _record(outcome: Any) -> dict[str, Any]:
    from dataclasses import fields

    return {field.name: getattr(outcome, field.name) for field in fields(outcome)}


def _counted(counts: dict[str, int], version: str) -> str:
    return f"{counts['made']} predicted, {counts['skipped']} skipped, {counts['failed']} failed, as {version}"


def _finish(failed: int) -> None:
    if failed:
        raise typer.Exit(SOME_FAILED)


def _guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what cannot work into one line and exit status 2, and Ctrl-C into 130."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            typer.echo("interrupted; what was finished is kept, and called again it goes on", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except ImportError as error:
            typer.echo(f'error: {error.name} is missing: pip install "sam-core[label-studio]"', err=True)
            raise typer.Exit(BAD_INPUT) from None
        except BrokenPipeError:
            raise
        except (SamError, OSError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(BAD_INPUT) from None

    return run
