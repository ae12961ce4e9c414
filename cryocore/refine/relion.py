"""RELION's automatic refinement as a child process: started, watched, and continued where it was."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cryocore.config.refine import Refine
from cryocore.errors import InputError
from cryocore.tables.io import write_json

RUN, SAID, IDENTITY = "run", "relion.log", "begun_with.json"
TOLD = re.compile(r"Auto-refine: (Iteration|Resolution)= ([\d.]+)")
KEPT_LINES, SAID_LINES, PATIENCE_S = 200, 4, 10.0
MORE_PROCESSES_THAN_SLOTS = {
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
"""Open MPI, of before and after version 5: the first of RELION's processes hardly works, and needs no core."""
LEAST_PIXELS = 1.0
"""RELION searches no finer shifts than half of it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refinement:
    """What RELION is given.

    ``star`` : particles with poses and half sets
    ``reference`` : the map that is low-passed, and begun with
    ``folder`` : of all that it writes
    ``root`` : directory that image paths start from
    ``diameter_angstrom`` : of the particle, beyond which images are masked
    """

    star: Path
    reference: Path
    folder: Path
    root: Path
    symmetry: str
    pixel_size_angstrom: float
    diameter_angstrom: float
    threads: int
    settings: Refine

    def file(self, ending: str) -> Path:
        """A file that RELION writes."""
        return self.folder.resolve() / f"{RUN}{ending}"

    @property
    def half_maps(self) -> tuple[Path, Path]:
        """Unfiltered half maps."""
        first, second = (self.file(f"_half{h}_class001_unfil.mrc") for h in (1, 2))
        return first, second

    @property
    def poses(self) -> Path:
        """Particles with their new poses."""
        return self.file("_data.star")

    @property
    def options(self) -> list[str]:
        """What it is begun with; those of the configuration come after."""
        settings = self.settings
        order = str(settings.healpix_order)
        reach = max(settings.shift_range_angstrom / self.pixel_size_angstrom, LEAST_PIXELS)
        values = {
            "i": str(self.star.resolve()),
            "ref": str(self.reference.resolve()),
            "ini_high": f"{settings.low_pass_angstrom:g}",
            "sym": self.symmetry,
            "particle_diameter": f"{self.diameter_angstrom:.0f}",
            "healpix_order": order,
            "auto_local_healpix_order": order,  # about the given poses from the first iteration on
            "offset_range": f"{reach:.2f}",
            "offset_step": f"{max(reach / 3, LEAST_PIXELS):.2f}",
            "low_resol_join_halves": "40",
            "pad": "2",
        }
        flags = ("auto_refine", "split_random_halves", "ctf", "zero_mask", "flatten_solvent", "norm", "scale")
        named = [text for name, value in values.items() for text in (f"--{name}", value)]
        return [*named, *(f"--{flag}" for flag in flags), "--dont_check_norm"]

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from one with other particles, another start or other options, wherever the files are."""
        files = self.star, self.reference
        digests = {p.name: hashlib.sha256(p.read_bytes()).hexdigest()[:32] for p in files}
        named = [text for text in self.options if text not in map(str, (p.resolve() for p in files))]
        return {"options": [*named, self.settings.options], "files": digests}

    @property
    def last_whole_iteration(self) -> Path | None:
        """The file to go on from: RELION writes it before those that it needs beside it."""
        beside = ("data", "sampling", "half1_model", "half2_model")
        for file in sorted(self.folder.glob(f"{RUN}_it???_optimiser.star"), reverse=True):
            stem = file.name.removesuffix("optimiser.star")
            if all((file.parent / f"{stem}{name}.star").exists() for name in beside):
                return file.resolve()
        return None


def run(refinement: Refinement) -> None:
    """Refine, or go on from the last whole iteration of the same refinement; return at once where it is finished.

    Raises
    ------
    InputError  if there is no such program, it is at work in the folder already, or it ends with an error: with what it
    said of it.
    """
    with alone(refinement.folder) as lock:
        _run(refinement, lock)


