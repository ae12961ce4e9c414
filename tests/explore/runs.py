"""A small run of one selection, as the workflow leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.config.select import Select
from cryocore.config.simulate import Simulate
from cryocore.ingest.particles import read_particles
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.select.stage import select
from cryocore.simulate.stage import simulate
from cryocore.tables.io import write_table

CPU = get_backend("cpu", threads=1)
ALONE = {"n_random_poses": 2, "n_perturbed_poses": 0, "n_perturbed_shifts": 0}


def run_of(folder: Path, plant: PlantedErrors, chosen: Select | None, seed: int = 0, **changes: Any) -> Path:
    """A run in ``folder`` whose round 1 is recommended; without a selection it is round 0 alone."""
    scores = Score(**ALONE)
    settings = Simulate.model_validate(
        {
            "molecule": "small",
            "n_particles": 600,
            "box": 32,
            "pixel_size_angstrom": 4.0,
            "snr": 0.2,
            "orientations": "uniform",
            "bfactor_angstrom2": 100.0,
            "n_micrographs": 10,
            **changes,
        }
    )
    simulate(settings, plant, symmetry="C1", seed=seed, out_dir=folder / "simulated", backend=CPU)
    particles = folder / "particles.parquet"
    read_particles(folder / "simulated" / "particles.star", root=None, pixel_size_angstrom=None, seed=0).write(
        particles
    )
    how: dict[str, Any] = {"symmetry": "C1", "backend": CPU}
    subset: Path | None = None
    for number in (0, 1):
        maps, log = folder / f"round_{number}", folder / "log" / f"round={number}" / "log.parquet"
        mask = maps.with_name("round_0") / "mask.mrc" if number else None
        reconstruct(particles, subset, mask, settings=Reconstruct(full_every=1), out_dir=maps, **how)
        score(particles, maps, subset, settings=scores, round_number=number, seed=seed, out=log, **how)
        if chosen is None:
            break
        if number == 0:
            subset = folder / "round_1" / "subset.parquet"
            given: dict[str, Any] = {"symmetry": "C1", "seed": seed, "round_number": 1}
            select(particles, log, settings=chosen, out_table=subset, out_star=subset.with_suffix(".star"), **given)
    write_table(folder / "rounds.parquet", pa.table({"round": [0, 1], "is_recommended": [False, True]}))
    return folder
