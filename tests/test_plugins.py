"""Plugins take from the core what it offers to all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import sam_core

PLUGINS = Path(__file__).parents[1] / "plugins"
OPEN = ("sam_core.training", "sam_core.evaluation")
"""Packages that plugins may use where they train and evaluate."""


def _taken(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what a module imports from the core: a module and a name in it, "" for the module itself."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sam_core":
            yield from ((node.module or "", each.name) for each in node.names)
        elif isinstance(node, ast.Import):
            yield from ((each.name, "") for each in node.names if each.name.split(".")[0] == "sam_core")


def test_plugins_import_only_public_names() -> None:
    # The version is what wrote a file; the synthetic cells are documented with the public names.
    public = {("sam_core", name) for name in (*sam_core.__all__, "", "__version__", "samples")}
    paths = sorted(PLUGINS.glob("*/**/*.py"))
    wrong = [(path.name, *each) for path in paths for each in _taken(path) if each not in public]
    assert len(paths) > 10
    assert [each for each in wrong if not each[1].startswith(OPEN)] == []
