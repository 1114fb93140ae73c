"""What people annotated, as files: COCO, SA-1B, and a folder to train and evaluate on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias
from urllib.parse import unquote
from uuid import uuid4

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sam_core import Masks, save_coco, save_labels
from sam_label_studio.split import splits

Json: TypeAlias = dict[str, Any]
Plane: TypeAlias = NDArray[Any]
FOLDERS = ("images", "labels", "sa1b")
LONGEST = 80  # letters of a file's name that are kept


@dataclass(frozen=True, eq=False, slots=True)
class Page:
    """One image, or one page of it, as it was annotated.

    Parameters
    ----------
    number
        From 0; None where the task has one image.
    image
        (H, W) or (H, W, C), upright.
    masks
        Its objects.
    names
        The label of each.
    left_out
        Regions that are no objects: rectangles, key points.
    """

    number: int | None
    image: Plane
    masks: Masks
    names: tuple[str, ...]
    left_out: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Exported:
    """What became of one task.

    Parameters
    ----------
    task
        Its number.
    records
        What `items.json` says of each of its pages.
    objects
        How many there are on them.
    left_out
        Regions that are no objects.
    why
        Why nothing of it was written; "" where something was.
    failed
        Whether it should have been.
    """

    task: int
    records: tuple[Json, ...] = ()
    objects: int = 0
    left_out: int = 0
    why: str = ""
    failed: bool = False


Read: TypeAlias = Callable[[Json, Json], Iterable["Page"]]
"""Gives the pages of a task, as one of its annotations shows them."""


@dataclass(slots=True)
class Export:
    """A folder that is being written.

    It holds `images/` and `labels/` with files of equal names and `items.json`, as `sam-core train` and `sam-core
    evaluate` read them, `sa1b/` with one JSON file an image in the schema of SA-1B, and `coco.json` with all of them.
    What tells of the others is written last, by `finish`.

    Parameters
    ----------
    folder
        Where to; made when first needed.
    test
        Part of the tasks that is kept for testing, see `splits`; 0 leaves it open, so that all are in every split.
    made_by
        Kept in the JSON files.
    """

    folder: Path
    test: float = 0.2
    made_by: str = "sam-core"
    records: list[Json] = field(default_factory=list)

    def task(self, task: Json, read: Read) -> Exported:
        """Write the pages of one task; never raises."""
        annotation = chosen(task)
        if annotation is None:
            return Exported(task["id"], why="it has no annotation")
        try:
            pages = list(read(task, annotation))
            records = tuple(self._page(task, annotation, page) for page in pages if len(page.masks))
        except Exception as error:  # whatever is wrong with one task, the others go on
            return Exported(task["id"], why=f"{type(error).__name__}: {error}", failed=True)
        self.records += records
        left_out = sum(page.left_out for page in pages)
        objects = sum(len(page.masks) for page in pages)
        return Exported(task["id"], records, objects, left_out, "" if records else "its annotation shows no object")

    def finish(self, categories: Sequence[str] = ()) -> None:
        """Write `items.json` and `coco.json` for all that was exported.

        Parameters
        ----------
        categories
            Labels in the order of their numbers in COCO, 1 and up; those not among them come after.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / "coco.json", json.dumps(self._coco(categories)))
        _write(self.folder / "items.json", json.dumps(self._items(), indent=1) + "\n")

    def _page(self, task: Json, annotation: Json, page: Page) -> Json:
        for name in FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        name = file_name(task, page.number)
        # Small objects are drawn over large ones, so that a nucleus is not lost in its cell.
        order = np.argsort(-page.masks.areas, kind="stable")
        masks, names = page.masks[order], [page.names[i] for i in order]
        save_labels(self.folder / "labels" / f"{name}.tif", masks.to_labels(), made_by=self.made_by)
        image = _save_image(self.folder / "images" / name, page.image)
        save_coco(self.folder / "sa1b" / f"{name}.json", [masks], file_name=image.name, made_by=self.made_by)
        place = {} if page.number is None else {"page": page.number}
        return {"name": name, "task": task["id"], "annotation": annotation["id"], **place, "names": names}

    def _items(self) -> list[Json]:
        chosen = splits({record["task"] for record in self.records}, self.test) if self.test else {}
        about = [{key: value for key, value in record.items() if key != "names"} for record in self.records]
        return [{**one, **({"split": chosen[one["task"]]} if chosen else {})} for one in about]

    def _coco(self, categories: Sequence[str]) -> Json:
        labels = list(dict.fromkeys([*categories, *(name for record in self.records for name in record["names"])]))
        numbers = {name: number for number, name in enumerate(labels, start=1)}
        images: list[Json] = []
        annotations: list[Json] = []
        for record in self.records:
            one = json.loads((self.folder / "sa1b" / f"{record['name']}.json").read_text("utf-8"))
            image = {**one["images"][0], "id": len(images) + 1, "file_name": f"images/{one['image']['file_name']}"}
            images.append({key: image[key] for key in ("id", "width", "height", "file_name")})
            for annotation, name in zip(one["annotations"], record["names"], strict=True):
                place = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": numbers[name]}
                annotations.append({**annotation, **place})
        about = [{"id": number, "name": name} for name, number in numbers.items()]
        return {"info": {"made_by": self.made_by}, "images": images, "annotations": annotations, "categories": about}


