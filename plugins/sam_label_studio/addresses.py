"""Which addresses may be asked, and connections that go there and nowhere else.

A name is looked up once, what it means is checked, and the connection is made to what was checked: nobody can answer
differently the second time.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpcore
import httpx

from sam_label_studio.errors import FetchError
from sam_label_studio.tokens import Credentials, origin

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[[str, int], Sequence[str]]
OPEN = ipaddress.ip_network("2000::/3")
"""The part of IPv6 that is in use on the open internet; what wraps an IPv4 address elsewhere is not asked."""
CLOSED = tuple(
    ipaddress.ip_network(each)
    for each in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)
"""Networks that are not public. Python has a list of its own, which differs from version to version."""
SHORT = 0.01  # seconds: the least time that a socket is given
AT_ONCE = 10.0  # seconds for one step: to connect, to read what is there


def resolved(host: str, port: int) -> Sequence[str]:
    """Look up the addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def is_public(address: str) -> bool:
    """Tell whether an address is one of the open internet, and not another one wrapped up in it.

    Examples
    --------
    >>> [is_public(each) for each in ("93.184.215.14", "127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1")]
    [True, False, False, False]
    """
    try:
        found: Address = ipaddress.ip_address(address)
    except ValueError:
        return False
    if any(found in network for network in CLOSED) or (found.version == 6 and found not in OPEN):
        return False
    return found.is_global


@dataclass(frozen=True, slots=True)
class Rules:
    """Whom images may be fetched from.

    Parameters
    ----------
    label_studio
        The server that tasks come from: always allowed, wherever it is.
    hosts
        Other hosts that are allowed: names, "*.name" for all below it, "*" for any. They must have public addresses.
    private
        Hosts, or host:port, that are allowed though their addresses are not public.

    Examples
    --------
    >>> rules = Rules(Credentials("http://localhost:8080"), hosts=("*.example.org",))
    >>> rules.refusal("https://images.example.org/a.png"), rules.refusal("http://localhost:8080/data/a.png")
    ('', '')
    >>> rules.refusal("file:///etc/passwd")
    'only http and https addresses are fetched'
    """

    label_studio: Credentials
    hosts: tuple[str, ...] = ()
    private: tuple[str, ...] = ()

    def refusal(self, url: str, *, vouched: bool = False) -> str:
        """Say why an address may not be asked, "" where it may; `vouched` for one that Label Studio sent us to."""
        where = origin(url)
        if where is None:
            return "only http and https addresses are fetched"
        if any(ord(letter) <= 32 or letter in "\\\x7f" for letter in url) or "@" in url.split("/")[2]:
            return "it has a user name, blanks or backslashes in it, and may be meant to be read in two ways"
        if vouched or self.label_studio.covers(url) or self._is_private(where) or _matches(where[1], self.hosts):
            return ""
        return f"{where[1]} is neither Label Studio nor an allowed host; name it in SAM_LABEL_STUDIO_HOSTS to allow it"

    def may_be_private(self, host: str, port: int) -> bool:
        """Tell whether a host may have an address that is not public."""
        studio = origin(self.label_studio.url)
        return (studio is not None and studio[1:] == (host, port)) or self._is_private(("", host, port))

    def _is_private(self, where: tuple[str, str, int]) -> bool:
        return where[1] in self.private or f"{where[1]}:{where[2]}" in self.private


def _matches(host: str, patterns: Iterable[str]) -> bool:
    return any(p in ("*", host) or (p.startswith("*.") and host.endswith(p[1:])) for p in patterns)


class Transport(httpx.HTTPTransport):
    """Connects to addresses that were checked, and is done before a time, however slowly the other side speaks.

    Parameters
    ----------
    rules
        Whom may be asked.
    until
        `time.monotonic()` at which to give up.
    verify
        What certificates are trusted.
    resolve
        Looks up names.
    """

    def __init__(self, rules: Rules, until: float, *, verify: Any, resolve: Resolve = resolved) -> None:
        super().__init__(verify=verify, trust_env=False)
        self._pool.close()
        self._pool = httpcore.ConnectionPool(ssl_context=verify, network_backend=_Checked(rules, until, resolve))


class _Checked(httpcore.SyncBackend):
    """Opens connections to checked addresses."""

    def __init__(self, rules: Rules, until: float, resolve: Resolve) -> None:
        self._rules = rules
        self._until = until
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of the addresses of a host that answers."""
        failure: Exception = FetchError(f"{host} has no address")
        for address in self._addresses(host, port):
            try:
                stream = super().connect_tcp(address, port, _left(self._until), local_address, socket_options)
                return _Timed(stream, self._until)
            except httpcore.ConnectError as error:
                failure = error
        raise failure

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            found = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            msg = f"{host} is not known ({error})"
            raise FetchError(msg) from error
        if not self._rules.may_be_private(host.rstrip(".").lower(), port):
            wrong = [address for address in found if not is_public(address)]
            if wrong:
                msg = (
                    f"{host} has the address {wrong[0]}, which is not public; "
                    "name it in SAM_LABEL_STUDIO_PRIVATE_HOSTS to allow it"
                )
                raise FetchError(msg)
        return found


class _Timed(httpcore.NetworkStream):
    """A stream whose every step must be done before a time."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._until))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._until))

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> _Timed:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, _left(self._until)), self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        msg = "it took too long"
        raise httpcore.ReadTimeout(msg)
    return max(min(left, AT_ONCE), SHORT)
