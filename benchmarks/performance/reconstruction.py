"""Whole reconstructions of the same files by cryocore and by RELION, in turn; the median of the repeats counts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.performance.processes import START_UP, in_turn, reconstruct_command
from benchmarks.performance.repeated import simulated
from benchmarks.validation.common import need_program

OURS, HALVES, DEFAULT = "cryocore, padding 2", "RELION, both halves, --skip_gridding", "RELION, one map, default"


def measure(folder: Path, box: int, n: int, repeats: int) -> dict[str, Any]:
    """Times of map and both halves at one size."""
    need_program("relion_reconstruct")
    simulated(folder, box, n).write(folder / "particles.parquet")
    relion = ["relion_reconstruct", "--i", "particles.star", "--ctf"]
    jobs = {
        "start_up": [[sys.executable, "-c", START_UP]],
        OURS: [reconstruct_command("particles.parquet")],
        "cryocore, padding 1.5": [reconstruct_command("particles.parquet", padding=1.5)],
        HALVES: [[*relion, "--subset", h, "--o", f"h{h}.mrc", "--skip_gridding"] for h in ("1", "2")],
        DEFAULT: [[*relion, "--o", "all.mrc"]],
    }
    return {"box": box, "particles": n, "runs": in_turn(jobs, folder, repeats)}
