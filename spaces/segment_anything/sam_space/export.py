"""What a visitor takes away. All formats come from one label image and its masks."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam_core import Masks, save_coco, save_geojson, save_labels, save_measures, to_rgb8
from sam_space.picture import Picture
from sam_space.refusal import Refusal
from sam_space.size import enlarged, enlarged_masks
from sam_space.work import Drawn, Object

MADE_BY = "sam-core space"


@dataclass(frozen=True, eq=False, slots=True)
class Taken:
    """A file to be downloaded."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, eq=False, slots=True)
class Result:
    """What there is to be taken away.

    Parameters
    ----------
    picture
        The picture.
    plane
        The plane that is looked at: pictures are made of it, files that can hold a stack hold all planes.
    objects
        Objects, the last one on top; object i is label i + 1.
    models
        What the models are called that answered, by the names in the steps; the one of "" is the server's own.
    """

    picture: Picture
    plane: int
    objects: Sequence[Object]
    models: Mapping[str, str] = field(default_factory=dict)

    @property
    def made_by(self) -> str:
        """What made it: the page, and the models."""
        used = dict.fromkeys(name for each in self.objects for d in each.drawn.values() for name in d.models)
        return ", ".join([MADE_BY, *(self.models.get(name, name) for name in used)])

    def model_of(self, drawings: Iterable[Drawn]) -> str:
        """Name the models that answered for some drawings, "by hand" where there was none."""
        used = dict.fromkeys(name for each in drawings for name in each.models)
        return " + ".join(self.models.get(name, name) for name in used) or "by hand"

    @property
    def stem(self) -> str:
        """Name of the picture without its ending."""
        return self.picture.name.rsplit(".", 1)[0] or "image"

    def labels(self, plane: int) -> NDArray[np.int32]:
        """Draw the label image (H, W) of a plane, at the picture's own size."""
        labels = np.zeros(self.picture.shape, np.int32)
        for number, each in enumerate(self.objects, start=1):
            drawn = each.drawn.get(plane)
            if drawn is not None:
                ((y0, x0, y1, x1),) = drawn.mask.boxes
                labels[y0:y1, x0:x1][drawn.mask.crops[0]] = number
        if self.picture.shrunk == 1:
            return labels
        return enlarged(labels, self.picture.shrunk, self.picture.own_shape)

    def stack(self) -> NDArray[np.int32]:
        """Draw all planes, (H, W) where there is only one."""
        if self.picture.axes == "YX":
            return self.labels(0)
        return np.stack([self.labels(plane) for plane in range(len(self.picture.planes))])

    def masks(self, plane: int) -> Masks:
        """Return the masks of a plane as they were answered, overlaps and scores included."""
        factor, shape = self.picture.shrunk, self.picture.own_shape
        drawn = [each.drawn[plane].mask for each in self.objects if plane in each.drawn]
        return Masks.merge([Masks.empty(shape), *(enlarged_masks(mask, factor, shape) for mask in drawn)])


def taken(kind: str, result: Result) -> Taken:
    """Make a file.

    Parameters
    ----------
    kind
        A name in `KINDS`.
    result
        What there is.

    Raises
    ------
    Refusal
        No such kind, or no objects.
    """
    if kind not in KINDS:
        msg = f"got an unknown kind of file, expected one of {', '.join(KINDS)}"
        raise Refusal(msg)
    if not any(each.drawn for each in result.objects):
        msg = "there is nothing to take away yet: click an object first"
        raise Refusal(msg, 200)
    ending, media_type, make = KINDS[kind]
    return Taken(f"{result.stem}-{ending}", media_type, make(result))


def _cutout(result: Result) -> bytes:
    labels = result.labels(result.plane)
    if not labels.any():
        msg = "there is no object on this plane"
        raise Refusal(msg, 200)
    rgb = to_rgb8(result.picture.own[result.plane])
    alpha = np.where(labels > 0, 255, 0).astype(np.uint8)
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    whole = np.dstack([np.where(alpha[..., None] > 0, rgb, 0), alpha])
    return _png(Image.fromarray(whole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]))


def _binary(result: Result) -> bytes:
    return _png(Image.fromarray(np.where(result.labels(result.plane) > 0, 255, 0).astype(np.uint8)))


