"""What the Hub starts: the page, for all who come."""

from __future__ import annotations

import os
from pathlib import Path

from sam_space.start import make_desk, serve, settle

# What browsers need, where it was published with the app; else it is made.
RUNTIME = Path(__file__).resolve().parent / "runtime"

if __name__ == "__main__":
    settle()
    models = os.environ.get("SAM_SPACE_MODELS")  # names with spaces between them; "none" for no other model
    serve(
        make_desk(
            os.environ.get("SAM_SPACE_MODEL", "cell"),
            revision=os.environ.get("SAM_SPACE_REVISION"),
            runtime=RUNTIME if RUNTIME.is_dir() else None,
            models=None if models is None else models.split(),
        ),
        server_name=os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1"),
        server_port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
    )
