"""The smallest network of the kind of the embedded model."""

from sam_core.modeling.cell import CellConfig

TINY = CellConfig(
    widths=(8, 8, 16),
    depths=(1, 1, 1),
    stem=8,
    width=32,
    fine=(8, 8),
    num_heads=2,
    mlp_width=32,
    proposal_width=8,
    window=64,
)
