"""Whole reconstructions of the same files by cryocore and by RELION: CPU seconds, wall seconds, peak memory.

Both are timed as processes, start-up included; each is run in turn with the other, and the least of the repeats counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.validation.common import need_program
from cryocore.backend import get_backend
from cryocore.config import PlantedErrors, Simulate
from cryocore.ingest.particles import ingest
from cryocore.ingest.simulate import simulate

OURS = """
import sys
from pathlib import Path
from cryocore.backend import get_backend
from cryocore.config import Reconstruct
from cryocore.reconstruct import reconstruct
reconstruct(Path("particles.parquet"), None, None, settings=Reconstruct(padding=float(sys.argv[1])), symmetry="C1",
            backend=get_backend("cpu"), out_dir=Path("ours"))
"""
LAUNCHER = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
wall = time.perf_counter() - began
print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "wall": wall, "peak_mb": used.ru_maxrss / 1e3}))
"""
START_UP = "import cryocore.reconstruct; from cryocore.backend import get_backend; get_backend('cpu')"


def measure(folder: Path, box: int, n: int, repeats: int) -> dict[str, Any]:
    """Times of map and both halves at one size."""
    need_program("relion_reconstruct")
    settings = Simulate(
        molecule="small", n_particles=n, box=box, pixel_size_angstrom=1.5, snr=0.05, orientations="uniform"
    )
    simulate(settings, PlantedErrors(), symmetry="C1", seed=0, out_dir=folder, backend=get_backend("cpu"))
    ingest(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=0).write(folder / "particles.parquet")
    relion = ["relion_reconstruct", "--i", "particles.star", "--ctf"]
    halves = [[*relion, "--subset", h, "--o", f"h{h}.mrc", "--skip_gridding"] for h in ("1", "2")]
    commands = {
        "start_up": [[sys.executable, "-c", START_UP]],
        "cryocore, padding 2": [[sys.executable, "-c", OURS, "2"]],
        "cryocore, padding 1.5": [[sys.executable, "-c", OURS, "1.5"]],
        "RELION, both halves, --skip_gridding": halves,
        "RELION, one map, default": [[*relion, "--o", "all.mrc"]],
    }
    best: dict[str, dict[str, float]] = {}
    for _ in range(repeats):
        for name, steps in commands.items():
            found = timed(steps, folder)
            if name not in best or found["cpu_seconds"] < best[name]["cpu_seconds"]:
                best[name] = found
    return {"box": box, "particles": n, "runs": best}


def timed(commands: list[list[str]], folder: Path) -> dict[str, float]:
    """CPU and wall seconds of commands run one after the other, and the largest peak memory in MB.

    A small process starts each of them: a child is charged with the memory of the process that it was forked from.
    """
    cpu = wall = peak = 0.0
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-c", LAUNCHER, *command], cwd=folder, capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        cpu, wall, peak = cpu + found["cpu"], wall + found["wall"], max(peak, found["peak_mb"])
    return {"cpu_seconds": cpu, "wall_seconds": wall, "peak_mb": peak}
