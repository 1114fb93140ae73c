"""Keys of Label Studio: personal access tokens, which must be exchanged every few minutes, and legacy tokens."""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sam_label_studio.errors import AccessError, ConfigError

if TYPE_CHECKING:
    import httpx

KEPT = 240.0  # seconds that an access token is used; it lives 300
TOKEN = "eyJ"  # how each JSON web token starts
PORTS = {"http": 80, "https": 443}


@dataclass(slots=True)
class _Access:
    """The access token that a personal token was last exchanged for."""

    token: str = ""
    until: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where Label Studio is, and the key to it.

    Parameters
    ----------
    url
        Address as this machine reaches it, with the sub-path if it has one; no slash at the end.
    key
        Personal access token or legacy token; "" for none. Never shown.

    Raises
    ------
    ConfigError
        The address is none, or the key is only a part of one.

    Examples
    --------
    >>> label_studio = Credentials("http://localhost:8080/studio/", "0123456789abcdef")
    >>> label_studio
    Credentials(url='http://localhost:8080/studio')
    >>> label_studio.address("/data/upload/1/a.png")
    'http://localhost:8080/studio/data/upload/1/a.png'
    >>> label_studio.covers("http://localhost:8080/data"), label_studio.covers("https://localhost:8080/data")
    (True, False)
    """

    url: str
    key: str = field(default="", repr=False)
    _access: _Access = field(default_factory=_Access, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what is no address, and a token as Label Studio lists it."""
        object.__setattr__(self, "url", self.url.strip().rstrip("/"))
        if origin(self.url) is None:
            msg = (
                f"got {self.url!r} as the address of Label Studio, expected http:// or https:// and a host; "
                "set LABEL_STUDIO_URL"
            )
            raise ConfigError(msg)
        if self.key.startswith(TOKEN) and self.key.count(".") != 2:
            msg = (
                "got a personal access token without its last part, as Label Studio lists it, expected all of it; "
                "make a new one under Account & Settings and copy it from the window that shows it once"
            )
            raise ConfigError(msg)

    def address(self, path: str) -> str:
        """Return the full address of a path of Label Studio, whether it has the sub-path in it or not."""
        parts = urlsplit(self.url)
        if parts.path and (path == parts.path or path.startswith(parts.path + "/")):
            return f"{parts.scheme}://{parts.netloc}{path}"
        return self.url + path

    def covers(self, url: str) -> bool:
        """Tell whether an address is Label Studio's own: same scheme, host and port. The key goes nowhere else."""
        return origin(url) == origin(self.url)

    def headers(self, client: httpx.Client) -> dict[str, str]:
        """Return the headers that say who asks; exchanges a personal token where the last one is about to expire.

        Parameters
        ----------
        client
            Asks for a new access token.

        Raises
        ------
        AccessError
            Label Studio does not take the personal token, or cannot be reached.
        """
        if not self.key:
            return {}
        kind = _claims(self.key).get("token_type")
        if kind == "refresh":
            return {"Authorization": f"Bearer {self._access_token(client)}"}
        return {"Authorization": f"{'Bearer' if kind else 'Token'} {self.key}"}

    def forget(self) -> None:
        """Exchange the personal token anew at the next call: Label Studio refused what it gave."""
        with self._access.lock:
            self._access.until = 0.0

    def _access_token(self, client: httpx.Client) -> str:
        access = self._access
        with access.lock:
            if time.monotonic() >= access.until:
                access.token = self._refreshed(client)
                access.until = time.monotonic() + KEPT
            return access.token

    def _refreshed(self, client: httpx.Client) -> str:
        import httpx

        url = self.address("/api/token/refresh")
        try:
            answer = client.post(url, json={"refresh": self.key}, follow_redirects=False)
            token = answer.json().get("access") if answer.is_success else None
        except (httpx.HTTPError, ValueError, AttributeError) as error:
            msg = f"could not exchange the personal access token at {url} ({error}); check LABEL_STUDIO_URL"
            raise AccessError(msg) from error
        if not isinstance(token, str) or not token:
            msg = (
                f"got HTTP {answer.status_code} from {url}, expected an access token; the personal access token is "
                "expired or revoked: make a new one under Account & Settings and set LABEL_STUDIO_API_KEY"
            )
            raise AccessError(msg)
        return token


def origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an address; None where it is no http or https address.

    Examples
    --------
    >>> origin("HTTP://Example.org/a"), origin("file:///etc/passwd")
    (('http', 'example.org', 80), None)
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in PORTS or not host:
        return None
    return parts.scheme, host.rstrip("."), port or PORTS[parts.scheme]


def _claims(key: str) -> dict[str, Any]:
    """Read what a JSON web token says of itself, without believing it; nothing for any other key."""
    parts = key.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}
