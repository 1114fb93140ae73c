"""What a visitor is told when something cannot be done."""

from __future__ import annotations

from http import HTTPStatus


class Refusal(Exception):
    """An answer that is no: a sentence for a person, and what it is in HTTP.

    Parameters
    ----------
    message
        What was got, what was expected, what to do. It never names a file or folder of the server.
    status
        400 for a request that makes no sense, 404 for what is not there, 413 for too large, 429 for too often, 503
        for too many at once.
    """

    def __init__(self, message: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.message = message
        self.status = int(status)
