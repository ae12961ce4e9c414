"""What surrounds the rounds costs: ``python -m benchmarks.cost [SECTION ...]``.

Memory that stages take of what they ask for, the cache of transforms beside the stacks, and conversions of a million
particles. The outcome is in benchmarks/results/cost.json, and in tables of docs/measurements/cost.md.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.performance import stages
from benchmarks.performance.processes import in_turn, timed
from benchmarks.scaling import made
from benchmarks.sections import measure
from benchmarks.validation.common import ROOT
from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.run import parse_config
from cryocore.config.simulate import Simulate
from cryocore.formats.kinds import read_tables
from cryocore.formats.star_out import write_star
from cryocore.simulate.stage import simulate
from cryocore.workflow.resources import SNAKEMAKE_MB, Size, request_mb

RESULTS = ROOT / "benchmarks" / "results" / "cost.json"
Values = dict[str, Any]
SIZES = ((32, 1000), (64, 1000), (64, 5000), (128, 1000), (128, 5000), (256, 1000))
"""Box and particles."""
CACHED_BOX, CACHED_N, REPEATS = 96, 6000, 2
MANY, FEW = 1_000_000, 1000
STAGE = """
import json, sys
from pathlib import Path
from cryocore.backend import get_backend
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.ingest.cache import cache
from cryocore.reconstruct import reconstruct
from cryocore.score import score
particles, kept, how = Path("particles.parquet"), Path("cache.npz"), {"backend": get_backend("cpu", threads=1)}
stage, where = sys.argv[1], kept if sys.argv[2] == "cache" else None
if stage == "cache":
    cache(particles, max_resolution_angstrom=None, out=kept, **how)
elif stage == "reconstruct":
    reconstruct(particles, None, None, settings=Reconstruct(), symmetry="D7", out_dir=Path("again"), cache=where, **how)
else:
    given = {"symmetry": "D7", "round_number": 0, "seed": 0, "out": Path("log.parquet"), "cache": where}
    score(particles, Path("round"), None, settings=Score(), **given, **how)
"""


def requests() -> Values:
    """Peak memory of each stage of a run and what a job asks for on its first try, MiB."""
    found = {}
    for box, n in SIZES:
        peaks = stages.measure(box, n)["peak_mb"]
        config = parse_config({"run": "run"})
        found[f"{box}, {n:,}"] = {
            stage: {
                "took_mib": round(peak * 1e6 / 2**20 + SNAKEMAKE_MB),
                "asked_mib": request_mb(stage, Size(n, box), config),
            }
            for stage, peak in peaks.items()
        }
        print(f"  box {box}, {n} particles", file=sys.stderr, flush=True)
    return found


def cached() -> Values:
    """CPU seconds of whole processes that read the stack, or its cache; the median of the repeats."""
    with tempfile.TemporaryDirectory(prefix="cryocore-cost-") as name:
        folder = made(Path(name) / "run", CACHED_N)
        timed([_stage("cache", "stack")], folder)
        jobs = {
            f"{stage} {source}": [_stage(stage, source)]
            for stage in ("cache", "reconstruct", "score")
            for source in ("stack", "cache")
            if (stage, source) != ("cache", "cache")
        }
        times = in_turn(jobs, folder, REPEATS)
    return {name: round(found["cpu_seconds"], 1) for name, found in times.items()}


def _stage(stage: str, source: str) -> list[str]:
    return [sys.executable, "-c", STAGE, stage, source]


def conversions() -> Values:
    """CPU seconds and memory of ``cryocore convert`` for a million particles."""
    with tempfile.TemporaryDirectory(prefix="cryocore-cost-") as name:
        folder = Path(name)
        many_particles(folder / "a.star")
        pairs = [("a.star", "b.cs"), ("b.cs", "c.star"), ("a.star", "d.thu"), ("d.thu", "e.star")]
        found: Values = {}
        for source, out in pairs:
            more = ["--pixel-size", "2.2"] if source.endswith(".thu") else []
            used = timed([[sys.executable, "-m", "cryocore", "convert", source, out, *more]], folder)
            found[f"{source} {out}"] = {
                "cpu_s": round(used["cpu_seconds"], 1),
                "gib": round(used["peak_mb"] * 1e6 / 2**30, 2),
                "mb": [round((folder / file).stat().st_size / 1e6) for file in (source, out)],
            }
    return found


def many_particles(star: Path) -> None:
    """A STAR file of a million particles: those of a simulation, again and again, in stacks of other names."""
    given: Values = {"n_particles": FEW, "box": 32, "n_micrographs": 10}
    with tempfile.TemporaryDirectory(prefix="cryocore-cost-") as name:
        how: Values = {"symmetry": "C1", "seed": 0, "backend": get_backend("cpu")}
        simulate(Simulate.model_validate(given), PlantedErrors(), out_dir=Path(name), **how)
        tables = read_tables(Path(name) / "particles.star")
    rows = tables.particles.loc[tables.particles.index.repeat(MANY // FEW)].reset_index(drop=True)
    copy = pd.Series([f"{i % (MANY // FEW):04d}" for i in range(MANY)])
    images = rows["rlnImageName"].str.removesuffix("particles.mrcs") + "stack_" + copy + ".mrcs"
    micrographs = copy + "_" + rows["rlnMicrographName"]
    write_star(rows.assign(rlnImageName=images, rlnMicrographName=micrographs), tables.optics, star)


SECTIONS: dict[str, Callable[[], Values]] = {"requests": requests, "cache": cached, "conversions": conversions}


if __name__ == "__main__":
    measure(sys.argv[1:], SECTIONS, RESULTS)
