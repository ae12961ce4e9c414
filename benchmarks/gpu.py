"""What a GPU gives, in at most twelve minutes: ``make gpu-check``, ``python -m benchmarks.gpu [STEP ...]``.

The steps go from what has to be right to what is fast, and each writes into a file of ``results/gpu-check/`` as it
goes: whatever the time allows is there. One that fails or runs out of time stops no other.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.performance import kernels, vectors
from benchmarks.performance.repeated import IMAGES, repeat, simulated
from benchmarks.validation.common import ROOT
from cryocore.backend import get_backend
from cryocore.backend.cuda import gpu_fault
from cryocore.commands.installation import installation

OUT = Path("results", "gpu-check")
LIMIT_S = 720
BOXES, BATCHES = (128, 256, 512), (32, 128, 512, 2048)
PARTICLES, BOX = 20_000, 256
PROGRAM = [sys.executable, "-P", "-c", "from cryocore.commands.app import main; main()"]
SANITISED = ("tests/imaging/test_slices.py", "tests/imaging/test_blocked.py", "tests/score/test_sums.py")


def show_installation() -> None:
    """What the GPU is."""
    began = time.perf_counter()
    for name, value in installation().items():
        print(f"{name:9} {value}")
    print(f"first kernels after {time.perf_counter() - began:.1f} s")


def run_tests() -> None:
    """The tests marked gpu."""
    run([sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"])


def sanitise() -> None:
    """The vendor's checks of memory and races, where they are installed."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        print("compute-sanitizer is not installed")
        return
    for tool in ("memcheck", "racecheck"):
        run(
            [
                program,
                "--tool",
                tool,
                "--error-exitcode",
                "1",
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-m",
                "gpu",
                *SANITISED,
            ]
        )


def time_kernels() -> None:
    """Particles per second of each step, images in memory, by box and batch."""
    backend = get_backend("cuda")
    for box in BOXES:
        for n in BATCHES:
            try:
                rates = kernels.measure(box, backend, n)
            except Exception as error:  # the GPU or the machine may be too small
                print(f"box {box}, {n} images: {type(error).__name__}: {error}", flush=True)
                break
            found = ", ".join(f"{name} {rate['per_second']:,.0f}" for name, rate in rates.items())
            print(f"box {box}, {n} images: {found}", flush=True)


def time_vectors() -> None:
    """Sums added in pairs and in fours, particles per second."""
    backend = get_backend("cuda")
    for box, n in ((128, 512), (256, 512), (384, 128)):
        found = vectors.measure(box, backend, n)
        told = f"pairs {found['pairs']:,.0f}, fours {found['fours']:,.0f}; they differ by {found['difference']:.1e}"
        print(f"box {box}, {n} images: {told}", flush=True)


def time_stages(box: int = BOX, n: int = PARTICLES, backend: str = "cuda") -> None:
    """Whole stages as processes, their start included; the images come from the page cache."""
    with tempfile.TemporaryDirectory(prefix="cryocore-gpu-") as name:
        table, maps, log, config = (
            Path(name) / file for file in ("particles.parquet", "round", "log.parquet", "c.yaml")
        )
        repeat(simulated(Path(name), box, IMAGES), n).write(table)
        config.write_text("run: check\n")
        for command in (["reconstruct", table, maps], ["score", table, maps, log]):
            began = time.perf_counter()
            run([*PROGRAM, *map(str, command), "--config", str(config), "--backend", backend])
            seconds = time.perf_counter() - began
            print(f"{command[0]}: {n:,} particles of box {box} in {seconds:.1f} s, {n / seconds:,.0f}/s", flush=True)


STEPS: dict[str, tuple[Callable[[], None], float]] = {
    "installation": (show_installation, 60),
    "tests": (run_tests, 240),
    "sanitiser": (sanitise, 180),
    "kernels": (time_kernels, 140),
    "vectors": (time_vectors, 30),
    "stages": (time_stages, 150),
}
"""What each does, and the seconds that it may take."""


def run(command: list[str]) -> None:
    """A command whose messages are those of the step."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=True, stderr=subprocess.STDOUT)


def check(commands: dict[str, tuple[list[str], float]], out: Path, limit_s: float) -> bool:
    """Run steps, each with seconds that it may take, one after the other within a limit; whether all went well."""
    out.mkdir(parents=True, exist_ok=True)
    end, fine = time.monotonic() + limit_s, True
    for name, (command, seconds) in commands.items():
        began, file = time.monotonic(), out / f"{name}.txt"
        with file.open("w") as answer:
            given = {"cwd": ROOT, "stdout": answer, "stderr": subprocess.STDOUT, "start_new_session": True}
            process = subprocess.Popen(command, **given)
            try:
                result = "FAILED" if process.wait(timeout=max(0.0, min(seconds, end - began))) else "done"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                result = "out of time"
        fine &= result == "done"
        print(f"{name:13} {result:11} {time.monotonic() - began:4.0f} s  {file}", flush=True)
    return fine


def main(arguments: list[str] | None = None) -> None:
    """One step here, or all as processes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("step", nargs="?", choices=STEPS, help="default: all, one after the other")
    chosen = parser.parse_args(arguments).step
    if fault := gpu_fault():
        sys.exit(f"No GPU to check: {fault}. Install the gpu-cu12 or gpu-cu13 extra into .venv.")
    if chosen:
        return STEPS[chosen][0]()
    command = [sys.executable, "-m", "benchmarks.gpu"]
    sys.exit(not check({name: ([*command, name], s) for name, (_, s) in STEPS.items()}, ROOT / OUT, LIMIT_S))


if __name__ == "__main__":
    main()
