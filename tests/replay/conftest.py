"""A real run of two rounds, small, and what it planted."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryocore.backend import get_backend
from cryocore.ingest.particles import read_particles
from cryocore.ingest.simulate import simulate
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.select.stage import select
from cryocore.settings.plant import PlantedErrors
from cryocore.settings.reconstruct import Reconstruct
from cryocore.settings.score import Score
from cryocore.settings.select import Select
from cryocore.settings.simulate import Simulate
from cryocore.validate import validate_round
from tests.score.simulated import SIMULATION

SEED = 4
OWN = Select(rule="mixture", value=[1.0], minimum=10)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the run; read only."""
    folder = tmp_path_factory.mktemp("results") / "small"
    backend, common = get_backend("cpu"), {"symmetry": "C1"}
    simulated = folder / "simulated"
    made = Simulate.model_validate({**SIMULATION, "snr": 0.05, "n_micrographs": 10})
    simulate(made, PlantedErrors(wrong_pose=0.3), seed=SEED, out_dir=simulated, backend=backend, **common)
    particles, subset = folder / "particles.parquet", None
    read_particles(simulated / "particles.star", root=None, pixel_size_angstrom=None, seed=SEED).write(particles)
    for r in (0, 1):
        into = folder / f"round_{r}"
        if r:
            subset = into / "subset.parquet"
            outs = {"out_table": subset, "out_star": into / "subset.star"}
            last = folder / "round_0" / "scores.parquet"
            select(particles, last, settings=OWN, seed=SEED, round_number=r, **common, **outs)
        mask = folder / "round_0" / "mask.mrc" if r else None
        reconstruct(particles, subset, mask, settings=Reconstruct(), backend=backend, out_dir=into, **common)
        how = {"settings": Score(), "round_number": r, "seed": SEED, "backend": backend, **common}
        score(particles, into, subset, out=into / "scores.parquet", **how)
        outs = {"out_metrics": into / "metrics.json", "out_log": folder / "log" / f"round={r}" / "log.parquet"}
        truth = simulated / "truth.parquet"
        validate_round(into / "scores.parquet", into, truth, None, score_name="mixture", seed=SEED, **outs)
    return folder
