"""Measure, keep the numbers, print the tables: ``python -m benchmarks.analysis [--only size|time] [--null N]``.

Give each test one thread (``OPENBLAS_NUM_THREADS=1``) on a machine that is shared.
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
from benchmarks.machine import processor
from cryocore.analysis.columns import LossColumns
from cryocore.analysis.dependence import TESTS, permutation_tests, pose_functions
from cryocore.analysis.direction import direction
from cryocore.analysis.distribution import distribution
from cryocore.files import write_json
from cryocore.geometry.rotations import random_rotations

RESULT = Path(__file__).resolve().parents[1] / "results" / "analysis" / "direction.json"
PARTICLES, POSE_SETS = 1000, 20
NULL_PERMUTATIONS, PLANTED_PERMUTATIONS = 999, 199
SETTINGS = (("C1", "uniform"), ("C1", "preferred"), ("C4", "preferred"), ("D7", "preferred"))
ROWS = (10_000, 100_000, 1_000_000)


def rejections(symmetry: str, views: str, kind: str, size: float, repeats: int) -> dict[str, Any]:
    """Share of data sets in which each test rejects at 5 %, and in which any does after adjustment."""
    sets, permutations = [], NULL_PERMUTATIONS if kind == "null" else PLANTED_PERMUTATIONS
    for i in range(POSE_SETS):
        poses = planted.rotations(PARTICLES, views, np.random.default_rng([i, 1]))
        sets.append((poses, pose_functions(poses, symmetry)))
    p_values = np.empty((repeats, len(TESTS)))
    for i in range(repeats):
        poses, functions = sets[i % POSE_SETS]
        loss = planted.loss(poses, kind, size, symmetry, np.random.default_rng([i, 2]))
        p_values[i] = permutation_tests(functions, loss, permutations=permutations, seed=i).p_values
    rejected = np.mean(p_values <= 0.05, axis=0)
    any_adjusted = float(np.mean(p_values.min(axis=1) * len(TESTS) <= 0.05))
    row = {"symmetry": symmetry, "views": views, "kind": kind, "size": size, "repeats": repeats}
    row["permutations"] = permutations
    return row | dict(zip(TESTS, rejected.round(4).tolist(), strict=True)) | {"any_adjusted": round(any_adjusted, 4)}


def timings(n: int) -> dict[str, Any]:
    """CPU and wall seconds, and the peak of memory so far, for n particles of C1."""
    rng = np.random.default_rng(3)
    poses = random_rotations(n, rng)
    expected = 5.0 + poses[:, 2, 2]
    right = rng.random(n) < 0.7
    columns = LossColumns(
        "z",
        expected * right + rng.normal(size=n),
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
    parser.add_argument("--skip", type=int, default=0, help="settings of symmetry and views to leave as they are")
    parser.add_argument("--null", type=int, default=2000, help="data sets without dependence, per setting")
    parser.add_argument("--planted", type=int, default=400, help="data sets with dependence, per case")
    options = parser.parse_args()
    record = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    record |= {"processor": processor(), "particles": PARTICLES}
    if options.only != "time":
        record.setdefault("size", [])
        for symmetry, views in SETTINGS[options.skip :]:
            for kind, size in planted.CASES:
                repeats = options.null if kind == "null" else options.planted
                row = rejections(symmetry, views, kind, size, repeats)
                key = {name: row[name] for name in ("symmetry", "views", "kind", "size")}
                record["size"] = [r for r in record["size"] if not key.items() <= r.items()] + [row]
                print(row, flush=True)
                save(record)
    if options.only != "size":
        record["time"] = [timings(n) for n in ROWS]
        save(record)
        print(json.dumps(record["time"], indent=1))


if __name__ == "__main__":
    main()
