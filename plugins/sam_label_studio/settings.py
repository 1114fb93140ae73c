"""How the backend is set up: from the environment and from options."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, get_args, get_type_hints

import sam_core
from sam_label_studio.addresses import Rules
from sam_label_studio.config import OUTPUTS, Kind
from sam_label_studio.embeddings import MEMORY, Embeddings
from sam_label_studio.errors import ConfigError
from sam_label_studio.images import ImageSource, Limits
from sam_label_studio.predict import OURS, Mode, Options
from sam_label_studio.tokens import Credentials

PREFIX = "SAM_LABEL_STUDIO_"
ALIASES = {
    "url": ("LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"),
    "key": ("LABEL_STUDIO_API_KEY", "LABEL_STUDIO_ACCESS_TOKEN"),
    "user": ("BASIC_AUTH_USER",),
    "password": ("BASIC_AUTH_PASS",),
}
"""Names that other backends use; ours come first."""
MODES: tuple[str, ...] = get_args(Mode)
PIECE = 1 << 20  # bytes of the start and of the end of a checkpoint that its version is told by


@dataclass(frozen=True, slots=True)
class Settings:
    """How the backend is set up. `Settings.of` reads the environment; each has a variable of its name.

    Parameters
    ----------
    url, key
        Label Studio, and a personal access token or legacy token of it.
    model, revision, device
        As `Sam.from_pretrained` takes them.
    mode
        What tasks are predicted to have, where nobody drew anything: "everything", "boxes", "refine" or "off".
    output
        What to answer with; "" for the best that the labelling config has.
    tolerance
        Pixels that a polygon may lie beside the outline of its mask.
    label
        What to call objects that were not asked for one by one; "" for the first label.
    hosts, private_hosts
        Hosts beside Label Studio that images are fetched from; the latter may have private addresses.
    roots
        Folders in which local files are opened without asking Label Studio.
    max_bytes, max_pixels, seconds
        The most that is fetched for an image, and how long that may take.
    clicks, batches
        Requests that are answered at once: by people who wait, and for whole tasks.
    waiting
        Requests that may wait; more are refused with 503.
    memory
        Bytes of embeddings in memory.
    cache
        Folder of embeddings; "" for the one of `sam-core`.
    user, password
        Where given, all but `/webhook` asks for them.

    Raises
    ------
    ConfigError
        A value that cannot be used.

    Examples
    --------
    >>> settings = Settings.of({"LABEL_STUDIO_URL": "https://label.example.org", "SAM_LABEL_STUDIO_MODE": "boxes"})
    >>> settings.mode, settings.credentials.url
    ('boxes', 'https://label.example.org')
    """

    url: str = "http://localhost:8080"
    key: str = field(default="", repr=False)
    model: str = "cell"
    revision: str = ""
    device: str = "auto"
    mode: str = "everything"
    output: str = ""
    tolerance: float = 1.0
    label: str = ""
    hosts: tuple[str, ...] = ()
    private_hosts: tuple[str, ...] = ()
    roots: tuple[Path, ...] = ()
    max_bytes: int = Limits().bytes
    max_pixels: int = Limits().pixels
    seconds: float = Limits().seconds
    clicks: int = 8
    batches: int = 2
    waiting: int = 64
    memory: int = MEMORY
    cache: str = ""
    user: str = ""
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _choose("mode", self.mode, MODES)
        _choose("output", self.output, ("", *OUTPUTS))
        least = {"max_bytes": 1, "max_pixels": 1, "clicks": 1, "batches": 1, "waiting": 0, "memory": 0}
        wrong = [name for name, lowest in least.items() if getattr(self, name) < lowest]
        wrong += [name for name in ("tolerance", "seconds") if not 0 <= getattr(self, name) < float("inf")]
        for name in wrong:
            msg = f"got {name} = {getattr(self, name)}, expected at least {least.get(name, 0)}"
            raise ConfigError(msg)
        if bool(self.user) != bool(self.password):
            msg = "got only one of user and password, expected both or none; nobody could be told from others"
            raise ConfigError(msg)
        missing = [root for root in self.roots if not root.is_dir()]
        if missing:
            msg = f"got {missing[0]} as a folder of local files, which is no folder; create or correct it"
            raise ConfigError(msg)
        Credentials(self.url, self.key)

    @classmethod
    def of(cls, environ: Mapping[str, str], **options: Any) -> Settings:
        """Take what is given as an option, or else as a variable, or else what suits most.

        An option that is None is not given.
        """
        kinds = get_type_hints(cls)
        found: dict[str, Any] = {}
        for name in (each.name for each in fields(cls)):
            text = next((environ[n] for n in (PREFIX + name.upper(), *ALIASES.get(name, ())) if environ.get(n)), None)
            if options.get(name) is not None:
                found[name] = options[name]
            elif text is not None:
                found[name] = _read(name, text, kinds[name])
        return cls(**found)

    @property
    def credentials(self) -> Credentials:
        """Label Studio and its key."""
        return Credentials(self.url, self.key)

    @property
    def model_version(self) -> str:
        """What predictions are marked with: the model, and a digest of all that changes what it answers.

        Nothing is loaded for it; of a checkpoint in a file or folder the size and some of its bytes are looked at.
        """
        names = ("model", "revision", "mode", "output", "tolerance", "label")
        about = {name: asdict(self)[name] for name in names} | {"checkpoint": _checkpoint(Path(self.model))}
        digest = blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=4).hexdigest()
        return f"{OURS} {sam_core.__version__} {Path(self.model).stem} {self.mode} {digest}"

    def options(self) -> Options:
        """Return how tasks are answered."""
        kind: Kind | None = next((each for each in OUTPUTS if each == self.output), None)
        return Options(kind, self.tolerance, self.label or None, None, self.model_version)

    def images(self, credentials: Credentials | None = None) -> ImageSource:
        """Return what opens images; with other credentials for the same Label Studio where it told us some."""
        studio = credentials or self.credentials
        rules = Rules(studio, _lower(self.hosts), _lower(self.private_hosts))
        limits = Limits(self.max_bytes, self.max_pixels, seconds=self.seconds)
        return ImageSource(studio, rules, self.roots, limits)

    def embeddings(self) -> Embeddings:
        """Return what keeps embeddings."""
        return Embeddings.at(self.cache or None, memory=self.memory)


def _choose(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        msg = f"got {name} = {value!r}, expected one of {', '.join(each for each in known if each)}"
        raise ConfigError(msg)


def _read(name: str, text: str, kind: Any) -> Any:
    """Read a variable: a number, a text, or several with commas between them."""
    try:
        if isinstance(kind, types.GenericAlias):
            return tuple(get_args(kind)[0](part.strip()) for part in text.split(",") if part.strip())
        read: Callable[[str], Any] = kind
        return read(text)
    except ValueError:
        msg = f"got {PREFIX}{name.upper()} = {text!r}, expected a number"
        raise ConfigError(msg) from None


def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.lower().rstrip(".") for name in names)


def _checkpoint(path: Path) -> str:
    """Name what lies in a file, or in the files of a folder; "" for the name of a model."""
    files = [path] if path.is_file() else sorted(each for each in path.glob("*") if each.is_file())
    digest = blake2b(digest_size=8)
    for each in files:
        digest.update(f"{each.name} {each.stat().st_size}".encode())
        with each.open("rb") as file:
            digest.update(file.read(PIECE))
            file.seek(max(0, each.stat().st_size - PIECE))
            digest.update(file.read(PIECE))
    return digest.hexdigest() if files else ""
