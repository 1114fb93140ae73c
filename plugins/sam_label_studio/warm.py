"""Encoding the images of a project before anybody clicks on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sam_core import Segmenter
from sam_label_studio.ahead import in_order
from sam_label_studio.config import Controls
from sam_label_studio.embeddings import Embeddings, Page
from sam_label_studio.errors import FetchError
from sam_label_studio.images import ImageSource


@dataclass(frozen=True, slots=True)
class Warmed:
    """What became of one task.

    Parameters
    ----------
    task
        Its number.
    pages
        Images, or pages of one, whose embeddings are now kept.
    why
        Why there are none, "" where all went well.
    """

    task: int
    pages: int = 0
    why: str = ""


def warm(tasks: Iterable[dict[str, Any]], encode: Callable[[dict[str, Any]], int]) -> Iterator[Warmed]:
    """Encode what tasks show; what became of each comes as soon as it is known.

    Parameters
    ----------
    tasks
        Tasks with their data.
    encode
        Encodes all pages of a task and returns how many these are; may raise anything, and the task has failed then.
        It is called from a few threads at once, so that one image is fetched while another one is encoded.
    """
    return in_order(partial(_warmed, task, encode) for task in tasks)


def _warmed(task: dict[str, Any], encode: Callable[[dict[str, Any]], int]) -> Warmed:
    try:
        return Warmed(task["id"], encode(task))
    except Exception as error:  # whatever is wrong with one image, the other tasks go on
        return Warmed(task["id"], why=f"{type(error).__name__}: {error}")


def encode_pages(
    task: Mapping[str, Any], controls: Controls, model: Segmenter, cache: Embeddings, images: ImageSource
) -> int:
    """Encode every page of every image of a task, where that was not done before; return how many these are.

    Raises
    ------
    FetchError, ImageError
        An image cannot be had, or the task has none.
    """
    count = 0
    for tag in controls.of_task(task.get("data")).images:
        for reference in tag.references(task.get("data")):
            with images.open(reference, task=task.get("id")) as planes:
                pages = 1 if tag.is_list(task.get("data")) else len(planes)
                for number in range(pages):
                    cache.of_plane(model, images, Page(reference, number, task.get("id")), planes)
                count += pages
    if not count:
        msg = "got a task without an image; import it with one"
        raise FetchError(msg)
    return count
