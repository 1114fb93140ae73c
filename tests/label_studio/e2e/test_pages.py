"""Tasks of several images, masks that people drew, and images in a cloud, with a real Label Studio server."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from sam_core import Masks, samples, to_rgb8
from sam_core.overlap import mask_iou
from sam_label_studio import rle
from tests.label_studio.e2e.server import RealStudio, png

if TYPE_CHECKING:
    import pytest

    from tests.label_studio.e2e.conftest import Backend, Run

SHAPE = (96, 128)
TAGS = """<BrushLabels name="brush{n}" toName="image{n}"><Label value="Cell"/></BrushLabels>
<KeyPointLabels name="kp{n}" toName="image{n}" smart="true"><Label value="Cell"/></KeyPointLabels>
<RectangleLabels name="box{n}" toName="image{n}" smart="true"><Label value="Cell"/></RectangleLabels>"""
PLAIN = '<View><Image name="image" value="$image"/>' + TAGS.format(n="") + "</View>"
LIST = '<View><Image name="image" valueList="$images"/>' + TAGS.format(n="") + "</View>"
REPEATER = (
    '<View><Repeater on="$images" indexFlag="{{idx}}"><Image name="image_{{idx}}" value="$images[{{idx}}]"/>'
    + TAGS.replace("{n}", "_{{idx}}")
    + "</Repeater></View>"
)


def _cells(seed: int) -> tuple[np.ndarray, np.ndarray]:
    sample = samples.cells(SHAPE, count=4, diameter=32, seed=seed)
    return to_rgb8(sample.image), sample.labels


def _best(regions: list[dict[str, Any]], truth: np.ndarray) -> float:
    """Return the mean over the true cells of the IoU with the best answer."""
    drawn = [rle.decode(region["value"]["rle"], SHAPE) for region in regions]
    found = Masks.merge([Masks.empty(SHAPE), *(Masks.from_labels(mask.astype(np.int32)) for mask in drawn)])
    return float(mask_iou(Masks.from_labels(truth), found).max(axis=1, initial=0).mean())


def _click(truth: np.ndarray, **more: Any) -> dict[str, Any]:
    ys, xs = np.nonzero(truth == 1)
    place = {"x": 100 * (xs.mean() + 0.5) / SHAPE[1], "y": 100 * (ys.mean() + 0.5) / SHAPE[0], "width": 0.3}
    about = {"original_width": SHAPE[1], "original_height": SHAPE[0], "image_rotation": 0, "is_positive": True}
    value = {**place, "keypointlabels": ["Cell"]}
    return {
        "id": "click",
        "from_name": "kp",
        "to_name": "image",
        "type": "keypointlabels",
        **about,
        "value": value,
    } | more


def _images(studio: RealStudio) -> list[tuple[str, np.ndarray]]:
    """Upload two images into a project beside; return where they are, and what is on them."""
    project = studio.project("files", PLAIN)
    truths = {f"page{seed}.png": _cells(seed) for seed in range(2)}
    tasks = studio.upload(project, {name: png(image) for name, (image, _) in truths.items()})
    return [(task["data"]["image"], truth) for task, (_, truth) in zip(tasks, truths.values(), strict=True)]


def _made(studio: RealStudio, title: str, config: str, data: dict[str, Any]) -> tuple[int, int]:
    """Make a project with one task; return their numbers."""
    project = studio.project(title, config)
    studio.ask("POST", f"/api/projects/{project}/import", json=[data])
    (task,) = studio.tasks(project)
    return project, task["id"]


def _asked(studio: RealStudio, backend: Backend, project: int, task: int, click: dict[str, Any]) -> dict[str, Any]:
    connected = studio.connect(project, backend.url)
    body = {"task": task, "context": {"result": [click]}}
    answer = studio.ask("POST", f"/api/ml/{connected['id']}/interactive-annotating", json=body)
    (region,) = answer["data"]["result"]
    return dict(region)


def test_each_image_of_a_list_has_its_own_answers(studio: RealStudio, backend: Backend, run: Run) -> None:
    pages = _images(studio)
    project, task = _made(studio, "list", LIST, {"images": [address for address, _ in pages]})
    assert run("prelabel", "--project", project).returncode == 0
    (stored,) = studio.tasks(project)
    result = stored["predictions"][0]["result"]
    for number, (_, truth) in enumerate(pages):
        assert _best([region for region in result if region["item_index"] == number], truth) > 0.7
    region = _asked(studio, backend, project, task, _click(pages[1][1], item_index=1))
    assert region["item_index"] == 1
    assert _best([region], (pages[1][1] == 1).astype(np.int32)) > 0.7


def test_each_page_of_a_tiff_has_its_own_answers(studio: RealStudio, run: Run, tmp_path: Path) -> None:
    """Label Studio takes no TIFF as an upload, so it lies where local files do."""
    (first, one), (second, two) = _cells(0), _cells(1)
    tifffile.imwrite(tmp_path / "stack.tiff", np.stack([first[..., 0], second[..., 0]]))
    project, task = _made(studio, "tiff", PLAIN, {"image": "/data/local-files/?d=stack.tiff"})
    result = run("prelabel", "--project", project, "--root", tmp_path)
    assert result.returncode == 0, result.stderr
    (stored,) = studio.tasks(project)
    for number, truth in enumerate((one, two)):
        mine = [each for each in stored["predictions"][0]["result"] if each["item_index"] == number]
        assert _best(mine, truth) > 0.7

    y0, x0, y1, x1 = Masks.from_labels(two).boxes[0].tolist()
    place = {"x": 100 * x0 / SHAPE[1], "y": 100 * y0 / SHAPE[0], "rotation": 0}
    size = {"width": 100 * (x1 - x0) / SHAPE[1], "height": 100 * (y1 - y0) / SHAPE[0]}
    about = {"from_name": "box", "to_name": "image", "type": "rectanglelabels", "item_index": 1}
    pixels = {"original_width": SHAPE[1], "original_height": SHAPE[0], "image_rotation": 0}
    value = {**place, **size, "rectanglelabels": ["Cell"]}
    studio.annotate(task, [{"id": "box", **about, **pixels, "value": value}])
    result = run("prelabel", "--project", project, "--root", tmp_path, "--mode", "boxes")
    assert result.returncode == 0, result.stderr
    (stored,) = studio.tasks(project)
    (region,) = next(each["result"] for each in stored["predictions"] if " boxes " in each["model_version"])
    assert region["item_index"] == 1
    assert _best([region], (two == 1).astype(np.int32)) > 0.7


def test_each_page_of_a_repeater_has_its_own_tags(studio: RealStudio, backend: Backend, run: Run) -> None:
    pages = _images(studio)
    project, task = _made(studio, "repeater", REPEATER, {"images": [address for address, _ in pages]})
    click = _click(pages[1][1], from_name="kp_1", to_name="image_1")
    region = _asked(studio, backend, project, task, click)
    assert (region["from_name"], region["to_name"]) == ("brush_1", "image_1")
    assert _best([region], (pages[1][1] == 1).astype(np.int32)) > 0.7
    assert run("prelabel", "--project", project).returncode == 0
    (stored,) = studio.tasks(project)
    (prediction,) = [each for each in stored["predictions"] if each["result"]]
    for number, (_, truth) in enumerate(pages):
        mine = [each for each in prediction["result"] if each["to_name"] == f"image_{number}"]
        assert {each["from_name"] for each in mine} == {f"brush_{number}"}
        assert _best(mine, truth) > 0.7
    studio.annotate(task, prediction["result"])
    assert run("export", "--project", project, "--out", "out").returncode == 0
    told = run("export", "--project", project, "--out", "again", "--json").stdout
    assert '"images": 2' in told


def test_masks_that_people_drew_roughly_become_better(studio: RealStudio, run: Run) -> None:
    image, truth = _cells(2)
    project = studio.project("refine", PLAIN)
    (task,) = studio.upload(project, {"rough.png": png(image)})
    rough = []
    for number, (y0, x0, y1, x1) in enumerate(Masks.from_labels(truth).boxes.tolist(), start=1):
        mask = np.zeros(SHAPE, bool)
        mask[y0:y1, x0:x1] = True  # the whole box of the cell
        value = {"format": "rle", "rle": rle.encode(mask), "brushlabels": ["Cell"]}
        about = {"from_name": "brush", "to_name": "image", "type": "brushlabels", "image_rotation": 0}
        size = {"original_width": SHAPE[1], "original_height": SHAPE[0]}
        rough.append({"id": f"r{number}", **about, **size, "value": value})
    studio.annotate(task["id"], rough)
    result = run("prelabel", "--project", project, "--mode", "refine")
    assert result.returncode == 0, result.stderr
    (stored,) = studio.tasks(project)
    refined = stored["predictions"][0]["result"]
    assert len(refined) == len(rough)
    assert _best(refined, truth) > max(0.8, _best(rough, truth) + 0.05)


@contextmanager
def _cloud(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve files as S3 does, to those who come with a signature; yield its address and what was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            asked.append(self.path)
            body = files.get(path) if "Signature=" in query or "X-Amz-Signature=" in query else None
            self.send_response(200 if body or path.count("/") < 2 or path.endswith("/") else 403)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def test_images_in_a_cloud_come_from_where_label_studio_signs_them(
    studio: RealStudio, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, truth = _cells(4)
    project, _ = _made(studio, "cloud", PLAIN, {"image": "s3://plates/cells.png"})
    with _cloud({"/plates/cells.png": png(image)}) as (address, asked):
        storage = {
            "project": project,
            "title": "fake",
            "bucket": "plates",
            "s3_endpoint": address,
            "region_name": "us-east-1",
            "aws_access_key_id": "key",
            "aws_secret_access_key": "secret",
            "presign": True,
            "use_blob_urls": True,
        }
        studio.ask("POST", "/api/storages/s3/", json=storage)
        refused = run("prelabel", "--project", project)
        assert refused.returncode == 1
        assert "SAM_LABEL_STUDIO_PRIVATE_HOSTS" in refused.stderr
        assert not any("cells.png" in path for path in asked)

        monkeypatch.setenv("SAM_LABEL_STUDIO_PRIVATE_HOSTS", address.removeprefix("http://"))
        result = run("prelabel", "--project", project)
        assert result.returncode == 0, result.stderr
        assert any("/plates/cells.png?" in path for path in asked)
    (stored,) = studio.tasks(project)
    assert _best(stored["predictions"][0]["result"], truth) > 0.7
