"""Single steps where the truth, or RELION's answer, is known: ``python -m benchmarks.methods [SECTION ...]``.

Noise of images and the scores, damping of views that few particles have, sharpening beside ``relion_postprocess``, the
B-factor of ResLog, and poses refined by RELION. The outcome is in benchmarks/results/methods.json; ``python -m
benchmarks.blocks`` writes it into docs/measurements/methods.md.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sections import measure
from benchmarks.validation.common import ROOT, Skipped, curve, host, need_program, run, simulated_maps, volume
from benchmarks.validation.undamped import undamped
from benchmarks.validation.workflow import run_workflow
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.config.simulate import Simulate
from cryocore.explore.postprocess import Halves, postprocess
from cryocore.explore.postprocess.sharpen import mean_amplitudes
from cryocore.explore.reslog import reslog
from cryocore.ingest.particles import ingest
from cryocore.log.rates import auc
from cryocore.maps.fsc import fsc
from cryocore.maps.mrc import read_map
from cryocore.maps.transforms import forward, whole
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.simulate.plant import CORRECT
from cryocore.simulate.stage import simulate
from cryocore.tables.io import as_numpy, read_table, write_table
from cryocore.types import Floats32
from experiments.comparisons import log_odds

RESULTS = ROOT / "benchmarks" / "results" / "methods.json"
Values = dict[str, Any]
SCORES = "llr", "z", "zc", "dual"
IMAGES: dict[str, tuple[Values, bool]] = {
    "even": ({}, True),
    "log scale spreads by 0.3, `noise_per_particle` off": ({"scale_spread": 0.3}, False),
    "log scale spreads by 0.3": ({"scale_spread": 0.3}, True),
    "ice gradients of s.d. 1": ({"background": 1.0}, True),
}
"""Settings of images beside those of all, and ``noise_per_particle``."""
VIEWS: dict[str, tuple[str, Values]] = {
    "uniform": ("C1", {"molecule": "small", "orientations": "uniform"}),
    "preferred": ("C1", {"molecule": "small", "orientations": "preferred"}),
    "preferred, C4": ("C4", {"molecule": "channel", "orientations": "preferred"}),
    "95 % in one": ("C1", {"molecule": "small", "orientations": "single"}),
}
"""Point group and images."""
SHARPENED: dict[str, tuple[str, Values]] = {
    "small, box 64": (
        "C1",
        {"molecule": "small", "n_particles": 3000, "box": 64, "pixel_size_angstrom": 1.5, "bfactor_angstrom2": 100},
    ),
    "proteasome, box 128": (
        "D7",
        {"molecule": "proteasome", "n_particles": 2000, "box": 128, "pixel_size_angstrom": 1.6},
    ),
}
RESLOG: dict[str, tuple[float, float]] = {"80": (80.0, 1.4), "150": (150.0, 1.8), "300": (300.0, 1.8)}
"""Planted B (Å²) and pixel (Å)."""


def noise() -> Values:
    """AUC of scores of the first map, by what images are like."""
    return {name: _aucs(*how) for name, how in IMAGES.items()}


def _aucs(images: Values, per_particle: bool) -> Values:
    given: Values = {"molecule": "channel", "n_particles": 2000, "box": 64, "snr": 0.006}
    how: Values = {"symmetry": "C4", "backend": host()}
    with tempfile.TemporaryDirectory(prefix="cryocore-methods-") as made:
        folder = Path(made)
        settings = Simulate.model_validate({**given, **images})
        simulate(settings, PlantedErrors(wrong_pose=0.5), seed=0, out_dir=folder, **how)
        particles = folder / "particles.parquet"
        ingest(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=0).write(particles)
        reconstruct(particles, None, None, settings=Reconstruct(), out_dir=folder / "round", **how)
        scoring = Score(noise_per_particle=per_particle)
        log = folder / "log.parquet"
        score(particles, folder / "round", None, settings=scoring, round_number=0, seed=0, out=log, **how)
        correct = as_numpy(read_table(folder / "truth.parquet", ["error_kind"]).column(0)) == CORRECT
        found = {name: as_numpy(read_table(log, [name]).column(0)) for name in SCORES}
        odds = log_odds(log)
        if odds is not None:
            found["mixture"] = odds
        return {name: round(float(auc(values, correct) or 0.0), 4) for name, values in found.items()}


def damping() -> Values:
    """Mean FSC of the first half map with the truth, divided alone and damped, and ``z`` of images of noise in it."""
    return {name: _damped(*case) for name, case in VIEWS.items()}


def _damped(symmetry: str, images: Values) -> Values:
    given: Values = {"n_particles": 2000, "box": 64, "snr": 0.02, **images}
    how: Values = {"symmetry": symmetry, "backend": host()}
    with tempfile.TemporaryDirectory(prefix="cryocore-methods-") as made:
        folder = Path(made)
        simulate(Simulate.model_validate(given), PlantedErrors(junk=0.2), seed=0, out_dir=folder, **how)
        particles = folder / "particles.parquet"
        ingest(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=0).write(particles)
        reconstruct(particles, None, None, settings=Reconstruct(), out_dir=folder, **how)
        log = folder / "log.parquet"
        score(particles, folder, None, settings=Score(), round_number=0, seed=0, out=log, **how)
        z = as_numpy(read_table(log, ["z"]).column(0))
        junk = as_numpy(read_table(folder / "truth.parquet", ["error_kind"]).column(0)) == "junk"
        truth, mask, damped = (volume(folder / f"{name}.mrc") for name in ("true_map", "mask", "half1"))
        halves = {"divided": undamped(particles, symmetry)[0], "damped": damped}
        found: Values = {name: _mean_fsc(half, truth, mask) for name, half in halves.items()}
        return found | {"z_of_noise": round(float(z[junk].mean()), 2), "z": round(float(z[~junk].mean()), 2)}


def _mean_fsc(half: Floats32, truth: Floats32, mask: Floats32) -> float:
    return round(float(curve(half, truth, mask)[1 : len(half) // 2].mean()), 4)


def sharpening() -> Values:
    """Resolution and B-factor beside those of ``relion_postprocess``, on the same half maps and mask."""
    need_program("relion_postprocess")
    return {name: _beside_relion(*case) for name, case in SHARPENED.items()}


def _beside_relion(symmetry: str, given: Values) -> Values:
    with tempfile.TemporaryDirectory(prefix="cryocore-methods-") as made:
        folder = Path(made)
        simulated_maps(folder, Simulate.model_validate({"snr": 0.05, **given}), symmetry)
        halves = Halves(folder / "half1.mrc", folder / "half2.mrc", mask=folder / "mask.mrc")
        ours = postprocess(halves, folder / "ours").sharpened
        told = _of_relion(halves, ours.resolution_angstrom, folder)
        again = postprocess(halves, folder / "again", bfactor_angstrom2=told["bfactor_angstrom2"]).sharpened
        theirs, pixel = read_map(folder / "relion.mrc")
        last = int(len(theirs) * pixel / ours.resolution_angstrom)
        pair = (mean_amplitudes(forward(v, len(v), whole(len(v)))) for v in (again.volume, theirs))
        mine, other = (amplitudes[1:last] for amplitudes in pair)
        return {
            "resolution_angstrom": round(ours.resolution_angstrom, 3),
            "bfactor_angstrom2": round(ours.bfactor_angstrom2, 2),
            "bfactor_sd_angstrom2": ours.fit and round(ours.fit.bfactor_sd_angstrom2, 2),
            "relion": told,
            "least_correlation": round(float(fsc(again.volume, theirs)[1:last].min()), 6),
            "amplitudes": round(float(np.abs(np.log(mine / other)).max()), 4),
        }


def _of_relion(halves: Halves, resolution_angstrom: float, folder: Path) -> Values:
    pixel = read_map(halves.half1)[1]
    options = ["--autob_lowres", 10, "--autob_highres", resolution_angstrom, "--angpix", pixel]
    files = ["--i", halves.half1, "--i2", halves.half2, "--mask", str(halves.mask), "--o", folder / "relion"]
    run("relion_postprocess", "--auto_bfac", *map(str, [*files, *options]), cwd=folder)
    lines = (line.split() for line in (folder / "relion.star").read_text().splitlines())
    values = {line[0]: line[1] for line in lines if len(line) == 2}
    return {
        "resolution_angstrom": float(values["_rlnFinalResolution"]),
        "bfactor_angstrom2": float(values["_rlnBfactorUsedForSharpening"]),
    }


def of_reslog() -> Values:
    """The B-factor that images are made with, and what random subsets give."""
    return {name: _bfactor(*case) for name, case in RESLOG.items()}


def _bfactor(planted_angstrom2: float, pixel_angstrom: float) -> Values:
    given: Values = {"molecule": "small", "bfactor_angstrom2": planted_angstrom2, "n_particles": 3000, "box": 64}
    given |= {"pixel_size_angstrom": pixel_angstrom, "snr": 0.06, "orientations": "uniform"}
    with tempfile.TemporaryDirectory(prefix="cryocore-methods-") as made:
        folder = Path(made)
        simulated_maps(folder / "round_0", Simulate.model_validate(given), "C1", seed=3)
        data = read_table(folder / "round_0" / "particles.parquet")
        write_table(folder / "particles.parquet", data)
        columns = data.select(["particle_id", "half"]).append_column("weight", [np.ones(len(data), dtype=np.float32)])
        write_table(folder / "log" / "round=0" / "log.parquet", columns, symmetry="C1")
        (series,) = reslog(folder, host(), repeats=3)
    fit, reached = series.fit, [p.smooth_resolution_angstrom for p in series.points]
    if fit is None or fit.bfactor_angstrom2 is None:
        raise Skipped(f"no B-factor is found where {planted_angstrom2:g} Å² are planted")
    return {
        "pixel_angstrom": pixel_angstrom,
        "coarsest_angstrom": round(max(reached), 2),
        "finest_angstrom": round(min(reached), 2),
        "bfactor_angstrom2": round(fit.bfactor_angstrom2, 1),
        "bfactor_sd_angstrom2": round(series.bfactor_sd_angstrom2 or 0.0, 1),
        "plain_bfactor_angstrom2": fit.plain_bfactor_angstrom2 and round(fit.plain_bfactor_angstrom2, 1),
    }


def refinement() -> Values:
    """Mean FSC of half maps at the given poses and refined by RELION, of all particles and of the recommended ones."""
    need_program("relion_refine_mpi")
    given = {"molecule": "small", "n_particles": 600, "box": 40, "pixel_size_angstrom": 3.0, "snr": 0.1}
    config = {
        "n_rounds": 2,
        "symmetry": "C1",
        "input": {"simulate": given, "plant": {"wrong_pose": 0.3}},
        "refine": {"enabled": True, "program": "mpirun --allow-run-as-root --oversubscribe -n 3 relion_refine_mpi"},
    }
    with tempfile.TemporaryDirectory(prefix="cryocore-methods-") as made:
        results = run_workflow(Path(made) / "run", **config)
        lists = json.loads((results / "refine" / "refine.json").read_text())
    return {
        name: {
            "particles": one["n_particles"],
            "given": round(float(np.mean(one["fsc_given"])), 4),
            "refined": round(float(np.mean(one["fsc_refined"])), 4),
        }
        for name, one in lists.items()
    }


SECTIONS: dict[str, Callable[[], Values]] = {
    "noise": noise,
    "damping": damping,
    "sharpening": sharpening,
    "reslog": of_reslog,
    "refinement": refinement,
}


if __name__ == "__main__":
    measure(sys.argv[1:], SECTIONS, RESULTS)
