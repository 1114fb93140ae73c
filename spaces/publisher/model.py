"""The folder of a model repository: weights, config, the code for transformers, the card."""

from __future__ import annotations

import json
import re
from pathlib import Path

import sam_core
from publisher.card import model_card
from publisher.plan import PublishError

COMMIT = re.compile(r"[0-9a-f]{40}")
_WEIGHTS = Path(sam_core.__file__).parent / "weights"


def build_model(folder: Path, repository: str, *, source: str, revision: str | None, card: Path | None) -> None:
    """Build the folder of a model repository.

    Parameters
    ----------
    folder
        Empty.
    repository
        That it is for, such as "me/cell".
    source, revision
        As `Sam.from_pretrained` takes them; a Hub repository only at a commit.
    card
        The model card; None takes the `README.md` that lies beside the weights.

    Raises
    ------
    PublishError
        There is no card, or the source is a Hub repository without a commit.
    """
    local = _WEIGHTS / source if (_WEIGHTS / source).is_dir() else Path(source)
    if not local.exists() and not COMMIT.fullmatch(revision or ""):
        msg = (
            f"got model {source!r} at revision {revision!r}, expected a commit of 40 hexadecimal digits, or a model on "
            "this machine: a branch or tag may move between the check and the upload; give --revision COMMIT"
        )
        raise PublishError(msg)
    found = card or (local if local.is_dir() else local.parent) / "README.md"
    if not found.is_file():
        msg = f"got no model card at {found}, expected one; write it, or give --card FILE"
        raise PublishError(msg)
    from sam_core import Sam  # torch, which the help of the command need not wait for

    sam = Sam.from_pretrained(source, revision=revision, device="cpu", dtype="float32")
    sam.save_pretrained(folder, transformers=True)
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    text = model_card(found.read_text(encoding="utf-8"), repository, kind)
    (folder / "README.md").write_text(text, encoding="utf-8")
