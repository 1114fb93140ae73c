"""The decoder of the model "cell" as an ONNX file, and the rules that go with it."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from sam_core import Sam

OPSET = 18  # LayerNormalization is one operator from 17 on; Gelu, from 20 on, is no quicker in the browser
OUTPUTS = ["logits", "scores"]


def export_decoder(sam: Sam, path: str | Path) -> None:
    """Write the decoder of a model as an ONNX file in float32; takes about ten seconds.

    It takes any number of coded points from three on; see `Sam.portable_decoder` for its inputs and outputs. The file
    appears whole or not at all. It answers as `sam` does when that computes in float32.

    Parameters
    ----------
    sam
        A model "cell", best loaded with ``dtype="float32"``: what it rounded to bfloat16 stays rounded.
    path
        Where to.

    Raises
    ------
    CheckpointError
        The model is not a "cell".
    ImportError
        The packages of the extra ``sam-core[space]`` are not installed.
    """
    decoder = sam.portable_decoder()
    count = torch.export.Dim("n", min=3)
    shapes = {name: {0: count} if shape[0] == "n" else None for name, shape in decoder.inputs.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            decoder,
            _example(decoder.inputs),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(decoder.inputs),
            output_names=OUTPUTS,
            dynamic_shapes=shapes,
            verbose=False,
        )
    if program is None:  # only where a file was given to the exporter
        msg = "the exporter returned nothing"
        raise RuntimeError(msg)
    _write(Path(path), _bare(program.model_proto).SerializeToString())


def decoder_meta(sam: Sam) -> dict[str, Any]:
    """Return what the browser has to know of the model, ready for JSON.

    Returns
    -------
    dict
        `model`, the fingerprint; `rules`, see `PortableDecoder`; `inputs`, names and shapes, the number of points as
        the string "n".
    """
    decoder = sam.portable_decoder()
    return {
        "model": sam.fingerprint,
        "rules": decoder.rules,
        "inputs": {name: list(shape) for name, shape in decoder.inputs.items()},
    }


def _example(inputs: dict[str, tuple[int | str, ...]]) -> tuple[torch.Tensor, ...]:
    """Make inputs that the exporter follows through the network: four coded points, so that no size is special."""
    arrays = {name: torch.zeros([4 if d == "n" else int(d) for d in shape]) for name, shape in inputs.items()}
    arrays["codes"] = torch.tensor([2, 3, 1, 0], dtype=torch.int32)
    return tuple(arrays.values())


def _bare(model: Any) -> Any:
    """Drop what the exporter noted about the source: it is a third of the file, and tells paths of this machine."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    model.doc_string = ""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return model


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def main(source: str, path: str) -> None:
    """Export the decoder of a model in a process of its own, which gives way to those who answer somebody."""
    if hasattr(os, "nice"):
        os.nice(5)
    export_decoder(Sam.from_pretrained(source, device="cpu", dtype="float32"), path)


if __name__ == "__main__":
    main(*sys.argv[1:])
