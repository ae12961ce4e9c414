"""What it costs to cut a data set into parts: CPU seconds and wall seconds of sums and scores, by number of shards.

    python -m benchmarks.scaling

Strong scaling: the same particles in more parts, as many at a time as there are cores, one thread each. Weak
scaling: as many particles per part. The outcome is in benchmarks/results/scaling.json, and in the table of
docs/measurements/cost.md.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.machine import made_by
from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.config.simulate import Simulate
from cryocore.ingest.particles import read_particles
from cryocore.reconstruct import reconstruct
from cryocore.score import noise_of_round
from cryocore.simulate.stage import simulate
from cryocore.tables.io import write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "scaling.json"
BOX, N = 96, 16_000
SHARDS = (1, 2, 4, 8)
STAGES = ("sum", "score", "merge")
SUM, SCORE = {"reconstruct": Reconstruct().model_dump(mode="json")}, {"score": Score().model_dump(mode="json")}


def stage(name: str, *arguments: str | Path, settings: dict[str, Any]) -> None:
    """Run the program of a stage on one core."""
    command = [sys.executable, "-P", str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]
    given = ["--settings", json.dumps({**settings, "symmetry": "D7", "seed": 0}), "--backend", "cpu", "--threads", "1"]
    subprocess.run(
        [*command, *given], check=True, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def made(folder: Path, n: int) -> Path:
    """Simulated particles, their maps and their noise."""
    backend = get_backend("cpu")
    settings = Simulate(n_particles=n, box=BOX, pixel_size_angstrom=2.2)
    simulate(settings, PlantedErrors(wrong_pose=0.3), symmetry="D7", seed=0, out_dir=folder, backend=backend)
    particles = folder / "particles.parquet"
    read_particles(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=0).write(particles)
    how: dict[str, Any] = {"symmetry": "D7", "backend": backend}
    reconstruct(particles, None, None, settings=Reconstruct(), **how, out_dir=folder / "round")
    noise_of_round(particles, folder / "round", None, settings=Score(), seed=0, **how, out=folder / "noise.npz")
    return folder


def shard_jobs(folder: Path, count: int) -> dict[str, Callable[[int], None]]:
    """How one shard is summed and scored."""
    particles = folder / "particles.parquet"

    def add(i: int) -> None:
        stage("sum", particles, folder / f"sums_{i}.npz", "--shard", f"{i}/{count}", settings=SUM)

    def score(i: int) -> None:
        part = ("--shard", f"{i}/{count}", "--noise", folder / "noise.npz")
        stage("score", particles, folder / "round", folder / f"scores_{i}.parquet", *part, settings=SCORE)

    return {"sum": add, "score": score}


def timed(job: Callable[[int], None], count: int, at_once: int) -> dict[str, float]:
    """Wall and CPU seconds of all shards."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(job, range(count)))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(time.monotonic() - began, 2), "cpu_s": round(cpu, 2)}


def merged(folder: Path, count: int) -> dict[str, float]:
    """What the reconstruction takes that merges the sums."""
    sums = [text for i in range(count) for text in ("--sums", folder / f"sums_{i}.npz")]
    return timed(
        lambda _: stage("reconstruct", folder / "particles.parquet", folder / "map", *sums, settings=SUM), 1, 1
    )


def main() -> None:
    """Measure and print."""
    rows: list[dict[str, Any]] = []
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as scratch:
        whole = made(Path(scratch) / "strong", N)
        for count in SHARDS:
            for name, job in shard_jobs(whole, count).items():
                found = timed(job, count, min(count, cores))
                rows.append({"scaling": "strong", "stage": name, "shards": count, "particles": N, **found})
            rows.append(
                {"scaling": "strong", "stage": "merge", "shards": count, "particles": N, **merged(whole, count)}
            )
        for count in range(1, cores + 1):
            part = made(Path(scratch) / f"weak_{count}", N // 4 * count)
            for name, job in shard_jobs(part, count).items():
                found = timed(job, count, count)
                rows.append({"scaling": "weak", "stage": name, "shards": count, "particles": N // 4 * count, **found})
    write_json(RESULTS, {**made_by("python -m benchmarks.scaling"), "box": BOX, "cores": cores, "rows": rows})


if __name__ == "__main__":
    main()
