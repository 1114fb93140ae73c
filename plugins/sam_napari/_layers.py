"""napari's layers: as values to read from, as a canvas to paint on, and the plugin's own, for looking at only.

The modules named `_layers*` are the only ones that know how napari keeps its data, and they use no more of it than what
napari makes public.
"""

from sam_napari._layers_axes import ROLES, Axes, bare, roles_of
from sam_napari._layers_canvas import LabelsCanvas
from sam_napari._layers_ghost import Ghost
from sam_napari._layers_preview import Preview
from sam_napari._layers_sheet import is_own
from sam_napari._layers_target import Over, new_target
from sam_napari._layers_view import source_of, view_of, where

__all__ = [
    "ROLES",
    "Axes",
    "Ghost",
    "LabelsCanvas",
    "Over",
    "Preview",
    "bare",
    "is_own",
    "new_target",
    "roles_of",
    "source_of",
    "view_of",
    "where",
]
