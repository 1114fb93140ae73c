"""Requirements of a Space, every one of them at the version that is installed here, where it was tried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from email import message_from_bytes
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from publisher.plan import PublishError

# The Hub installs gradio itself, at `sdk_version`; sam-core comes as a wheel.
GIVEN = ("gradio", "sam-core")
CPU_TORCH = "--extra-index-url https://download.pytorch.org/whl/cpu"


def requirements_of(wheel: Path) -> list[Requirement]:
    """Return what a wheel needs without any of its extras."""
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        headers = message_from_bytes(archive.read(name))
    return _applicable(headers.get_all("Requires-Dist") or [], ())


def parsed(lines: Iterable[str]) -> tuple[list[str], list[Requirement]]:
    """Split the lines of a `requirements.txt` into options and requirements.

    Raises
    ------
    PublishError
        A line installs from a place that may change, or is none.
    """
    options, wanted = [], []
    for line in (line.split(" #")[0].strip() for line in lines):
        if line.startswith("--"):
            options.append(line)
        elif line and not line.startswith("#"):
            try:
                requirement = Requirement(line)
            except InvalidRequirement as error:
                msg = f"got {line!r} in requirements.txt, expected a package, such as `onnx==1.19.0`; correct it"
                raise PublishError(msg) from error
            if requirement.url:
                msg = f"got {line!r} in requirements.txt, expected no address, whose content may change; give a version"
                raise PublishError(msg)
            wanted.append(requirement)
    return options, wanted


def pinned(wanted: Sequence[Requirement], *, given: Sequence[str] = GIVEN) -> list[str]:
    """Return `name==version` for requirements and all that they need in turn, as installed here, sorted.

    Parameters
    ----------
    wanted
        Where one is pinned already, that version must be the one installed.
    given
        Packages that are there anyway: neither they nor what only they need is returned.

    Raises
    ------
    PublishError
        One is not installed, or at another version than is wanted.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    pending = list(wanted)
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if name in given or key in seen:
            continue
        seen.add(key)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            msg = f"got no {name} installed here, expected it, to know the version to pin; pip install '{requirement}'"
            raise PublishError(msg) from error
        if not requirement.specifier.contains(package.version, prereleases=True):
            msg = (
                f"got {name} {package.version} installed here, expected {requirement.specifier}, or the Space would "
                f"run with what was not tried; pip install '{requirement}', or change the requirement"
            )
            raise PublishError(msg)
        found[name] = package.version.split("+")[0]
        pending += _applicable(package.requires or [], requirement.extras)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _applicable(lines: Iterable[str], extras: Iterable[str]) -> list[Requirement]:
    """Return the requirements that count on this machine with these extras."""
    environments = [{"extra": extra} for extra in ("", *extras)]
    found = map(Requirement, lines)
    return [one for one in found if one.marker is None or any(one.marker.evaluate(e) for e in environments)]
