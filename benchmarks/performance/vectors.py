"""Whether sums of four numbers a voxel, added at once, would pay on a GPU: 16 bytes a voxel where there are 12."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.performance.kernels import PIXEL_ANGSTROM, random_particles, rate
from cryocore.backend import Backend, Kernel
from cryocore.backend.insertion import INSERT
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry, slice_basis
from cryocore.imaging.packed import row_ends
from cryocore.imaging.prepare import prepare
from cryocore.tables.particles import Optics

VECTORS = Kernel(str(Path(__file__).with_name("insert_vectors.cu")), "insert_vectors")


def measure(box: int, backend: Backend, n: int, seconds: float = 1.0) -> dict[str, float]:
    """Particles per second added in pairs and in fours, and the largest difference of the sums over the largest sum."""
    optics, grid = Optics("benchmark", box, PIXEL_ANGSTROM, 300.0, 2.7, 0.1), FourierGrid.of(box, PIXEL_ANGSTROM, 2.0)
    particles, frame, xp = random_particles(n, optics), ImageGeometry.of(optics, grid), backend.xp
    images = np.random.default_rng(1).standard_normal((n, box, box), dtype=np.float32)
    batch = prepare(images, particles, frame, backend)
    half, weights = particles.column("half").astype(np.int32) - 1, np.ones(n, dtype=np.float32)
    given = slice_basis(particles.rotations, frame), weights, half, row_ends(frame.limit)
    inputs = batch.image, batch.ctf, *(backend.to_device(a) for a in given), n, frame.limit, grid.radius
    pairs = [xp.zeros((2, *grid.shape), dtype=kind) for kind in (np.complex64, np.float32)]
    fours = [xp.zeros((2, *grid.shape, 4), dtype=np.float32)]

    def add(kernel: Kernel, sums: list[Any]) -> None:
        backend.launch(kernel, (*inputs, *sums), items=n)
        backend.wait()

    add(INSERT, pairs)
    add(VECTORS, fours)
    (numerator, power), four = (backend.to_host(a) for a in pairs), backend.to_host(fours[0])
    found = four[..., :2] - numerator.view(np.float32).reshape(*numerator.shape, 2), four[..., 2] - power
    difference = max(float(np.abs(d).max() / np.abs(of).max()) for d, of in zip(found, (numerator, power), strict=True))
    rates = {
        name: rate(lambda k=k, s=s: add(k, s), n, seconds)["per_second"]
        for name, k, s in (("pairs", INSERT, pairs), ("fours", VECTORS, fours))
    }
    return {**rates, "difference": difference}
