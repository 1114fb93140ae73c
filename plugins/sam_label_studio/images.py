"""Images of tasks, fetched with care: this is a server that opens addresses for strangers."""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, unquote_to_bytes, urljoin, urlsplit

import httpx

from sam_core import ImageError, Planes, read_planes
from sam_label_studio.addresses import Resolve, Rules, Transport, resolved
from sam_label_studio.errors import AccessError, FetchError
from sam_label_studio.tokens import Credentials

HOPS = 5  # redirects that are followed
CHUNK = 1 << 16  # bytes
CLOUDS = ("s3", "gs", "azure-blob")
LOCAL = "/data/local-files/"
KINDS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WEBP",
}
"""How the files start that are opened; all others are refused, whatever else could be read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is fetched.

    Parameters
    ----------
    bytes
        Of a file.
    pixels
        Of a page.
    pages
        Of a file.
    seconds
        From the first connection to the last byte, redirects included.
    """

    bytes: int = 512 << 20
    pixels: int = 64_000_000
    pages: int = 1000
    seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class _Line:
    """Asks one question at a time. A client alone will not do: it refuses to hear of redirects to data URIs."""

    client: httpx.Client
    transport: Transport

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        answer = self.transport.handle_request(self.client.build_request("GET", url, headers=headers))
        try:
            yield answer
        finally:
            answer.close()


