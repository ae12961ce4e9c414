"""Measure, keep and print the numbers: ``python -m benchmarks.analysis [--only size|time] [--null N]``.

Give each test one thread (``OPENBLAS_NUM_THREADS=1``) on a machine that is shared. Rows can be measured one by one, as
by ``--settings C1-uniform --kinds null``. From 2,000 data sets on sizes are known to 1 % (two standard errors); such a
row takes 100 s of CPU, the twelve in which nothing is to be found 20 minutes, the 24 others 5.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.analysis import planted
from benchmarks.machine import made_by, processor
from cryocore.explore.loss.columns import LossColumns
from cryocore.explore.loss.dependence import TESTS, permutation_tests, pose_functions
from cryocore.explore.loss.direction import LEVEL, Comparable, comparable, direction
from cryocore.explore.loss.distribution import distribution
from cryocore.geometry.rotations import random_rotations
from cryocore.tables.io import write_json

RESULT = Path(__file__).resolve().parents[1] / "results" / "analysis" / "direction.json"
PARTICLES, POSE_SETS = 1000, 20
NULL_PERMUTATIONS, PLANTED_PERMUTATIONS = 999, 199
SETTINGS = (("C1", "uniform"), ("C1", "preferred"), ("C4", "preferred"), ("D7", "preferred"))
PLANTED = sorted({kind for kind, _ in planted.CASES if kind != "null"})
CASES = (*planted.CASES, *((f"given {question}", 0.0) for question in planted.GIVEN))
ROWS = (10_000, 100_000, 1_000_000)


def rejections(symmetry: str, views: str, kind: str, size: float, repeats: int) -> dict[str, Any]:
    """Share of data sets in which each test rejects at 5 %, and in which any does after adjustment.

    A kind ``given ...`` is the null of that question: losses that follow from the geometry alone.
    """
    sets, permutations = [], PLANTED_PERMUTATIONS if kind in PLANTED else NULL_PERMUTATIONS
    for i in range(POSE_SETS):
        poses = planted.rotations(PARTICLES, views, np.random.default_rng([i, 1]))
        sets.append((poses, pose_functions(poses, symmetry)))
    p_values = np.empty((repeats, len(TESTS)))
    cpu = time.process_time()
    for i in range(repeats):
        poses, functions = sets[i % POSE_SETS]
        rng = np.random.default_rng([i, 2])
        if kind.startswith("given "):
            made = comparable(planted.geometry_alone(poses, symmetry, rng), kind.removeprefix("given "))
        else:
            made = Comparable(planted.loss(poses, kind, size, symmetry, rng), None, None)
        p_values[i] = permutation_tests(
            functions, made.loss, strata=made.strata, ranks=made.ranks, permutations=permutations, seed=i
        ).p_values
    rejected = np.mean(p_values <= LEVEL, axis=0)
    row = {
        "symmetry": symmetry,
        "views": views,
        "kind": kind,
        "size": size,
        "repeats": repeats,
        "permutations": permutations,
        "cpu_seconds": round(time.process_time() - cpu, 1),
        **dict(zip(TESTS, rejected.round(4).tolist(), strict=True)),
        "any_adjusted": round(float(np.mean(p_values.min(axis=1) * len(TESTS) <= LEVEL)), 4),
    }
    if kind not in PLANTED:
        row["within_1_percent"] = bool(np.all(np.abs(rejected - LEVEL) <= 0.01))
    return row


def timings(n: int) -> dict[str, Any]:
    """CPU and wall seconds, and the peak of memory so far, for n particles of C1."""
    rng = np.random.default_rng(3)
    poses = random_rotations(n, rng)
    expected = 5.0 + poses[:, 2, 2]
    correct = rng.random(n) < 0.7
    columns = LossColumns(
        "z",
        expected * correct + rng.normal(size=n),
        rng.permutation(n).astype(np.uint64),
        poses,
        expected,
        rng.uniform(8e3, 2e4, n),
        rng.integers(0, max(n // 100, 1), n),
        rng.normal(size=n),
    )
    row: dict[str, Any] = {"n": n}
    for name, work in (("direction", direction), ("distribution", distribution)):
        wall, cpu = time.perf_counter(), time.process_time()
        work(columns)  # type: ignore[operator]
        row |= {f"{name}_wall": time.perf_counter() - wall, f"{name}_cpu": time.process_time() - cpu}
    return row | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def save(record: dict[str, Any]) -> None:
    """Keep what is measured so far."""
    write_json(RESULT, record)


def main() -> None:
    """Measure what is asked for and merge it into what is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("size", "time"))
    names = ["-".join(setting) for setting in SETTINGS]
    parser.add_argument("--settings", nargs="+", choices=names, default=names, help="of symmetry and views")
    kinds = list(dict.fromkeys(kind for kind, _ in CASES))
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds, help="what is planted")
    parser.add_argument("--null", type=int, default=2000, help="data sets without dependence, per setting")
    parser.add_argument("--planted", type=int, default=400, help="data sets with dependence, per case")
    options = parser.parse_args()
    record = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    record |= {"processor": processor(), "particles": PARTICLES}
    if options.only != "time":
        record.setdefault("size", [])
        settings = [s for s in SETTINGS if "-".join(s) in options.settings]
        for symmetry, views in settings:
            for kind, size in (case for case in CASES if case[0] in options.kinds):
                repeats = options.planted if kind in PLANTED else options.null
                row = rejections(symmetry, views, kind, size, repeats)
                row |= made_by(f"python -m benchmarks.analysis --settings {symmetry}-{views} --kinds '{kind}'")
                key = {name: row[name] for name in ("symmetry", "views", "kind", "size")}
                record["size"] = [r for r in record["size"] if not key.items() <= r.items()] + [row]
                print(row, flush=True)
                save(record)
    if options.only != "size":
        made = made_by("python -m benchmarks.analysis --only time")
        record["time"] = [timings(n) | made for n in ROWS]
        save(record)
        print(json.dumps(record["time"], indent=1))


if __name__ == "__main__":
    main()
