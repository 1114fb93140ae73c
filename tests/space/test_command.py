"""`sam-core space`, and what the modules of the Space know of each other."""

from __future__ import annotations

import ast
import importlib.util
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import sam_core
from sam_space.command import space

SPACE = Path(__file__).parents[2] / "spaces" / "segment_anything"
PACKAGE = SPACE / "sam_space"
KNOW_GRADIO = {"page.py", "api.py"}


def imports(path: Path) -> set[tuple[str, str]]:
    """Modules that a file imports, and the names it takes from them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {(node.module or "", each.name) for each in node.names}
        elif isinstance(node, ast.Import):
            found |= {(each.name, "") for each in node.names}
    return found


def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(space)
    return made


def test_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else find(name))
    result = CliRunner().invoke(app(), ["--port", "8000"])
    assert result.exit_code == 2
    assert 'pip install "sam-core[space]"' in result.output


@pytest.mark.parametrize("port", ["0", "70000", "http"])
def test_ports_that_are_none(port: str) -> None:
    assert CliRunner().invoke(app(), ["--port", port]).exit_code == 2


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_a_module_takes_public_names_of_the_core_and_only_two_know_gradio(path: Path) -> None:
    public = {("sam_core", name) for name in (*sam_core.__all__, "samples")}
    taken = imports(path)
    assert {each for each in taken if each[0].split(".")[0] == "sam_core"} <= public
    assert not {module.split(".")[0] for module, _ in taken} & {"torch", "sam_napari", "sam_label_studio"}
    knows = any(module.split(".")[0] == "gradio" for module, _ in taken)
    assert knows == (path.name in KNOW_GRADIO)


def test_our_folder_does_not_hide_the_package_of_zero_gpu() -> None:
    """A folder without `__init__.py` gives way to a package of its name, wherever on the path that is."""
    assert not (SPACE.parent / "__init__.py").exists()


def test_the_page_asks_no_other_host() -> None:
    for file in (PACKAGE / "static").iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text


def test_what_the_hub_installs_is_what_is_tested() -> None:
    """The page was made for one release of gradio: the Hub takes it from README.md, people from requirements.txt."""
    front = (SPACE / "README.md").read_text("utf-8").split("---")[1]
    pinned = (SPACE / "requirements.txt").read_text("utf-8")
    assert "sdk_version: 6.31.0" in front
    assert "gradio[mcp]==6.31.0" in pinned
    assert f"sam-core[space]=={sam_core.__version__}" in pinned
    if importlib.util.find_spec("gradio"):
        assert version("gradio") == "6.31.0"
