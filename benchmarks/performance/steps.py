"""Where the time of a reconstruction goes, the work that a particle makes, and what this machine could do at most."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.performance.kernels import PIXEL_ANGSTROM
from benchmarks.performance.repeated import IMAGES, repeat, simulated
from benchmarks.validation.common import ROOT
from cryocore.backend import get_backend
from cryocore.backend.insertion import SAMPLE_FLOATS
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.insertion import Insertion
from cryocore.imaging.packed import row_ends
from cryocore.tables.particles import Optics

PADDING = 2.0
SUM_BYTES = 12
"""Of a voxel, complex numerator and denominator, as of a coefficient of an image and its CTF."""
CORNERS, VALUES, WEIGHT_FLOPS = 8, 3, 12
"""Voxels around a sample, numbers added to each, products that make the trilinear weights."""


def measure(box: int, n: int) -> dict[str, Any]:
    """The steps of one reconstruction of so many particles, and the work of one particle."""
    with tempfile.TemporaryDirectory(prefix="cryocore-performance-") as name:
        folder = Path(name)
        repeat(simulated(folder, box, IMAGES), n).write(folder / "particles.parquet")
        return {"box": box, "particles": n, "steps": trace(folder, "particles.parquet", "traced"), "work": work(box)}


def trace(folder: Path, particles: str, out: str, subset: str = "", previous: str = "") -> dict[str, dict[str, float]]:
    """The steps of a reconstruction in a process of its own; files are relative to ``folder``."""
    files = {"particles": particles, "out": out, "subset": subset, "previous": previous}
    how = {name: str(folder / file) if file else "" for name, file in files.items()}
    command = [sys.executable, "-m", "benchmarks.performance.trace"]
    how_timed = json.dumps(how | {"began": time.monotonic()})
    done = subprocess.run([*command, how_timed], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def work(box: int) -> dict[str, float]:
    """Samples of a particle, its operations, and its bytes to and from memory.

    ``transform_flops`` is the usual count of a real transform, ``5/2 n log2 n``. Sorted samples are written and read;
    the sums, ``sums_bytes``, go by once for all the images whose samples waited. ``unsorted_bytes`` are those of all
    voxels around each sample, as if none stayed in the cache.
    """
    grid = FourierGrid.of(box, PIXEL_ANGSTROM, PADDING)
    frame = ImageGeometry.of(Optics("benchmark", box, PIXEL_ANGSTROM, 300.0, 2.7, 0.1), grid)
    samples, waiting = int(np.sum(row_ends(frame.limit) + 1)), Insertion(grid, get_backend("cpu")).waiting_images(frame)
    return {
        "samples": samples,
        "transform_flops": 2.5 * box**2 * math.log2(box**2),
        "insert_flops": samples * (CORNERS * VALUES * 2 + WEIGHT_FLOPS),
        "image_bytes": 4 * box**2,
        "prepared_bytes": SUM_BYTES * (2 * frame.limit + 1) * (frame.limit + 1),
        "sample_bytes": 2 * 4 * SAMPLE_FLOATS * samples,
        "sums_bytes": 2 * 2 * SUM_BYTES * math.prod(grid.shape) / waiting,
        "unsorted_bytes": 2 * SUM_BYTES * CORNERS * samples,
    }


def machine_limits() -> dict[str, float]:
    """What a CPU second does here at most: bytes copied (read and written) and float32 operations of a product."""
    source = np.ones(1 << 26, dtype=np.float32)
    target, square = np.empty_like(source), np.ones((2048, 2048), dtype=np.float32)
    copy = min(_cpu_seconds(lambda: np.copyto(target, source)) for _ in range(5))
    product = min(_cpu_seconds(lambda: square @ square) for _ in range(5))
    return {"copy_bytes_per_cpu_second": 2 * source.nbytes / copy, "flops_per_cpu_second": 2 * 2048**3 / product}


def _cpu_seconds(call: Any) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began
