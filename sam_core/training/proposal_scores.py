"""How good answers to proposals are: a head of their own, fitted to what a trained model proposes on labelled images.

The head of the predicted IoU learns from clicks on objects. Who clicks knows that something is there; what a model
proposes is now and then nothing, and answers to that score too high. Nothing but the head is fitted, to tokens computed
once: for clicks the model stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from sam_core.families.cell import CellFamily
from sam_core.families.load import load_family, save_family
from sam_core.families.place import Place, places_for
from sam_core.masks import Masks
from sam_core.modeling.layers import FeedForward
from sam_core.overlap import mask_iou
from sam_core.prompt import Prompt
from sam_core.sam import Sam
from sam_core.training.examples import Example

ASKED = 60  # proposals of a plane, at most
LENIENT = 0.3  # score from which proposals are asked: wrong ones are what there is to learn
EPOCHS, BATCH, RATE, DECAY = 20, 64, 1e-3, 0.05
NOISE = 0.2  # added to tokens, in parts of how much they differ: the model has been trained on some of these images


def fit_proposal_scores(folder: Path, planes: Iterable[Example], *, seed: int = 0, device: str = "cpu") -> int:
    """Fit the head that scores answers to proposals, and write it into the model's folder.

    Parameters
    ----------
    folder
        A model of the kind of "cell"; without such a head it stays as it is.
    planes
        What to propose on, as `draw_plane` draws them.
    seed
        Of the choice among many proposals, and of the steps.

    Returns
    -------
    int
        How many answers it was fitted to; with less than `BATCH` nothing is changed.
    """
    family, fingerprint, options = load_family(folder, device=device, dtype="float32")
    assert isinstance(family, CellFamily)
    head = family.network.mask_decoder.proposal_iou_head
    if head is None:
        return 0
    lenient = CellFamily(family.network, min_proposal=LENIENT)
    rng = np.random.default_rng(seed)
    sam = Sam(lenient, fingerprint, options)
    rows = [row for plane in planes for row in _answered(lenient, sam, plane, rng)]
    if len(rows) < BATCH:
        return 0
    tokens, ious = (torch.stack(column) for column in zip(*rows, strict=True))
    _fit(head, tokens, ious, seed)
    save_family(family, folder, options)
    return len(rows)


def _answered(
    family: CellFamily, sam: Sam, plane: Example, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Ask what a model proposes on a plane, and yield IoU token (C,) and true IoU (masks,) of each answer.

    The IoU is that with the object which is most like the mask; NaN where no such mask was asked for.
    """
    embedding = sam.encode(plane.image)
    prompts = sam.propose(embedding) or []
    prompts = [prompts[i] for i in sorted(rng.permutation(len(prompts))[:ASKED])]
    groups: dict[tuple[tuple[int, int], bool], list[tuple[Place, Prompt]]] = {}
    for prompt in prompts:
        place = places_for(embedding, prompt, family)[0]
        groups.setdefault((place.key, prompt.is_lone_click), []).append((place, prompt))
    for group in groups.values():
        yield from _asked(family, group[0][0], [prompt for _, prompt in group], plane.labels)


def _asked(
    family: CellFamily, place: Place, prompts: Sequence[Prompt], labels: NDArray[np.int32]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Ask prompts of one kind at one place, as `segment_all` does."""
    decoder = family.network.mask_decoder
    assert decoder.proposal_iou_head is not None
    # What the head is shown in use is what it has to learn from, so it is watched there.
    seen: list[Tensor] = []
    watch = decoder.proposal_iou_head.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    placed = [place.frame.prompt_into(prompt) for prompt in prompts]
    count: Literal[1, 3] = 3 if prompts[0].is_lone_click else 1
    asked = slice(1, None) if count == 3 else slice(0, 1)
    truth = Masks.from_labels(labels)
    try:
        for part in family.decode(place.levels(), place.frame.shape, placed, count, None):
            answers = zip(part.values, part.boxes, strict=True)
            drawn = [place.logits_out(values, tuple(box), labels.shape) for values, box in answers]
            masks = Masks.from_logits(labels.shape, drawn, part.scores, part.prompt)
            found = np.full((len(masks) // count, decoder.num_masks), np.nan, np.float32)
            found[:, asked] = _best_iou(masks, truth).reshape(-1, count)
            yield from zip(seen.pop().float().cpu().clone(), torch.from_numpy(found), strict=True)
    finally:
        watch.remove()


def _best_iou(masks: Masks, truth: Masks) -> NDArray[np.floating]:
    """Return for each mask the IoU with the object that is most like it: (n,)."""
    return np.asarray(mask_iou(masks, truth).max(axis=1, initial=0))


def _fit(head: FeedForward, tokens: Tensor, ious: Tensor, seed: int) -> None:
    """Fit the head to tokens (n, C) and true IoU (n, masks), NaN where unknown; weights stay as float16 keeps them."""
    device = next(head.parameters()).device
    tokens, ious = tokens.to(device), ious.to(device)
    head.requires_grad_(True)
    generator = torch.Generator().manual_seed(seed)
    spread, batches = tokens.std(dim=0), len(tokens) // BATCH
    known = ~ious.isnan()
    optimiser = AdamW(head.parameters(), RATE, weight_decay=DECAY)
    schedule = OneCycleLR(optimiser, RATE, total_steps=EPOCHS * batches)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(tokens), generator=generator).chunk(batches):
            noise = torch.randn(len(rows), len(spread), generator=generator).to(device)
            errors = head(tokens[rows] + NOISE * spread * noise) - ious[rows]
            loss = errors[known[rows]].square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(parameter.half())
