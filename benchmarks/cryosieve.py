"""Particles kept by CryoSieve's rule, beside those of `score: cryosieve, rule: fraction`, from the same images.

    python -m benchmarks.cryosieve

The rule of Zhu et al. 2023 is computed with RELION's programs: `relion_project --subtract_exp` subtracts projections of
half maps, those of cryocore or of `relion_reconstruct`, and NumPy compares the high-passed images before and after.
Where `cryosieve-core` is on the PATH, with the GPU that it needs, it runs on the same files. The outcome is in
benchmarks/results/cryosieve.json, and in the table of docs/measurements/methods.md.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from benchmarks.machine import made_by
from benchmarks.validation.common import ROOT, host, need_program, run
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.config.select import Select
from cryocore.config.simulate import Simulate
from cryocore.ingest.particles import ingest
from cryocore.maps.mrc import read_map, write_map
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.score.reference import first_band
from cryocore.select.stage import select
from cryocore.simulate.stage import simulate
from cryocore.tables.io import read_schema, read_table, table_metadata, write_json
from cryocore.tables.particles import Particles
from cryocore.types import Bools, Floats
from experiments.comparisons import RETAINED, best, write_no_share
from experiments.evaluate import read_truth

RESULTS = ROOT / "benchmarks" / "results" / "cryosieve.json"
BOX, PIXEL_ANGSTROM = 96, 2.2
CUT_OFFS_ANGSTROM = (40.0, 20.0, 10.0)
FINEST_ANGSTROM = 5.0
MAPS: dict[str, tuple[str, ...] | None] = {
    "same maps": None,
    "RELION, --skip_gridding": ("--skip_gridding",),
    "RELION": (),
}
"""Whose half maps the rule sees: those of the run, or options of ``relion_reconstruct``."""
SETTINGS = {"n_bands": 64, "n_random_poses": 0, "n_perturbed_poses": 0, "n_perturbed_shifts": 0}
"""Of the score stage: a band for every shell, and no other poses to compare with."""


@dataclass(frozen=True)
class Case:
    """One simulated data set of one optics group, 30 % of its poses wrong."""

    molecule: str
    symmetry: str
    snr: float
    n_particles: int

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.molecule}, {self.n_particles:,} particles, SNR {self.snr:g}"


CASES = (
    Case("proteasome", "D7", 0.01, 2000),
    Case("small", "C1", 0.02, 2000),
    Case("channel", "C4", 0.02, 2000),
    Case("channel", "C4", 0.02, 8000),
)


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Per cut-off: Jaccard index of cryocore's kept set with others, and the share of correct particles in each."""
    settings = Simulate(
        molecule=case.molecule,
        n_particles=case.n_particles,
        box=BOX,
        pixel_size_angstrom=PIXEL_ANGSTROM,
        snr=case.snr,
    )
    backend, table = host(), folder / "particles.parquet"
    incorrect = PlantedErrors(wrong_pose=0.3)
    simulate(settings, incorrect, symmetry=case.symmetry, seed=1, out_dir=folder, backend=backend)
    data = ingest(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=0)
    data.write(table)
    how: dict[str, Any] = {"symmetry": case.symmetry, "backend": backend}
    finest = Reconstruct(max_resolution_angstrom=FINEST_ANGSTROM)
    reconstruct(table, None, None, settings=finest, **how, out_dir=folder / "maps")
    correct, half = read_truth(folder / "truth.parquet", data)[0], data.column("half")
    images = mrcfile.read(folder / "particles.mrcs").astype(np.float64)
    spectrum = shell_power(images)
    removed = {name: spectrum - shell_power(residuals(folder, case, half, v)) for name, v in MAPS.items()}
    counts = {h: round(RETAINED * np.count_nonzero(half == h)) for h in (1, 2)}
    rows = {}
    for cut_off in CUT_OFFS_ANGSTROM:
        ours, shells = workflow_choice(folder, case, cut_off, self_contribution=True)
        kept = {name: best(values[:, shells].sum(axis=1), half, counts) for name, values in removed.items()}
        kept["self-contribution out"] = workflow_choice(folder, case, cut_off, self_contribution=False)[0]
        if shutil.which("cryosieve-core"):
            kept["cryosieve-core"] = cryosieve_core(folder, cut_off, data)
        rows[f"{cut_off:g}"] = {
            "jaccard": {name: round(jaccard(ours, other), 4) for name, other in kept.items()},
            "between": round(jaccard(kept["RELION"], kept["RELION, --skip_gridding"]), 4),
            "correct_rate": {
                k: round(float(correct[v].mean()), 4) for k, v in (("self-contribution in", ours), *kept.items())
            },
        }
    return rows


