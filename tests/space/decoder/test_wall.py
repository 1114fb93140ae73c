"""The Space knows the core by its public names only, and no other front-end."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sam_core
from sam_space import decoder

FILES = sorted(Path(decoder.__file__).parent.glob("*.py"))
STRANGERS = ("sam_napari", "sam_label_studio", "gradio", "fastapi", "starlette")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_imports_only_what_is_public(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sam_core":
            assert node.module == "sam_core"
            assert set(names) <= set(sam_core.__all__)
        assert not [name for name in names if name.split(".")[0] in STRANGERS]


@pytest.mark.parametrize("path", sorted((FILES[0].parent / "static").glob("*.js")), ids=lambda path: path.name)
def test_the_modules_load_nothing_but_one_another(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "http:" not in text
    assert "https:" not in text
    imported = [line.split('"')[1] for line in text.splitlines() if line.startswith("import ")]
    assert all((path.parent / name).is_file() for name in imported)
