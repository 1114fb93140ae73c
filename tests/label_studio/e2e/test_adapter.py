"""The adapter in the servers of label-studio-ml, as they are installed, with a real Label Studio server."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from sam_core import Masks, samples, to_rgb8
from sam_core.overlap import mask_iou
from sam_label_studio import rle
from tests.label_studio.e2e.conftest import settings
from tests.label_studio.e2e.server import ROOT, RealStudio, free_port, png, running

VERSIONS = ("1", "2")
WITHOUT = (
    "there is no label-studio-ml {0}.x to test with; `make label-studio-ml-{0}` installs it into "
    ".venv-label-studio-ml-{0}, or LABEL_STUDIO_ML_{0}_VENV names an environment of the same Python that has it"
)
# What the _wsgi.py of label-studio-ml comes down to. Its old pins come first, what sam-core needs after them.
SERVER = """
import sys
sys.path += sys.argv[2:]
from label_studio_ml.api import init_app
from sam_label_studio.adapter import SamBackend
init_app(model_class=SamBackend).run("127.0.0.1", int(sys.argv[1]), threaded=True)
"""
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="Cell"/></BrushLabels>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Cell"/></KeyPointLabels></View>"""
SHAPE = (96, 128)


def _python(version: str) -> Path | None:
    """Return the Python of an environment that has this label-studio-ml."""
    folder = os.environ.get(f"LABEL_STUDIO_ML_{version}_VENV") or ROOT / f".venv-label-studio-ml-{version}"
    found = Path(folder) / "bin" / "python"
    has_it = found.exists() and not subprocess.run([found, "-c", "import label_studio_ml"], check=False).returncode
    return found if has_it else None


@pytest.fixture(scope="module", params=VERSIONS)
def server(
    studio: RealStudio, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    python = _python(request.param)
    if python is None:
        pytest.skip(WITHOUT.format(request.param))
    folder, port = tmp_path_factory.mktemp("ml"), free_port()
    after = [str(ROOT), str(ROOT / "plugins"), sysconfig.get_paths()["purelib"]]
    env = {**settings(studio, folder / "cache"), "PYTHONPATH": "", "MODEL_DIR": str(folder)}
    url = f"http://127.0.0.1:{port}"
    with running([str(python), "-c", SERVER, str(port), *after], url, folder / "log", env, 120):
        yield url


def _iou(regions: list[dict[str, Any]], truth: np.ndarray) -> float:
    drawn = [rle.decode(region["value"]["rle"], SHAPE) for region in regions]
    found = Masks.merge([Masks.empty(SHAPE), *(Masks.from_labels(mask.astype(np.int32)) for mask in drawn)])
    return float(mask_iou(Masks.from_labels(truth), found).max(axis=1, initial=0).mean())


def test_label_studio_is_answered_through_it(studio: RealStudio, server: str) -> None:
    sample = samples.cells(SHAPE, count=4, diameter=32, seed=1)
    project = studio.project("adapter", CONFIG)
    (task,) = studio.upload(project, {"cells.png": png(to_rgb8(sample.image))})
    connected = studio.connect(project, server)
    assert connected["state"] == "CO"

    ys, xs = np.nonzero(sample.labels == 1)
    value = {"x": 100 * (xs.mean() + 0.5) / SHAPE[1], "y": 100 * (ys.mean() + 0.5) / SHAPE[0], "width": 0.3}
    about = {"from_name": "kp", "to_name": "image", "type": "keypointlabels", "is_positive": True}
    size = {"original_width": SHAPE[1], "original_height": SHAPE[0], "image_rotation": 0}
    click = {"id": "click", **about, **size, "value": {**value, "keypointlabels": ["Cell"]}}
    body = {"task": task["id"], "context": {"result": [click]}}
    answer = studio.ask("POST", f"/api/ml/{connected['id']}/interactive-annotating", json=body)
    assert _iou(answer["data"]["result"], (sample.labels == 1).astype(np.int32)) > 0.7

    studio.retrieve_predictions(project)
    (stored,) = studio.tasks(project)
    assert _iou(stored["predictions"][0]["result"], sample.labels) > 0.7
    assert stored["predictions"][0]["model_version"].startswith("sam-core ")

    # An annotation calls the webhook: the server answers, and what it predicts with stays what it was.
    studio.annotate(task["id"], stored["predictions"][0]["result"])
    again = studio.ask("POST", f"/api/ml/{connected['id']}/interactive-annotating", json=body)
    assert again["data"]["result"] == answer["data"]["result"]
    assert httpx.get(f"{server}/health", timeout=10).json()["status"] == "UP"
