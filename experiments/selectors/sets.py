"""Data sets on which selectors are compared, made by the workflow as far as the first map."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from benchmarks.validation.common import ROOT
from cryocore.backend import get_backend
from cryocore.config.run import Config
from cryocore.formats.kinds import read_tables
from cryocore.formats.star_out import write_star
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import resolution_at
from cryocore.maps.mrc import read_map
from cryocore.tables.particles import Particles
from experiments.cases import Case, merged
from experiments.comparisons import Run
from experiments.evaluate import read_truth
from experiments.runs import RUN, run_workflow

PLAN = Path(__file__).with_name("sets.yaml")
WORK = ROOT / "results" / "selectors"
ONE_TABLE = "particles_one_table.star"
THRESHOLD = 0.143
MARGIN_ANGSTROM = 10.0
"""About the mask, in the diameter that programs are told."""


def read_sets(plan: Path = PLAN) -> list[Case]:
    """All data sets, seed by seed."""
    declared = yaml.safe_load(plan.read_text())
    return [case_of(declared, row, seed) for seed in range(declared["seeds"]) for row in declared["rows"]]


def case_of(declared: dict[str, Any], row: dict[str, Any], seed: int) -> Case:
    """A row of the plan with one seed."""
    config = merged(declared["settings"], declared["bases"][row["base"]])
    config = merged(config, {"input": row.get("input", {}), "seed": config.get("seed", 0) + seed})
    return Case(f"{row['name']}-seed{seed}", {"set": row["name"], "seed": seed}, config, ("selectors",), row["label"])


def prepare(home: Path, config: Config, cores: int) -> None:
    """Images, half maps of all particles, and the table in the form that older programs read."""
    with tqdm(disable=True) as bar:
        run_workflow(home, config, cores, bar, f"results/{RUN}/round_0/map.mrc")
    write_one_table(home / "results" / RUN / "simulated" / "particles.star")


def write_one_table(star: Path) -> None:
    """The particles of a RELION 3.1 file in one table, as RELION 3.0 had it, beside it."""
    tables = read_tables(star)
    if tables.optics is None:
        raise ValueError(f"{star} has no optics groups")
    optics, particles = tables.optics.iloc[0], tables.particles.copy()
    pixel = float(optics["rlnImagePixelSize"])
    for name in ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"):
        particles[name] = float(optics[name])
    for axis in "XY":
        particles[f"rlnOrigin{axis}"] = particles[f"rlnOrigin{axis}Angst"].astype(float) / pixel
    # the pixel size is the detector's over the magnification
    particles["rlnMagnification"], particles["rlnDetectorPixelSize"] = 10_000.0, pixel
    constants = {"rlnCtfBfactor": 0.0, "rlnCtfScalefactor": 1.0, "rlnPhaseShift": 0.0, "rlnGroupNumber": 1}
    write_star(particles.assign(**constants), None, star.with_name(ONE_TABLE))


def places(home: Path, config: Config, out: Path) -> dict[str, str]:
    """What a method's command may name: files of a data set, and numbers that programs ask for."""
    results = home / "results" / RUN
    first, made = results / "round_0", results / "simulated"
    mask, voxel = read_map(first / "mask.mrc")
    reach = np.linalg.norm(np.argwhere(mask > 0.5) - len(mask) // 2, axis=1).max()
    curves = FscCurves.read(first / "fsc.parquet")
    return {
        "home": str(home),
        "results": f"results/{RUN}",
        "folder": str(made),
        "snakefile": str(ROOT / "Snakefile"),
        "programs": str(WORK / "programs"),
        "star": str(made / "particles.star"),
        "star_one_table": str(made / ONE_TABLE),
        **{name: str(first / f"{name}.mrc") for name in ("map", "half1", "half2", "mask")},
        "pixel": f"{voxel:g}",
        "box": str(len(mask)),
        "symmetry": config.symmetry,
        "diameter": f"{2 * reach * voxel + MARGIN_ANGSTROM:.0f}",
        "resolution": f"{resolved_angstrom(curves):.1f}",
        "out": str(out),
    }


def resolved_angstrom(curves: FscCurves) -> float:
    """Where the longest run of shells with an FSC of at least 0.143 ends: on real background shells before it dip."""
    ends = np.flatnonzero(~np.append(curves.corrected >= THRESHOLD, False))
    end = int(ends[np.argmax(np.diff(ends, prepend=-1))])
    without_dips = np.concatenate([np.maximum(curves.corrected[:end], THRESHOLD), curves.corrected[end:]])
    return resolution_at(without_dips, curves.resolution_angstrom)


@contextmanager
def as_run(home: Path, config: Config, cores: int) -> Iterator[tuple[Run, Particles]]:
    """A data set with its truth, to make maps of subsets of it."""
    results = home / "results" / RUN
    data = Particles.read(results / "particles.parquet")
    correct, _ = read_truth(results / "simulated" / "truth.parquet", data)
    backend = get_backend(config.backend, threads=cores)
    with tempfile.TemporaryDirectory(prefix="cryocore-selectors-") as folder:
        true_map = results / "simulated" / "true_map.mrc"
        run = Run(results, config, true_map, correct, data.column("half"), backend, Path(folder))
        replace(data, root=str((home / data.root).resolve())).write(run.particles)
        yield run, data