def residuals(folder: Path, case: Case, half: NDArray[np.int8], options: tuple[str, ...] | None) -> Floats:
    """Images less the projections of the map of their own half set, inside the run's mask, ``(n, d, d)``."""
    mask, pixel = read_map(folder / "maps" / "mask.mrc")
    limit = ("--maxres", str(FINEST_ANGSTROM))
    out = np.empty((len(half), BOX, BOX))
    for h in (1, 2):
        path = folder / "maps" / f"half{h}.mrc"
        if options is not None:
            path = folder / f"relion{h}.mrc"
            command = ["relion_reconstruct", "--i", "particles.star", "--o", path.name, "--ctf", "--subset", str(h)]
            run(*command, "--pad", "2", "--sym", case.symmetry, *limit, *options, cwd=folder)
        write_map(folder / f"masked{h}.mrc", read_map(path)[0] * mask, pixel)
        command = ["relion_project", "--i", f"masked{h}.mrc", "--ang", "particles.star", "--ctf", "--subtract_exp"]
        run(*command, *limit, "--o", "residual", "--angpix", str(PIXEL_ANGSTROM), cwd=folder)
        out[half == h] = mrcfile.read(folder / "residual.mrcs")[half == h]
    return out


def shell_power(images: Floats) -> Floats:
    """Sum of squares of each image per shell, ``(n, shells)``."""
    power = np.abs(scipy.fft.rfft2(images, norm="ortho")) ** 2
    power[..., 1 : BOX // 2] *= 2
    ky, kx = np.meshgrid(scipy.fft.fftfreq(BOX, 1 / BOX), scipy.fft.rfftfreq(BOX, 1 / BOX), indexing="ij")
    shell = np.rint(np.hypot(kx, ky))
    return np.stack([power[:, shell == s].sum(axis=1) for s in range(BOX // 2)], axis=1)


def workflow_choice(
    folder: Path, case: Case, cut_off_angstrom: float, *, self_contribution: bool
) -> tuple[Bools, slice]:
    """What the stages score and select keep, and the shells that they score by.

    With ``self_contribution`` a particle's part of its map is left in, as CryoSieve leaves it.
    """
    maps, table = folder / "maps", folder / "particles.parquet"
    sampling, saved, log = maps / "sampling.npz", folder / "sampling.npz", folder / "log.parquet"
    if self_contribution:
        shutil.copy(sampling, saved)
        write_no_share(sampling, saved)
    common: dict[str, Any] = {"symmetry": case.symmetry, "seed": 0, "round_number": 0}
    settings = Score(cryosieve_angstrom=[cut_off_angstrom], **SETTINGS)
    score(table, maps, None, settings=settings, backend=host(), out=log, **common)
    if self_contribution:
        shutil.move(saved, sampling)
    rule = Select(score="cryosieve", rule="fraction", value=[RETAINED])
    outputs = {"out_table": folder / "subset.parquet", "out_star": folder / "subset.star"}
    select(table, log, settings=rule, **common, **outputs)
    edges = np.array(table_metadata(read_schema(log))["band_edges"])
    shells = slice(int(edges[first_band(edges, Particles.read(table), cut_off_angstrom)]), int(edges[-1]))
    return np.asarray(read_table(folder / "subset.parquet", ["selected"]).column("selected")), shells


def cryosieve_core(folder: Path, cut_off_angstrom: float, data: Particles) -> Bools:
    """What CryoSieve's own program keeps, with the run's half maps and mask."""
    volumes = [text for h in (1, 2) for text in ("--volume", f"maps/half{h}.mrc")]
    options = ["--angpix", str(PIXEL_ANGSTROM), "--mask", "maps/mask.mrc", "--frequency", str(cut_off_angstrom)]
    command = ["cryosieve-core", "--i", "particles.star", "--o", "sieved.star", *volumes, *options]
    run(*command, "--retention_ratio", str(RETAINED), cwd=folder)
    left = ingest(folder / "sieved.star", root=None, pixel_size_angstrom=None, seed=0)
    return np.isin(data.ids, left.ids)


def jaccard(a: Bools, b: Bools) -> float:
    """Particles in both over particles in either."""
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))


def main() -> None:
    """Measure every case, and print the table."""
    need_program("relion_project")
    record = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            record[case.name] = measure(case, Path(folder))
        print(case.name, record[case.name], flush=True)
    about = {"box": BOX, "pixel_size_angstrom": PIXEL_ANGSTROM, "retained": RETAINED, "finest": FINEST_ANGSTROM}
    write_json(RESULTS, {**made_by("python -m benchmarks.cryosieve"), **about, "cases": record})


if __name__ == "__main__":
    main()
