"""The same run as other processors would compute it: what differs between them, and by how much.

    python -m benchmarks.configurations                      # the demo under each; docs/measurements/reproducibility.md
    python -m benchmarks.configurations run plain COMMAND    # any command under one of them
    python -m benchmarks.configurations tests plain          # the tests that can tell (make portability)

A configuration is a set of environment variables: another kernel of OpenBLAS, another instruction set for the kernels
of cryocore, NumPy without the vector code of this processor. Each runs the demo in a folder of its own; images, scores,
weights, lists and curves are compared with those of the first. With ``--tests`` each runs the tests that can tell, too.
The outcome is in benchmarks/results/configurations/, and the table of
docs/measurements/reproducibility.md is made of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np

from benchmarks.machine import machine_name, made_by, processor
from cryocore.backend.cpu import CFLAGS_VARIABLE
from cryocore.tables.io import read_table, write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "configurations"
BLAS, NUMPY = "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES"
OTHERS_LOWERED = {"ATEN_CPU_CAPABILITY": "default", "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4"}
"""torch without its vector code, and sines of the C library without fused operations."""
OLD_KERNELS = {CFLAGS_VARIABLE: "-march=x86-64-v2"}
INFORMATIVE = (
    *(f"tests/{part}" for part in ("ingest", "geometry", "imaging", "maps", "reconstruct", "score", "select")),
    *(
        f"tests/{part}"
        for part in ("classify", "reconstruct/iterative", "explore/loss", "validate", "test_python_page.py")
    ),
)
"""Tests of data, maps, scores, selections and pages."""
SCORES = ("zc", "dual", "llr", "mixture")
"""Columns of the log that are compared, as far as it has them."""


def configurations() -> dict[str, dict[str, str]]:
    """Environment variables of each configuration, by name; ``plain`` is the oldest processor that NumPy runs on."""
    lowered = {NUMPY: " ".join(_numpy_features())}
    return {
        "this processor": {},
        "one thread": {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        "BLAS Haswell": {BLAS: "Haswell"},
        "BLAS Prescott": {BLAS: "Prescott"},
        "kernels x86-64-v2": OLD_KERNELS,
        "BLAS Haswell, kernels x86-64-v2": {BLAS: "Haswell"} | OLD_KERNELS,
        "NumPy lowered": lowered,
        "plain": {BLAS: "Prescott"} | OLD_KERNELS | lowered | OTHERS_LOWERED,
    }


def _numpy_features() -> list[str]:
    """What NumPy has code of its own for and this processor offers."""
    from numpy._core import _multiarray_umath as core

    return [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]


def prefix(name: str) -> list[str]:
    """How a command is started so that it sees as many cores as the configuration has threads."""
    return ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))] if name == "one thread" else []


def run(name: str, command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
    """A command under a configuration."""
    return subprocess.run([*prefix(name), *command], env={**os.environ, **configurations()[name]}, text=True, **how)


def demo(name: str, folder: Path) -> Path:
    """The results of the demo under a configuration."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--no-hooks",
        "--quiet",
        "all",
        "--snakefile",
        str(ROOT / "Snakefile"),
    ]
    run(name, [*command, "--directory", str(folder)], check=True, stdout=sys.stderr)
    return folder / "results" / "demo"


def tests(name: str, *options: str, **how: Any) -> subprocess.CompletedProcess[str]:
    """The tests that can tell processors apart, under a configuration."""
    command = [sys.executable, "-m", "pytest", "--numprocesses", "2", "--dist", "loadfile", "-m", "not slow"]
    return run(name, [*command, *(str(ROOT / part) for part in INFORMATIVE), *options], cwd=ROOT, **how)


def counted(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """How many tests passed and failed."""
    return {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout.splitlines()[-1])}


