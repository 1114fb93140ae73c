"""Make the files that a Space should not have to make, or fetch, when it starts: `python prepare.py FOLDER`.

The publisher runs it. It writes `decoder/decoder.onnx`, what answers prompts in the browser, `decoder/decoder.json`,
what the browser has to know of it, and `decoder/ort/`, onnxruntime-web, which runs it.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from sam_core import Sam
from sam_space.decoder.export import decoder_meta, export_decoder
from sam_space.decoder.ort import FILES, ort_folder

MODEL = "cell"


def prepare(folder: Path) -> None:
    """Write the files into a folder."""
    target = folder / "decoder"
    (target / "ort").mkdir(parents=True, exist_ok=True)
    runtime = ort_folder()
    for name in FILES:
        shutil.copyfile(runtime / name, target / "ort" / name)
    sam = Sam.from_pretrained(MODEL, device="cpu", dtype="float32")
    export_decoder(sam, target / "decoder.onnx")
    (target / "decoder.json").write_text(json.dumps(decoder_meta(sam)), encoding="utf-8")


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
