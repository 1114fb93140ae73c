"""Make the files that a Space should not have to make, or fetch, when it starts: `python prepare.py FOLDER`.

The publisher runs it. It writes into the folder `runtime` what browsers need to answer the pointer: see
`sam_space.runtime.save`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sam_core import Sam
from sam_space.runtime import save

if __name__ == "__main__":
    save(Sam.from_pretrained("cell", device="cpu", dtype="mixed"), Path(sys.argv[1]) / "runtime")
