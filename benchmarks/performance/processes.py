"""Whole stages and programs timed as processes: CPU seconds, wall seconds, peak memory, start-up included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

Times = dict[str, float]

LONG_SECONDS = 20.0
"""What takes longer than this is run once: noise is a small part of it."""

START_UP = """
import cryocore.commands, cryocore.reconstruct
from cryocore.backend import get_backend
get_backend("cpu")
"""
RECONSTRUCT = """
import json, sys
import cryocore.commands
from pathlib import Path
from cryocore.backend import get_backend
from cryocore.config.reconstruct import Reconstruct
from cryocore.reconstruct import reconstruct
how = json.loads(sys.argv[1])
subset, previous = (Path(how[name]) if how[name] else None for name in ("subset", "previous"))
reconstruct(Path(how["particles"]), subset, None, settings=Reconstruct(padding=how["padding"]), symmetry="C1",
            backend=get_backend("cpu"), out_dir=Path(how["out"]), previous_sums=previous)
"""
SCORE = """
import sys
import cryocore.commands
from pathlib import Path
from cryocore.backend import get_backend
from cryocore.config.score import Score
from cryocore.score import score
score(Path(sys.argv[1]), Path(sys.argv[2]), None, settings=Score(), symmetry="C1", round_number=0, seed=0,
      backend=get_backend("cpu"), out=Path("log.parquet"))
"""
LAUNCHER = """
import json, os, resource, subprocess, sys, time
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1]) or None])
began = time.perf_counter()
subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
wall = time.perf_counter() - began
print(json.dumps({"cpu_seconds": used.ru_utime + used.ru_stime, "system_seconds": used.ru_stime,
                  "wall_seconds": wall, "peak_mb": used.ru_maxrss / 1e3}))
"""


def reconstruct_command(
    particles: str, *, out: str = "ours", padding: float = 2.0, subset: str = "", previous: str = ""
) -> list[str]:
    """The stage as a process, files relative to its folder, settings otherwise those of a run."""
    how = {"particles": particles, "out": out, "padding": padding, "subset": subset, "previous": previous}
    return [sys.executable, "-c", RECONSTRUCT, json.dumps(how)]


def score_command(particles: str, maps: str) -> list[str]:
    """The stage as a process, at the settings of a run."""
    return [sys.executable, "-c", SCORE, particles, maps]


def timed(commands: list[list[str]], folder: Path, cores: int = 0) -> Times:
    """Times of commands run one after the other, added up, and the largest peak memory in MB.

    A small process starts each of them: a child is charged with the memory of the process that it was forked from.

    Parameters
    ----------
    cores : how many of this process's cores they may use; 0: all

    Raises
    ------
    RuntimeError  with the end of its messages, if one fails.
    """
    total: Times = {}
    for command in commands:
        launcher = [sys.executable, "-c", LAUNCHER, str(cores), *command]
        done = subprocess.run(launcher, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)[:300]} failed:\n{done.stderr[-2000:]}")
        found = json.loads(done.stdout)
        total = {
            name: max(total.get(name, 0.0), value) if name == "peak_mb" else total.get(name, 0.0) + value
            for name, value in found.items()
        }
    return total


def in_turn(jobs: dict[Any, list[list[str]]], folder: Path, repeats: int, cores: int = 0) -> dict[Any, Times]:
    """The times of each job, run in turn with the others: of the repeats, that of the median CPU seconds."""
    found: dict[Any, list[Times]] = {name: [] for name in jobs}
    for turn in range(repeats):
        for name, commands in jobs.items():
            if not turn or found[name][0]["wall_seconds"] <= LONG_SECONDS:
                found[name].append(timed(commands, folder, cores))
    by_time = {name: sorted(times, key=lambda t: t["cpu_seconds"]) for name, times in found.items()}
    return {name: times[len(times) // 2] for name, times in by_time.items()}
