"""`pipeline("mask-generation")` of the model "cell": everything in a picture, as `segment_all` finds it.

The pipeline that comes with transformers lays a grid of clicks over the picture and needs torchvision to drop doubles.
This one asks where the model itself proposes objects, and needs neither.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import Pipeline

NAMES = {  # transformers' names of what sam-core names by itself
    "pred_iou_thresh": "min_score",
    "stability_score_thresh": "min_stability",
    "crops_nms_thresh": "max_box_iou",
}
OPTIONS = ("min_score", "min_stability", "max_box_iou", "max_covered", "min_area", "points_per_batch", "tile")
EXTRAS = ("output_rle_mask", "output_bboxes_mask", "output_labels")
IGNORED = (  # of a grid of clicks, of which there is none
    "points_per_crop", "crops_n_layers", "crop_overlap_ratio", "crop_n_points_downscale_factor", "timeout",
    "stability_score_offset", "mask_threshold", "max_hole_area", "max_sprinkle_area",
)  # fmt: skip


class CellMaskGenerationPipeline(Pipeline):  # type: ignore[misc]
    """Segments everything in a picture.

    Call it with a picture, or a list of them, and any of `min_score` (or `pred_iou_thresh`), `min_stability`
    (`stability_score_thresh`), `max_box_iou` (`crops_nms_thresh`), `max_covered`, `min_area`, `points_per_batch`,
    `tile`; the model recommends what is left out. Returns `masks`, a list of (H, W) bool arrays, and `scores`; with
    `output_rle_mask` also `rle_mask`, with `output_bboxes_mask` also `bounding_boxes` (n, 4) x, y, x, y of the first
    and last pixels, and with `output_labels` also `labels`, an int32 image (H, W) with 0 for background.
    """

    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = False

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        given = {NAMES.get(name, name): value for name, value in kwargs.items() if name not in IGNORED}
        unknown = sorted(set(given) - {*OPTIONS, *EXTRAS})
        if unknown:
            msg = f"got {', '.join(unknown)}, expected any of {', '.join((*OPTIONS, *NAMES, *EXTRAS))}; leave them out"
            raise ValueError(msg)
        forward = {name: given[name] for name in OPTIONS if name in given}
        return {}, forward, {name: given[name] for name in EXTRAS if name in given}

    def preprocess(self, image: Any) -> dict[str, Any]:
        """Prepare one picture."""
        return {"pixel_values": self.image_processor(image, return_tensors="pt")["pixel_values"]}

    def _forward(self, model_inputs: dict[str, Any], **options: Any) -> dict[str, Any]:
        return {"found": self.model.segment_everything(model_inputs["pixel_values"], **options)}

    def postprocess(
        self,
        model_outputs: dict[str, Any],
        output_rle_mask: bool = False,
        output_bboxes_mask: bool = False,
        output_labels: bool = False,
    ) -> dict[str, Any]:
        """Lay out what was found as transformers does."""
        found = model_outputs["found"]
        masks = list(found.dense())
        answer = {"masks": masks, "scores": torch.from_numpy(found.scores)}
        if output_rle_mask:
            answer["rle_mask"] = [rle(mask) for mask in masks]
        if output_bboxes_mask:
            boxes = found.boxes[:, [1, 0, 3, 2]] - np.array([0, 0, 1, 1])
            answer["bounding_boxes"] = torch.from_numpy(boxes)
        if output_labels:
            answer["labels"] = found.to_labels()
        return answer


def rle(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, list[int]]:
    """Encode a mask (H, W) as COCO's uncompressed run lengths: down the columns, zeros first."""
    flat = mask.flatten(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate([[0] * (1 + bool(flat[0])), changes, [flat.size]])
    return {"size": list(mask.shape), "counts": np.diff(edges).tolist()}
