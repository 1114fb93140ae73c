"""Objects as files: which format an ending names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sam_core import SamError
from sam_napari._writers import write_coco, write_csv, write_rois, write_tiff, write_zarr

KINDS = {
    "TIFF labels (*.tif)": ".tif",
    "OME-Zarr labels (*.zarr)": ".zarr",
    "COCO objects (*.json)": ".json",
    "ImageJ ROIs (*.zip)": ".zip",
    "Measures (*.csv)": ".csv",
}
"""For a dialog: what each format is called there, and its ending."""

WRITERS = {
    ".tif": write_tiff,
    ".tiff": write_tiff,
    ".zarr": write_zarr,
    ".json": write_coco,
    ".zip": write_rois,
}


class ExportError(SamError):
    """A file that cannot be written in any format that is known."""


def export(path: Path, data: Any, meta: Mapping[str, Any], image: Any = None) -> list[str]:
    """Write labels in the format that the ending of a path names; returns what was written.

    Parameters
    ----------
    path
        File, or folder of OME-Zarr.
    data, meta
        A Labels layer, as napari hands it to writers.
    image
        Pixels of the same shape, for measures of intensity; None for none.

    Raises
    ------
    ExportError
        The ending names no format.
    OSError
        It cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        same = image is not None and tuple(image.shape[: np.ndim(data)]) == tuple(np.shape(data))
        return write_csv(str(path), data, meta, image if same else None)
    if suffix not in WRITERS:
        msg = f"got {path.name}, expected a name that ends in {', '.join([*WRITERS, '.csv'])}"
        raise ExportError(msg)
    return WRITERS[suffix](str(path), data, meta)
