"""Building the folders of a model and of a Space, refusing what would embarrass, and the command."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import publish
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from packaging.requirements import Requirement

import sam_core
from publisher.card import model_card, split
from publisher.checks import faults, tree_faults
from publisher.model import build_model
from publisher.pins import parsed, pinned, requirements_of
from publisher.plan import Plan, PublishError
from publisher.space import build_space, build_wheel
from sam_core import Sam, SegmentAllOptions
from sam_core.families.vit import VitFamily
from tests.hub.server import READER, FakeHub
from tests.modeling.oracle import oracle, ours

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own call

ROOT = Path(__file__).parents[2]
SHA = "0123456789abcdef0123456789abcdef01234567"
CARD = "---\nlicense: apache-2.0\n---\n\nFor tests.\n"
APP = """
import os, subprocess, sys
import sam_core
import helper

child = subprocess.run([sys.executable, "-c", "import sam_core; print(sam_core.WHERE)"], capture_output=True, text=True)
print(sam_core.WHERE, helper.NAME, child.stdout.strip(), os.path.dirname(sam_core.__file__))
"""
SPACE_CARD = "---\ntitle: Test\nsdk: gradio\nsdk_version: 6.31.0\napp_file: main.py\n---\n\nA test.\n"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel of a package that only tells where it is, in the place of sam-core."""
    path = tmp_path / "sam_core-9.9.0-py3-none-any.whl"
    headers = "Metadata-Version: 2.1\nName: sam-core\nVersion: 9.9.0\n"
    headers += "Requires-Dist: numpy>=2\nRequires-Dist: rich\nRequires-Dist: nothing-like-it; extra == 'dev'\n"
    with ZipFile(path, "w") as archive:
        archive.writestr("sam_core/__init__.py", "WHERE = 'wheel'\n")
        archive.writestr("sam_core-9.9.0.dist-info/METADATA", headers)
    return path


