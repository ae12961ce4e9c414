"""RELION's automatic refinement as a child process: started, watched, and continued where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryocore.config.refine import Refine
from cryocore.errors import InputError
from cryocore.tables.io import write_json

RUN, SAID, IDENTITY = "run", "relion.log", "begun_with.json"
TOLD = re.compile(r"Auto-refine: (Iteration|Resolution)= ([\d.]+)")
LAST_LINES, PATIENCE_S = 4, 10.0
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
        """What decides what comes out."""
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
        return [*named, *(f"--{flag}" for flag in flags), "--dont_check_norm", *shlex.split(settings.options or "")]

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from one with other particles, another start or other options."""
        digests = {p.name: hashlib.sha256(p.read_bytes()).hexdigest()[:32] for p in (self.star, self.reference)}
        return {"options": self.options, "files": digests}


def run(refinement: Refinement) -> None:
    """Refine, or go on from the last whole iteration of the same refinement; return at once where it is finished.

    Raises
    ------
    InputError  if the program does not start, or ends with an error: with the last that it said.
    """
    folder, kept = refinement.folder, refinement.folder / IDENTITY
    wanted = (*refinement.half_maps, refinement.poses)
    if folder.exists() and (not kept.exists() or json.loads(kept.read_text()) != refinement.identity):
        shutil.rmtree(folder)
    if all(file.exists() for file in wanted):
        return log.info("%s: finished before", folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(kept, refinement.identity)
    program = shlex.split(refinement.settings.program)
    last = max(folder.glob(f"{RUN}_it???_optimiser.star"), default=None)
    start = refinement.options if last is None else ["--continue", str(last.resolve())]
    if last is not None:
        log.info("goes on from %s", last.name)
    shared = ["--o", str(refinement.file("")), "--j", str(refinement.threads), "--dont_combine_weights_via_disc"]
    said = folder / SAID
    with started([*program, *start, *shared], refinement.root) as process, said.open("a") as record:
        told: dict[str, str] = {}
        for line in process.stdout or ():
            record.write(line)
            record.flush()
            if found := TOLD.match(line.strip()):
                told[found[1]] = found[2]
                if found[1] == "Resolution":
                    log.info("iteration %s: %s Å", told.get("Iteration", "?"), found[2])
    if process.returncode or not all(file.exists() for file in wanted):
        lines = [line.strip() for line in said.read_text().splitlines() if line.strip()][-LAST_LINES:]
        problem = f"the refinement ended with code {process.returncode}: {' / '.join(lines) or 'it said nothing'}"
        raise InputError(problem, file=said, fix="Mend it, or change refine.program and refine.options, and run again")


@contextmanager
def started(command: list[str], where: Path) -> Iterator[subprocess.Popen[str]]:
    """A child process; when this one is told to end, the child is, and waited for."""
    log.info("%s", shlex.join(command))
    try:
        process = subprocess.Popen(command, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as error:
        problem = f"{command[0]} does not start ({error.strerror})"
        fix = "Install RELION, load its module, or say how it is started"
        raise InputError(problem, setting="refine.program", fix=fix) from None

    def end(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    with process:
        try:
            yield process
        finally:
            signal.signal(signal.SIGTERM, before)
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
