"""A small data set with every file that a stage reads, made once and copied for each broken one."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from cryocore.backend import get_backend
from cryocore.config.run import Config, parse_config
from cryocore.ingest.cache import cache
from cryocore.ingest.particles import ingest
from cryocore.log.truth import truth
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.select.stage import select
from cryocore.simulate.stage import simulate
from cryocore.validate import validate_round
from tests.ingest.samples import write_data_set

SETTINGS = {
    "n_rounds": 1,
    "symmetry": "C1",
    "backend": "cpu",
    "input": {"simulate": {"molecule": "small", "n_particles": 80, "box": 24, "pixel_size_angstrom": 6.0}},
    "reconstruct": {"padding": 1.0},
    "score": {"n_bands": 4, "n_random_poses": 2, "n_perturbed_poses": 2, "n_perturbed_shifts": 2},
    "select": {"rule": "fraction", "score": "z", "minimum": 1},
}


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with particles.star and a.mrcs of a user, my.yaml, log.txt, and the files of a run of one round."""
    folder = tmp_path_factory.mktemp("valid")
    write_data_set(folder)
    (folder / "my.yaml").write_text(json.dumps({"run": "mine", "symmetry": "C1"}))
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("cryocore.reconstruct.sums.KEEP_FROM", 0.0)
        run_one_round(Path("run"), parse_config(SETTINGS))
    return folder


LOG = "log/round=0/log.parquet"


def run_one_round(run: Path, config: Config) -> None:
    """Every stage once."""
    backend, common = get_backend("cpu"), {"symmetry": "C1", "seed": 0}
    simulate(config.input.simulate, config.input.plant, **common, out_dir=run / "simulated", backend=backend)
    star, particles, first = run / "simulated/particles.star", run / "particles.parquet", run / "round_0"
    ingest(star, root=None, pixel_size_angstrom=None, seed=0).write(particles)
    cache(particles, max_resolution_angstrom=None, backend=backend, out=run / "cache/transforms.npz")
    how = {"settings": config.reconstruct, "symmetry": "C1", "backend": backend}
    reconstruct(particles, None, None, **how, out_dir=first)
    how = {"settings": config.score, **common, "round_number": 0, "backend": backend}
    score(particles, first, None, **how, out=run / LOG)
    second = {"out_table": run / "round_1/subset.parquet", "out_star": run / "round_1/subset.star"}
    select(particles, run / LOG, settings=config.select, **common, round_number=1, **second)
    truth(particles, run / "simulated/truth.parquet", run / "truth.parquet")
    known = (run / "truth.parquet", run / "simulated/true_map.mrc")
    validate_round(run / LOG, first, *known, score_name="z", out_metrics=first / "metrics.json")
