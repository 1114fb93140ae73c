"""How the backend is set up, keys, the command line and the adapter."""

from __future__ import annotations

import base64
import json
import sys
import types
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from sam_label_studio import backend as backends
from sam_label_studio import command
from sam_label_studio.errors import AccessError, ConfigError
from sam_label_studio.settings import Settings
from sam_label_studio.tokens import Credentials
from tests.fake import FakeSegmenter
from tests.label_studio.server import config, keypoint, task


def test_variables_are_read_and_options_come_first(tmp_path: Path) -> None:
    environ = {
        "LABEL_STUDIO_HOST": "http://other:1",
        "LABEL_STUDIO_URL": "http://studio:8080/sub/",
        "LABEL_STUDIO_ACCESS_TOKEN": "key",
        "SAM_LABEL_STUDIO_HOSTS": "a.example.org, *.Example.com ,",
        "SAM_LABEL_STUDIO_ROOTS": str(tmp_path),
        "SAM_LABEL_STUDIO_MAX_PIXELS": "1000",
        "SAM_LABEL_STUDIO_TOLERANCE": "0.5",
        "SAM_LABEL_STUDIO_MODE": "boxes",
        "SAM_LABEL_STUDIO_OUTPUT": "",
    }
    settings = Settings.of(environ, mode="off", model=None)
    assert (settings.mode, settings.model, settings.key) == ("off", "cell", "key")
    assert settings.credentials.url == "http://studio:8080/sub"
    assert settings.images().rules is not None
    assert settings.images().rules.hosts == ("a.example.org", "*.example.com")  # type: ignore[union-attr]
    assert (settings.roots, settings.max_pixels, settings.tolerance) == ((tmp_path,), 1000, 0.5)
    assert "key" not in repr(settings).replace("key=", "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "all"},
        {"output": "circle"},
        {"url": "localhost:8080"},
        {"url": ""},
        {"url": "ftp://host"},
        {"tolerance": -1},
        {"tolerance": float("nan")},
        {"seconds": float("inf")},
        {"clicks": 0},
        {"waiting": -1},
        {"user": "only"},
        {"roots": (Path("/no/such/folder"),)},
    ],
)
def test_what_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"expected|no folder"):
        Settings(**wrong)


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="SAM_LABEL_STUDIO_WAITING = 'many', expected a number"):
        Settings.of({"SAM_LABEL_STUDIO_WAITING": "many"})


def test_the_version_says_model_and_settings(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"a" * 100)
    given: list[dict[str, Any]] = [{}, {"mode": "boxes"}, {"tolerance": 2.0}, {"model": str(folder)}, {"label": "Cell"}]
    versions = [Settings(**each).model_version for each in given]
    (folder / "model.safetensors").write_bytes(b"b" * 100)
    versions.append(Settings(model=str(folder)).model_version)
    assert len(set(versions)) == len(versions)
    assert Settings(waiting=3, key="x").model_version == versions[0]
    assert " mine " in versions[3]


# -- keys ------------------------------------------------------------------------------------------------------------


def _jwt(kind: str) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"token_type": kind}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{claims}.signature"


def _studio(status: int = 200, answer: Any = None) -> tuple[httpx.Client, list[httpx.Request]]:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, json={"access": f"access{len(seen)}"} if answer is None else answer)

    return httpx.Client(transport=httpx.MockTransport(handle)), seen


def test_a_personal_token_is_exchanged_once_in_four_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    client, seen = _studio()
    now = [1000.0]
    monkeypatch.setattr("sam_label_studio.tokens.time.monotonic", lambda: now[0])
    mine = Credentials("http://host:8080/sub", _jwt("refresh"))
    for later, count in ((0.0, 1), (200.0, 1), (50.0, 2), (1.0, 2)):
        now[0] += later
        assert mine.headers(client) == {"Authorization": f"Bearer access{count}"}
        assert len(seen) == count
    mine.forget()
    assert mine.headers(client) == {"Authorization": "Bearer access3"}
    assert str(seen[0].url) == "http://host:8080/sub/api/token/refresh"
    assert json.loads(seen[0].content) == {"refresh": mine.key}


