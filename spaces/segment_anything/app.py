"""What the Hub starts: the page, for all who come."""

from __future__ import annotations

import os

from sam_space.start import make_desk, serve, settle

if __name__ == "__main__":
    settle()
    models = os.environ.get("SAM_SPACE_MODELS")  # names with spaces between them; "none" for no other model
    serve(
        make_desk(
            os.environ.get("SAM_SPACE_MODEL", "cell"),
            revision=os.environ.get("SAM_SPACE_REVISION"),
            models=None if models is None else models.split(),
        ),
        server_name=os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1"),
        server_port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
    )
