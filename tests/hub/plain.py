"""Run by `test_transformers` in a process that cannot import sam-core: load a repository, keep its answers."""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModelForMaskGeneration, AutoProcessor, pipeline


def main(name: str, folder: Path) -> None:
    given = np.load(folder / "given.npz")
    first, second = given["first"], given["second"]
    model = AutoModelForMaskGeneration.from_pretrained(name, trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(name, trust_remote_code=True)
    assert type(processor) is type(AutoImageProcessor.from_pretrained(name, trust_remote_code=True))
    out: dict[str, np.ndarray] = {}

    def keep(key: str, answer: object) -> None:
        out[f"{key}_masks"], out[f"{key}_scores"] = answer.pred_masks.numpy(), answer.iou_scores.numpy()  # type: ignore[attr-defined]

    # Clicks with padding, in one go with the picture.
    points, labels = given["points"].tolist(), given["labels"].tolist()
    inputs = processor(first, input_points=[points], input_labels=[labels], return_tensors="pt")
    keep("clicks", model(**inputs))
    # Boxes, one mask each, on a picture that was encoded before; then corrected with the answers as masks.
    embeddings = model.get_image_embeddings(inputs["pixel_values"])
    boxes = torch.tensor(given["boxes"])[None]
    answer = model(image_embeddings=embeddings, input_boxes=boxes, multimask_output=False)
    keep("boxes", answer)
    lone = torch.tensor(given["points"])[None, :, :1]
    previous = answer.pred_masks[:, :, 0]
    keep("previous", model(image_embeddings=embeddings, input_points=lone, input_masks=previous))
    # Two pictures of different sizes.
    both = processor([first, second], input_points=[points] * 2, input_labels=[labels] * 2, return_tensors="pt")
    answer = model(**both)
    keep("batch", answer)
    cut = processor.post_process_masks(answer.pred_masks, both["original_sizes"], both["reshaped_input_sizes"])
    out["second_drawn"] = cut[1].numpy()
    # In half precision.
    half = AutoModelForMaskGeneration.from_pretrained(name, trust_remote_code=True, dtype=torch.bfloat16)
    keep("half", half(**inputs))
    # Everything.
    generate = pipeline("mask-generation", model=name, trust_remote_code=True)
    found = generate(first, output_labels=True, output_bboxes_mask=True, output_rle_mask=True)
    out["all_masks"], out["all_scores"] = np.stack(found["masks"]), found["scores"].numpy()
    out["all_labels"], out["all_boxes"] = found["labels"], found["bounding_boxes"].numpy()
    out["strict_scores"] = generate(first, pred_iou_thresh=0.88)["scores"].numpy()
    out["tiled_masks"] = np.stack(generate(first, tile=256)["masks"])
    out["dtype"] = np.array(str(model.dtype))
    np.savez(folder / "answers.npz", **out)


if __name__ == "__main__":
    sys.modules["sam_core"] = None  # type: ignore[assignment]  # it cannot be imported, wherever it is installed
    main(sys.argv[1], Path(sys.argv[2]))
