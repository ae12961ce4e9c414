"""What other poses and shifts add to a pass of scoring, and what they are worth, by the bands they are compared in.

    python -m benchmarks.alternatives

CPU seconds of passes over simulated particles, one thread, against the map of all of them: at their own poses alone,
with 16 perturbed poses, and with the defaults; in the bands that distinguish poses, and in all that hold signal. What
completes a log, which takes as long whatever is compared, is left out. The outcome is in
benchmarks/results/alternatives.json, and printed as the table of docs/measurements/methods.md.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.machine import made_by
from cryocore.backend import Backend, get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.config.simulate import Simulate
from cryocore.ingest.particles import read_particles
from cryocore.log.complete import write_log
from cryocore.log.rates import auc
from cryocore.reconstruct import reconstruct
from cryocore.score import comparison, score, stage
from cryocore.simulate.plant import CORRECT
from cryocore.simulate.stage import simulate
from cryocore.tables.io import read_schema, read_table, table_metadata, write_json
from experiments.comparisons import log_odds

RESULTS = Path(__file__).resolve().parent / "results" / "alternatives.json"
N = 10_000
MIXED = PlantedErrors(wrong_pose=0.2, local_pose=0.1, wrong_shift=0.1, junk=0.1)
CASES = {
    "proteasome, SNR 0.02, poses 5 to 20° off": (
        "D7",
        Simulate(molecule="proteasome", box=96, pixel_size_angstrom=2.0, bfactor_angstrom2=50, snr=0.02, n_particles=N),
        PlantedErrors(local_pose=0.5),
    ),
    "channel, SNR 0.005, mixed": (
        "C4",
        Simulate(molecule="channel", box=96, pixel_size_angstrom=1.9, bfactor_angstrom2=100, snr=0.005, n_particles=N),
        MIXED,
    ),
    "small, SNR 0.01, mixed": (
        "C1",
        Simulate(molecule="small", box=80, pixel_size_angstrom=1.5, bfactor_angstrom2=50, snr=0.01, n_particles=N),
        MIXED,
    ),
}
ALONE = Score(n_random_poses=0, n_perturbed_poses=0, n_perturbed_shifts=0)
PASSES = {
    "own pose": (ALONE, None),
    "16 perturbed poses": (ALONE.model_copy(update={"n_perturbed_poses": 16}), None),
    "16 perturbed poses, all bands": (ALONE.model_copy(update={"n_perturbed_poses": 16}), 1.0),
    "defaults": (Score(), None),
    "defaults, all bands": (Score(), 1.0),
}
"""Settings of a pass, and the share of what distinguishes poses that alternative poses are compared by; None: the usual
one."""
REPEATS = 2


def measure(folder: Path, symmetry: str, settings: Simulate, errors: PlantedErrors, backend: Backend) -> dict[str, Any]:
    """All passes over one data set."""
    simulate(settings, errors, symmetry=symmetry, seed=0, out_dir=folder, backend=backend)
    particles, maps = folder / "particles.parquet", folder / "round"
    read_particles(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=0).write(particles)
    reconstruct(particles, None, None, settings=Reconstruct(), symmetry=symmetry, backend=backend, out_dir=maps)
    correct = read_table(folder / "truth.parquet", ["error_kind"]).column(0).to_numpy() == CORRECT
    found = {}
    for name, (how, share) in PASSES.items():
        share = comparison.ALTERNATIVE_SHARE if share is None else share
        seconds = []
        for _ in range(REPEATS):
            print(f"  {name}", file=sys.stderr, flush=True)
            with mock.patch.object(comparison, "ALTERNATIVE_SHARE", share), scored_at() as times:
                began = time.process_time()
                common: dict[str, Any] = {"symmetry": symmetry, "round_number": 0, "seed": 0, "backend": backend}
                score(particles, maps, None, settings=how, **common, out=folder / "log.parquet")
            seconds.append(times[0] - began)
        found[name] = {"cpu_seconds": round(min(seconds), 3), **worth(folder / "log.parquet", correct)}
    return found


@contextmanager
def scored_at() -> Iterator[list[float]]:
    """CPU time at which all particles are scored, and the log is completed."""
    times: list[float] = []

    def completing(*given: Any, **named: Any) -> None:
        times.append(time.process_time())
        write_log(*given, **named)

    with mock.patch.object(stage, "write_log", completing):
        yield times


def worth(log: Path, correct: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    """AUC of the log odds of being correct, and of the scores that compare poses."""
    values = {"mixture": log_odds(log)}
    values |= {name: read_table(log, [name]).column(0).to_numpy() for name in ("local", "dual")}
    aucs = {name: auc(v, correct) for name, v in values.items() if v is not None}
    n_bands = table_metadata(read_schema(log))["n_bands"]
    return {"n_bands": n_bands, "auc": {name: v and round(v, 4) for name, v in aucs.items()}}


def main() -> None:
    """Measure, keep and print."""
    backend, cases = get_backend("cpu", threads=1), {}
    for name, case in CASES.items():
        print(name, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="cryocore-alternatives-") as folder:
            cases[name] = measure(Path(folder), *case, backend)
    write_json(RESULTS, {**made_by("python -m benchmarks.alternatives"), "n_particles": N, "cases": cases})


if __name__ == "__main__":
    main()
