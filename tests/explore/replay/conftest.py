"""A real run of two rounds, small, and what it planted."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.config.select import Select
from cryocore.config.simulate import Simulate
from cryocore.ingest.particles import read_particles
from cryocore.log.truth import truth
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.select.stage import select
from cryocore.simulate.stage import simulate
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
    truth(particles, simulated / "truth.parquet", folder / "truth.parquet")
    for r in (0, 1):
        into = folder / f"round_{r}"
        if r:
            subset = into / "subset.parquet"
            outs = {"out_table": subset, "out_star": into / "subset.star"}
            last = folder / "log" / "round=0" / "log.parquet"
            select(particles, last, settings=OWN, seed=SEED, round_number=r, **common, **outs)
        mask = folder / "round_0" / "mask.mrc" if r else None
        reconstruct(particles, subset, mask, settings=Reconstruct(), backend=backend, out_dir=into, **common)
        how = {"settings": Score(), "round_number": r, "seed": SEED, "backend": backend, **common}
        scores = folder / "log" / f"round={r}" / "log.parquet"
        score(particles, into, subset, out=scores, **how)
        validate_round(
            scores, into, folder / "truth.parquet", None, score_name="mixture", out_metrics=into / "metrics.json"
        )
    return folder
