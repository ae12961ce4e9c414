"""What the sections share: programs, data, maps of simulated particles, and curves."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from cryocore.backend import Backend, get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.simulate import Simulate
from cryocore.cores import available_cores
from cryocore.ingest.particles import ingest
from cryocore.maps.fsc import fsc
from cryocore.maps.mrc import read_map
from cryocore.reconstruct import reconstruct
from cryocore.simulate.stage import simulate
from cryocore.types import Floats, Floats32

ROOT = Path(__file__).resolve().parents[2]
SHARED_DATA = Path(os.environ.get("CRYOCORE_TEST_DATA", ROOT.parent / "shared" / "data"))


class Skipped(Exception):
    """A section that cannot be measured here; the message says what is missing."""


def need_program(name: str) -> None:
    """Skip the section where a program is not installed."""
    if shutil.which(name) is None:
        raise Skipped(f"`{name}` is not installed")


def need_data(name: str) -> Path:
    """A file or folder of the shared data; skip the section where it is not there."""
    path = SHARED_DATA / name
    if not path.exists():
        raise Skipped(f"the shared data hold no `{name}`; set `CRYOCORE_TEST_DATA` to where they are")
    return path


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program to its end and return what it printed.

    Raises
    ------
    RuntimeError  with the end of its output, if it fails.
    """
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def host() -> Backend:
    """The CPU backend on all cores of this process."""
    return get_backend("cpu", threads=available_cores())


def simulated_maps(folder: Path, settings: Simulate, symmetry: str, *, seed: int = 1) -> None:
    """Simulate particles into ``folder`` and write their half maps, map, mask and true map there."""
    backend = host()
    simulate(settings, PlantedErrors(), symmetry=symmetry, seed=seed, out_dir=folder, backend=backend)
    table = folder / "particles.parquet"
    ingest(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=0).write(table)
    reconstruct(table, None, None, settings=Reconstruct(), symmetry=symmetry, backend=backend, out_dir=folder)


def volume(path: Path) -> Floats32:
    """The voxels of a map."""
    return read_map(path)[0]


def ball(box: int) -> Floats32:
    """The ball that RELION cuts out of its maps, one voxel smaller: 1 inside, 0 outside, ``(box, box, box)``."""
    along = (np.arange(box) - box // 2).astype(np.float32) ** 2
    squared = along[:, None, None] + along[None, :, None] + along[None, None, :]
    return (squared <= (box // 2 - 1) ** 2).astype(np.float32)


def curve(first: Floats32, second: Floats32, window: Floats32) -> Floats:
    """FSC of two maps inside a window, from shell 0."""
    return fsc(first * window, second * window)


def lowest(values: Floats, last_shell: int) -> dict[str, Any]:
    """The least of the shells 1 to ``last_shell``, and which it is."""
    shell = int(np.argmin(values[1 : last_shell + 1])) + 1
    return {"value": float(values[shell]), "shell": shell}
