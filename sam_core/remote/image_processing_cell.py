"""From any picture to what the model "cell" eats, for transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import load_image

from sam_core.contrast import stretch
from sam_core.image import to_rgb8

MODES = ("1", "L", "I", "I;16", "I;16L", "I;16B", "F", "RGB", "RGBA")  # that an array of the picture speaks for itself


class CellImageProcessor(BaseImageProcessor):  # type: ignore[misc]
    """Stretches the contrast as in training. Pictures keep their size, so prompts are in pixels of the picture.

    Takes a PIL image, a path, an address, an array (H, W) or (H, W, C) of any real dtype, a tensor (C, H, W), or a list
    of those.
    """

    model_input_names = ("pixel_values", "original_sizes", "reshaped_input_sizes")

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> BatchFeature:
        """Prepare pictures, and prompts about them; see `preprocess`."""
        return self.preprocess(images, *args, **kwargs)

    def preprocess(
        self,
        images: Any,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        return_tensors: str = "pt",
        **_: Any,
    ) -> BatchFeature:
        """Prepare pictures, and prompts about them.

        Parameters
        ----------
        images
            One picture or a list of B.
        input_points, input_labels, input_boxes
            Nested lists (B, P, N, 2) of x, y, (B, P, N) and (B, P, 4), which become tensors.
        return_tensors
            "pt".

        Returns
        -------
        BatchFeature
            `pixel_values` (B, 3, H, W) float32 in [0, 1], padded with 0 at the bottom and on the right where pictures
            differ in size; `original_sizes` and `reshaped_input_sizes` (B, 2), which are equal; and the prompts.
        """
        if return_tensors != "pt":
            msg = f"got return_tensors={return_tensors!r}, expected 'pt'; convert the tensors afterwards"
            raise ValueError(msg)
        several = isinstance(images, Sequence) and not isinstance(images, str)
        pictures = [stretch(to_rgb8(_pixels(image))) for image in (images if several else [images])]
        sizes = torch.tensor([picture.shape[:2] for picture in pictures])
        height, width = sizes.amax(0).tolist()
        values = torch.zeros((len(pictures), 3, height, width))
        for value, picture in zip(values, pictures, strict=True):
            value[:, : picture.shape[0], : picture.shape[1]] = torch.from_numpy(picture).permute(2, 0, 1) / 255
        data = {"pixel_values": values, "original_sizes": sizes, "reshaped_input_sizes": sizes.clone()}
        prompts = {"input_points": input_points, "input_labels": input_labels, "input_boxes": input_boxes}
        for name, value in prompts.items():
            if value is not None:
                kind = torch.int64 if name == "input_labels" else torch.float32
                data[name] = torch.as_tensor(np.asarray(value), dtype=kind)
        return BatchFeature(data)

    def post_process_masks(
        self,
        masks: Any,
        original_sizes: Any,
        reshaped_input_sizes: Any = None,
        mask_threshold: float = 0.0,
        binarize: bool = True,
        **_: Any,
    ) -> list[Tensor]:
        """Cut the padding off `pred_masks` (B, P, C, H, W): for each picture (P, C, h, w) bool, or logits."""
        cut = [one[..., : int(h), : int(w)] for one, (h, w) in zip(masks, original_sizes, strict=True)]
        return [one > mask_threshold for one in cut] if binarize else cut


def _pixels(image: Any) -> np.ndarray[Any, Any]:
    """Read a picture as an array with channels last, deeper than 8 bits where it is."""
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        return np.asarray(image.permute(1, 2, 0) if image.ndim == 3 else image)
    if isinstance(image, str | Path) and Path(image).is_file():
        with Image.open(image) as opened:
            opened.load()
            return _pixels(opened)
    if isinstance(image, str):
        image = load_image(image)
    if isinstance(image, Image.Image):
        upright = ImageOps.exif_transpose(image)
        return np.asarray(upright if upright.mode in MODES else upright.convert("RGB"))
    return np.asarray(image)