def _run(refinement: Refinement, lock: int) -> None:
    folder, kept, settings = refinement.folder, refinement.folder / IDENTITY, refinement.settings
    wanted = (*refinement.half_maps, refinement.poses)
    begun = kept.exists() and json.loads(kept.read_text()) == refinement.identity
    if begun and all(file.exists() for file in wanted):
        return log.info("%s: finished before", folder)
    program = program_of(settings)
    if folder.exists() and not begun:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(kept, refinement.identity)
    last = refinement.last_whole_iteration
    if last is not None:
        log.info("goes on from %s", last.name)
    start = refinement.options if last is None else ["--continue", str(last)]
    threads = max(refinement.threads // max(processes_of(program) - 1, 1), 1)
    shared = ["--o", str(refinement.file("")), "--j", str(threads), "--dont_combine_weights_via_disc"]
    said, lines = folder / SAID, deque[str](maxlen=KEPT_LINES)
    command = [*program, *start, *shared, *shlex.split(settings.options or "")]
    with started(command, refinement.root, lock) as process, said.open("a") as record:
        told: dict[str, str] = {}
        for line in process.stdout or ():
            record.write(line)
            record.flush()
            lines.append(line.strip())
            if found := TOLD.match(line.strip()):
                told[found[1]] = found[2]
                if found[1] == "Resolution":
                    log.info("iteration %s: %s Å", told.get("Iteration", "?"), found[2])
    if process.returncode or not all(file.exists() for file in wanted):
        problem = f"the refinement ended with code {process.returncode}: {gist(lines) or 'it said nothing'}"
        fix = f"Mend it, or change refine.program and refine.options, and run again; delete {folder} to begin anew"
        raise InputError(problem, file=said, fix=fix)


def gist(lines: Sequence[str]) -> str:
    """What a program says of its failure: from the last line that speaks of an error, or its last lines.

    >>> gist(["reads", "ERROR:", "no such file", "", "help message"]), gist(["one", "two"])
    ('ERROR: / no such file / help message', 'one / two')
    """
    words = [line for line in lines if line]
    errors = [i for i, line in enumerate(words) if "ERROR" in line]
    start = errors[0] if errors else max(len(words) - SAID_LINES, 0)
    return " / ".join(words[start : start + SAID_LINES])


def program_of(settings: Refine) -> list[str]:
    """The words that start RELION; a path is taken from the working directory, and not from that of the images.

    Raises
    ------
    InputError  if there is no such program.
    """
    first, *rest = shlex.split(settings.program)
    path = str(Path(first).expanduser().absolute()) if "/" in first else first
    if shutil.which(path) is None:
        fix = "Install RELION, load its module, or say how it is started"
        raise InputError(f"there is no program {first}", setting="refine.program", fix=fix)
    return [path, *rest]


def processes_of(program: Sequence[str]) -> int:
    """How many processes an MPI launcher starts, by the number after -n or -np; else 1.

    >>> processes_of(["mpirun", "-n", "3", "relion_refine_mpi"]), processes_of(["relion_refine"])
    (3, 1)
    """
    numbers = (after for word, after in pairwise(program) if word in ("-n", "-np") and after.isdigit())
    return int(next(numbers, "1"))


@contextmanager
def alone(folder: Path) -> Iterator[int]:
    """A lock on a folder, which its holder hands to what it starts: that may outlive a job that is killed.

    Raises
    ------
    InputError  if another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("a refinement is at work there", file=folder, fix="Wait for it, or end it") from None
        yield file.fileno()


@contextmanager
def started(command: list[str], where: Path, *kept_open: int) -> Iterator[subprocess.Popen[str]]:
    """A child process, which has open files ``kept_open``; when this one is told to end, it is, and waited for."""
    log.info("%s", shlex.join(command))
    environment = {**MORE_PROCESSES_THAN_SLOTS, **os.environ}
    given: dict[str, Any] = {"cwd": where, "env": environment, "text": True, "errors": "replace", "pass_fds": kept_open}

    def end(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)  # first, or a signal in between leaves the child alone
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, **given
        )
    except OSError:
        signal.signal(signal.SIGTERM, before)
        raise
    with process:
        try:
            yield process
        finally:
            signal.signal(signal.SIGTERM, before)
            if process.poll() is None:  # and all that it has started
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(PATIENCE_S)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