@pytest.fixture
def app(tmp_path: Path) -> Path:
    files = {
        "README.md": SPACE_CARD,
        "main.py": APP,
        "helper.py": "NAME = 'helper'\n",
        "requirements.txt": f"# the app's own\ntorch=={torch.__version__.split('+')[0]}\npillow\ngradio==6.31.0\n",
        "static/page.js": "1;\n",
        "tests/test_app.py": "",
        "__pycache__/main.pyc": "",
        ".cache/x": "",
        ".env": "TOKEN=1",
    }
    for name, text in files.items():
        path = tmp_path / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "app"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clean checkout in the place of ours, in which tests may be working."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / "file").write_text("1")
    author = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (("init", "-q"), ("add", "."), (*author, "commit", "-qm", "1")):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    monkeypatch.setattr(publish, "ROOT", root)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_model(folder, "acme/cell", source="cell", revision=None, card=None)
    return folder


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """Run the command in this process: its exit status, and what it wrote."""
    monkeypatch.setattr(sys, "argv", ["publish.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        publish.main()
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


# -- the model ---------------------------------------------------------------------------------------------------------


def test_the_model_may_be_published(model: Path) -> None:
    assert faults(Plan.of("model", "acme/cell", model)) == []


def test_the_card_of_the_model_is_fit_for_the_hub(model: Path) -> None:
    front, text = split((model / "README.md").read_text(encoding="utf-8"))
    assert (front["license"], front["library_name"], front["pipeline_tag"]) == (
        "apache-2.0",
        "transformers",
        "mask-generation",
    )
    assert "](../" not in text
    assert 'Sam.from_pretrained("acme/cell")' in text
    assert 'model="acme/cell", trust_remote_code=True' in text
    results = {r["dataset"]["name"]: r["metrics"] for r in front["model-index"][0]["results"]}
    assert {"dsb2018", "emps", "all of these"} <= set(results)
    assert len(ModelCard((model / "README.md").read_text(encoding="utf-8")).data.eval_results or []) > 20
    row = next(line for line in text.splitlines() if line.startswith("| dsb2018 | all |"))
    value = float(row.split("|")[5])
    assert {"type": "iou-1-click", "name": "IoU, 1 click", "value": value} in results["dsb2018"]


def test_the_card_of_a_sam_needs_no_trust(tmp_path: Path) -> None:
    sam = Sam(VitFamily(ours(oracle())), "new", SegmentAllOptions())
    sam.save_pretrained(tmp_path / "toy")
    (tmp_path / "toy" / "README.md").write_text(CARD)
    build_model(tmp_path / "out", "acme/toy", source=str(tmp_path / "toy"), revision=None, card=None)
    plan = Plan.of("model", "acme/toy", tmp_path / "out")
    assert {file.path for file in plan.files} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    assert faults(plan) == []
    assert 'SamModel.from_pretrained("acme/toy")' in plan.read("README.md")
    assert "trust_remote_code" not in plan.read("README.md")


def test_links_into_the_source_tree_become_words() -> None:
    text = "---\nlicense: mit\n---\n[a](../a.md) [b](https://b.org) [c](#c) ![d](d.png)\n"
    assert "a [b](https://b.org) [c](#c) ![d](d.png)" in model_card(text, "acme/cell", "cell")


@pytest.mark.parametrize("revision", [None, "main", "v1", SHA[:12]])
def test_a_hub_model_is_published_from_a_commit_alone(tmp_path: Path, revision: str | None) -> None:
    with pytest.raises(PublishError, match="40 hexadecimal digits"):
        build_model(tmp_path, "acme/cell", source="facebook/sam-vit-base", revision=revision, card=None)


def test_a_model_without_a_card_is_refused(model: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((model / name).read_bytes())
    with pytest.raises(PublishError, match="no model card"):
        build_model(tmp_path / "out", "acme/cell", source=str(bare), revision=None, card=None)


# -- the Space ---------------------------------------------------------------------------------------------------------


def test_the_space_holds_the_app_and_what_it_needs(app: Path, wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "space"
    build_space(folder, app=app, wheel=wheel)
    plan = Plan.of("space", "acme/demo", folder)
    assert {file.path for file in plan.files} == {
        "README.md",
        "helper.py",
        "main.py",
        "requirements.txt",
        "start.py",
        "static/page.js",
        wheel.name,
    }
    front, text = split(plan.read("README.md"))
    assert (front["title"], front["app_file"], front["sdk_version"], front["license"]) == (
        "Test",
        "start.py",
        "6.31.0",
        "apache-2.0",
    )
    assert text.strip() == "A test."
    assert faults(plan) == []
    lines = plan.read("requirements.txt").splitlines()
    assert lines[0].startswith("--extra-index-url")
    assert f"numpy=={metadata.version('numpy')}" in lines
    assert f"markdown-it-py=={metadata.version('markdown-it-py')}" in lines  # rich needs it
    assert not any(line.startswith(("gradio", "sam-core", "nothing")) for line in lines)


def test_the_space_starts_with_the_wheel(app: Path, wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "space"
    build_space(folder, app=app, wheel=wheel)
    (folder / "sam_core-0.0.1-py3-none-any.whl").touch()  # of an earlier version, which nobody took away
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "start.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    where, name, child, place = done.stdout.split()
    assert (where, name, child) == ("wheel", "helper", "wheel")
    assert not Path(place).exists()  # nothing is left behind


@pytest.mark.slow
def test_the_space_starts_with_a_wheel_of_this_package(app: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    built = build_wheel(ROOT, wheels)
    folder = tmp_path / "space"
    (app / "main.py").write_text(
        "import sam_core\nfrom sam_core import Sam, samples\nsam = Sam.from_pretrained('cell', device='cpu')\n"
        "print(len(sam.propose(sam.encode(samples.cells(seed=1).image))), sam_core.__file__)\n"
    )
    build_space(folder, app=app, wheel=built)
    assert faults(Plan.of("space", "acme/demo", folder)) == []
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "start.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    count, place = done.stdout.split()
    assert int(count) > 5
    assert place.startswith(str(tmp_path))


def test_what_the_app_prepares_goes_with_it(app: Path, wheel: Path, tmp_path: Path) -> None:
    """In a process that imports from the app, and from here; what prepares stays behind."""
    (app / "prepare.py").write_text(
        "import sys\nfrom pathlib import Path\nimport helper, sam_core\n"
        "Path(sys.argv[1], 'made.txt').write_text(helper.NAME + ' ' + sam_core.__version__)\n"
    )
    build_space(tmp_path / "space", app=app, wheel=wheel)
    plan = Plan.of("space", "acme/demo", tmp_path / "space")
    assert plan.read("made.txt") == f"helper {sam_core.__version__}"
    assert "prepare.py" not in {file.path for file in plan.files}


def test_what_cannot_be_prepared_is_not_published(app: Path, wheel: Path, tmp_path: Path) -> None:
    (app / "prepare.py").write_text("raise RuntimeError('no decoder today')\n")
    with pytest.raises(PublishError, match="no decoder today"):
        build_space(tmp_path / "space", app=app, wheel=wheel)


def test_modules_of_the_app_are_those_of_the_folder(app: Path, wheel: Path, tmp_path: Path) -> None:
    """The wheel may have them too, but not the files beside them."""
    with ZipFile(wheel, "a") as archive:
        archive.writestr("helper.py", "NAME = 'of-the-wheel'\n")
    build_space(tmp_path / "space", app=app, wheel=wheel)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "start.py"]
    done = subprocess.run(command, cwd=tmp_path / "space", env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[:3] == ["wheel", "helper", "wheel"]


@pytest.mark.parametrize("name", ["README.md", "requirements.txt", "main.py"])
def test_an_app_that_lacks_something_is_refused(app: Path, wheel: Path, tmp_path: Path, name: str) -> None:
    (app / name).unlink()
    with pytest.raises(PublishError, match=f"without {name}"):
        build_space(tmp_path / "space", app=app, wheel=wheel)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("git+https://example.org/a.git", "expected a package"),
        ("a @ https://example.org/a.whl", "expected no address"),
        ("numpy==0.1", "was not tried"),
        ("nothing-like-it==1.0", "not installed|no nothing-like-it installed"),
    ],
)
def test_requirements_that_cannot_be_pinned_are_refused(line: str, expected: str) -> None:
    with pytest.raises(PublishError, match=expected):
        pinned(parsed([line])[1])


def test_extras_of_what_is_required_are_pinned_too() -> None:
    plain = pinned([Requirement("rich")])
    assert pinned([Requirement("rich[nothing]"), Requirement("rich")]) == plain
    assert all("==" in line and "+" not in line for line in pinned([Requirement("torch")]))


def test_a_wheel_tells_what_it_needs(wheel: Path) -> None:
    assert [str(r) for r in requirements_of(wheel)] == ["numpy>=2", "rich"]


# -- what is refused ---------------------------------------------------------------------------------------------------

TOKEN = "hf_" + "a1B2" * 9
GOOD_SPACE = {
    "README.md": SPACE_CARD.replace("main.py\n", "main.py\npython_version: '3.11'\nlicense: mit\n"),
    "main.py": "",
    "requirements.txt": "--extra-index-url https://example.org\nnumpy==2.0.0\n",
}
GOOD_MODEL = {"README.md": CARD, "model.safetensors": "x"}


@pytest.mark.parametrize(
    ("kind", "files", "expected"),
    [
        ("model", {"README.md": None}, "is no card"),
        ("model", {"README.md": "Words.\n"}, "is no card"),
        ("model", {"README.md": "---\ntags: [a]\n---\n\nWords.\n"}, "names no licence"),
        ("model", {"README.md": CARD + "![a](a.png)\n"}, "points to a.png"),
        ("model", {"model.safetensors": None}, "no weights"),
        ("model", {"old.pth": "x"}, "is a pickle"),
        ("model", {"config/.env": "A=1"}, "looks like a secret"),
        ("model", {"notes.txt": f"token {TOKEN}"}, "what looks like a token"),
        ("model", {"key.txt": "-----BEGIN RSA PRIVATE KEY-----"}, "what looks like a token"),
        ("space", {"README.md": CARD}, "lacks title, sdk, sdk_version, app_file, python_version"),
        ("space", {"main.py": None}, "is not among the files"),
        ("space", {"requirements.txt": "numpy>=2\n"}, "'numpy>=2', which is not pinned"),
        ("space", {"requirements.txt": "./a.whl\n"}, "is not pinned"),
        ("space", {"big.bin": "x" * 50_000_001}, "more than 50,000,000"),
        ("space", {"a.py": "Sam.from_pretrained('facebook/sam-vit-base')\n"}, "a.py, line 1, loads from the Hub"),
        ("space", {"a.py": "def f(:\n"}, "a.py, line 1, is no Python"),
        ("space", {"a.py": "x(1)\npipeline('a', model='acme/cell', revision='main')\n"}, "a.py, line 2"),
    ],
)
def test_what_would_embarrass_is_found(tmp_path: Path, kind: str, files: dict[str, str | None], expected: str) -> None:
    for name, text in ((GOOD_MODEL if kind == "model" else GOOD_SPACE) | files).items():
        if text is not None:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    found = faults(Plan.of(kind, "acme/x", tmp_path))  # type: ignore[arg-type]
    assert len([fault for fault in found if expected in fault]) == 1, found


@pytest.mark.parametrize(
    "call",
    [
        f"Sam.from_pretrained('facebook/sam-vit-base', revision='{SHA}')",
        "Sam.from_pretrained('facebook/sam-vit-base', revision=pinned[name])",
        "Sam.from_pretrained('cell')",
        "open('a/b')",
    ],
)
def test_what_is_pinned_or_local_may_be_loaded(tmp_path: Path, call: str) -> None:
    for name, text in (GOOD_SPACE | {"a.py": call + "\n"}).items():
        (tmp_path / name).write_text(text)
    assert faults(Plan.of("space", "acme/x", tmp_path)) == []


@pytest.mark.parametrize(("line", "wrong"), [(f"acme/cell config.json {SHA}", False), ("acme/cell", True)])
def test_what_is_preloaded_is_pinned(tmp_path: Path, line: str, wrong: bool) -> None:
    front, text = split(GOOD_SPACE["README.md"])
    card = f"---\n{yaml.safe_dump(front | {'preload_from_hub': [line]})}---\n{text}"
    for name, content in (GOOD_SPACE | {"README.md": card}).items():
        (tmp_path / name).write_text(content)
    assert any("preload_from_hub" in fault for fault in faults(Plan.of("space", "acme/x", tmp_path))) == wrong


def test_a_tree_with_changes_is_found(tree: Path, tmp_path: Path) -> None:
    assert tree_faults(tree) == []
    (tree / "file").write_text("2")
    assert "file" in tree_faults(tree)[0]
    assert "no git checkout" in tree_faults(tmp_path / "elsewhere")[0]


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_plan_is_printed_and_nothing_sent(
    hub: FakeHub, tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, out, _ = run(capsys, monkeypatch, "model", "acme/cell", "--dry-run", "--out", str(tmp_path / "kept"))
    assert status == 0
    assert "nothing was sent" in out
    for file in Plan.of("model", "acme/cell", tmp_path / "kept").files:
        assert any(
            file.sha256 in line and line.endswith(file.path) and f"{file.size:,}" in line for line in out.splitlines()
        )
    assert not hub.requests


def test_a_model_is_published_twice(
    hub: FakeHub, tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = run(capsys, monkeypatch, "model", "acme/cell", "--private")
    assert (status, "verified:" in out) == (0, True), err
    repository = hub.repositories["model", "acme/cell"]
    assert repository.private
    assert json.loads(hub.content("model", "acme/cell")["config.json"])["model_type"] == "cell"
    commit = subprocess.run(["git", "-C", str(tree), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert repository.commits[0].endswith(commit.stdout.strip())
    status, out, _ = run(capsys, monkeypatch, "model", "acme/cell", "--private")
    assert (status, "all was there already" in out, len(repository.commits)) == (0, True, 1)


def test_a_space_is_published(
    hub: FakeHub,
    tree: Path,
    app: Path,
    wheel: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status, out, err = run(capsys, monkeypatch, "space", "acme/demo", "--from", str(app), "--wheel", str(wheel))
    assert status == 0, err
    assert f"verified: {hub.url}/spaces/acme/demo" in out
    assert {"start.py", "main.py", wheel.name} <= set(hub.content("space", "acme/demo"))
    assert hub.repositories["space", "acme/demo"].sdk == "gradio"


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_is_refused_is_not_sent(
    hub: FakeHub,
    tree: Path,
    app: Path,
    wheel: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    dry_run: bool,
) -> None:
    (tree / "new").write_text("1")
    (app / "a.py").write_text(f"token = '{TOKEN}'\n")
    arguments = ["space", "no owner", "--from", str(app), "--wheel", str(wheel), *(["--dry-run"] if dry_run else [])]
    status, _, err = run(capsys, monkeypatch, *arguments)
    assert status == 1
    assert "3 reasons" in err
    for reason in ("no name of a repository", "what looks like a token", "not committed: new"):
        assert reason in err
    assert not hub.requests


def test_a_refusal_of_the_hub_ends_the_command_without_a_traceback(
    hub: FakeHub, tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", READER)
    status, _, err = run(capsys, monkeypatch, "model", "acme/cell")
    assert (status, "Traceback" in err) == (1, False)
    assert "repository of your own" in err


def test_a_folder_that_is_not_empty_is_not_written_to(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, _, err = run(capsys, monkeypatch, "model", "acme/cell", "--out", str(tree))
    assert (status, "not empty" in err) == (1, True)


def test_the_script_runs_by_its_path(tmp_path: Path) -> None:
    """As users start it, from anywhere; `spaces` on PyPI is another package, and stays so."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "spaces" / "publish.py"), "model", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--dry-run" in done.stdout
    assert not (ROOT / "spaces" / "__init__.py").exists()
