"""The folder of a Space: the app, its card, requirements at fixed versions, and a wheel of sam-core."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import sam_core
from publisher.card import join, split
from publisher.pins import CPU_TORCH, parsed, pinned, requirements_of
from publisher.plan import PublishError

LEFT_OUT = ("__pycache__", "tests", "node_modules", "flagged", "build", "dist")
START = "start.py"
PREPARE = "prepare.py"  # of the app: makes files that the Space should not have to make or fetch
DEFAULTS = {
    "title": "Segment Anything for microscopy",
    "emoji": "🔬",
    "colorFrom": "indigo",
    "colorTo": "green",
    "sdk": "gradio",
    "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",
    "license": "apache-2.0",
}


def build_space(folder: Path, *, app: Path, wheel: Path) -> None:
    """Build the folder of a Space.

    Parameters
    ----------
    folder
        Empty.
    app
        Holds the app: `README.md`, `requirements.txt`, the file that its front matter calls `app_file`, and others.
    wheel
        Of sam-core.

    Where the app has a `prepare.py` that is run with the folder, and may add to it; it does not go with the app.

    Raises
    ------
    PublishError
        The app lacks one of these, its requirements cannot be pinned, or what it prepares fails.
    """
    for path in app_files(app):
        target = folder / path.relative_to(app)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copyfile(wheel, folder / wheel.name)
    front, text = split(_required(app, "README.md").read_text(encoding="utf-8"))
    entry = str(front.get("app_file", "app.py"))
    _required(app, entry)
    front = {**DEFAULTS, "sdk_version": _installed_gradio(), **front, "app_file": START}
    (folder / "README.md").write_text(join(front, text), encoding="utf-8")
    (folder / START).write_text(STARTER.replace("ENTRY", entry).replace("WHEEL", wheel.name), encoding="utf-8")
    options, wanted = parsed(_required(app, "requirements.txt").read_text(encoding="utf-8").splitlines())
    pins = pinned([*requirements_of(wheel), *wanted])
    if not options and any(pin.startswith("torch==") for pin in pins):
        options = [CPU_TORCH]  # a build without gigabytes of CUDA, for the free hardware
    (folder / "requirements.txt").write_text("\n".join([*options, *pins]) + "\n", encoding="utf-8")
    if (app / PREPARE).is_file():
        _prepare(app, folder)


def app_files(app: Path) -> Iterator[Path]:
    """Yield the files of an app that belong into its Space: no tests, caches or hidden files."""
    for path in sorted(app.rglob("*")):
        parts = path.relative_to(app).parts
        kept = not any(part in LEFT_OUT or part.startswith(".") for part in parts)
        if path.is_file() and kept and parts != (PREPARE,):
            yield path


def _prepare(app: Path, folder: Path) -> None:
    """Run what an app prepares, in a process that imports from the app and what is installed here."""
    root = Path(sam_core.__file__).parents[1]
    path = os.pathsep.join(filter(None, [str(app), str(root), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", str(app / PREPARE), str(folder)]
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        msg = f"got {last[0]!r} from {app / PREPARE}, expected the files that it makes; correct that and try again"
        raise PublishError(msg)


def build_wheel(root: Path, folder: Path) -> Path:
    """Build a wheel of the package at `root` into a folder and return it.

    Raises
    ------
    PublishError
        It cannot be built.
    """
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        msg = f"got no wheel of {root}, expected one; pip said: {done.stderr.strip()[-500:]}"
        raise PublishError(msg)
    return wheels[0]


def _required(app: Path, name: str) -> Path:
    path = app / name
    if not path.is_file():
        msg = f"got an app without {name}, {app}, expected it; write it, a Space cannot be shown or started without"
        raise PublishError(msg)
    return path


def _installed_gradio() -> str | None:
    try:
        return metadata.version("gradio")
    except metadata.PackageNotFoundError:
        return None


# The Hub installs requirements.txt before the other files of a Space are there, so that it cannot name the wheel.
STARTER = '''"""Start the app with the sam_core of the wheel that lies beside it; nothing is installed for that."""

import atexit
import os
import runpy
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Unpack the wheel, put it on the path after this folder, for processes that are started too, and run the app."""
    unpacked = tempfile.mkdtemp(prefix="sam_core-")
    atexit.register(shutil.rmtree, unpacked, ignore_errors=True)
    with zipfile.ZipFile(HERE / "WHEEL") as archive:
        archive.extractall(unpacked)
    # The app's modules are taken from here, with the files beside them, and not from the wheel, which has them too.
    sys.path[:0] = [str(HERE), unpacked]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), unpacked, os.environ.get("PYTHONPATH")]))
    runpy.run_path(str(HERE / "ENTRY"), run_name="__main__")


if __name__ == "__main__":
    main()
'''