def chosen(task: Mapping[str, Any]) -> Json | None:
    """Return the annotation of a task that counts: the ground truth, or else the newest; None where it has none.

    Examples
    --------
    >>> chosen({"annotations": [{"id": 1}, {"id": 2}, {"id": 3, "was_cancelled": True}]})
    {'id': 2}
    """
    valid = [each for each in task.get("annotations") or () if not each.get("was_cancelled")]
    newest = [(bool(each.get("ground_truth")), each.get("updated_at") or "", each["id"]) for each in valid]
    return valid[newest.index(max(newest))] if valid else None


def file_name(task: Mapping[str, Any], page: int | None = None) -> str:
    """Name the files of a task after its number and its image, so that no two are alike.

    Examples
    --------
    >>> file_name({"id": 7, "data": {"image": "/data/upload/1/e0dddf51-my%20cells.png"}}, 2)
    'task7_e0dddf51-my_cells_p2'
    """
    addresses = [text for text in (task.get("data") or {}).values() if isinstance(text, str) and "." in text]
    stem = _stem(addresses[0]) if addresses and not addresses[0].startswith("data:") else ""
    kept = re.sub(r"[^A-Za-z0-9-]+", "_", stem).strip("_")[-LONGEST:]
    return "_".join([f"task{task['id']}", *([kept] if kept else []), *([] if page is None else [f"p{page}"])])


def _stem(address: str) -> str:
    whole = unquote(address)
    path = whole.partition("?d=")[2] or re.split(r"[?#]", whole)[0]  # ?d= names a file of local storage
    return PurePosixPath(path).stem


def _save_image(stem: Path, image: Plane) -> Path:
    """Write an image without loss: PNG where it is one of bytes, else TIFF."""
    plain = image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2] in (3, 4))
    path = stem.with_name(f"{stem.name}.{'png' if plain else 'tif'}")
    with _placed(path) as beside:
        if plain:
            Image.fromarray(image).save(beside, "PNG")
        else:
            _save_tiff(beside, image)
    return path


def _save_tiff(path: Path, image: Plane) -> None:
    if image.ndim == 3 and image.shape[2] in (3, 4):
        tifffile.imwrite(path, image, photometric="rgb", compression="zlib")
        return
    axes, values = ("YX", image) if image.ndim == 2 else ("CYX", np.moveaxis(image, -1, 0))
    tifffile.imwrite(path, values, photometric="minisblack", compression="zlib", metadata={"axes": axes})


def _write(path: Path, text: str) -> None:
    with _placed(path) as beside:
        beside.write_text(text, encoding="utf-8")


@contextmanager
def _placed(path: Path) -> Iterator[Path]:
    """Give a hidden name to write to, and move it to `path` when it is whole."""
    beside = path.with_name(f".{path.name}.{uuid4().hex[:12]}.part")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
