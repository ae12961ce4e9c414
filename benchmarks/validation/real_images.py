"""Real images: the workflow runs on them, and their poses predict images that were left out of the map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.validation.common import host, need_data
from benchmarks.validation.workflow import rounds_of, run_workflow
from cryocore.backend import Backend
from cryocore.formats.stacks import batches
from cryocore.imaging.accumulate import accumulate
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.prepare import prepare
from cryocore.imaging.slices import project
from cryocore.imaging.solve import Solver
from cryocore.imaging.volumes import map_to_grid
from cryocore.ingest.particles import ingest
from cryocore.maps.masks import soft_ball
from cryocore.tables.particles import Particles
from cryocore.types import Floats32

N_ROUNDS, FOLDS, PADDING = 2, 10, 2


@dataclass(frozen=True)
class RealSet:
    """Real particles, what is known of them, and the correlations that another program found with true and shuffled
    poses."""

    star: str
    pixel_size_angstrom: float | None
    finest_angstrom: float
    shuffles: int
    reference: tuple[float, float]


SETS = {
    "aspire17, RELION 3.0": RealSet("aspire17/sample_particles_relion30.star", None, 20.0, 1, (0.276, 0.054)),
    "aspire17, RELION 3.1": RealSet("aspire17/sample_particles_relion31.star", 1.338, 20.0, 0, (0.276, 0.054)),
    "ribosome_tilts219": RealSet("ribosome_tilts219/sta_testing_bin8.star", 15.68, 31.36, 3, (0.067, 0.020)),
}


def measure(folder: Path) -> dict[str, Any]:
    """Every set through the workflow and the leave-out test."""
    found = {}
    for number, (name, real) in enumerate(SETS.items()):
        star = need_data(f"particles/{real.star}")
        source = {"star": str(star), "pixel_size_angstrom": real.pixel_size_angstrom}
        results = run_workflow(
            folder / f"run_{number}",
            n_rounds=N_ROUNDS,
            symmetry="C1",
            backend="cpu",
            input=source,
            select={"rule": "fraction", "value": [0.9, 0.8], "minimum": 3},
        )
        data = ingest(star, root=None, pixel_size_angstrom=real.pixel_size_angstrom, seed=0)
        found[name] = {
            "particles": len(data),
            "rounds": rounds_of(results, N_ROUNDS),
            "coarsest_angstrom": data.reference_optics.box * data.reference_optics.pixel_size_angstrom,
            "reference": real.reference,
            **leave_out(data, real),
        }
    return {"folds": FOLDS, "sets": found}


def leave_out(data: Particles, real: RealSet) -> dict[str, Any]:
    """Mean correlation of left-out images with the map of the others, for true and for shuffled poses."""
    values = correlations(data, real.finest_angstrom, host())
    others = [correlations(shuffled(data, seed), real.finest_angstrom, host()).mean() for seed in range(real.shuffles)]
    return {
        "finest_angstrom": real.finest_angstrom,
        "true": float(values.mean()),
        "true_error": float(values.std(ddof=1) / np.sqrt(len(values))),
        "shuffled": float(np.mean(others)) if others else None,
    }


def shuffled(data: Particles, seed: int) -> Particles:
    """The particles with their poses dealt out anew."""
    order, table = np.random.default_rng(seed).permutation(len(data)), data.table
    for name in (f"quat_{c}" for c in "wxyz"):
        table = table.set_column(table.schema.get_field_index(name), name, table.column(name).take(order))
    return replace(data, table=table)


def correlations(data: Particles, finest_angstrom: float, backend: Backend) -> NDArray[np.float64]:
    """Correlation of every image with the projection of a map that does not contain it, ``(n,)``.

    Ten maps, each of nine tenths of the images, both half sets together; all Fourier coefficients up to
    ``finest_angstrom`` count alike.
    """
    fold = np.random.default_rng(0).permutation(np.arange(len(data)) % FOLDS)
    optics = data.reference_optics
    last = int(optics.box * optics.pixel_size_angstrom / finest_angstrom)
    grid = FourierGrid.of(optics.box, optics.pixel_size_angstrom, PADDING, last)
    values = np.empty(len(data))
    for f in range(FOLDS):
        sums = accumulate(data, (fold != f).astype(np.float32), grid, backend)
        density = regularised(sums) * soft_ball(optics.box, optics.box / 2 - 4, 4.0)
        values_on_grid = map_to_grid(density.astype(np.float32), grid)[None]
        for rows, images in batches(data, np.flatnonzero(fold == f), 256, progress=None):
            part = data.take(rows)
            frame = ImageGeometry.of(data.optics[int(part.column("optics_group")[0])], grid)
            batch = prepare(images, part, frame, backend)
            first = np.zeros(len(rows), dtype=np.int32)
            predicted = batch.ctf * project(values_on_grid, part.rotations, first, frame, backend)
            values[rows] = correlate(batch.image, predicted)
    return values


def regularised(sums: FourierSums) -> Floats32:
    """The map of both half sets; each shell's prior is the mean of its denominator."""
    both = replace(
        sums,
        numerator=sums.numerator.sum(axis=0, keepdims=True),
        denominator=sums.denominator.sum(axis=0, keepdims=True),
    )
    solver = Solver(both, np.eye(3)[None])
    mean = solver.means[0]
    return solver.solve(slice(0, 1), mean, mean)


def correlate(images: NDArray[np.complex64], predictions: NDArray[np.complex64]) -> NDArray[np.float64]:
    """Normalised correlation of half-plane transforms ``(n, 2r+1, r+1)``; unused samples of the predictions are 0."""
    used = np.any(predictions != 0, axis=0)
    y, x = images[:, used].astype(np.complex128), predictions[:, used].astype(np.complex128)
    cross = (np.conj(y) * x).real.sum(axis=1)
    return np.asarray(cross / np.sqrt((np.abs(y) ** 2).sum(axis=1) * (np.abs(x) ** 2).sum(axis=1)))
