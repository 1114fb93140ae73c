"""Fine-tuning on a user's own few images: minutes on a CPU, and nothing is kept that is not better."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam_core.atomic import placed
from sam_core.errors import CheckpointError
from sam_core.evaluation.dataset import Item
from sam_core.evaluation.metrics import iou_table, msa
from sam_core.evaluation.protocol import EvaluateOptions, evaluate_items
from sam_core.evaluation.report import summarise
from sam_core.families.cell import CellFamily
from sam_core.families.load import choose_dtype, load_family, save_family
from sam_core.masks import Masks
from sam_core.modeling.cell import CellNetwork
from sam_core.sam import Sam
from sam_core.segment_all import SegmentAllOptions, segment_all
from sam_core.training.config import TrainConfig
from sam_core.training.crops import CropOptions
from sam_core.training.examples import Example, example_of
from sam_core.training.export import export
from sam_core.training.held_out import Parts, read_parts
from sam_core.training.loop import Loss, loss_of_features, optimise
from sam_core.training.proposal_scores import fit_proposal_scores
from sam_core.training.versions import Version, draw_plane, draw_versions, draw_window, encoded

Record = dict[str, Any]

EVERY = 10  # steps between what is told, and kept
MEASURED = ("1 click", "3 clicks", "box", "mSA")  # of the held-out part; better is what has the larger mean of these
ASKED = 32  # objects of a held-out image that are clicked and boxed, at most
SCORED = 12  # draws of the images, at least, on which answers to proposals are scored
CHECKED = 4  # images that thresholds are chosen on
CHECKED_SIDE = 768  # pixels of them
NUDGES = (-0.15, -0.075, 0.075, 0.15)  # of a threshold
GAIN = 0.005  # mSA; what differs by less is about as good


@dataclass(frozen=True, slots=True)
class FineTuneOptions:
    """How a model is adapted.

    Parameters
    ----------
    steps
        Optimiser steps.
    batch, objects
        Crops to a step, and objects to prompt for in each.
    learning_rate
        Of AdamW; it rises at first, and falls to zero over the second half.
    versions
        Augmented versions of the images, all together, whose features are kept.
    encoder
        Train the encoder as well: slower, and nothing is kept then.
    thresholds
        Choose those for segmenting everything anew, on the images trained on.
    seed
        Of versions, crops and prompts.
    """

    steps: int = 300
    batch: int = 4
    objects: int = 6
    learning_rate: float = 3e-4
    versions: int = 48
    encoder: bool = False
    thresholds: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        counts = {name: getattr(self, name) for name in ("steps", "batch", "objects", "versions")}
        if min(counts.values()) < 1:
            msg = f"got {counts}, expected 1 or more of each"
            raise ValueError(msg)

    def config(self, network: CellNetwork) -> TrainConfig:
        """Say the same in the terms of a training run."""
        crops = CropOptions(size=network.config.window, objects=self.objects)
        every = max(1, min(EVERY, self.steps // 2))
        return TrainConfig(
            sets={}, steps=self.steps, batch=self.batch, learning_rate=self.learning_rate, warmup=20,
            cooldown=max(1, self.steps // 2), average=0.98, seed=self.seed, save_every=every, log_every=every,
            model=network.config, crops=crops,
        )  # fmt: skip


def fine_tune(
    source: str | Path, folder: Path, out: Path, options: FineTuneOptions | None = None, *, device: str = "auto"
) -> Iterator[Record]:
    """Adapt a model to a few labelled images, and keep the result if it is better on images held out.

    Decoder and proposal head are trained, on features of the encoder that are computed once. Called again with the same
    images and options, it goes on where it stopped: what is not finished is in a hidden folder beside `out`.

    Parameters
    ----------
    source
        The model to begin with, of the kind of "cell"; it stays as it is.
    folder
        Labelled images, as `sam_core.evaluation.read_items` reads them.
    out
        Gets the model, if it is better. Has to be empty or absent.
    options
        How.
    device
        What to compute on.

    Yields
    ------
    dict
        `stage` says what it tells: "split" (names in `train` and `held_out`, and `told` in words), "before" and "after"
        (means over what is held out, and theirs as `score`), "step" (losses), "done" (`better`, and `minutes`).

    Raises
    ------
    CheckpointError
        The model is of another kind, or `out` holds something.
    ImageError
        The images cannot be read, or are too few.
    """
    began = time.perf_counter()
    out, options = out.absolute(), options or FineTuneOptions()
    _refuse_full(out)
    base, fingerprint, recommended = _load(source, device)
    parts = read_parts(folder)
    yield {"stage": "split", "train": _names(parts.train), "held_out": _names(parts.held_out), "told": parts.told}

    examples = [example_of(item) for item in parts.train]
    run = out.with_name(f".{out.name}.fine-tuning")
    _begin(run, _task(fingerprint, options, parts))
    before = _remembered(
        run / "before.json", lambda: measure(Sam.from_pretrained(source, device=device), parts.held_out)
    )
    yield {"stage": "before", **before}

    for record in _adapt(base.network, examples, options, run):
        yield {"stage": "step", "steps": options.steps, **record}
    model = _exported(run, base, recommended, examples, options, device)
    after = measure(Sam.from_pretrained(model, device=device), parts.held_out)
    yield {"stage": "after", **after}

    if after["score"] > before["score"]:
        _keep(model, out, _card(source, parts, before, after))
    shutil.rmtree(run)
    yield {"stage": "done", "better": after["score"] > before["score"], "minutes": (time.perf_counter() - began) / 60}


def measure(model: Sam, items: Iterable[Item]) -> dict[str, float]:
    """Measure a model on items: the means that decide, their mean as `score`, and how many objects were asked for."""
    options = EvaluateOptions(clicks=3, max_objects=ASKED, baseline=False)
    results = [replace(r, set="held out", modality="") for r in evaluate_items(model, items, options)]
    row = summarise(results)[0]
    told = {name: float(row.get(name) or 0.0) for name in MEASURED}
    return {**told, "score": float(np.mean(list(told.values()))), "objects": row["objects"]}


def choose_thresholds(folder: Path, examples: Sequence[Example], device: str) -> tuple[SegmentAllOptions, float]:
    """Choose the score of proposals, then that of masks, by the mSA on images trained on."""
    family, fingerprint, options = load_family(folder, device=device)
    assert isinstance(family, CellFamily)
    corner = slice(CHECKED_SIDE)
    planes = [(e.image[corner, corner], e.labels[corner, corner]) for e in examples[:CHECKED]]
    encoder = Sam(family, fingerprint, options)
    embeddings = [encoder.encode(image) for image, _ in planes]

    def score(options: SegmentAllOptions, min_proposal: float) -> float:
        model = Sam(CellFamily(family.network, min_proposal=min_proposal), fingerprint, options)
        found = (Masks.merge([Masks.empty(e.image_shape), *segment_all(model, e)]).to_labels() for e in embeddings)
        return float(np.mean([msa(iou_table(labels, drawn)) for (_, labels), drawn in zip(planes, found, strict=True)]))

    proposals = {p: score(options, p) for p in _around(family.min_proposal)}
    min_proposal = best_threshold(proposals, family.min_proposal)
    masks = {s: score(replace(options, min_score=s), min_proposal) for s in _around(options.min_score)}
    return replace(options, min_score=best_threshold(masks, options.min_score, lax=True)), min_proposal


def best_threshold(scores: Mapping[float, float], present: float, *, lax: bool = False) -> float:
    """Choose of thresholds, each with what it brings, the best; the present one unless another is clearly better.

    With `lax`, the lowest that is about as good as the best: on other images the model is less sure of itself.

    Examples
    --------
    >>> scores = {0.4: 0.300, 0.5: 0.302, 0.6: 0.303}
    >>> best_threshold(scores, 0.5), best_threshold(scores, 0.5, lax=True)
    (0.5, 0.4)
    """
    best = max(scores, key=lambda threshold: scores[threshold])
    if lax and scores[best] > 0:
        return min(threshold for threshold, score in scores.items() if score >= scores[best] - GAIN)
    return best if scores[best] > scores[present] + GAIN else present


def _around(threshold: float) -> list[float]:
    return [threshold, *(round(float(np.clip(threshold + nudge, 0.05, 0.95)), 3) for nudge in NUDGES)]


def _adapt(
    network: CellNetwork, examples: Sequence[Example], options: FineTuneOptions, run: Path
) -> Iterator[dict[str, float]]:
    """Train decoder and proposal head, or all of the network, on windows of versions of the examples."""
    network.train().requires_grad_(options.encoder)
    for part in (network.mask_decoder, network.proposal_head):
        part.requires_grad_(True)
    config, device = options.config(network), next(network.parameters()).device
    bfloat16 = choose_dtype("auto", device) == torch.bfloat16
    versions = draw_versions(examples, options.versions, network.config.window, options.seed)
    if not options.encoder:
        versions = [encoded(version, network, bfloat16=bfloat16) for version in versions]

    def losses(step: int) -> Iterator[Loss]:
        while True:  # what is drawn depends on nothing but the step: a run that stopped goes on as if it had not
            rng, generator = np.random.default_rng([options.seed, step]), torch.Generator().manual_seed(step)
            crops, levels = _draw(versions, config, rng)
            if options.encoder:
                pixels = torch.from_numpy(np.stack([crop.pixels for crop in crops])).permute(0, 3, 1, 2)
                with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                    levels = list(network.encoder(pixels.to(device).float() / 255))
            yield loss_of_features(
                network, [level.to(device).float() for level in levels], crops, config, generator, device.type,
                bfloat16=bfloat16,
            )  # fmt: skip
            step += 1

    yield from optimise(network, losses, config, run)


def _draw(versions: Sequence[Version], config: TrainConfig, rng: np.random.Generator) -> tuple[list[Any], list[Any]]:
    """Draw the crops of a step, and their features level by level, a row a crop."""
    drawn: list[Any] = []
    while len(drawn) < config.batch:
        drawn += (
            [found] if (found := draw_window(versions[int(rng.integers(len(versions)))], config.crops, rng)) else []
        )
    crops, levels = zip(*drawn, strict=True)
    return list(crops), [torch.stack(level) for level in zip(*levels, strict=True)]


def _exported(
    run: Path,
    base: CellFamily,
    recommended: SegmentAllOptions,
    examples: Sequence[Example],
    options: FineTuneOptions,
    device: str,
) -> Path:
    """Write what was trained as a model folder inside that of the run, with scores and thresholds that suit it."""
    model, config = run / "model", options.config(base.network)
    export(run, config, model, options=recommended, min_proposal=base.min_proposal)
    rng = np.random.default_rng(options.seed)
    planes = (draw_plane(examples[i % len(examples)], rng) for i in range(max(SCORED, len(examples))))
    fit_proposal_scores(model, planes, seed=options.seed, device=device)
    if options.thresholds:
        chosen, min_proposal = choose_thresholds(model, examples, device)
        trained, _, _ = _load(model, device)
        save_family(CellFamily(trained.network, min_proposal=min_proposal), model, chosen)
    return model


def _load(source: str | Path, device: str) -> tuple[CellFamily, str, SegmentAllOptions]:
    """Load the network in full precision: small steps would be lost in less."""
    family, fingerprint, options = load_family(source, device=device, dtype="float32")
    if not isinstance(family, CellFamily):
        msg = f"got {source}, a model that this cannot train, expected one of model_type 'cell', such as cell"
        raise CheckpointError(msg)
    return family, fingerprint, options


def _refuse_full(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"got {out}, which is not empty, expected a new folder; nothing is overwritten: name another one"
        raise CheckpointError(msg)


def _task(fingerprint: str, options: FineTuneOptions, parts: Parts) -> str:
    """Tell this run from all others: model, options, and every pixel and label."""
    digest = hashlib.blake2b(json.dumps([fingerprint, asdict(options)]).encode(), digest_size=16)
    for item in (*parts.train, *parts.held_out):
        digest.update(item.name.encode())
        for array in item.read():
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _begin(run: Path, task: str) -> None:
    """Make the folder of a run, or keep it where it is of the same task."""
    told = run / "task"
    if run.exists() and not (told.is_file() and told.read_text() == task):
        shutil.rmtree(run)
    run.mkdir(parents=True, exist_ok=True)
    told.write_text(task)


def _remembered(path: Path, tell: Any) -> dict[str, float]:
    """Read what was measured before the run stopped, or measure."""
    if not path.is_file():
        found = tell()
        with placed(path) as beside:
            beside.write_text(json.dumps(found))
    told: dict[str, float] = json.loads(path.read_text())
    return told


def _keep(model: Path, out: Path, card: str) -> None:
    (model / "README.md").write_text(card, encoding="utf-8")
    with placed(out) as beside:
        shutil.copytree(model, beside)


def _names(items: Sequence[Item]) -> list[str]:
    return [item.name for item in items]


def _card(source: str | Path, parts: Parts, before: dict[str, float], after: dict[str, float]) -> str:
    rows = "".join(f"| {name} | {before[name]:.3f} | {after[name]:.3f} |\n" for name in MEASURED)
    return (
        f"# Fine-tuned from {source}\n\nTrained on {len(parts.train)} images: {', '.join(_names(parts.train))}.\n"
        f"Measured on what was held out, {parts.told} ({after['objects']} objects):\n\n"
        f"| | before | after |\n|---|---:|---:|\n{rows}\n"
        "It is for images like these, and has forgotten some of what it knew about others.\n"
    )
