"""The same backend for those who deploy with `label-studio-ml`, 1.0.9 or 2.x. Imported only where that is installed.

from sam_label_studio.adapter import SamBackend  # in the model.py that `label-studio-ml start` looks for
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from sam_label_studio.backend import Backend, Request, shared_backend
from sam_label_studio.settings import Settings


class SamBackend(LabelStudioMLBase):  # type: ignore[misc]
    """Answers as `sam-core label-studio serve` does; set up by the same variables."""

    def setup(self) -> None:
        """Say which version the predictions will have; loads nothing."""
        if hasattr(self, "set"):  # 2.x keeps it in a store, 1.0.9 as an attribute
            self.set("model_version", self._backend.options.version)
        else:
            self.model_version = self._backend.options.version

    def predict(self, tasks: Sequence[Any], context: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Answer each task with one prediction."""
        body = {
            "tasks": list(tasks),
            "label_config": getattr(self, "label_config", ""),
            "params": {"context": context or None},
        }
        return self._backend.answers(Request.of(body))

    def fit(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Learn nothing: `sam-core train` does."""
        return {}

    @property
    def _backend(self) -> Backend:
        return shared_backend(Settings.of(os.environ))
