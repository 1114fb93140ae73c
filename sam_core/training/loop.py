"""The training loop: one page, to be read from top to bottom."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sam_core.atomic import placed
from sam_core.families.load import choose_dtype
from sam_core.modeling.cell import MASK_STRIDE, CellNetwork
from sam_core.training.clicks import correction, first_prompts
from sam_core.training.config import TrainConfig
from sam_core.training.crops import Crop, CropSampler
from sam_core.training.grow import start_from
from sam_core.training.losses import answer_loss, proposal_loss, true_iou
from sam_core.training.optimisers import Optimisers

Record = dict[str, float]
Loss = tuple[Tensor, Record]


def train(config: TrainConfig, sampler: CropSampler, run: Path, device: str = "cpu") -> Iterator[Record]:
    """Train a `CellNetwork`, from `run/checkpoint.pt` where there is one.

    Parameters
    ----------
    config
        The run.
    sampler
        Where the crops come from.
    run
        Folder for `checkpoint.pt` (everything needed to go on) and `log.jsonl`.

    Yields
    ------
    dict
        Step, losses and learning rate, averaged since the last one, every `config.log_every` steps.
    """
    torch.manual_seed(config.seed)
    network = CellNetwork(config.model)
    if config.start and not (run / "checkpoint.pt").exists():
        start_from(network, config.start)
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    bfloat16 = choose_dtype("auto", torch.device(device)) == torch.bfloat16

    def losses(step: int) -> Iterator[Loss]:
        crops = _ahead(sampler.crops(config.seed + 1_000_003 * step), 4 * config.batch)
        generator = torch.Generator().manual_seed(config.seed + step)
        while True:
            batch = [next(crops) for _ in range(config.batch)]
            yield batch_loss(network, batch, config, generator, device, bfloat16=bfloat16)

    yield from optimise(network, losses, config, run)


def optimise(
    network: CellNetwork, losses: Callable[[int], Iterator[Loss]], config: TrainConfig, run: Path
) -> Iterator[Record]:
    """Take the steps of a run, from `run/checkpoint.pt` where there is one.

    Parameters
    ----------
    network
        What is trained of it requires gradients.
    losses
        Called with the step that the run begins at, yields the loss of each step and its parts for the log.
    config, run
        See `train`.
    """
    optimisers = Optimisers(network, config.optimiser, config.weight_decay)
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    step = _resume(run / "checkpoint.pt", network, optimisers, average)
    steps = losses(step)
    _forget_after(run / "log.jsonl", step)
    recent: dict[str, list[float]] = {}
    started = time.perf_counter()
    if step >= config.steps:  # nothing to train: a model is taken as it is
        _save(run / "checkpoint.pt", network, optimisers, average, step)
    while step < config.steps:
        rate = config.learning_rate * _schedule(step, config)
        loss, parts = next(steps)
        optimisers.step(loss, rate)
        step += 1
        _update_average(average, network, min(config.average, step / (step + 10)))
        for key, value in parts.items():
            recent.setdefault(key, []).append(value)
        if step % config.save_every == 0 or step == config.steps:
            _save(run / "checkpoint.pt", network, optimisers, average, step)
        if step % config.log_every == 0:
            seconds = (time.perf_counter() - started) / config.log_every
            means = {key: float(np.mean(values)) for key, values in recent.items()}
            record = {"step": step, "learning_rate": rate, "seconds": seconds, **means}
            _append(run / "log.jsonl", record)
            yield record
            recent, started = {}, time.perf_counter()


def batch_loss(
    network: CellNetwork,
    crops: Sequence[Crop],
    config: TrainConfig,
    generator: torch.Generator,
    device: str = "cpu",
    *,
    bfloat16: bool = True,
) -> Loss:
    """Return the loss of one batch over several rounds of prompting, and its parts for the log.

    `bfloat16` is for devices that are fast at it: a CPU that is not takes many times as long as in float32.
    """
    pixels = torch.from_numpy(np.stack([c.pixels for c in crops])).permute(0, 3, 1, 2).to(device).float() / 255
    with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
        levels = network.encoder(pixels.contiguous(memory_format=torch.channels_last))
    return loss_of_features(network, levels, crops, config, generator, device, bfloat16=bfloat16)


def loss_of_features(
    network: CellNetwork,
    levels: Sequence[Tensor],
    crops: Sequence[Crop],
    config: TrainConfig,
    generator: torch.Generator,
    device: str = "cpu",
    *,
    bfloat16: bool = True,
) -> Loss:
    """Return the loss of crops that are encoded already: `levels` are the encoder's three, a row a crop."""
    target, clicks, boxes, proposals = (x.to(device) for x in _collate(crops))
    rounds = 1 + int(torch.multinomial(torch.tensor(config.rounds), 1, generator=generator))
    with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
        maps = network.proposal_head(*levels[:2]).float()
        windows = [level.repeat_interleave(config.crops.objects, dim=0) for level in levels]
        prompts = first_prompts(clicks.cpu(), boxes.cpu(), generator)
        head_loss = proposal_loss(maps, proposals)
        loss = config.losses.proposals * head_loss
        parts = {"proposals": float(head_loss.detach())}
        previous = None
        for index in range(rounds):
            points, codes = prompts.points.to(device), prompts.codes.to(device)
            logits, scores = network(windows, points, codes, previous)
            logits, scores, lone = logits.float(), scores.float(), prompts.lone.to(device)
            answers = answer_loss(logits, scores, target, lone, config.losses)
            loss = loss + answers / rounds
            with torch.no_grad():
                best = torch.where(lone, 1 + scores[:, 1:].argmax(dim=1), 0)
                chosen = logits[torch.arange(len(best)), best]
                if index == 0:
                    iou = true_iou(chosen, target)
                    parts["answers"] = float(answers.detach())
                    kinds = {"iou_click": lone, "iou_box": ~lone}
                    parts |= {key: float(iou[kind].mean()) for key, kind in kinds.items() if kind.any()}
                xy, positive = correction(chosen.cpu(), target.cpu(), generator)
                prompts = prompts.click(xy * MASK_STRIDE + 0.5 * (MASK_STRIDE - 1), positive)
                # Now and then the user starts from clicks alone again.
                keep = (torch.rand(len(best), generator=generator) < 0.9).to(device)
                previous = (chosen * keep[:, None, None]).unsqueeze(1)
    return loss, parts


