"""The model "cell" as transformers loads and calls it: the same `Sam`, behind the signature of `SamModel`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import uuid4

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from sam_core.embedding import Embedding
from sam_core.families.cell import CellFamily
from sam_core.logits import OUTSIDE, Logits
from sam_core.masks import Masks
from sam_core.modeling.cell import CellNetwork
from sam_core.prompt import Prompt
from sam_core.remote.configuration_cell import CellModelConfig
from sam_core.sam import Sam
from sam_core.segment_all import SegmentAllOptions, segment_all
from sam_core.tiling import Tiling
from sam_core.types import Shape

VERSION = int(transformers.__version__.split(".")[0])


@dataclass
class CellOutput(ModelOutput):  # type: ignore[misc]
    """Answers to prompts.

    Parameters
    ----------
    iou_scores
        (B, P, 3 or 1) predicted IoU of each mask.
    pred_masks
        (B, P, 3 or 1, H, W) logits at the resolution of `pixel_values`; positive means object.
    """

    iou_scores: Tensor | None = None
    pred_masks: Tensor | None = None


class CellForMaskGeneration(PreTrainedModel):  # type: ignore[misc]
    """A small Segment Anything model for microscopy.

    It answers as `Sam` of the package sam-core does, since it is that class. It is not trained through transformers:
    answers carry no gradient.

    Parameters
    ----------
    config
        Its sizes, and how it segments everything.
    """

    config_class = CellModelConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    # Rounding it would displace every click. transformers 4 can keep only parameters, so there float32 is the choice.
    _keep_in_fp32_modules_strict: ClassVar[list[str] | None] = ["positional_embedding"] if VERSION >= 5 else None
    _tied_weights_keys: ClassVar[dict[str, str]] = {
        "prompt_encoder.shared_embedding.positional_embedding": "shared_image_embedding.positional_embedding"
    }

    _keys_to_ignore_on_load_missing: ClassVar[list[str]] = list(_tied_weights_keys)

    def __init__(self, config: CellModelConfig) -> None:
        super().__init__(config)
        network = CellNetwork(config.sizes())
        # Its parts are the parts of this model, so that the weights have the names that sam-core gives them; the whole
        # is no part, or they would have two names.
        for name, part in network.named_children():
            self.add_module(name, part)
        self.__dict__["_network"] = network
        self._fingerprint = f"cell-{uuid4().hex}"
        self._sam: tuple[Any, Sam] | None = None
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Leave weights that no checkpoint has as their layers made them."""

    @property
    def sam(self) -> Sam:
        """The model as sam-core knows it: `encode`, `decode` and `propose` on arrays (H, W) or (H, W, C)."""
        kind = (self.device, self.dtype)
        if self._sam is None or self._sam[0] != kind:
            network = self._network.eval().to(memory_format=torch.channels_last)
            family = CellFamily(network, min_proposal=self.config.min_proposal)
            self._sam = kind, Sam(family, self._fingerprint, SegmentAllOptions(**self.config.segment_all))
        return self._sam[1]

    def get_image_embeddings(self, pixel_values: Tensor, original_sizes: Tensor | None = None) -> list[Embedding]:
        """Encode pictures once, to be passed to `forward` as `image_embeddings` any number of times.

        Parameters
        ----------
        pixel_values
            (B, 3, H, W) float32 in [0, 1] from the image processor.
        original_sizes
            (B, 2) heights and widths without padding; needed where pictures of several sizes make a batch.
        """
        sizes = [pixel_values.shape[2:]] * len(pixel_values) if original_sizes is None else original_sizes.tolist()
        return [
            self.sam.encode(_to_rgb8(picture[:, :height, :width]))
            for picture, (height, width) in zip(pixel_values, sizes, strict=True)
        ]

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_points: Tensor | None = None,
        input_labels: Tensor | None = None,
        input_boxes: Tensor | None = None,
        input_masks: Tensor | None = None,
        image_embeddings: Sequence[Embedding] | None = None,
        multimask_output: bool = True,
        original_sizes: Tensor | None = None,
        **_: Any,
    ) -> CellOutput:
        """Answer P prompts about each of B pictures.

        Parameters
        ----------
        pixel_values, original_sizes
            What the image processor returned.
        input_points
            (B, P, N, 2) x, y in pixels of the picture; an integer is the centre of a pixel.
        input_labels
            (B, P, N): 1 on the object, 0 beside it, less than 0 for no point; all 1 when left out.
        input_boxes
            (B, P, 4) x, y of the first and of the last pixel.
        input_masks
            (B, P or 1, h, w) logits of previous answers, over the whole picture.
        image_embeddings
            From `get_image_embeddings`, instead of `pixel_values`.
        multimask_output
            Three masks a prompt, or one.

        Raises
        ------
        ValueError
            Neither or both of pixels and embeddings are given, no prompt is, or one that makes no sense.
        """
        if (pixel_values is None) == (image_embeddings is None):
            msg = "got neither or both of pixel_values and image_embeddings, expected one of them; leave the other out"
            raise ValueError(msg)
        embeddings = image_embeddings
        if pixel_values is not None:
            embeddings = self.get_image_embeddings(pixel_values, original_sizes)
        answers = []
        for i, embedding in enumerate(embeddings or ()):
            given = (None if x is None else x[i] for x in (input_points, input_labels, input_boxes, input_masks))
            prompts = prompts_in(*given, shape=embedding.image_shape)
            answers.append(self.sam.decode(embedding, prompts, candidates=3 if multimask_output else 1))
        return _output(answers, 3 if multimask_output else 1, self.device)

    def segment_everything(self, pixel_values: Tensor, *, tile: int | None = None, **options: Any) -> Masks:
        """Segment everything in one picture.

        Parameters
        ----------
        pixel_values
            (3, H, W) or (1, 3, H, W) float32 in [0, 1] from the image processor.
        tile
            Side in pixels of the tiles that a large picture is cut into; None looks at it as a whole.
        **options
            Fields of `SegmentAllOptions` that are to differ from those of the config.
        """
        picture = pixel_values[0] if pixel_values.ndim == 4 else pixel_values
        tiling = None if tile is None else Tiling(tile=(tile, tile), halo=(tile // 8, tile // 8))
        embedding = self.sam.encode(_to_rgb8(picture), tiling=tiling)
        chosen = SegmentAllOptions(**{**self.config.segment_all, **options})
        return Masks.merge(list(segment_all(self.sam, embedding, chosen)))


def prompts_in(
    points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None, *, shape: Shape
) -> list[Prompt]:
    """Convert the prompts about one picture of this shape from transformers' frame, x, y and inclusive boxes.

    Parameters
    ----------
    points, labels, boxes, masks
        (P, N, 2), (P, N), (P, 4) and (P or 1, h, w), as `CellForMaskGeneration.forward` takes them for a batch.

    Raises
    ------
    ValueError
        No prompts, or not as many of each kind.
    """
    counts = {len(x) for x in (points, labels, boxes) if x is not None} or {0 if masks is None else len(masks)}
    wrong = [
        x.shape for x, ndim in ((points, 3), (labels, 2), (boxes, 2), (masks, 3)) if x is not None and x.ndim != ndim
    ]
    if len(counts) != 1 or 0 in counts or wrong:
        msg = (
            f"got prompts for {sorted(counts)} objects, and of wrong shape: {[tuple(s) for s in wrong]}; expected "
            " input_points (B, P, N, 2), input_labels (B, P, N), input_boxes (B, P, 4) and input_masks "
            "(B, P, h, w), for as many objects P; give at least one of them"
        )
        raise ValueError(msg)
    prompts = []
    for i in range(counts.pop()):
        xy = np.zeros((0, 2), np.float32) if points is None else points[i].detach().float().cpu().numpy()
        signs = np.ones(len(xy)) if labels is None else labels[i].detach().cpu().numpy()
        previous = None
        if masks is not None:
            values = masks[min(i, len(masks) - 1)].detach().float().cpu().numpy()
            previous = Logits(values, (0.0, 0.0, float(shape[0]), float(shape[1])), shape)
        used = signs >= 0  # less marks what pads a prompt to the length of the others
        box = None if boxes is None else _box_in(boxes[i].detach().float().cpu().numpy())
        prompts.append(Prompt.of(xy[used][:, ::-1], signs[used] > 0, box=box, previous=previous))
    return prompts


def _box_in(xyxy: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Turn x, y of the first and of the last pixel into half-open y0, x0, y1, x1."""
    return xyxy[[1, 0, 3, 2]] + np.array([0, 0, 1, 1], np.float32)


def _to_rgb8(picture: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Turn (3, H, W) in [0, 1] back into the (H, W, 3) that the image processor made it of."""
    eight = (picture.detach().float() * 255).round().clamp(0, 255).to(torch.uint8)
    return eight.permute(1, 2, 0).cpu().contiguous().numpy()


def _output(answers: Sequence[Masks], candidates: int, device: torch.device) -> CellOutput:
    """Draw the logits of each picture; where pictures differ in size the smaller ones are padded with "outside"."""
    height, width = (max(answer.shape[axis] for answer in answers) for axis in (0, 1))
    prompts = len(answers[0]) // candidates
    values = np.full((len(answers), prompts * candidates, height, width), OUTSIDE, np.float32)
    for drawn, answer in zip(values, answers, strict=True):
        for one, logits in zip(drawn, answer.logits, strict=True):
            if logits is not None:
                y1, x1 = answer.shape
                one[:y1, :x1] = logits.sample((0, 0, y1, x1))
    scores = torch.from_numpy(np.stack([answer.scores for answer in answers]))
    masks = torch.from_numpy(values)
    return CellOutput(
        iou_scores=scores.unflatten(1, (prompts, candidates)).to(device),
        pred_masks=masks.unflatten(1, (prompts, candidates)).to(device),
    )
