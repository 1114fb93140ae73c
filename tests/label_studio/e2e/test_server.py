"""Our backend and commands with a real Label Studio server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from pycocotools.coco import COCO

from sam_core import Masks, samples, to_rgb8
from sam_core.evaluation import read_items
from sam_core.overlap import mask_iou
from sam_label_studio import rle
from tests.label_studio.e2e.conftest import COMMAND, Backend, Run, settings
from tests.label_studio.e2e.server import RealStudio, png, turned_jpeg

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="Cell"/><Label value="Dirt"/></BrushLabels>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Cell"/><Label value="Dirt"/></KeyPointLabels>
<RectangleLabels name="box" toName="image" smart="true"><Label value="Cell"/><Label value="Dirt"/></RectangleLabels>
</View>"""
SHAPE = (120, 160)


def _cells(seed: int = 0, shape: tuple[int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture (H, W, 3) uint8 and the true cells (H, W)."""
    sample = samples.cells(shape, count=6, diameter=34, seed=seed)
    return to_rgb8(sample.image), sample.labels


def _masks(result: Sequence[dict[str, Any]], shape: tuple[int, int]) -> Masks:
    drawn = [rle.decode(region["value"]["rle"], shape) for region in result if region["type"] == "brushlabels"]
    return Masks.merge([Masks.empty(shape), *(Masks.from_labels(mask.astype(np.int32)) for mask in drawn)])


def _found(result: Sequence[dict[str, Any]], truth: np.ndarray) -> float:
    """Return the mean over the true cells of the IoU with the best answer."""
    shape = (truth.shape[0], truth.shape[1])
    return float(mask_iou(Masks.from_labels(truth), _masks(result, shape)).max(axis=1, initial=0).mean())


def _drawn(labels: np.ndarray, number: int, name: str = "Cell") -> dict[str, Any]:
    height, width = labels.shape
    value = {"format": "rle", "rle": rle.encode(labels == number), "brushlabels": [name]}
    about = {"from_name": "brush", "to_name": "image", "type": "brushlabels", "image_rotation": 0}
    return {"id": f"r{number}", **about, "original_width": width, "original_height": height, "value": value}


def test_a_batch_of_predictions(studio: RealStudio, backend: Backend) -> None:
    project = studio.project("batch", CONFIG)
    truths = {f"cells{seed}.png": _cells(seed) for seed in range(3)}
    tasks = studio.upload(project, {name: png(image) for name, (image, _) in truths.items()})
    assert studio.connect(project, backend.url)["state"] == "CO"
    studio.retrieve_predictions(project)
    stored = {task["id"]: task["predictions"] for task in studio.tasks(project)}
    for task, (_, truth) in zip(tasks, truths.values(), strict=True):
        (prediction,) = stored[task["id"]]
        assert _found(prediction["result"], truth) > 0.7
        assert 0 < prediction["score"] <= 1
        assert prediction["model_version"].startswith("sam-core ")


def test_a_turned_jpeg_is_answered_as_it_is_seen(studio: RealStudio, backend: Backend) -> None:
    image, truth = _cells(7, (160, 120))
    project = studio.project("turned", CONFIG)
    studio.upload(project, {"turned.jpg": turned_jpeg(image)})
    studio.connect(project, backend.url)
    studio.retrieve_predictions(project)
    (task,) = studio.tasks(project)
    result = task["predictions"][0]["result"]
    assert {(r["original_width"], r["original_height"]) for r in result} == {(120, 160)}
    assert _found(result, truth) > 0.7


def test_a_smart_click_is_answered_at_once(studio: RealStudio, backend: Backend) -> None:
    image, truth = _cells(3)
    project = studio.project("click", CONFIG)
    (task,) = studio.upload(project, {"click.png": png(image)})
    connected = studio.connect(project, backend.url)
    ys, xs = np.nonzero(truth == 1)
    value = {"x": 100 * (xs.mean() + 0.5) / SHAPE[1], "y": 100 * (ys.mean() + 0.5) / SHAPE[0], "width": 0.3}
    click = {
        "original_width": SHAPE[1],
        "original_height": SHAPE[0],
        "image_rotation": 0,
        "value": {**value, "labels": ["Dirt"], "keypointlabels": ["Dirt"]},
        "is_positive": True,
        "id": "LhAMAGJTE9",
        "from_name": "kp",
        "to_name": "image",
        "type": "keypointlabels",
        "origin": "manual",
    }
    body = {"task": task["id"], "context": {"result": [click]}}
    answer = studio.ask("POST", f"/api/ml/{connected['id']}/interactive-annotating", json=body)
    (region,) = answer["data"]["result"]
    assert region["value"]["brushlabels"] == ["Dirt"]
    assert _found([region], (truth == 1).astype(np.int32)) > 0.7


def test_fifty_images_killed_half_way_and_resumed(studio: RealStudio, run: Run, tmp_path: Path) -> None:
    project = studio.project("fifty", CONFIG)
    tasks = studio.upload(project, {f"p{seed}.png": png(_cells(seed, (64, 64))[0]) for seed in range(50)})
    command = [*COMMAND, "prelabel", "--project", str(project)]
    env = {**os.environ, **settings(studio, tmp_path / "cache")}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        done = _until(studio, project, 20, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert 20 <= done < 50
    before = {task["id"]: [p["id"] for p in task["predictions"]] for task in studio.tasks(project)}

    again = run("prelabel", "--project", project)
    assert again.returncode == 0, again.stderr
    after = {task["id"]: task["predictions"] for task in studio.tasks(project)}
    assert set(after) == {task["id"] for task in tasks}
    assert [len(predictions) for predictions in after.values()] == [1] * 50
    assert all([p["id"] for p in after[number]] == ids for number, ids in before.items() if ids)
    assert len({p["model_version"] for predictions in after.values() for p in predictions}) == 1

    third = run("prelabel", "--project", project, "--order", "doubt", "--json")
    assert third.returncode == 0, third.stderr
    lines = [json.loads(line) for line in third.stdout.splitlines()]
    assert [line["state"] for line in lines if "state" in line] == ["skipped"] * 50
    views = studio.ask("GET", "/api/dm/views/", params={"project": project})
    assert [view["data"]["title"] for view in views] == ["Default", "Doubtful first"]
    asked = {"view": views[1]["id"], "fields": "all", "page_size": 100}
    shown = studio.ask("GET", "/api/tasks/", params=asked)["tasks"]
    scores = [task["predictions"][0]["score"] for task in shown]
    assert len(scores) == 50
    assert scores == sorted(scores)


def _until(studio: RealStudio, project: int, count: int, process: subprocess.Popen[bytes]) -> int:
    """Wait until so many tasks have predictions."""
    until = time.monotonic() + 200
    done = 0
    while done < count and time.monotonic() < until and process.poll() is None:
        done = studio.ask("GET", f"/api/projects/{project}/")["total_predictions_number"]
        time.sleep(0.1)
    return done


def test_a_task_that_fails_is_named(studio: RealStudio, run: Run) -> None:
    project = studio.project("broken", CONFIG)
    studio.ask("POST", f"/api/projects/{project}/import", json=[{"image": "/data/upload/9/gone.png"}])
    (broken,) = studio.tasks(project)
    good = studio.upload(project, {"good.png": png(_cells()[0])})
    result = run("prelabel", "--project", project)
    assert result.returncode == 1
    assert f"task {broken['id']}" in result.stderr
    assert [len(task["predictions"]) for task in studio.tasks(project)] == [0, 1]
    assert good[0]["id"] != broken["id"]


def test_boxes_that_people_drew_become_masks(studio: RealStudio, run: Run) -> None:
    image, truth = _cells(5)
    project = studio.project("boxes", CONFIG)
    (task,) = studio.upload(project, {"boxes.png": png(image)})
    percent = np.array([100 / SHAPE[1], 100 / SHAPE[0]])
    boxes = Masks.from_labels(truth).boxes
    drawn = []
    for i, (y0, x0, y1, x1) in enumerate(boxes.tolist()):
        (x, y), (width, height) = (x0, y0) * percent, (x1 - x0, y1 - y0) * percent
        value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": ["Dirt"]}
        about = {"from_name": "box", "to_name": "image", "type": "rectanglelabels", "image_rotation": 0}
        drawn.append({"id": f"b{i}", **about, "original_width": SHAPE[1], "original_height": SHAPE[0], "value": value})
    studio.annotate(task["id"], drawn)
    result = run("prelabel", "--project", project, "--mode", "boxes")
    assert result.returncode == 0, result.stderr
    (task,) = studio.tasks(project)
    regions = task["predictions"][0]["result"]
    assert len(regions) == len(boxes)
    assert {region["value"]["brushlabels"][0] for region in regions} == {"Dirt"}
    assert _found(regions, truth) > 0.7


def test_a_personal_access_token_opens_everything(studio: RealStudio, run: Run) -> None:
    project = studio.project("personal", CONFIG)
    studio.upload(project, {"one.png": png(_cells()[0])})
    result = run("prelabel", "--project", project, key=studio.personal_token())
    assert result.returncode == 0, result.stderr
    assert [len(task["predictions"]) for task in studio.tasks(project)] == [1]
    refused = run("prelabel", "--project", project, key="f" * 40)
    assert refused.returncode == 2
    assert "LABEL_STUDIO_API_KEY" in refused.stderr


def test_webhooks_do_not_hold_up_those_who_annotate(studio: RealStudio, backend: Backend) -> None:
    project = studio.project("webhook", CONFIG)
    (task,) = studio.upload(project, {"hook.png": png(_cells()[0])})
    studio.connect(project, backend.url)
    before = _webhooks(backend)
    start = time.monotonic()
    studio.annotate(task["id"], [_drawn(_cells()[1], 1)])
    assert time.monotonic() - start < 1.5
    assert _webhooks(backend) == before + 1


def _webhooks(backend: Backend) -> int:
    """Count the calls of the webhook that the backend has seen."""
    lines = httpx.get(f"{backend.url}/metrics", timeout=10).text.splitlines()
    counts = [
        float(line.split()[-1])
        for line in lines
        if not line.startswith("#") and '"/webhook"' in line and "_total" in line
    ]
    return int(sum(counts))


def test_what_was_annotated_is_exported_for_training(studio: RealStudio, run: Run, tmp_path: Path) -> None:
    project = studio.project("export", CONFIG)
    truths = {f"export{seed}.png": _cells(seed) for seed in range(3)}
    tasks = studio.upload(project, {name: png(image) for name, (image, _) in truths.items()})
    for task, (_, truth) in list(zip(tasks, truths.values(), strict=True))[:2]:
        names = {1: "Dirt"}
        drawn = [_drawn(truth, number, names.get(number, "Cell")) for number in range(1, truth.max() + 1)]
        studio.annotate(task["id"], drawn)
    result = run("export", "--project", project, "--out", "out")
    assert result.returncode == 0, result.stderr

    items = {item.name: item.read() for item in read_items(tmp_path / "out", None)}
    assert len(items) == 2
    for (name, (image, labels)), (seen, truth) in zip(sorted(items.items()), list(truths.values())[:2], strict=True):
        assert np.array_equal(image, seen), name
        assert np.array_equal(labels > 0, truth > 0)
        assert len(np.unique(labels)) == len(np.unique(truth))
    coco = COCO(tmp_path / "out" / "coco.json")
    assert {category["name"] for category in coco.loadCats(coco.getCatIds())} == {"Cell", "Dirt"}
    assert len(coco.getAnnIds(catIds=coco.getCatIds(catNms=["Dirt"]))) == 2
    assert len(list((tmp_path / "out" / "sa1b").iterdir())) == 2


def test_warming_fills_the_cache(studio: RealStudio, run: Run, tmp_path: Path) -> None:
    project = studio.project("warm", CONFIG)
    studio.upload(project, {f"warm{seed}.png": png(_cells(seed)[0]) for seed in range(2)})
    assert run("warm", "--project", project).returncode == 0
    entries = [path for path in (tmp_path / "cache").rglob("*") if path.is_dir()]
    assert entries