def _collate(crops: Sequence[Crop]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the masks, clicks and boxes of all objects, and the targets of the proposal head."""
    labels = torch.from_numpy(np.stack([c.labels for c in crops]))
    ids = torch.from_numpy(np.stack([c.ids for c in crops]))
    masks = (labels[:, None] == ids[:, :, None, None]).flatten(0, 1).float()
    target = F.avg_pool2d(masks.unsqueeze(1), MASK_STRIDE).squeeze(1)
    clicks = torch.from_numpy(np.concatenate([c.points for c in crops]))
    boxes = torch.from_numpy(np.concatenate([c.boxes for c in crops]))
    return target, clicks, boxes, torch.from_numpy(np.stack([c.proposals for c in crops]))


def _schedule(step: int, config: TrainConfig) -> float:
    rise = (step + 1) / config.warmup
    fall = (config.steps - step) / config.cooldown
    return min(1.0, rise, fall)


def _ahead(crops: Iterator[Crop], depth: int) -> Iterator[Crop]:
    """Draw crops on a thread of its own while the network works."""
    ready: queue.Queue[Crop | BaseException] = queue.Queue(depth)

    def fill() -> None:
        try:
            for crop in crops:
                ready.put(crop)
        except BaseException as error:
            ready.put(error)

    threading.Thread(target=fill, daemon=True).start()
    while True:
        item = ready.get()
        if isinstance(item, BaseException):
            raise item
        yield item


def _update_average(average: dict[str, Tensor], network: torch.nn.Module, decay: float) -> None:
    with torch.no_grad():
        for key, value in network.state_dict().items():
            average[key].lerp_(value, 1 - decay)


def _resume(path: Path, network: torch.nn.Module, optimisers: Optimisers, average: dict[str, Tensor]) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    network.load_state_dict(state["network"])
    optimisers.restore(state["optimisers"])
    average.update(state["average"])
    return int(state["step"])


def _save(path: Path, network: torch.nn.Module, optimisers: Optimisers, average: dict[str, Tensor], step: int) -> None:
    state = {"network": network.state_dict(), "optimisers": optimisers.state(), "average": average, "step": step}
    with placed(path) as beside:
        torch.save(state, beside)


def _forget_after(log: Path, step: int) -> None:
    """Drop what was logged after the checkpoint that a run goes on from: those steps are taken again."""
    if log.exists():
        lines = log.read_text().splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        with placed(log) as beside:
            beside.write_text("".join(kept))


def _append(path: Path, record: Record) -> None:
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")
