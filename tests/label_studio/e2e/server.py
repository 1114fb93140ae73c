"""A real Label Studio server, in a virtual environment of its own, with SQLite, on the loopback interface."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[3]
USER, PASSWORD = "admin@example.com", "Passw0rd!"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
START = 900.0  # seconds; the first start lays out the database, which takes long where much else runs
ENVIRONMENT = {
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LATEST_VERSION_CHECK": "false",
    "ML_BLOCK_LOCAL_IP": "false",
    "SSRF_PROTECTION_ENABLED": "false",
}


def program() -> Path | None:
    """Return the `label-studio` command: of the environment that LABEL_STUDIO_VENV names, or of the repository's."""
    folder = Path(os.environ.get("LABEL_STUDIO_VENV") or ROOT / ".venv-label-studio")
    found = folder / "bin" / "label-studio"
    return found if found.is_file() else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], url: str, log: Path, env: Mapping[str, str], seconds: float) -> Iterator[None]:
    """Run a server in a process group of its own until the block ends; raise with its log where it does not start."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        _wait(process, url, log, seconds)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        time.sleep(0.3)
    msg = f"{' '.join(map(str, process.args))} did not start:\n{log.read_text(errors='replace')[-4000:]}"  # type: ignore[arg-type]
    raise RuntimeError(msg)


class RealStudio:
    """What a person does with the server, over its REST API."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Token {TOKEN}"}, timeout=120)

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[RealStudio]:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [str(program()), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
        command += ["--data-dir", str(folder / "data"), "--username", USER, "--password", PASSWORD]
        command += ["--user-token", TOKEN, "--enable-legacy-api-token", "--log-level", "INFO"]
        with running(command, url, folder / "studio.log", ENVIRONMENT, START):
            studio = cls(url, folder)
            try:
                yield studio
            finally:
                studio.close()

    def close(self) -> None:
        self._client.close()

    def ask(self, method: str, path: str, **content: Any) -> Any:
        answer = self._client.request(method, path, **content)
        if not answer.is_success:
            msg = f"{method} {path}: {answer.status_code} {answer.text[:1000]}"
            raise AssertionError(msg)
        return answer.json() if answer.content else None

    def project(self, title: str, config: str, *, predicted: bool = True) -> int:
        """Make a project; `predicted` starts each annotation with the predictions of its task."""
        body = {"title": title, "label_config": config, "show_collab_predictions": predicted}
        return int(self.ask("POST", "/api/projects/", json=body)["id"])

    def upload(self, project: int, files: Mapping[str, bytes]) -> list[dict[str, Any]]:
        """Upload images; return their tasks in the order of the files."""
        for name, content in files.items():
            self.ask("POST", f"/api/projects/{project}/import", files={name: (name, content)})
        tasks = self.tasks(project)
        found = [next(task for task in tasks if task["data"]["image"].endswith(name)) for name in files]
        assert len({task["id"] for task in found}) == len(files)
        return found

    def tasks(self, project: int) -> list[dict[str, Any]]:
        asked = {"project": project, "page_size": 1000, "fields": "all"}
        tasks: list[dict[str, Any]] = self.ask("GET", "/api/tasks/", params=asked)["tasks"]
        return tasks

    def connect(self, project: int, backend: str) -> dict[str, Any]:
        body = {"project": project, "url": backend, "title": "sam-core", "is_interactive": True}
        connected: dict[str, Any] = self.ask("POST", "/api/ml/", json=body)
        return connected

    def retrieve_predictions(self, project: int) -> dict[str, Any]:
        asked = {"id": "retrieve_tasks_predictions", "project": project}
        body = {"selectedItems": {"all": True, "excluded": []}}
        answer: dict[str, Any] = self.ask("POST", "/api/dm/actions/", params=asked, json=body)
        return answer

    def annotate(self, task: int, result: list[dict[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = self.ask("POST", f"/api/tasks/{task}/annotations/", json={"result": result})
        return made

    def personal_token(self) -> str:
        """Log in as a browser does and make a personal access token."""
        with httpx.Client(base_url=self.url, follow_redirects=True, timeout=60) as browser:
            browser.get("/user/login/")
            crossing = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
            browser.post("/user/login/", data={**crossing, "email": USER, "password": PASSWORD})
            headers = {"X-CSRFToken": browser.cookies["csrftoken"], "Referer": self.url}
            answer = browser.post("/api/token/", headers=headers)
            assert answer.is_success, answer.text
            return str(answer.json()["token"])


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def turned_jpeg(image: np.ndarray) -> bytes:
    """Return a JPEG that lies on its side, with EXIF data that tell how to turn it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    out = io.BytesIO()
    Image.fromarray(np.rot90(image)).save(out, "JPEG", quality=95, exif=exif)
    return out.getvalue()
