"""The folder of the Space as it is published, in an environment of its own requirements, started as the Hub does."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from publisher.card import split
from publisher.checks import faults
from publisher.plan import Plan
from publisher.space import build_space, build_wheel
from sam_core import samples, to_rgb8
from sam_space.decoder.ort import FILES, RuntimeUnavailableError, ort_folder
from tests.space.conftest import ROOT, SPACE, started
from tests.space.visit import MIDDLES, Visit, iou, truth

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of the client of gradio, as in `test_api`
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'sam-core[space]'")
    try:
        ort_folder()
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("built") / "space"
    folder.mkdir()
    build_space(folder, app=SPACE, wheel=build_wheel(ROOT, tmp_path_factory.mktemp("wheel")))
    return folder


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Python that has what the Hub installs, and nothing of this repository."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    made = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    version = split((built / "README.md").read_text("utf-8"))[0]["sdk_version"]
    # An index that this machine cannot reach it need not try five times for every package.
    retries = {} if reachable("download.pytorch.org") else {"PIP_RETRIES": "0"}
    environment = clean() | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | retries
    hub = [f"gradio[oauth,mcp]=={version}", "uvicorn>=0.14.0", "spaces"]
    command = [str(made), "-m", "pip", "install", "-q", "-r", "requirements.txt", *hub]
    done = subprocess.run(command, cwd=built, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    yield made
    shutil.rmtree(venv, ignore_errors=True)  # pytest would keep its 1.6 GB


def reachable(host: str) -> bool:
    try:
        socket.create_connection((host, 443), timeout=5).close()
    except OSError:
        return False
    return True


def clean() -> dict[str, str]:
    """The environment without what points at this repository."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


@pytest.fixture(scope="module")
def running(built: Path, python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    entry = split((built / "README.md").read_text("utf-8"))[0]["app_file"]
    hub = {
        "SYSTEM": "spaces",
        "SPACE_ID": "acme/segment-anything",
        "SPACE_HOST": "acme-segment-anything.hf.space",
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_ALLOW_FLAGGING": "never",
        "GRADIO_NUM_PORTS": "1",
        "HOME": str(tmp_path_factory.mktemp("home")),
        "HF_HUB_OFFLINE": "1",
        "VIRTUAL_ENV": "",
    }
    with started(tmp_path_factory, hub, command=(str(python), entry), folder=built, path="") as url:
        yield url


def test_it_may_be_published_and_brings_all_that_it_needs(built: Path) -> None:
    plan = Plan.of("space", "acme/segment-anything", built)
    assert faults(plan) == []
    names = {file.path for file in plan.files}
    assert {f"runtime/{name}" for name in ("decoder.onnx", "decoder.json", *FILES)} <= names
    assert "prepare.py" not in names
    lines = plan.read("requirements.txt").splitlines()
    assert not any(line.startswith(("sam-core", "sam_core", "gradio==")) for line in lines)
    assert any(line.startswith("torch==") for line in lines)
    assert [name for name in names if name.endswith(".whl")]


def test_its_requirements_install_without_cuda_and_without_the_repository(built: Path, python: Path) -> None:
    asked = "import torch; print(torch.version.cuda)"
    done = subprocess.run([python, "-c", asked], cwd=built, env=clean(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
    done = subprocess.run([python, "-c", "import sam_core"], cwd=built, env=clean(), capture_output=True, check=False)
    assert done.returncode == 1


def test_its_modules_are_those_that_lie_beside_the_decoder(built: Path, python: Path) -> None:
    """And not those of the wheel, which has them too: what was prepared would not be found from there."""
    entry = (built / "start.py").read_text("utf-8").replace('HERE / "app.py"', 'HERE / "where.py"')
    assert "where.py" in entry
    (built / "where.py").write_text(
        "import sam_core, sam_space; print(sam_core.__file__, sam_space.__file__, sep='\\n')"
    )
    (built / "tried.py").write_text(entry)
    try:
        done = subprocess.run([python, "tried.py"], cwd=built, env=clean(), capture_output=True, text=True, check=False)
    finally:
        for name in ("where.py", "tried.py"):
            (built / name).unlink()
    assert done.returncode == 0, done.stderr
    core, space = map(Path, done.stdout.split())
    assert space.parents[1] == built
    assert not core.is_relative_to(ROOT)
    assert not core.is_relative_to(built)


def test_zero_gpu_is_installed_there_and_not_used(built: Path, python: Path) -> None:
    asked = "from sam_space.gpu import borrowed, lender; print(lender().__module__, borrowed())"
    path = os.pathsep.join([str(built), *map(str, built.glob("*.whl"))])
    environment = clean() | {"PYTHONPATH": path}
    done = subprocess.run([python, "-c", asked], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["spaces.zero.decorator", "None"]


def test_the_page_answers(running: str) -> None:
    assert "<sam/static/main.js>" in httpx.get(running).headers["link"]
    assert httpx.get(f"{running}sam/static/main.js").status_code == 200
    assert httpx.get(f"{running}gradio_api/file=runtime/decoder.json").status_code in (403, 404)


def test_programs_are_answered(running: str, tmp_path: Path) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    sample = samples.cells((320, 384), count=60, diameter=28.0, seed=3)
    Image.fromarray(to_rgb8(sample.image)).save(tmp_path / "cells.png")
    y, x = MIDDLES[0]
    client = gradio_client.Client(running, verbose=False, analytics_enabled=False)
    answer = client.predict(
        gradio_client.handle_file(tmp_path / "cells.png"), f"[[{x}, {y}, 1]]", "[]", 1, api_name="/segment"
    )
    cell = int(truth(MIDDLES[0]).sum())
    assert answer["model"] == "cell"
    assert answer["masks"][0]["area"] == pytest.approx(cell, rel=0.3)
    client.close()


def test_visitors_point_and_click(running: str, chromium: Any) -> None:
    context = chromium.new_context(viewport={"width": 1360, "height": 820}, accept_downloads=True)
    visit = Visit(context, running)
    visit.page.mouse.move(*visit.at(*MIDDLES[0]))
    visit.page.wait_for_function("document.querySelector('.sam').dataset.score > 0.5")
    visit.click(MIDDLES[0])
    labels = visit.labels()
    assert iou(np.asarray(labels) > 0, truth(MIDDLES[0])) > 0.7
    visit.find("button.model").click()
    visit.page.wait_for_selector(".models li[data-state=away]")  # offline, and nothing was loaded before
    assert "cannot be reached" in visit.find(".models .hub").inner_text()
    assert "hf download" in visit.find(".models li[data-state=away] .why").first.inner_text()
    assert [url for url in visit.asked if not url.startswith((running, "data:", f"blob:{running}"))] == []
    assert visit.said == []
    context.close()
