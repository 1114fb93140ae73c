"""What would embarrass: found before anything is uploaded."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from publisher.card import split
from publisher.model import COMMIT
from publisher.plan import Plan

MEGABYTE = 1_000_000
LARGEST = {"model": 5_000 * MEGABYTE, "space": 50 * MEGABYTE}  # a file; the largest SAM has 2,600 MB
IN_ALL = {"model": 20_000 * MEGABYTE, "space": 1_000 * MEGABYTE}  # the Hub gives a free Space 1 GB
MOST_FILES = 1_000
PICKLES = (".bin", ".pth", ".pt", ".pkl", ".pickle", ".ckpt")  # loading one can run any code
SECRET_NAMES = re.compile(r"(^|/)(\.env.*|.*\.pem|id_rsa.*|\.netrc|token|secrets?\..*)$")
SECRETS = re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b|-----BEGIN [A-Z ]*PRIVATE KEY-----")
LOADERS = ("from_pretrained", "snapshot_download", "hf_hub_download", "pipeline")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
MARKDOWN_FILE = re.compile(r"!?\[[^\]]*\]\((?![a-z]+:|#)([^)#\s]+)[^)]*\)")
SPACE_KEYS = ("title", "sdk", "sdk_version", "app_file", "python_version", "license")


def faults(plan: Plan) -> list[str]:
    """Tell what is wrong with a folder, a sentence each; none where it may be uploaded."""
    found = [*_card(plan), *_sizes(plan), *_files(plan)]
    return [*found, *_space(plan)] if plan.kind == "space" else found


def tree_faults(root: Path) -> list[str]:
    """Tell why what is built from a working tree could not be built again: changes that no commit has."""
    command = ["git", "-C", str(root), "status", "--porcelain"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ["git is not installed, so it is not known whether the tree is clean; install it"]
    if done.returncode:
        return [f"{root} is no git checkout, so nobody could tell what was published; publish from one"]
    changed = [line[3:] for line in done.stdout.splitlines()]
    if changed:
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        return [f"the tree has changes that are not committed: {', '.join(changed[:5])}{more}; commit them"]
    return []


def commit_of(root: Path) -> str:
    """Return the commit of a working tree, "" where it has none."""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _card(plan: Plan) -> Iterator[str]:
    front, text = split(plan.read("README.md"))
    if not front or not text.strip():
        yield "README.md is no card: it lacks front matter between `---` lines, or a text; write both"
    elif not front.get("license"):
        yield "README.md names no licence; add `license: apache-2.0` or what holds to its front matter"
    names = {file.path for file in plan.files}
    for target in MARKDOWN_FILE.findall(text):
        if target.removeprefix("./") not in names:
            yield f"README.md points to {target}, which is not among the files; take the link out or add the file"


def _sizes(plan: Plan) -> Iterator[str]:
    for file in plan.files:
        if file.size > LARGEST[plan.kind]:
            yield f"{file.path} has {file.size:,} bytes, more than {LARGEST[plan.kind]:,}; leave it out"
    if plan.size > IN_ALL[plan.kind]:
        yield f"all files have {plan.size:,} bytes, more than {IN_ALL[plan.kind]:,}; leave some out"
    if len(plan.files) > MOST_FILES:
        yield f"there are {len(plan.files)} files, more than {MOST_FILES}; leave some out"


def _files(plan: Plan) -> Iterator[str]:
    if plan.kind == "model" and not any(file.path.endswith(".safetensors") for file in plan.files):
        yield "there are no weights (*.safetensors); build the folder again"
    for file in plan.files:
        if file.path.endswith(PICKLES):
            yield f"{file.path} is a pickle, which can run any code where it is loaded; save it as safetensors"
        if SECRET_NAMES.search(file.path):
            yield f"{file.path} looks like a secret; leave it out"
        elif file.size < MEGABYTE and SECRETS.search((plan.folder / file.path).read_bytes()):
            yield f"{file.path} holds what looks like a token or a private key; take it out and revoke it"


def _space(plan: Plan) -> Iterator[str]:
    front, _ = split(plan.read("README.md"))
    names = {file.path for file in plan.files}
    missing = [key for key in SPACE_KEYS if not front.get(key)]
    if missing:
        yield f"the front matter of README.md lacks {', '.join(missing)}; add them (install gradio to have sdk_version)"
    if front.get("app_file") not in names:
        yield f"app_file {front.get('app_file')!r} is not among the files; correct it"
    if len(str(front.get("short_description", ""))) > 60:
        yield "short_description has more than 60 characters, which the Hub refuses; shorten it"
    for line in plan.read("requirements.txt").splitlines():
        if line and not line.startswith("--") and not re.fullmatch(r"[\w.-]+==[\w.!-]+", line):
            yield f"requirements.txt has {line!r}, which is not pinned; write name==version"
    for line in front.get("preload_from_hub") or []:
        if not COMMIT.fullmatch(str(line).split(" ")[-1]):
            yield f"preload_from_hub has {line!r} without a commit; end it with 40 hexadecimal digits"
    for file in plan.files:
        if file.path.endswith(".py"):
            yield from _unpinned_loads(file.path, plan.read(file.path))


def _unpinned_loads(path: str, text: str) -> Iterator[str]:
    """Find calls that load from the Hub by a name in the code, without a commit."""
    try:
        calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    except SyntaxError as error:
        yield f"{path}, line {error.lineno}, is no Python ({error.msg}); correct it"
        return
    for call in calls:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        literal = [a.value for a in (*call.args, *(k.value for k in call.keywords)) if isinstance(a, ast.Constant)]
        if name not in LOADERS or not any(isinstance(v, str) and REPOSITORY.fullmatch(v) for v in literal):
            continue
        revision = next((k.value for k in call.keywords if k.arg == "revision"), None)
        fixed = revision is not None and (
            not isinstance(revision, ast.Constant) or COMMIT.fullmatch(str(revision.value)) is not None
        )
        if not fixed:
            yield f"{path}, line {call.lineno}, loads from the Hub without a commit; add revision='<commit>'"
