"""How fast this machine can feed a device: passes over stacks in the page cache, with a device that computes nothing.

Images are read into memory that a device copies from by itself; other arrays are copied once, as into such memory.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

import mrcfile
import numpy as np
from numpy.typing import NDArray

from benchmarks.performance.kernels import PIXEL_ANGSTROM, reference_of
from benchmarks.performance.repeated import IMAGES, repeat, simulated
from cryocore.backend import CpuBackend, Kernel
from cryocore.config.score import Score
from cryocore.formats.stacks import StoredReader
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.accumulate import accumulate
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.memory import Memory
from cryocore.score.chunks import CHUNK, chunk_sums
from cryocore.score.comparison import Comparison
from cryocore.tables.particles import Particles

KINDS = {"float32": np.float32, "int16": np.int16, "float16": np.float16}


class IdleDevice(CpuBackend):
    """A device whose kernels and transforms do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.lent: WeakSet[Memory] = WeakSet()

    def launch(self, kernel: Kernel, args: tuple[Any, ...], *, items: int) -> None:
        """Check the arguments as ever."""
        kernel.kinds(args, np.ndarray)

    def rfft2(self, images: Any, width: int | None = None) -> Any:
        """An array of any content."""
        n, d = images.shape[:2]
        return self.scratch("transforms", (n, d, d // 2 + 1), np.complex64)

    def memory(self) -> Memory:  # type: ignore[override]
        """Memory that need not be copied."""
        made = Memory()
        self.lent.add(made)
        return made

    def to_device(self, array: Any) -> Any:
        """A copy, in memory that is used again for arrays of the same type."""
        if any(memory.holds(array) for memory in self.lent):
            return array
        staged = self.scratch(f"staged {array.dtype}", array.shape, array.dtype)
        np.copyto(staged, array)
        return staged


def measure(box: int, n: int) -> dict[str, dict[str, float]]:
    """Particles per second of wall time that a sum and a score could be fed, by how the images are stored."""
    with tempfile.TemporaryDirectory(prefix="cryocore-performance-") as name:
        base = simulated(Path(name), box, IMAGES)
        found: dict[str, dict[str, float]] = {}
        for kind, dtype in KINDS.items():
            of_kind = stored_as(base, Path(name) / kind, dtype)
            for contrast, sign in (("bright", 1), ("dark", -1)):
                optics = tuple(replace(o, image_sign=sign) for o in of_kind.optics)
                found[f"{kind}, {contrast}"] = fed(repeat(replace(of_kind, optics=optics), n), box)
        return found


def fed(data: Particles, box: int) -> dict[str, float]:
    """The same for one data set."""
    device, n, weights = IdleDevice(), len(data), np.ones(len(data), dtype=np.float32)
    grid = FourierGrid.of(box, PIXEL_ANGSTROM, 2.0)
    frame = ImageGeometry.of(data.optics[0], grid)
    reference = reference_of(np.zeros((box,) * 3, dtype=np.float32), grid, frame, CpuBackend())
    poses, group = data.quaternions, point_group("C1")
    compared = Comparison(reference, Score(), 0, device, StoredReader, poses, group, reference.n_bands)
    return {
        "sum": n / seconds(lambda: accumulate(data, weights, grid, device, source=StoredReader)),
        "score": n / seconds(lambda: scored(data, weights, compared)),
    }


def scored(data: Particles, weights: NDArray[np.float32], compared: Comparison) -> None:
    """Band sums of all particles, as a stage takes them."""
    for first in range(0, len(data), CHUNK):
        rows = np.arange(first, min(first + CHUNK, len(data)))
        chunk_sums(data.take(rows), weights[rows], compared)


def seconds(work: Any) -> float:
    """Wall seconds of the second run."""
    for _ in range(2):
        began = time.perf_counter()
        work()
    return time.perf_counter() - began


def stored_as(base: Particles, folder: Path, dtype: Any) -> Particles:
    """The particles with their images as numbers of another type, in a stack of their own."""
    folder.mkdir()
    with StoredReader(base) as reader:
        images = reader.read(np.arange(len(base))).bright()
    scale = 3000.0 if dtype is np.int16 else 1.0
    name = str(base.table.column("stack")[0])
    mrcfile.write(folder / Path(name).name, (scale * images).astype(dtype), voxel_size=PIXEL_ANGSTROM)
    return replace(base, root=str(folder))
