"""The app, run until somebody stops it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from types import FrameType

    from starlette.applications import Starlette

PATIENCE = 30  # seconds that a task which is being answered may still take


def run(app: Starlette, *, host: str, port: int) -> None:
    """Run the app of `create_app` until SIGINT or SIGTERM; what is being answered is answered then, and no more."""
    config = uvicorn.Config(app, host=host, port=port, access_log=False, timeout_graceful_shutdown=PATIENCE)
    _Server(config, app).run()


class _Server(uvicorn.Server):
    """Tells the app at once that it is to stop: uvicorn itself would first wait for a whole batch."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.stopping.set()
        super().handle_exit(sig, frame)
