"""Every stage of a run, its processor time and memory: the ordinary workflow, its processes watched."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.performance.kernels import PIXEL_ANGSTROM
from benchmarks.validation.workflow import prepare_workflow

INTERVAL_S = 0.05
ROUNDS = 1


def measure(box: int, n: int, **more: Any) -> dict[str, Any]:
    """CPU seconds and peak memory in MB of each stage of a run of so many simulated particles; ``more`` of its
    configuration."""
    simulate = {"molecule": "small", "n_particles": n, "box": box, "pixel_size_angstrom": PIXEL_ANGSTROM, "snr": 0.05}
    with tempfile.TemporaryDirectory(prefix="cryocore-performance-") as name:
        folder = Path(name) / "run"
        command = prepare_workflow(folder, symmetry="C1", n_rounds=ROUNDS, input={"simulate": simulate}, **more)
        with (folder / "said.txt").open("w") as said:
            process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
            seconds, peaks = watched(process)
        if process.returncode:
            raise RuntimeError(f"the run failed:\n{(folder / 'said.txt').read_text()[-2000:]}")
    return {"box": box, "particles": n, "cpu_seconds": seconds, "peak_mb": peaks}


def watched(process: subprocess.Popen[bytes]) -> tuple[dict[str, float], dict[str, float]]:
    """The CPU seconds of each stage until the workflow ends, to a few hundredths a process, and its largest memory in
    MB, in the order of their first start."""
    peaks: dict[str, float] = {}
    seconds: dict[tuple[str, int], float] = {}
    while process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                stage, peak, used = stage_of(child), peak_mb(child.pid), child.cpu_times()
            except (psutil.Error, OSError):
                continue  # it ended meanwhile
            if stage:
                peaks[stage] = max(peaks.get(stage, 0.0), peak)
                seconds[stage, child.pid] = used.user + used.system
        time.sleep(INTERVAL_S)
    of_stage = {stage: round(sum(s for (name, _), s in seconds.items() if name == stage), 1) for stage in peaks}
    return of_stage, peaks


def stage_of(process: psutil.Process) -> str | None:
    """The stage that a process is, by its script."""
    for argument in process.cmdline():
        path = Path(argument)
        if path.parent.name == "scripts" and path.suffix == ".py":
            return path.stem
    return None


def peak_mb(process_id: int) -> float:
    """The most memory that a process has had until now; the kernel keeps it, so that nothing is missed in between."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) / 1e3
    return 0.0
