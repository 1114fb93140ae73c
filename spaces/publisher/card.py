"""The card of a repository: its `README.md`, front matter and text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from publisher.plan import PublishError

_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*\n(.*)\Z", re.DOTALL)
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|#)[^)]+\)")  # to something that lies in another place
_METRICS = {"1 click": "IoU, 1 click", "3 clicks": "IoU, 3 clicks", "box": "IoU, box", "mSA": "mSA, everything"}


def split(text: str) -> tuple[dict[str, Any], str]:
    """Return front matter and text of a card; {} where it has none.

    Raises
    ------
    PublishError
        The front matter is no YAML mapping.
    """
    found = _FRONT.match(text)
    if found is None:
        return {}, text
    try:
        front = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        msg = f"got a card whose front matter is no YAML ({error}), expected `key: value` lines; correct it"
        raise PublishError(msg) from error
    if not isinstance(front, dict):
        msg = f"got a card whose front matter is a {type(front).__name__}, expected `key: value` lines; correct it"
        raise PublishError(msg)
    return front, found[2]


def join(front: Mapping[str, Any], text: str) -> str:
    """Return a card of front matter and text."""
    return f"---\n{yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True)}---\n\n{text.lstrip()}"


def model_card(text: str, repository: str, kind: str) -> str:
    """Make the card of a repository from a card that lies in the source tree.

    Links into the source tree become words, results become data that the Hub shows, and a section says how to load the
    model from this repository; `kind` is its `model_type`.
    """
    front, body = split(text)
    tags = [*front.get("tags", []), "sam-core"]
    front |= {"library_name": "transformers", "tags": list(dict.fromkeys(tags))}
    results = list(_results(body))
    if results:
        front["model-index"] = [{"name": repository.split("/")[-1], "results": results}]
    return join(
        front,
        _LINK.sub(r"\1", body).rstrip() + LOAD[kind].format(repository=repository) + OURS.format(repository=repository),
    )


def _results(body: str) -> Iterator[dict[str, Any]]:
    """Read the table whose header names clicks: a result for each set."""
    header: list[str] = []
    for line in body.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if "1 click" in cells:
            header = cells
        elif not line.startswith("|"):
            header = []
        elif header and len(cells) == len(header) and not set(line) <= set("|-: "):
            row = dict(zip(header, cells, strict=True))
            if row.get("modality", "all") == "all":
                yield _result(row)


def _result(row: Mapping[str, str]) -> dict[str, Any]:
    name = row["set"]
    return {
        "task": {"type": "mask-generation"},
        "dataset": {"name": name, "type": name.replace(" ", "-")},
        "metrics": [
            {"type": kind.lower().replace(", ", "-").replace(" ", "-"), "name": kind, "value": float(row[column])}
            for column, kind in _METRICS.items()
            if column in row
        ],
    }


LOAD = {
    "cell": """

## Load it from here

With [transformers](https://huggingface.co/docs/transformers) alone; it runs the code of this repository, so look at it
and pin the revision that you looked at:

```python
from transformers import AutoImageProcessor, AutoModelForMaskGeneration, pipeline

generate = pipeline("mask-generation", model="{repository}", trust_remote_code=True)
found = generate("cells.png", output_labels=True)  # masks, scores, and a label image

model = AutoModelForMaskGeneration.from_pretrained("{repository}", trust_remote_code=True)
processor = AutoImageProcessor.from_pretrained("{repository}", trust_remote_code=True)
inputs = processor("cells.png", input_points=[[[[120, 64]]]])  # x, y
answer = model(**inputs)  # iou_scores (1, 1, 3) and pred_masks (1, 1, 3, height, width)
```

It needs torch, scipy, pillow and safetensors beside transformers, not torchvision. With sam-core no code of this
repository is run:
""",
    "sam": """

## Load it from here

```python
from transformers import SamModel, SamProcessor

model = SamModel.from_pretrained("{repository}")
processor = SamProcessor.from_pretrained("{repository}")
```

Or with sam-core, which is faster on a CPU:
""",
}

OURS = """
```python
from sam_core import Prompt, Sam, segment

sam = Sam.from_pretrained("{repository}")
```
"""