@dataclass(frozen=True, slots=True)
class ImageSource:
    r"""Opens the images that tasks refer to.

    Uploads and other paths of Label Studio, `http` and `https` addresses of Label Studio and of allowed hosts, `s3://`,
    `gs://` and `azure-blob://` as Label Studio signs them, and `data:` URIs. The key goes to Label Studio alone.

    Parameters
    ----------
    label_studio
        Where tasks come from.
    rules
        Who else may be asked; None: nobody.
    roots
        Folders in which files of `/data/local-files/` are opened without asking Label Studio.
    limits
        How much is fetched.
    resolve
        Looks up names.

    Examples
    --------
    >>> images = ImageSource(Credentials("http://localhost:8080"))
    >>> pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABAQAAAAA3bvkkAA" \
    ...     "AACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
    >>> with images.open("data:image/png;base64," + pixel) as planes:
    ...     planes.shape
    (1, 1)
    """

    label_studio: Credentials
    rules: Rules | None = None
    roots: tuple[Path, ...] = ()
    limits: Limits = field(default_factory=Limits)
    resolve: Resolve = resolved
    _verify: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Tells the addresses of this Label Studio from those of another."""
        return self.label_studio.url

    def key(self, reference: str) -> str:
        """Name what an address points to: a digest, with the time of change for a file that is opened directly."""
        digest = blake2b(reference.encode(errors="replace"), digest_size=16).hexdigest()
        local = self._local(reference)
        if local is None:
            return digest
        about = local.stat()
        return f"{digest} {about.st_mtime_ns} {about.st_size}"

    @contextmanager
    def open(self, reference: object, *, task: Any = None) -> Iterator[Planes]:
        """Open an image; what was fetched is removed at the end.

        Parameters
        ----------
        reference
            As it stands in the task.
        task
            Number of the task: needed for images in clouds.

        Raises
        ------
        FetchError
            It may not, or could not be fetched.
        ImageError
            It is no image, damaged, or too large.
        """
        if not isinstance(reference, str) or not reference.strip():
            msg = f"got {str(reference)[:60]!r} in the place of an image, expected its address; check the task's data"
            raise FetchError(msg)
        reference = reference.strip()
        local = self._local(reference)
        if local is not None:
            yield self._checked(local, reference)
            return
        with tempfile.NamedTemporaryFile(prefix="sam-label-studio-") as file:
            self._fill(file, reference, task)
            file.flush()
            yield self._checked(Path(file.name), reference)

    # -- local files -------------------------------------------------------------------------------------------------

    def _local(self, reference: str) -> Path | None:
        """Return the file that an address of Label Studio's local files means; None where it is another address."""
        path = urlsplit(reference).path if reference.startswith("/") or self.label_studio.covers(reference) else ""
        if not self.roots or not path.removeprefix(urlsplit(self.label_studio.url).path).startswith(LOCAL):
            return None
        inside = parse_qs(urlsplit(reference).query).get("d", [""])[0]
        return self._inside(inside)

    def _inside(self, inside: str) -> Path:
        """Find a file under the roots; neither ".." nor links lead out of them."""
        if inside and "\0" not in inside and ".." not in Path(inside).parts and "\\" not in inside:
            for root in self.roots:
                found = (root / inside.lstrip("/")).resolve()
                if found.is_relative_to(root.resolve()) and found.is_file():
                    return found
        msg = f"got the local file {inside[:200]!r}, expected one in {', '.join(map(str, self.roots))}; check the path"
        raise FetchError(msg)

    # -- fetching ----------------------------------------------------------------------------------------------------

    def _fill(self, file: IO[bytes], reference: str, task: Any) -> None:
        if reference[:5].lower() == "data:":
            file.write(self._decoded(reference))
            return
        rules = self.rules or Rules(self.label_studio)
        until = time.monotonic() + self.limits.seconds
        transport = Transport(rules, until, verify=self._verify, resolve=self.resolve)
        with httpx.Client(transport=transport, trust_env=False, timeout=self.limits.seconds) as client:
            try:
                self._follow(_Line(client, transport), file, self._address(reference, task), rules)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                reason = "it took too long" if isinstance(error, httpx.TimeoutException) else error
                msg = f"could not fetch {shown(reference)}: {reason}"
                raise FetchError(msg) from error

    def _address(self, reference: str, task: Any) -> str:
        """Return the address to ask for what a task refers to."""
        scheme = reference.partition("://")[0].lower()
        if scheme in CLOUDS:
            if not isinstance(task, int):
                msg = f"got {shown(reference)} of a task without a number; Label Studio signs it only for one"
                raise FetchError(msg)
            coded = base64.urlsafe_b64encode(reference.encode()).decode()
            return self.label_studio.address(f"/tasks/{task}/presign/?fileuri={coded}")
        if reference.startswith("/") and not reference.startswith("//"):
            return self.label_studio.address(reference)
        return reference

    def _follow(self, line: _Line, file: IO[bytes], url: str, rules: Rules) -> None:
        """Ask, and follow redirects; each hop is checked like the first."""
        vouched = False
        for _ in range(HOPS + 1):
            if vouched and url[:5].lower() == "data:":
                file.write(self._decoded(url))
                return
            refusal = rules.refusal(url, vouched=vouched)
            if refusal:
                msg = f"{shown(url)} is not fetched: {refusal}"
                raise FetchError(msg)
            location = self._ask(line, file, url)
            if location is None:
                return
            # Label Studio may send us to where a cloud keeps the image; others may not send us anywhere new.
            vouched = self.label_studio.covers(url)
            url = urljoin(url, location)
        msg = f"{shown(url)}: more than {HOPS} redirects"
        raise FetchError(msg)

    def _ask(self, line: _Line, file: IO[bytes], url: str, *, again: bool = True) -> str | None:
        """Write the body to the file, or return where it is said to be."""
        own = self.label_studio.covers(url)
        headers = {"Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"}
        headers |= self.label_studio.headers(line.client) if own else {}
        with line.get(url, headers) as answer:
            if answer.is_redirect:
                return answer.headers["location"]
            if not (answer.status_code == httpx.codes.UNAUTHORIZED and own and again):
                self._save(answer, file, url)
                return None
        self.label_studio.forget()
        return self._ask(line, file, url, again=False)

    def _save(self, answer: httpx.Response, file: IO[bytes], url: str) -> None:
        if answer.status_code != httpx.codes.OK:
            raise _failure(answer.status_code, url, self.label_studio)
        if answer.headers.get("content-encoding", "identity") != "identity":
            msg = f"{shown(url)} came compressed, though that was not asked for"
            raise FetchError(msg)
        length = answer.headers.get("content-length", "")
        size = int(length) if length.isdigit() else 0
        for chunk in () if size > self.limits.bytes else answer.iter_raw(CHUNK):
            size = max(size, file.tell() + len(chunk))
            if size > self.limits.bytes:
                break
            file.write(chunk)
        if size > self.limits.bytes:
            msg = f"{shown(url)} has more than {self.limits.bytes} bytes; raise SAM_LABEL_STUDIO_MAX_BYTES to take it"
            raise FetchError(msg)

    def _decoded(self, uri: str) -> bytes:
        head, comma, body = uri.partition(",")
        if not comma or len(body) > 2 * self.limits.bytes:
            msg = f"got a data URI of {len(uri)} characters, expected data:image/...,... of fewer"
            raise FetchError(msg)
        try:
            data = unquote_to_bytes(body)
            return base64.b64decode(data, validate=True) if head.endswith(";base64") else data
        except (binascii.Error, ValueError) as error:
            msg = f"got a data URI that is no base64 ({error})"
            raise FetchError(msg) from error

    # -- what came ---------------------------------------------------------------------------------------------------

    def _checked(self, path: Path, reference: str) -> Planes:
        """Open a file, after a look at what it claims to be."""
        name = shown(reference)
        with path.open("rb") as file:
            start = file.read(16)
        kind = next((kind for magic, kind in KINDS.items() if start.startswith(magic)), "")
        if not kind:
            raise ImageError(_no_image(name, start))
        try:
            if kind != "TIFF":
                self._measure(path, kind, name)
            planes = read_planes(path)
        except ImageError as error:
            raise ImageError(str(error).replace(str(path), name)) from error
        self._limit(name, planes.size, len(planes))
        return planes

    def _measure(self, path: Path, kind: str, name: str) -> None:
        """Look at the size of a picture before it is unpacked."""
        from PIL import Image

        try:
            with Image.open(path, formats=[kind] if kind != "JPEG" else ["JPEG", "MPO"]) as image:
                self._limit(name, (image.height, image.width), getattr(image, "n_frames", 1))
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            msg = f"got {name} with far more than {self.limits.pixels} pixels, expected fewer; scale it down"
            raise ImageError(msg) from error
        except Exception as error:  # Pillow raises almost anything when a file is not what it seems
            msg = f"got {name}, which cannot be read as {kind} ({error}); it may be damaged: upload it once more"
            raise ImageError(msg) from error

    def _limit(self, name: str, size: tuple[int, int], pages: int) -> None:
        if size[0] * size[1] > self.limits.pixels or pages > self.limits.pages:
            msg = (
                f"got {name} with {pages} pages of {size[0]} x {size[1]} pixels, expected at most {self.limits.pages} "
                f"of {self.limits.pixels} pixels each; scale it down, or raise SAM_LABEL_STUDIO_MAX_PIXELS"
            )
            raise ImageError(msg)


def _failure(status: int, url: str, label_studio: Credentials) -> FetchError:
    told = f"got HTTP {status} for {shown(url)}"
    if label_studio.covers(url) and status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        what = "does not take the key" if label_studio.key else "wants a key"
        return AccessError(f"{told}: Label Studio {what}; set LABEL_STUDIO_API_KEY to a personal access token")
    return FetchError(f"{told}, expected an image; check the address")


def _no_image(name: str, start: bytes) -> str:
    if start.lstrip()[:1] in (b"<", b"{"):
        return f"got a page of text for {name} (it starts with {start!r}), expected an image; it may ask to log in"
    known = ", ".join(dict.fromkeys(KINDS.values()))
    return f"got {name}, which starts with {start!r} and is no image, expected {known}"


def shown(reference: str) -> str:
    """Shorten an address for a message; what follows a question mark may be a secret.

    Examples
    --------
    >>> shown("https://host/a.png?signature=secret")
    'https://host/a.png?...'
    """
    if reference[:5].lower() == "data:":
        return reference.partition(",")[0][:60] + ",..."
    start, question, _ = reference.partition("?")
    return start[:120] + ("..." if len(start) > 120 else "") + ("?..." if question else "")
