"""Adds to a saved model what transformers needs to load it where sam-core is not installed.

transformers has the SAM family itself and lacks only how to feed it. For the model "cell" code is added. It is that of
this package: the modules that the model consists of are copied, each under a name of its own, with their imports made
relative, which is all that transformers asks of code in a Hub repository.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sam_core.errors import CheckpointError
from sam_core.modeling.checkpoint import CONFIG, read_config

ROOT = Path(__file__).parent
HOME = "sam_core.remote."
ENTRIES = (
    "configuration_cell",
    "modeling_cell",
    "image_processing_cell",
    "pipeline_cell",
)  # that transformers asks for
PREPROCESSOR = "preprocessor_config.json"
ADDED: dict[str, Any] = {
    "architectures": ["CellForMaskGeneration"],
    "auto_map": {
        "AutoConfig": "configuration_cell.CellModelConfig",
        "AutoModel": "modeling_cell.CellForMaskGeneration",
        "AutoModelForMaskGeneration": "modeling_cell.CellForMaskGeneration",
        "AutoImageProcessor": "image_processing_cell.CellImageProcessor",
    },
    "custom_pipelines": {
        "mask-generation": {
            "impl": "pipeline_cell.CellMaskGenerationPipeline",
            "pt": ["AutoModelForMaskGeneration"],
            "type": "image",
        }
    },
    "dtype": "float32",  # to compute in; the file may hold less
}
PROCESSOR = {
    "image_processor_type": "CellImageProcessor",
    "auto_map": {"AutoImageProcessor": ADDED["auto_map"]["AutoImageProcessor"]},
}


def make_loadable(folder: Path) -> None:
    """Make a saved model one that plain transformers loads, "cell" with `trust_remote_code=True`.

    Parameters
    ----------
    folder
        Holds `config.json`, which gains what transformers looks for, and gets the other files.

    Raises
    ------
    CheckpointError
        The folder holds another model than a "cell" or a "sam".
    """
    config = read_config(folder / CONFIG)
    if config.get("model_type") == "cell":
        for name, text in remote_code().items():
            (folder / name).write_text(text, encoding="utf-8")
        added, processor = ADDED, PROCESSOR
    elif config.get("model_type") == "sam":
        added, processor = {"architectures": ["SamModel"]}, _sam_processor(config)
    else:
        msg = f"got a checkpoint of model_type {config.get('model_type')!r}, expected 'cell' or 'sam'; do save another"
        raise CheckpointError(msg)
    _write_json(folder / PREPROCESSOR, processor)
    _write_json(folder / CONFIG, {**config, **added})


def _sam_processor(config: dict[str, Any]) -> dict[str, Any]:
    """Say how transformers is to feed a network of the SAM family: as `VitFamily` does."""
    side = int(config["vision_config"]["image_size"])
    grid = side // int(config["vision_config"]["patch_size"])
    return {
        "image_processor_type": "SamImageProcessor",
        "processor_class": "SamProcessor",
        "size": {"longest_edge": side},
        "pad_size": {"height": side, "width": side},
        "mask_size": {"longest_edge": 4 * grid},
        "mask_pad_size": {"height": 4 * grid, "width": 4 * grid},
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def remote_code() -> dict[str, str]:
    """Return the files of code by name: the entries, and all modules of this package that they need.

    Examples
    --------
    >>> "modeling_cell.py" in remote_code()
    True
    """
    if not (ROOT / "remote").is_dir():
        msg = "got a copy of sam-core's code inside a Hub repository, expected the package; do install sam-core"
        raise CheckpointError(msg)
    found: dict[str, str] = {}
    for entry in ENTRIES:
        closure = _closure(HOME + entry)
        closure[entry] += _named(name for name in closure if name != entry)
        found = {**closure, **found, entry: closure[entry]}
    return {f"{name}.py": text for name, text in sorted(found.items())}


def _closure(module: str) -> dict[str, str]:
    """Return the rewritten text of a module and of all that it needs, by their names in the folder."""
    found: dict[str, str] = {}
    pending = [module]
    while pending:
        module = pending.pop()
        if _flat(module) not in found:
            text = (ROOT.parent / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
            found[_flat(module)], needed = _made_relative(text, module)
            pending += needed
    return found


def _named(modules: Iterable[str]) -> str:
    """Name all modules in an entry: of a folder, transformers 4 takes with it only what it imports itself."""
    lines = "".join(f"    from .{module} import __doc__ as _\n" for module in sorted(modules))
    return f"\nif False:  # never run; transformers reads here which files belong to this one\n{lines}" if lines else ""


def _flat(module: str) -> str:
    """Name a module in a folder without folders.

    Examples
    --------
    >>> _flat("sam_core.modeling.cell"), _flat("sam_core.remote.modeling_cell")
    ('core_modeling_cell', 'modeling_cell')
    """
    if module.startswith(HOME):
        return module.removeprefix(HOME)
    return "core_" + module.removeprefix("sam_core.").replace(".", "_")


def _made_relative(text: str, module: str) -> tuple[str, list[str]]:
    """Rewrite imports of this package; return the text and the modules that it needs."""
    lines = text.splitlines()
    needed = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sam_core."):
            name = str(node.module)
            needed.append(name)
            line = lines[node.lineno - 1]
            lines[node.lineno - 1] = line.replace(f"from {name} import", f"from .{_flat(name)} import", 1)
    origin = f"# {module.replace('.', '/')}.py of sam-core, Apache-2.0. Change it there.\n"
    return origin + "\n".join(lines) + "\n", needed
