"""Importing is quick: told by what is imported, as a timed test would fail on a busy machine."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "transformers",
    "zarr",
    "skimage",
    "scipy",
    "ome_zarr",
    "pycocotools",
    "tifffile",
    "typer",
    "rich",
)


def _imported_after(code: str) -> set[str]:
    report = f"import sys\n{code}\nsys.stderr.write(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_the_package_imports_nothing_heavy() -> None:
    assert not _imported_after("import sam_core") & set(HEAVY)


def test_values_and_tasks_come_without_torch() -> None:
    names = "Embedding, Masks, Prompt, Tiling, propagate, segment, segment_all, stitch, to_rgb8"
    assert "torch" not in _imported_after(f"from sam_core import {names}")


@pytest.mark.parametrize("arguments", [["--help"], ["segment", "--help"], ["cache", "prune", "--help"]])
def test_help_imports_no_torch(arguments: list[str]) -> None:
    code = f"""
from sam_core.cli import main
sys.argv = ["sam-core", *{arguments}]
try:
    main()
except SystemExit as stop:
    assert stop.code == 0
"""
    assert not _imported_after(code) & {"torch", "zarr", "skimage", "scipy"}


@pytest.mark.parametrize("name", ["segment", "segment_all", "propagate"])
def test_a_task_keeps_its_name_when_its_module_is_imported_first(name: str) -> None:
    _imported_after(f"import sam_core.{name}\nfrom sam_core import {name}\nassert callable({name})")


def test_a_model_comes_without_transformers() -> None:
    assert "transformers" not in _imported_after("from sam_core import Sam\nimport sam_core.remote_code")
