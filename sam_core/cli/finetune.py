"""`sam-core train --from`: a model adapted to a few labelled images, kept where it is better."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_core.cli.screen import Screen

if TYPE_CHECKING:
    from sam_core.training.finetune import FineTuneOptions


def fine_tune(screen: Screen, source: str, folder: Path, out: Path, options: FineTuneOptions, *, device: str) -> None:
    """Fine-tune, tell what is done, and show what it was before and is after."""
    from sam_core.training import finetune

    told: dict[str, Mapping[str, Any]] = {}
    records = finetune.fine_tune(source, folder, out, options, device=device)
    with screen:
        for record in screen.follow(records, "fine-tuning", 4 + options.steps // finetune.EVERY):
            told[record["stage"]] = record
            screen.result(record, _line(record))
    rows = [
        [name, *(f"{value:.3f}" for value in (told["before"][name], told["after"][name]))]
        for name in (*finetune.MEASURED, "score")
    ]
    screen.table(["held out", ">before", ">after"], rows)
    if told["done"]["better"]:
        screen.say(f"written to {out}; use it with --model {out}")
    else:
        screen.say(f"not better on what was held out: nothing is written, stay with {source}")


def _line(record: Mapping[str, Any]) -> str:
    stage = record["stage"]
    if stage == "split":
        return f"training on {', '.join(record['train'])}\nheld out: {record['told']}"
    if stage == "step":
        parts = [f"{key} {value:.4g}" for key, value in record.items() if key not in ("stage", "step", "steps")]
        return f"step {record['step']}/{record['steps']}: {', '.join(parts)}"
    if stage == "done":
        return f"done in {record['minutes']:.1f} minutes"
    return f"{stage}: mean {record['score']:.3f} over {record['objects']} objects held out"
