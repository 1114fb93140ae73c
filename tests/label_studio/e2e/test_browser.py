"""What a person does in Label Studio's pages, with a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam_core import Masks, samples, to_rgb8
from sam_label_studio import rle
from tests.label_studio.e2e.editor import Editor
from tests.label_studio.e2e.server import RealStudio, png

if TYPE_CHECKING:
    from tests.label_studio.e2e.conftest import Backend, Run

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image" smart="false"><Label value="Cell"/></BrushLabels>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Cell"/></KeyPointLabels>
<RectangleLabels name="box" toName="image" smart="true"><Label value="Cell"/></RectangleLabels></View>"""
SHAPE = (400, 600)
KEY_POINT, RECTANGLE = 1, 2  # which label on the page belongs to which tag
MARGIN = 12  # pixels


def _whole_cells(labels: np.ndarray) -> list[int]:
    """Return the numbers of cells that do not touch the edge of the image, and have some room around them."""
    found = []
    for number, (y0, x0, y1, x1) in enumerate(Masks.from_labels(labels).boxes.tolist(), start=1):
        around = labels[max(y0 - MARGIN, 0) : y1 + MARGIN, max(x0 - MARGIN, 0) : x1 + MARGIN]
        inside = min(y0, x0) > MARGIN and y1 < SHAPE[0] - MARGIN and x1 < SHAPE[1] - MARGIN
        if inside and set(np.unique(around)) <= {0, number}:
            found.append(number)
    return found


def _middle(mask: np.ndarray) -> tuple[float, float]:
    y, x = np.argwhere(mask).mean(axis=0)
    return float(y), float(x)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))


def test_cells_are_clicked_boxed_accepted_and_submitted(
    studio: RealStudio, backend: Backend, browser: Any, tmp_path: Path
) -> None:
    sample = samples.cells(SHAPE, count=14, diameter=70, seed=3)
    first, second, *_ = _whole_cells(sample.labels)
    one, two = sample.labels == first, sample.labels == second
    project = studio.project("Cells", CONFIG, predicted=False)
    (task,) = studio.upload(project, {"cells.png": png(to_rgb8(sample.image))})
    studio.connect(project, backend.url)

    with Editor.opened(browser, studio, f"/projects/{project}/data?task={task['id']}", tmp_path) as editor:
        editor.wait_for_image()
        editor.annotate_automatically()

        middle = _middle(one)
        editor.choose("key-point-tool", KEY_POINT)
        asked = editor.click(middle)
        editor.show("click")
        assert [region["is_positive"] for region in asked["result"]] == [True]

        y0, _, _, _ = Masks.from_labels(one.astype(np.int32)).boxes[0].tolist()
        editor.choose("key-point-tool", KEY_POINT)
        asked = editor.click((y0 - MARGIN / 2, middle[1]), negative=True)
        editor.show("negative")
        assert [region["is_positive"] for region in asked["result"]] == [True, False]
        editor.accept()

        y0, x0, y1, x1 = Masks.from_labels(two.astype(np.int32)).boxes[0].tolist()
        editor.choose("rectangle-tool", RECTANGLE)
        asked = editor.drag((y0 - 3, x0 - 3), (y1 + 2, x1 + 2))
        editor.show("box")
        assert [region["type"] for region in asked["result"]] == ["rectanglelabels"]
        editor.accept()
        editor.show("accepted")
        editor.submit()

    (task,) = studio.tasks(project)
    result = task["annotations"][0]["result"]
    assert [region["type"] for region in result] == ["brushlabels"] * 2
    assert {region["value"]["brushlabels"][0] for region in result} == {"Cell"}
    stored = [rle.decode(region["value"]["rle"], SHAPE) for region in result]
    assert _iou(stored[0], one) > 0.85
    assert _iou(stored[1], two) > 0.85


def test_predictions_are_seen_and_the_most_doubtful_come_first(
    studio: RealStudio, run: Run, browser: Any, tmp_path: Path
) -> None:
    project = studio.project("Predicted", CONFIG)
    pictures = [samples.cells(SHAPE, count=10, diameter=60, seed=seed).image for seed in range(4)]
    tasks = studio.upload(project, {f"plate{i}.png": png(to_rgb8(image)) for i, image in enumerate(pictures)})
    assert run("prelabel", "--project", project, "--order", "doubt").returncode == 0
    tab = next(view["id"] for view in studio.ask("GET", "/api/dm/views/", params={"project": project})[1:])

    with Editor.opened(browser, studio, f"/projects/{project}/data?tab={tab}", tmp_path) as editor:
        editor.page.wait_for_selector("text=Doubtful first", timeout=60000)
        editor.page.wait_for_selector("text=Default")
        editor.page.wait_for_selector(".lsf-table__row-wrapper, .lsf-table__row", timeout=60000)
        editor.show("doubt")

    with Editor.opened(browser, studio, f"/projects/{project}/data?task={tasks[0]['id']}", tmp_path) as editor:
        editor.wait_for_image()
        seen = editor.page.evaluate("() => Htx.annotationStore.predictions.map(each => each.regions.length)")
        editor.show("predicted")
    stored = {task["id"]: task["predictions"][0]["result"] for task in studio.tasks(project)}
    assert seen == [len(stored[tasks[0]["id"]])]
