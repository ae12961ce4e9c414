"""Whole stages against the number of particles, the box and the cores; a incremental reconstruction against a full
one."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.performance.processes import START_UP, in_turn, reconstruct_command, score_command
from benchmarks.performance.repeated import IMAGES, repeat, simulated, write_subset
from benchmarks.performance.steps import trace
from cryocore.cores import available_cores
from cryocore.tables.particles import Particles

BOX, BOX_PARTICLES, THREAD_PARTICLES = 128, 2000, 20_000
LARGE_BOX, LARGE_PARTICLES = 400, 300
"""Particles from that box on."""
FAR = 4
"""Times the particles of a box, for what another of it takes to be scored."""
CHANGED = 0.1


def measure(sizes: Iterable[int], score_sizes: Iterable[int], boxes: Iterable[int], repeats: int) -> dict[str, Any]:
    """Times and peak memory of the stages, one row per size, box and number of cores."""
    found: dict[str, Any] = {"box": BOX, "thread_particles": THREAD_PARTICLES}
    with tempfile.TemporaryDirectory(prefix="cryocore-performance-") as name:
        folder = Path(name)
        base = simulated(folder, BOX, IMAGES)
        reconstructions, scores = write_sets(base, folder, sizes), write_sets(base, folder, score_sizes)
        threads = write_sets(base, folder, [THREAD_PARTICLES])[THREAD_PARTICLES]
        say(f"scaling, {', '.join(f'{n:,}' for n in reconstructions)} particles")
        runs = in_turn({n: [reconstruct_command(file)] for n, file in reconstructions.items()}, folder, repeats)
        found["particles"] = [{"particles": n, **times} for n, times in runs.items()]
        say(f"scaling of scores, {', '.join(f'{n:,}' for n in scores)} particles")
        runs = in_turn({n: [score_command(file, "ours")] for n, file in scores.items()}, folder, 1)
        found["scores"] = [{"particles": n, **times} for n, times in runs.items()]
        found["threads"] = []
        for cores in core_counts():
            say(f"scaling, {cores} cores")
            jobs = {
                "start_up": [[sys.executable, "-c", START_UP]],
                "reconstruct": [reconstruct_command(threads)],
                "score": [score_command(threads, "ours")],
            }
            for stage, times in in_turn(jobs, folder, repeats, cores).items():
                found["threads"].append({"threads": cores, "stage": stage, **times})
    found["boxes"] = []
    for box in boxes:
        say(f"scaling, box {box}")
        n = BOX_PARTICLES if box < LARGE_BOX else LARGE_PARTICLES
        with tempfile.TemporaryDirectory(prefix="cryocore-performance-") as name:
            files = write_sets(simulated(Path(name), box, min(n, IMAGES)), Path(name), [n, FAR * n])
            times = in_turn({"reconstruct": [reconstruct_command(files[n])]}, Path(name), repeats)
            jobs = {"score": [score_command(files[n], "ours")], "more": [score_command(files[FAR * n], "ours")]}
            times |= in_turn(jobs, Path(name), 1)
        found["boxes"].append({"box": box, "particles": n, **times})
    return found


def measure_difference(sizes: Iterable[int], repeats: int) -> list[dict[str, Any]]:
    """A round that leaves out a tenth of the particles of the last one, full and incremental."""
    rows = []
    for n in sizes:
        say(f"by difference, {n:,} particles")
        with tempfile.TemporaryDirectory(prefix="cryocore-performance-") as name:
            folder = Path(name)
            particles = repeat(simulated(folder, BOX, IMAGES), n)
            particles.write(folder / "particles.parquet")
            write_subset(folder / "subset.parquet", particles, CHANGED)
            first = reconstruct_command("particles.parquet", out="first")
            full = reconstruct_command("particles.parquet", subset="subset.parquet", out="full")
            less = reconstruct_command(
                "particles.parquet", subset="subset.parquet", previous="first/sums.npz", out="difference"
            )
            in_turn({"first": [first]}, folder, 1)
            runs = in_turn({"full": [full], "difference": [less]}, folder, repeats)
            steps = trace(folder, "particles.parquet", "difference", "subset.parquet", "first/sums.npz")
        rows.append({"box": BOX, "particles": n, "changed": CHANGED, **runs, "steps": steps})
    return rows


def write_sets(base: Particles, folder: Path, sizes: Iterable[int]) -> dict[int, str]:
    """Tables of so many particles of the images of ``base``, by size."""
    files = {n: f"particles_{n}.parquet" for n in sizes}
    for n, name in files.items():
        if not (folder / name).exists():
            repeat(base, n).write(folder / name)
    return files


def core_counts() -> list[int]:
    """1, 2, 4, ... and all cores of this process."""
    cores = available_cores()
    return sorted({1 << i for i in range(cores.bit_length()) if 1 << i <= cores} | {cores})


def say(text: str) -> None:
    """What is being measured."""
    print(f"performance: {text}", file=sys.stderr, flush=True)