def _index(result: Result) -> bytes:
    """Write the numbers of the objects as pixels: with their colours up to 255 objects, in 16 bits beyond."""
    labels = result.labels(result.plane)
    if len(result.objects) > 255:
        return _png(Image.fromarray(labels.astype(np.uint16)))
    image = Image.fromarray(labels.astype(np.uint8), mode="P")
    palette = [0, 0, 0]
    for each in result.objects:
        palette += [int(each.colour[i : i + 2], 16) for i in (1, 3, 5)]
    image.putpalette(palette)
    return _png(image)


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _tiff(result: Result) -> bytes:
    axes = result.picture.axes
    return _written("labels.tif", lambda path: save_labels(path, result.stack(), made_by=result.made_by, axes=axes))


def _coco(result: Result) -> bytes:
    planes = [result.masks(plane) for plane in range(len(result.picture.planes))]
    name = result.picture.name
    about: dict[str, object] = json.loads(
        _written("masks.json", lambda path: save_coco(path, planes, file_name=name, made_by=result.made_by))
    )
    drawn = [(each, each.drawn[p]) for p in range(len(planes)) for each in result.objects if p in each.drawn]
    annotations = about["annotations"]
    assert isinstance(annotations, list)
    for annotation, (each, how) in zip(annotations, drawn, strict=True):
        annotation |= {"name": each.name, "model": result.model_of([how])}
    return json.dumps(about, ensure_ascii=False).encode()


def _geojson(result: Result) -> bytes:
    axes = result.picture.axes
    content = _written("outlines.geojson", lambda path: save_geojson(path, result.stack(), axes=axes))
    outlines = json.loads(content)
    for feature in outlines["features"]:
        each = result.objects[feature["properties"]["label"] - 1]
        feature["properties"] |= {"name": each.name, "model": result.model_of(each.drawn.values())}
    return json.dumps(outlines, ensure_ascii=False).encode()


def _svg(result: Result) -> bytes:
    """Draw the outlines along the edges of pixels; names are text that cannot be markup."""
    labels = result.labels(result.plane)
    outlines = json.loads(_written("outlines.geojson", lambda path: save_geojson(path, labels)))
    height, width = labels.shape
    parts = []
    for feature in outlines["features"]:
        each = result.objects[feature["properties"]["label"] - 1]
        geometry = feature["geometry"]
        polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        rings = [ring for polygon in polygons for ring in polygon]
        line = " ".join("M" + " L".join(f"{x} {y}" for x, y in ring[:-1]) + " Z" for ring in rings)
        parts.append(
            f'  <path id="object-{each.number}" fill="{each.colour}" fill-opacity="0.45" stroke="{each.colour}" '
            f'fill-rule="evenodd" d="{line}"><title>{escape(each.name)}</title></path>'
        )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    made = f"  <desc>{escape(result.made_by)}</desc>"
    return "\n".join([head, made, *parts, "</svg>\n"]).encode()


def _csv(result: Result) -> bytes:
    planes, axes = result.picture.own, result.picture.axes
    content = _written("measures.csv", lambda path: save_measures(path, result.stack(), planes, axes=axes))
    rows = list(csv.reader(io.StringIO(content.decode())))
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([rows[0][0], "name", *rows[0][1:], "model"])
    for row in rows[1:]:
        each = result.objects[int(row[0]) - 1]
        model = result.model_of(each.drawn.values())
        writer.writerow([row[0], _harmless(each.name), *row[1:], _harmless(model)])
    return out.getvalue().encode()


def _harmless(name: str) -> str:
    """Keep a spreadsheet from taking a name for a formula."""
    return f"'{name}" if name[:1] in "=+-@\t" else name


def _written(name: str, write: Callable[[Path], None]) -> bytes:
    """Return what a writer of the core writes to a file; the folder is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sam-space-") as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()


Make: TypeAlias = Callable[[Result], bytes]
KINDS: dict[str, tuple[str, str, Make]] = {
    "cutout": ("cutout.png", "image/png", _cutout),
    "binary": ("mask.png", "image/png", _binary),
    "index": ("index.png", "image/png", _index),
    "tiff": ("labels.tif", "image/tiff", _tiff),
    "coco": ("coco.json", "application/json", _coco),
    "geojson": ("outlines.geojson", "application/geo+json", _geojson),
    "svg": ("outlines.svg", "image/svg+xml", _svg),
    "csv": ("measures.csv", "text/csv", _csv),
}
"""Kind to the end of its name, its media type, and what makes it."""