def difference(first: Path, second: Path) -> dict[str, Any]:
    """How far the second run is from the first: data, then results round by round, the largest of each."""
    with mrcfile.mmap(_stack(first)) as a, mrcfile.mmap(_stack(second)) as b:
        batches = [(a.data[i : i + 200], b.data[i : i + 200]) for i in range(0, len(a.data), 200)]
        images = max(float(np.abs(x - y).max()) for x, y in batches) / float(a.data[:200].std())
    found: dict[str, Any] = {
        "same_tables": _same_text(first, second, "simulated/particles.star"),
        "images": images,
        **dict.fromkeys(("scores", "weights", "lists", "fsc"), 0.0),
    }
    for folder in sorted(first.glob("round_*")):
        logs = [read_table(run / "log" / folder.name.replace("_", "=") / "log.parquet") for run in (first, second)]
        for name in (n for n in SCORES if n in logs[0].column_names):
            x, y = (log.column(name).to_numpy() for log in logs)
            found["scores"] = max(found["scores"], float(np.nanmax(np.abs(x - y)) / np.nanstd(x)))
        x, y = (log.column("weight").to_numpy() for log in logs)
        found["weights"] = max(found["weights"], float(np.abs(x - y).max()))
        x, y = (log.column("selected").to_numpy() for log in logs)
        found["lists"] = max(found["lists"], float(np.mean(x != y)))
        x, y = (read_table(run / folder.name / "fsc.parquet").column("corrected").to_numpy() for run in (first, second))
        found["fsc"] = max(found["fsc"], float(np.abs(x - y).max()))
    last = [read_table(run / "rounds.parquet").column("resolution_angstrom").to_pylist()[-1] for run in (first, second)]
    return found | {
        "resolution_angstrom": last[1],
        "same_printed_table": _same_text(first, second, "rounds.txt"),
    }


def _same_text(first: Path, second: Path, name: str) -> bool:
    return (first / name).read_text() == (second / name).read_text()


def _stack(results: Path) -> Path:
    return results / "simulated" / "particles.mrcs"


def main(arguments: list[str] | None = None) -> None:
    """Measure, or run one command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.configurations")
    parser.add_argument("--only", nargs="*", choices=configurations(), metavar="NAME", help="besides the first")
    parser.add_argument("--tests", action="store_true", help="run the tests that can tell under each as well")
    commands = parser.add_subparsers(dest="command")
    one = commands.add_parser("run", help="run a command under one configuration")
    one.add_argument("name", choices=configurations())
    one.add_argument("line", nargs=argparse.REMAINDER, metavar="COMMAND")
    some = commands.add_parser("tests", help="run the tests that can tell under one configuration")
    some.add_argument("name", choices=configurations())
    some.add_argument("line", nargs=argparse.REMAINDER, metavar="PYTEST_ARGS")
    chosen = parser.parse_args(arguments)
    if chosen.command:
        done = run(chosen.name, chosen.line) if chosen.command == "run" else tests(chosen.name, *chosen.line)
        sys.exit(done.returncode)
    first, *others = configurations()
    store = RESULTS / f"{machine_name()}.json"
    record = json.loads(store.read_text()) if store.exists() else {"configurations": {}}
    record |= {"processor": processor(), "python": platform.python_version(), "numpy": np.__version__}
    made = record.setdefault("made", {})
    with tempfile.TemporaryDirectory() as scratch:
        usual = demo(first, Path(scratch) / "first")
        for name in [first, *(others if chosen.only is None else chosen.only)]:
            print(name, file=sys.stderr, flush=True)
            results = usual if name == first else demo(name, Path(scratch) / "other")
            row = {**record["configurations"].get(name, {}), "difference": difference(usual, results)}
            record["configurations"][name] = row | (
                {"tests": counted(tests(name, "-q", capture_output=True))} if chosen.tests else {}
            )
            made[name] = made_by(f'python -m benchmarks.configurations --only "{name}"' + " --tests" * chosen.tests)[
                "made"
            ]
            write_json(store, record)
            shutil.rmtree(Path(scratch) / "other", ignore_errors=True)


if __name__ == "__main__":
    main()
