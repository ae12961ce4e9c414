"""A small simulated data set, its first map and its log."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.config.simulate import Simulate
from cryocore.ingest.particles import read_particles
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.simulate.stage import simulate

SIMULATION = {
    "molecule": "small",
    "n_particles": 800,
    "box": 40,
    "pixel_size_angstrom": 5.0,
    "snr": 0.25,
    "orientations": "uniform",
    "bfactor_angstrom2": 100.0,
}


def simulated(folder: Path, plant: PlantedErrors, **changes: object) -> None:
    """A simulation in ``folder``, and the maps of all its particles."""
    backend = get_backend("cpu")
    settings = Simulate.model_validate({**SIMULATION, **changes})
    simulate(settings, plant, symmetry="C1", seed=3, out_dir=folder, backend=backend)
    file = folder / "particles.parquet"
    read_particles(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=0).write(file)
    maps = folder / "round"
    reconstruct(file, None, None, settings=Reconstruct(), symmetry="C1", backend=backend, out_dir=maps)


def logged(folder: Path, settings: Score | None = None, round_number: int = 0) -> pa.Table:
    """The log of these maps, with ``kind`` of the truth."""
    score(
        folder / "particles.parquet",
        folder / "round",
        None,
        settings=settings or Score(),
        symmetry="C1",
        round_number=round_number,
        seed=0,
        backend=get_backend("cpu"),
        out=folder / "scores.parquet",
    )
    truth = pq.read_table(folder / "truth.parquet")
    return pq.read_table(folder / "scores.parquet").append_column("kind", truth.column("error_kind"))
