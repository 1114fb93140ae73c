"""ZeroGPU: used where it is lent, never needed, and not mistaken for the folder `spaces` of this repository."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from sam_core import Embedding, Sam, Tiling
from sam_space import gpu, start
from sam_space.desk import Desk
from tests.space.drive import Page

ROOT = Path(__file__).parents[2]
FAKE = """
def GPU(task=None, *, duration=None):
    def lent(*given):
        return task(*given)
    lent.duration = duration
    return lent if LENDS else task
"""
ASK = """
import sys
from sam_space.gpu import borrowed, lender
lent = borrowed()
print(getattr(sys.modules.get("spaces"), "__file__", None), lender() is not None, getattr(lent, "duration", None))
"""


def asked(cwd: Path, *path: Path) -> list[str]:
    """Ask in a process of its own, with these folders on the path before those of the repository."""
    names = [*path, ROOT, ROOT / "spaces" / "segment_anything"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, names))}
    done = subprocess.run([sys.executable, "-c", ASK], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    package = tmp_path / "site" / "spaces"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"LENDS = True\n{FAKE}")
    return package


@pytest.mark.slow
@pytest.mark.parametrize("at_root", [True, False])
def test_the_package_is_found_wherever_it_is_on_the_path(fake: Path, at_root: bool) -> None:
    """Also behind the root of the repository, where the folder `spaces` lies."""
    cwd = ROOT if at_root else fake.parent.parent
    file = str(fake / "__init__.py")
    assert asked(cwd, fake.parent) == [file, "True", str(gpu.SECONDS)]
    assert asked(cwd, ROOT, fake.parent) == [file, "True", str(gpu.SECONDS)]


@pytest.mark.slow
def test_our_folder_lends_nothing(tmp_path: Path) -> None:
    """`spaces` is this repository's folder there, if it is anything."""
    pytest.importorskip("torch")
    if any((Path(path) / "spaces" / "__init__.py").exists() for path in sys.path):
        pytest.skip("the package spaces is installed here")
    assert asked(ROOT)[1:] == ["False", "None"]
    assert asked(tmp_path)[1:] == ["False", "None"]


def test_a_package_that_does_not_work_is_as_good_as_none(fake: Path) -> None:
    (fake / "__init__.py").write_text("raise RuntimeError('CUDA was initialised before')")
    assert asked(fake, fake.parent)[1:] == ["False", "None"]


def module(lends: bool) -> ModuleType:
    made = ModuleType("spaces")
    exec(f"LENDS = {lends}\n{FAKE}", made.__dict__)
    return made


def test_a_space_without_a_gpu_has_the_package_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spaces", module(lends=False))
    assert gpu.borrowed() is None


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Where a GPU is lent, and how models were loaded; the CPU plays the GPU."""
    monkeypatch.setitem(sys.modules, "spaces", module(lends=True))
    monkeypatch.setattr(gpu, "_loaded", {})
    load: Callable[..., Sam] = Sam.from_pretrained
    asked: list[dict[str, Any]] = []

    def loaded(source: str, **given: Any) -> Sam:
        asked.append({"source": source, **given})
        return load(source, **given | {"device": "cpu"})

    monkeypatch.setattr(Sam, "from_pretrained", loaded)
    return asked


@pytest.mark.slow
def test_a_chosen_model_encodes_there_and_answers_here(
    cuda: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Sam.from_pretrained("cell").save_pretrained(tmp_path / "mine")
    cuda.clear()
    monkeypatch.setattr(Desk, "prepare_all", lambda desk: None)  # a thread that would outlive the test
    desk = start.make_desk("cell", models=[str(tmp_path / "mine")])
    assert {each["device"] for each in cuda} == {"cpu"}  # torch says that there is a GPU, between two calls too
    cuda.clear()
    page = Page(desk)
    page.post("/example", {"name": "cells"})
    assert page.lines("/model", {"name": "mine"})[-1] == {"model": "mine", "where": "ZeroGPU"}
    assert [(each["device"], each["dtype"]) for each in cuda] == [("cpu", "float32"), ("cuda", "float32")]
    assert page.lines("/encode", {"plane": 0})[-1]["where"] == "ZeroGPU"
    assert len(page.act("click", x=100, y=100)["objects"]) == 1
    assert len(cuda) == 2  # it stays loaded there
    assert 'dtype="float32"' in page.post("/python").json()["python"]


@pytest.mark.slow
def test_one_model_stays_where_the_gpu_is(cuda: list[dict[str, Any]], tmp_path: Path) -> None:
    for name in ("a", "b"):
        Sam.from_pretrained("cell").save_pretrained(tmp_path / name)
    image = np.zeros((64, 64), np.uint8)
    for name in ("a", "b", "b"):
        assert isinstance(gpu.encode_there(str(tmp_path / name), image), Embedding)
    assert list(gpu._loaded) == [str(tmp_path / "b")]


@pytest.mark.slow
def test_tiles_are_encoded_here(cuda: list[dict[str, Any]]) -> None:
    model = Sam.from_pretrained("cell", dtype="float32")

    def encode(source: str, image: np.ndarray) -> Embedding:
        raise AssertionError(source)

    lent = gpu.Lent(model, "cell", encode)
    image = np.zeros((600, 600), np.uint8)
    assert lent.encode(image, tiling=Tiling((512, 512))).model == lent.fingerprint
