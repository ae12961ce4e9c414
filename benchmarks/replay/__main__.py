"""Measure and keep the numbers: ``python -m benchmarks.replay FOLDER [--sizes 10000 100000]``; logs go to FOLDER."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_name, made_by
from benchmarks.replay.made import make_log
from benchmarks.validation.common import ROOT

N_ROUNDS = 8
CASES = {
    "the rule mixture": ("--rule", "mixture"),
    "`fraction` of `dual`": ("--rule", "fraction", "--value", "0.7", "--score", "dual"),
    "`balanced` of `zc`": ("--rule", "balanced", "--value", "0.7", "--score", "zc"),
    "`fraction` of `cryosieve` 40 to 8 Å": (
        *("--rule", "fraction", "--value", "0.7", "--score", "cryosieve"),
        *("--first-angstrom", "40", "--last-angstrom", "8"),
    ),
    "`fraction` of `zc` 40 to 8 Å": (
        *("--rule", "fraction", "--value", "0.7", "--score", "zc"),
        *("--first-angstrom", "40", "--last-angstrom", "8"),
    ),
}


def measure(run_dir: Path, options: tuple[str, ...], repeats: int) -> dict[str, float]:
    """Least wall and processor seconds of a whole command, and the most memory (GiB)."""
    command = [sys.executable, "-m", "cryocore", "replay", str(run_dir), *options, "--json"]
    best: dict[str, float] = {}
    for _ in range(repeats):
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"{' '.join(command)} failed")
        found = {
            "seconds": time.monotonic() - start,
            "cpu_seconds": used.ru_utime + used.ru_stime,
            "gib": used.ru_maxrss / 2**20,
        }
        best = {name: min(value, best.get(name, value)) for name, value in found.items()}
    return {name: round(value, 2) for name, value in best.items()}


def main() -> None:
    """Logs are made where they are missing; each case is a command of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    record: dict[str, Any] = {**made_by("python -m benchmarks.replay FOLDER"), "rounds": N_ROUNDS}
    record["cases"] = {name: {} for name in CASES}
    for n in chosen.sizes:
        run_dir = chosen.folder / str(n)
        if not (run_dir / "log" / f"round={N_ROUNDS - 1}" / "log.parquet").exists():
            make_log(run_dir, n, N_ROUNDS)
        for name, options in CASES.items():
            record["cases"][name][str(n)] = found = measure(run_dir, options, chosen.repeats)
            print(f"{n:>9,}  {name}: {found}", flush=True)
    store = ROOT / "benchmarks" / "results" / "replay" / f"{machine_name()}.json"
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
