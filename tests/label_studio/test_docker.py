"""The files for Docker: what they name exists, and what they set is understood. Docker itself is not needed."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from sam_label_studio.command import app
from sam_label_studio.settings import ALIASES, PREFIX, Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "plugins" / "sam_label_studio"
KNOWN = {PREFIX + field.name.upper() for field in fields(Settings)} | {
    name for names in ALIASES.values() for name in names
}
FOR_STUDIO = {"ML_BLOCK_LOCAL_IP", "SSRF_PROTECTION_ENABLED"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "docker-compose.yml").read_text())
    return found


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with what stands behind them, lines that go on joined."""
    text = re.sub(r"^\s*#.*\n", "", (FOLDER / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", "").splitlines() if line.strip()]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def _values(steps: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for step, rest in steps if step == name]


def test_compose_builds_from_files_that_exist(compose: dict[str, Any]) -> None:
    build = compose["services"]["sam"]["build"]
    context = (FOLDER / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).samefile(FOLDER / "Dockerfile")


def test_compose_sets_what_is_understood(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services["sam"]["environment"]) <= KNOWN
    assert set(services["label-studio"]["environment"]) == FOR_STUDIO
    assert all(value == "false" for value in services["label-studio"]["environment"].values())
    given = {name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for name, value in services["sam"]["environment"].items()}
    settings = Settings.of(given)
    assert settings.url == "http://label-studio:8080"
    assert settings.mode == "everything"


def test_compose_uses_the_names_that_it_declares(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert set(service.get("depends_on", ())) <= set(compose["services"])
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(compose["volumes"])


def test_compose_agrees_with_the_image(compose: dict[str, Any], steps: list[tuple[str, str]]) -> None:
    mounted = {volume.partition(":")[2] for volume in compose["services"]["sam"]["volumes"]}
    assert mounted == set(_values(steps, "VOLUME"))
    assert {f"SAM_CORE_CACHE={folder}" for folder in mounted} == set(_values(steps, "ENV"))


def test_the_image_copies_what_exists_and_what_the_build_needs(steps: list[tuple[str, str]]) -> None:
    copied = [each for line in _values(steps, "COPY") for each in line.split()[:-1]]
    assert [each for each in copied if not (ROOT / each).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["readme"] in copied
    assert "label-studio" in project["project"]["optional-dependencies"]
    assert '".[label-studio]"' in " ".join(_values(steps, "RUN"))
    built = _packages(project)
    assert [name for name in built if not any(name.split("/")[0] == each.removeprefix("./") for each in copied)] == []


def _packages(project: dict[str, Any]) -> list[str]:
    """Return the folders that the build of the wheel takes, from the root of the repository."""
    found = project["tool"].get("hatch", {}).get("build", {}).get("targets", {}).get("wheel", {})
    return [*found.get("packages", ()), *found.get("force-include", ())]


def test_the_image_runs_a_command_that_exists(steps: list[tuple[str, str]]) -> None:
    (line,) = _values(steps, "CMD")[-1:]
    program, name, *arguments = ast.literal_eval(line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert program in project["project"]["scripts"]
    assert name == "label-studio"
    get_command(app).main(args=[*arguments, "--help"], standalone_mode=False)
    with pytest.raises(SystemExit):
        get_command(app).main(args=[arguments[0], "--no-such-option"])


def test_the_health_check_is_python_that_asks_where_we_listen(steps: list[tuple[str, str]]) -> None:
    (line,) = _values(steps, "HEALTHCHECK")
    command = ast.literal_eval(line.partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "health check", "exec")
    assert f"http://127.0.0.1:{_values(steps, 'EXPOSE')[0]}/health" in command[2]
    named = set(re.findall(rf"{PREFIX}[A-Z_]+", command[2]))
    assert named
    assert named <= KNOWN


def test_nothing_runs_as_root(steps: list[tuple[str, str]]) -> None:
    names = [step for step, _ in steps]
    assert names.index("USER") < names.index("CMD")


def test_docker_compose_itself_reads_the_file() -> None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if (
            shutil.which(command[0])
            and not subprocess.run([*command, "version"], capture_output=True, check=False).returncode
        ):
            break
    else:
        pytest.skip("there is no docker compose to ask; what it would read is tested above")
    subprocess.run([*command, "-f", FOLDER / "docker-compose.yml", "config", "--quiet"], check=True, timeout=60)
