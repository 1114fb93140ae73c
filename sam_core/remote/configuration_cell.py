"""The config of the model "cell", for transformers."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from transformers import PretrainedConfig

from sam_core.modeling.cell import CellConfig


class CellModelConfig(PretrainedConfig):  # type: ignore[misc]
    """What `config.json` of the model "cell" holds.

    Parameters
    ----------
    min_proposal
        Score in [0, 1] below which no object is proposed.
    segment_all
        How everything is segmented: fields of `SegmentAllOptions`.
    **kwargs
        The sizes of the network, fields of `sam_core.modeling.cell.CellConfig`, and what every config has.
    """

    model_type = "cell"

    def __init__(self, min_proposal: float = 0.4, segment_all: dict[str, Any] | None = None, **kwargs: Any) -> None:
        names = {field.name for field in fields(CellConfig)}
        given = {name: kwargs.pop(name) for name in names & set(kwargs)}
        for name, value in CellConfig.from_dict(given).to_dict().items():
            setattr(self, name, list(value) if isinstance(value, tuple) else value)
        self.min_proposal = min_proposal
        self.segment_all = dict(segment_all or {})
        super().__init__(**kwargs)

    def sizes(self) -> CellConfig:
        """Return the sizes of the network."""
        return CellConfig.from_dict({field.name: getattr(self, field.name) for field in fields(CellConfig)})