def test_other_keys_are_sent_as_they_are() -> None:
    client, seen = _studio()
    assert Credentials("http://host", "0123abcd").headers(client) == {"Authorization": "Token 0123abcd"}
    assert Credentials("http://host", "a.b.c").headers(client) == {"Authorization": "Token a.b.c"}
    assert Credentials("http://host", _jwt("access")).headers(client) == {"Authorization": f"Bearer {_jwt('access')}"}
    assert Credentials("http://host").headers(client) == {}
    assert not seen


@pytest.mark.parametrize(("status", "answer"), [(401, {}), (200, {}), (200, []), (200, {"access": 7}), (302, {})])
def test_a_personal_token_that_is_refused_is_told(status: int, answer: Any) -> None:
    client, _ = _studio(status, answer)
    with pytest.raises(AccessError, match="personal access token"):
        Credentials("http://host", _jwt("refresh")).headers(client)


def test_a_label_studio_that_is_not_there_is_told() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(str(request.url))

    with pytest.raises(AccessError, match="check LABEL_STUDIO_URL"):
        Credentials("http://host", _jwt("refresh")).headers(httpx.Client(transport=httpx.MockTransport(refuse)))


def test_a_key_as_label_studio_lists_it_is_only_a_part_of_one() -> None:
    listed = _jwt("refresh").rpartition(".")[0]
    with pytest.raises(ConfigError, match="without its last part"):
        Settings(key=listed)
    assert Settings(key=_jwt("refresh")).credentials.key == _jwt("refresh")


def test_keys_are_not_shown() -> None:
    assert "secret" not in repr(Credentials("http://host", "secret"))


# -- the command -----------------------------------------------------------------------------------------------------


def test_serve_reads_its_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("sam_label_studio.run.run", lambda app, **options: seen.append((app, options)))
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    options = ["--url", "http://studio", "--port", "9000", "--mode", "off", "--root", str(tmp_path), "--allow", "a.b"]
    result = CliRunner().invoke(command.app, ["serve", *options], env={"SAM_LABEL_STUDIO_WAITING": "5"})
    assert result.exit_code == 0, result.output
    ((app, given),) = seen
    settings = app.state.backend.settings
    assert (settings.url, settings.mode, settings.roots, settings.hosts) == (
        "http://studio",
        "off",
        (tmp_path,),
        ("a.b",),
    )
    assert (settings.waiting, given["port"], given["host"]) == (5, 9000, "127.0.0.1")
    assert "connect http://127.0.0.1:9000" in result.output


def test_serve_says_what_is_wrong() -> None:
    result = CliRunner().invoke(command.app, ["serve", "--mode", "all"])
    assert result.exit_code == 2
    assert "expected one of everything, boxes, refine, off" in result.output


# -- the adapter -----------------------------------------------------------------------------------------------------


class _Base:
    """What 1.0.9 and 2.x have in common."""

    label_config = config()


class _Base2(_Base):
    """As of 2.x: values are kept in a store, and `setup` is called when it is made."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.setup()  # type: ignore[attr-defined]

    def set(self, name: str, value: str) -> None:
        self.kept[name] = value

    @property
    def model_version(self) -> str | None:
        return self.kept.get("model_version")


@pytest.mark.parametrize("base", [_Base, _Base2])
def test_the_adapter_answers_like_the_server(base: type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package, model = types.ModuleType("label_studio_ml"), types.ModuleType("label_studio_ml.model")
    model.LabelStudioMLBase = base  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "label_studio_ml", package)
    monkeypatch.setitem(sys.modules, "label_studio_ml.model", model)
    monkeypatch.delitem(sys.modules, "sam_label_studio.adapter", raising=False)
    monkeypatch.setenv("SAM_LABEL_STUDIO_CACHE", str(tmp_path))
    loaded: list[int] = []
    monkeypatch.setattr(backends, "load_model", lambda _: loaded.append(1) or FakeSegmenter())
    monkeypatch.setattr(backends._shared, "backend", None)
    from sam_label_studio.adapter import SamBackend

    for _ in range(2):  # an object for each request, one model
        made = SamBackend()
        made.setup()
        (answer,) = made.predict([task()], context={"result": [keypoint(6, 10)]})
        assert (len(answer["result"]), answer["model_version"]) == (1, made.model_version)
        assert len(made.predict([task()], context={})[0]["result"]) == 3  # 2.x makes this of no context
        assert len(made.predict([task(), task()], login=None)) == 2
        assert made.fit("ANNOTATION_CREATED", {}) == {}
    assert loaded == [1]
