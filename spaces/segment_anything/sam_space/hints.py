"""What the page will need, said with its first line: the browser fetches it while gradio is still starting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


def links(names: Iterable[str], folder: str) -> str:
    """Return the header `Link` for modules and styles in a folder beside the page.

    Examples
    --------
    >>> links(["main.js", "style.css"], "sam/static/")
    '<sam/static/main.js>; rel="modulepreload", <sam/static/style.css>; rel="preload"; as="style"'
    """
    kinds = {"js": 'rel="modulepreload"', "css": 'rel="preload"; as="style"'}
    return ", ".join(f"<{folder}{name}>; {kinds[name.rpartition('.')[2]]}" for name in names)


class Hints:
    """Adds a header to the page itself, and to nothing else.

    Parameters
    ----------
    app
        That answers.
    link
        The header `Link`.
    """

    def __init__(self, app: ASGIApp, link: str) -> None:
        self._app = app
        self._link = link.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does."""

        async def hinted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                message["headers"] = [*message["headers"], (b"link", self._link)]
            await send(message)

        path = scope["path"].removeprefix(scope.get("root_path", "")) if scope["type"] == "http" else "none"
        await self._app(scope, receive, hinted if path in ("", "/") else send)
