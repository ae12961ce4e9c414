"""Particles per second of each step of the pass, on synthetic batches that are read once and used in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.formats.stacks import batch_size
from cryocore.geometry.rotations import matrix_to_quaternion, random_rotations
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.insertion import Insertion
from cryocore.imaging.prepare import prepare
from cryocore.imaging.volumes import map_to_grid
from cryocore.imaging.voxels import pack_voxels
from cryocore.score.bands import band_edges, band_samples
from cryocore.score.reference import PADDING, Reference, coarse_mask
from cryocore.score.sums import Batch, own_sums, pose_sums
from cryocore.tables.particles import PARTICLES_SCHEMA, Optics, Particles

PIXEL_ANGSTROM, POSES = 1.5, 8


def random_particles(n: int, optics: Optics, seed: int = 0) -> Particles:
    """Particles with random poses and defoci, half of them in either half set."""
    rng = np.random.default_rng(seed)
    quaternions = matrix_to_quaternion(random_rotations(n, rng))
    values: dict[str, Any] = {f"quat_{c}": quaternions[:, i] for i, c in enumerate("wxyz")}
    values |= {
        "particle_id": np.arange(n),
        "stack": ["none"] * n,
        "micrograph": ["none"] * n,
        "half": 1 + np.arange(n) % 2,
    }
    values |= {f"defocus_{c}_angstrom": rng.uniform(1e4, 2e4, n) for c in "uv"}
    values |= {"ctf_scale": np.ones(n)}
    arrays = {name: pa.array(values.get(name, np.zeros(n))) for name in PARTICLES_SCHEMA.names}
    return Particles(pa.table(arrays).cast(PARTICLES_SCHEMA), (optics,))


def reference_of(
    volume: NDArray[np.float32],
    grid: FourierGrid,
    frame: ImageGeometry,
    backend: Backend,
    padding: float = PADDING,
) -> Reference:
    """The map ``(n, n, n)`` as both half maps, with an even density of samples, on a grid of that padding."""
    edges = band_edges(24, grid.last_shell - 1)
    coarse = FourierGrid(grid.box, grid.pixel_size_angstrom, grid.box, grid.last_shell)
    compared = FourierGrid.of(grid.box, grid.pixel_size_angstrom, padding, grid.last_shell)
    density = backend.to_device(np.ones((2, *coarse.shape), dtype=np.float32))
    values = map_to_grid(backend.to_device(volume), compared, backend)
    return Reference(
        voxels=pack_voxels([values] * 2, 2, compared, backend, density, 0.01),
        self_contribution=0.01,
        overlap=backend.to_device(np.linspace(1, 0, 24, dtype=np.float32)),
        mask=coarse_mask(np.ones_like(volume), grid, backend),
        mean_inverse_density=[1.0, 1.0],
        rotational_average=np.zeros((2, len(edges) - 1)),
        view_correlation=np.zeros((2, len(edges) - 1)),
        power=np.zeros((2, len(edges) - 1)),
        edges=edges,
        frames=(frame,),
        samples=(band_samples(frame, edges),),
    )


def rate(work: Callable[[], Any], n: int, seconds: float = 1.0) -> dict[str, float]:
    """Items per wall second and per CPU second: the best of the repeats in ``seconds``, after one to warm up."""
    work()
    best_wall = best_cpu = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or best_wall == float("inf"):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        best_wall = min(best_wall, time.perf_counter() - wall)
        best_cpu = min(best_cpu, time.process_time() - cpu)
    return {"per_second": n / best_wall, "per_cpu_second": n / best_cpu}


def measure(
    box: int, backend: Backend, n: int | None = None, padding: float = 2.0, seconds: float = 1.0
) -> dict[str, dict[str, float]]:
    """Rates of all steps at one box, in batches of ``n`` images (None: those of a stage), each over some seconds."""
    optics = Optics("benchmark", box, PIXEL_ANGSTROM, 300.0, 2.7, 0.1)
    n = n or min(batch_size(box), 512)
    particles, grid = random_particles(n, optics), FourierGrid.of(box, PIXEL_ANGSTROM, padding)
    frame = ImageGeometry.of(optics, grid)
    images = np.resize(
        np.random.default_rng(1).standard_normal((min(n, 64), box, box), dtype=np.float32), (n, box, box)
    )
    rotations, half = particles.rotations, particles.column("half").astype(np.int32) - 1
    weights = np.ones(n, dtype=np.float32)
    batch = prepare(images, particles, frame, backend)
    volume = np.random.default_rng(3).standard_normal((box,) * 3, dtype=np.float32)
    reference = reference_of(volume, grid, frame, backend)
    self_contribution = np.full(n, reference.self_contribution, dtype=np.float32)
    compared = Batch(batch, rotations, half, self_contribution, reference, reference.samples[0], backend)
    poses = random_rotations(n * POSES, np.random.default_rng(2)).reshape(n, POSES, 3, 3)
    insertion, there = Insertion(grid, backend), backend.to_device(images)
    n_batches = max(1, round(insertion.waiting_images(frame) / n))

    def insert_until_full() -> None:
        for _ in range(n_batches):
            insertion.add(batch, rotations, weights, half)
        insertion.flush()

    def timed(work: Callable[[], Any], items: int) -> dict[str, float]:
        return rate(lambda: (work(), backend.wait()), items, seconds)

    return {
        "transform": timed(lambda: backend.rfft2(there), n),
        "prepare": timed(lambda: prepare(images, particles, frame, backend), n),
        "insert": timed(insert_until_full, n * n_batches),
        "score": timed(lambda: own_sums(compared), n),
        "score_poses": timed(lambda: pose_sums(compared, poses), n * POSES),
    }
