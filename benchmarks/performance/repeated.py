"""Data sets of any size from one small stack: its images are named again and again, under other stacks' names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.spatial.transform import Rotation

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate
from cryocore.geometry.rotations import matrix_to_quaternion
from cryocore.ingest.particles import ingest, particle_ids
from cryocore.simulate.stage import simulate
from cryocore.tables.io import write_table
from cryocore.tables.particles import Particles

IMAGES = 400
SPREAD_DEG = 1.0
"""Poses of one image differ by about so much, so that the maps still show the molecule."""


def simulation(box: int, n: int) -> Simulate:
    """The particles that whole processes are timed with."""
    return Simulate(molecule="small", n_particles=n, box=box, pixel_size_angstrom=1.5, snr=0.05, orientations="uniform")


def simulated(folder: Path, box: int, n: int) -> Particles:
    """Particles of their own image each, as particles.star and particles.mrcs."""
    simulate(simulation(box, n), PlantedErrors(), symmetry="C1", seed=0, out_dir=folder, backend=get_backend("cpu"))
    return ingest(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=0)


def repeat(base: Particles, n: int) -> Particles:
    """So many particles of the images of ``base``, with poses and ids of their own and the half sets of the images.

    Links to the stack are written beside it: images are read in runs as from stacks of their own.
    """
    rows, rng = np.arange(n) % len(base), np.random.default_rng(1)
    copies = -(-n // len(base))
    root, (stack,) = Path(base.root), set(base.table.column("stack").to_pylist())
    names = [f"copy_{i:05d}.mrcs" for i in range(copies)]
    for name in names:
        if not (root / name).exists():
            (root / name).symlink_to(Path(stack).name)
    particles = base.take(rows)
    turns = Rotation.from_rotvec(rng.normal(0.0, SPREAD_DEG, (n, 3)), degrees=True).as_matrix()
    quaternions = matrix_to_quaternion(turns @ particles.rotations)
    code = (np.arange(n) // len(base)).astype(np.int32)
    images = particles.column("slice")
    values = {f"quat_{c}": quaternions[:, i] for i, c in enumerate("wxyz")} | {
        "particle_id": particle_ids(f"{i + 1:06d}@{names[c]}" for i, c in zip(images, code, strict=True)),
        "source_row": np.arange(n),
        "stack": pa.DictionaryArray.from_arrays(code, names),
    }
    table = particles.table
    for name, column in values.items():
        at = table.schema.get_field_index(name)
        array = column if isinstance(column, pa.Array) else pa.array(column).cast(table.schema.field(name).type)
        table = table.set_column(at, name, array)
    return replace(particles, table=table)


def write_subset(path: Path, particles: Particles, left_out: float) -> None:
    """A subset in which a random share of the particles has no weight."""
    weights = (np.random.default_rng(2).random(len(particles)) >= left_out).astype(np.float32)
    write_table(path, pa.table({"particle_id": particles.ids, "weight": weights}))
