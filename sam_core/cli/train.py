"""`sam-core train`: a configuration in, a model folder out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sam_core.cli.common import Json
from sam_core.cli.screen import BAD_INPUT, Screen, complain, warn


def train(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG|FOLDER",
            help="TOML file that says what to train on, and how; with --from, a folder of labelled images.",
            show_default=False,
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder of the labelled sets that the configuration names.")] = Path(
        "data"
    ),
    run: Annotated[Path, typer.Option(help="Folder for checkpoint, log, curve and model.")] = Path("runs/cell"),
    base: Annotated[
        str | None,
        typer.Option("--from", help="Fine-tune this model on the folder instead: name, folder or repository."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Empty folder for the fine-tuned model.", show_default="finetuned"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of fine-tuning.", show_default="300")] = None,
    encoder: Annotated[
        bool, typer.Option("--encoder", help="Fine-tune the encoder as well: slower, for images unlike any other.")
    ] = False,
    device: Annotated[str, typer.Option(help='"cpu", "cuda", ...')] = "cpu",
    as_json: Json = False,
) -> None:
    """Train a model on labelled images, or fine-tune one on a few; called again it goes on where it stopped."""
    if base is not None:
        from sam_core.cli.finetune import fine_tune
        from sam_core.training.finetune import FineTuneOptions

        options = FineTuneOptions(steps=steps or FineTuneOptions().steps, encoder=encoder)
        fine_tune(Screen(as_json), base, source, out or Path("finetuned"), options, device=device)
    elif out is not None or steps is not None or encoder:
        msg = "got --out, --steps or --encoder without --from, which they belong to; write the steps into the CONFIG"
        raise typer.BadParameter(msg)
    else:
        train_from_config(source, data, run, device, as_json=as_json)


def train_from_config(config: Path, data: Path, run: Path, device: str, *, as_json: bool) -> None:
    """Take the steps of a configuration, and write the model."""
    import numpy as np

    from sam_core.training.config import read_config
    from sam_core.training.crops import CropSampler
    from sam_core.training.examples import read_examples
    from sam_core.training.export import export
    from sam_core.training.loop import train as steps_of
    from sam_core.training.proposal_scores import fit_proposal_scores
    from sam_core.training.synthetic import SYNTHETIC, synthetic_examples
    from sam_core.training.versions import draw_plane

    try:
        options = read_config(config)
    except ValueError as error:
        complain(str(error))
        raise typer.Exit(BAD_INPUT) from None
    run.mkdir(parents=True, exist_ok=True)
    sets = {name: name.partition(":")[::2] for name in options.sets}
    examples = {
        name: synthetic_examples(part) if folder == SYNTHETIC else read_examples(data / folder, modality=part)
        for name, (folder, part) in sets.items()
    }
    sampler = CropSampler(examples, options.sets, options.crops)
    with Screen(as_json) as screen:
        records = steps_of(options, sampler, run, device)
        for record in screen.follow(records, "training", options.steps // options.log_every):
            screen.result(record, _line(record, options.steps))
    if (run / "log.jsonl").is_file():
        draw_curve(run / "log.jsonl", run / "curve.png")
    export(run, options, run / "model")
    with Screen(as_json) as screen:
        rng = np.random.default_rng(options.seed)
        drawn = (draw_plane(sampler.draw_example(rng), rng) for _ in range(options.planes))
        planes = screen.follow(drawn, "scoring proposals", options.planes)
        scored = fit_proposal_scores(run / "model", planes, seed=options.seed, device=device)
    if options.model.proposal_iou and not scored:
        warn("the head for proposals is not fitted: too few are proposed on the images; do train longer, or on more")
    elif scored:
        screen.say(f"the head for proposals is fitted to {scored} answers")
    screen.say(f"log, curve, checkpoint and model are in {run}")


def _line(record: dict[str, Any], steps: int) -> str:
    parts = [f"{key} {value:.4g}" for key, value in record.items() if key != "step"]
    return f"step {record['step']}/{steps}: {', '.join(parts)}"


def draw_curve(log: Path, picture: Path) -> None:
    """Draw what the log says over the steps; without matplotlib only say how to have it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        warn("no curve is drawn without matplotlib; install sam-core[train] for it")
        return
    records = [json.loads(line) for line in log.read_text().splitlines()]
    keys = [key for key in records[-1] if key not in ("step", "learning_rate", "seconds")] if records else []
    figure = Figure(figsize=(8, 2.2 * max(1, len(keys))), layout="constrained")
    axes = figure.subplots(max(1, len(keys)), squeeze=False, sharex=True)[:, 0]
    for axis, key in zip(axes, keys, strict=False):
        axis.plot([r["step"] for r in records], [r.get(key) for r in records], linewidth=1)
        axis.set_ylabel(key)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("step")
    figure.savefig(picture, dpi=120)
