"""Images in, objects out: every file that is read or written, but for models and the cache.

read        which reader a file needs, told by what is in it
planes      the value that readers give: planes of a picture, read when they are asked for
tiff, ngff, picture    readers of TIFF and OME-TIFF, OME-Zarr, and what Pillow reads
labels, coco, geojson, measures    writers; every file is written whole or not at all
outline, rle, units    what they need to know
"""

from sam_core.storage.coco import save_coco
from sam_core.storage.geojson import save_geojson
from sam_core.storage.labels import save_labels
from sam_core.storage.measures import save_measures
from sam_core.storage.planes import Planes
from sam_core.storage.read import read_planes

__all__ = ["Planes", "read_planes", "save_coco", "save_geojson", "save_labels", "save_measures"]
