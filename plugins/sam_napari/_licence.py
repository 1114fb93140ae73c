"""Under which licence the weights of a model may be used, as far as it can be told without a network."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

UNKNOWN = "not stated; see where you got the weights"


def licence_of(source: str) -> str:
    """Read the licence of a model from its card.

    Parameters
    ----------
    source
        Name of an embedded model, folder, checkpoint file or Hub repository.

    Examples
    --------
    >>> licence_of("cell")
    'apache-2.0'
    """
    card = _card(source)
    found = re.match(r"---\n(?:.*\n)*?license:\s*(\S.*?)\s*\n(?:.*\n)*?---", card)
    return found[1] if found else UNKNOWN


def _card(source: str) -> str:
    """Find the card: a README.md beside the weights, in the package, or among what was downloaded; "" where none is."""
    path = Path(source).expanduser()
    places = [path / "README.md", path.parent / "README.md"] if path.exists() else []
    try:
        for place in (*places, *_packaged(source)):
            if place.is_file():
                return place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        pass
    return ""


def _packaged(source: str) -> list[Path]:
    if re.fullmatch(r"[\w-]+", source):
        return [Path(str(files("sam_core"))) / "weights" / source / "README.md"]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        return []
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(source, "README.md")
    return [Path(cached)] if isinstance(cached, str) else []
