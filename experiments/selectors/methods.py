"""Programs that say something of every particle: how they are called, and how their numbers are read."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from shutil import which
from typing import Any

import numpy as np
import yaml

from benchmarks.validation.common import ROOT
from cryocore.errors import InputError
from cryocore.formats.kinds import read_tables
from cryocore.formats.star.read import to_numbers
from cryocore.ingest.particles import particle_ids
from cryocore.tables.io import as_numpy, read_table
from cryocore.types import Floats, Ids

FOLDER = Path(__file__).with_name("methods")
PROGRAMS = ROOT / "results" / "selectors" / "programs"
"""Where methods are installed that are not part of this project."""
IMAGE = "rlnImageName"
METER = """
import resource, subprocess, sys
status = subprocess.call(["bash", "-c", sys.argv[1]])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[2], "w").write(f"{used.ru_utime + used.ru_stime} {used.ru_maxrss}")
sys.exit(status)
"""
"""Of a small process: a child's peak memory counts that of the process that started it."""


@dataclass(frozen=True)
class Method:
    """A program, as its file declares it.

    ``command`` : with the places that :func:`experiments.selectors.sets.places` gives in braces
    ``scores`` : name -> ``file`` and ``column``; ``better: lower`` where small values are good, else ``higher``
    ``weights`` : ``file`` and ``column`` or ``columns`` of its own choice, if it makes one; 0 is left out. The best of
        several is reported, by the truth
    ``maps`` : folder of the half maps that it makes itself, half1.mrc and half2.mrc, where they are more than a choice
    ``needs``, ``setup`` : a program, and the shell command that installs it below ``{programs}``
    ``after`` : a method that it goes on from, whose cost is added
    ``by_name`` : whether it is run only where it is asked for, because it takes long
    """

    name: str
    label: str
    by: str
    command: str
    scores: dict[str, dict[str, str]]
    about: str = ""
    weights: dict[str, Any] = field(default_factory=dict)
    maps: str = ""
    needs: str = ""
    setup: str = ""
    after: str = ""
    by_name: bool = False
    digest: str = ""

    @property
    def modules(self) -> tuple[str, ...]:
        """Files of this project that its command runs by ``-m``."""
        return tuple(f"{name.replace('.', '/')}.py" for name in re.findall(r"-m (experiments\.[\w.]+)", self.command))

    @classmethod
    def read(cls, file: Path) -> Method:
        """The method of a file.

        Raises
        ------
        InputError  if the file declares what there is not, or lacks what there has to be.
        """
        text, fix = file.read_text(), "See docs/how-to/add-a-selector.md"
        try:
            found = cls(name=file.stem, digest=hashlib.sha256(text.encode()).hexdigest()[:12], **yaml.safe_load(text))
            for where in found.scores.values():
                if not {"file", "column"} <= set(where) <= {"file", "column", "better"}:
                    raise TypeError("a score has file, column and maybe better")
                if where.get("better", "lower") not in ("lower", "higher"):
                    raise TypeError("better is lower or higher")
        except (AttributeError, TypeError, yaml.YAMLError) as error:
            raise InputError(f"not a method ({error})", file=file, fix=fix) from None
        return found


@dataclass(frozen=True)
class Cost:
    """Processor seconds, and the most memory that a process of it took (GiB)."""

    cpu_s: float
    gib: float


class Missing(Exception):
    """A program is not installed."""


def read_methods(folder: Path = FOLDER) -> list[Method]:
    """All methods, those last that go on from another."""
    methods = [Method.read(file) for file in sorted(folder.glob("*.yaml"))]
    return sorted(methods, key=lambda method: bool(method.after))


def setup(method: Method, programs: Path = PROGRAMS) -> None:
    """Install what a method needs, if it says how and it is not there."""
    if method.setup and which(method.needs, path=search_path(method, programs)) is None:
        programs.mkdir(parents=True, exist_ok=True)
        subprocess.run(["bash", "-c", method.setup.format(programs=programs)], check=True)


def search_path(method: Method, programs: Path = PROGRAMS) -> str:
    """Where the programs of a method are looked for: those of its own, those of this environment, all others."""
    return os.pathsep.join([str(programs / method.name / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])


def call(method: Method, places: Mapping[str, str], log: Path, programs: Path = PROGRAMS) -> Cost:
    """Run a method's command, asking for one thread.

    Raises
    ------
    Missing       where its program is not installed.
    RuntimeError  if it fails; names its log.
    """
    path = search_path(method, programs)
    if method.needs and which(method.needs, path=path) is None:
        raise Missing(f"{method.needs} is not installed")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "PATH": path, "PYTHONPATH": str(ROOT)}
    command = method.command.format_map({name: quote(place) for name, place in places.items()})
    used = log.with_suffix(".used")
    metered = [sys.executable, "-S", "-c", METER, command, str(used)]
    with log.open("w") as record:
        print(command, file=record, flush=True)
        done = subprocess.run(metered, cwd=places["folder"], env=environment, stdout=record, stderr=record, check=False)
    if done.returncode:
        raise RuntimeError(f"{method.label} failed; see {log}")
    cpu_s, kib = map(float, used.read_text().split())
    return Cost(cpu_s, kib / 2**20)


def scores_of(method: Method, places: Mapping[str, str], ids: Ids) -> Iterator[tuple[str, Floats]]:
    """Each score ``(n,)`` of the particles ``ids``, the higher the better; NaN where it says nothing."""
    for name, where in method.scores.items():
        values = column_of(placed(where["file"], places), where["column"], ids)
        yield name, -values if where.get("better") == "lower" else values


def choices_of(method: Method, places: Mapping[str, str], ids: Ids) -> list[Floats]:
    """The weights ``(n,)`` of its own choice, or of each of several; 0 where a particle is left out."""
    if not method.weights:
        return []
    file = placed(method.weights["file"], places)
    columns = method.weights.get("columns") or [method.weights["column"]]
    return [np.nan_to_num(column_of(file, column, ids)) for column in columns]


def placed(file: str, places: Mapping[str, str]) -> Path:
    """A file that a method names."""
    return Path(places["home"]) / file.format_map(places)


def column_of(file: Path, column: str, ids: Ids) -> Floats:
    """A column of a STAR or Parquet file for the particles ``ids`` ``(n,)``; NaN for those that it lacks."""
    if file.suffix == ".parquet":
        table = read_table(file, ["particle_id", column])
        known = as_numpy(table.column("particle_id")).astype(np.uint64)
        values = as_numpy(table.column(column)).astype(np.float64)
    else:
        particles = read_tables(file).particles
        numbers_and_paths = (str(name).partition("@") for name in particles[IMAGE])
        known = particle_ids(f"{int(number):06d}@{Path(path).name}" for number, _, path in numbers_and_paths)
        values = to_numbers(particles[column.removeprefix("_")])
    if not np.isin(ids, known).any():
        fix = "Keep rlnImageName or particle_id as they are in the particles' file"
        raise InputError("none of the particles is in it", file=file, fix=fix)
    order = np.argsort(known, kind="stable")
    at = np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)
    found = order[at]
    return np.where(known[found] == ids, values[found], np.nan)
