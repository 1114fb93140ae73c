"""What is measured of a whole process: imports and memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from tests.bench.measure import Row, seconds

MEMORY = """
import resource
from sam_core import Sam, Tiling, samples, segment_all
import numpy as np, torch, skimage.morphology
plane = np.tile(samples.cells((512, 512), count=55, diameter=32, seed=3).image, (8, 8))
sam = Sam.from_pretrained("cell")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = sum(len(part) for part in segment_all(sam, sam.encode(plane, tiling=Tiling())))
print(found, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20)
"""


def rows() -> Iterator[Row]:
    """Time `import sam_core` and `sam-core --help`; measure the peak memory of everything on a large plane."""
    bare = seconds(lambda: _run("-c", "pass"), runs=5)
    took = seconds(lambda: _run("-c", "import sam_core"), runs=5) - bare
    yield Row("import sam_core", took, "s", 0.3, False, "without the start of Python itself")
    took = seconds(lambda: _run("-m", "sam_core", "--help"), runs=5)
    yield Row("sam-core --help", took, "s", 1.0, False, "the whole process")
    torch_in = _run("-c", "import sam_core, sys; print(int('torch' in sys.modules))").strip()
    yield Row("torch imported by import sam_core", float(torch_in), "", 0, False)
    started = time.perf_counter()
    found, gibibytes = _run("-c", MEMORY).split()
    note = f"{found} objects in {time.perf_counter() - started:.1f} s"
    yield Row("peak memory of encode and segment_all, 4096 x 4096, tiled", float(gibibytes), "GiB", 2, False, note)


def _run(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout
