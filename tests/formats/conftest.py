"""A small simulated data set, its particles, and the same as cryoSPARC and THUNDER would write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate
from cryocore.ingest.particles import read_particles
from cryocore.simulate.stage import simulate
from cryocore.tables.particles import Particles
from tests.runs import make_run

__all__ = ["make_run", "particles", "simulated"]

SIMULATION = Simulate(
    molecule="small", pixel_size_angstrom=4.8, n_particles=80, box=32, snr=50.0, shift_angstrom=8.0, n_micrographs=8
)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The STAR file; read only."""
    folder = tmp_path_factory.mktemp("simulated")
    simulate(SIMULATION, PlantedErrors(), symmetry="C1", seed=1, out_dir=folder, backend=get_backend("cpu"))
    return folder / "particles.star"


@pytest.fixture(scope="session")
def particles(simulated: Path) -> Particles:
    """What the STAR file says."""
    return read_particles(simulated, root=None, pixel_size_angstrom=None, seed=0)
