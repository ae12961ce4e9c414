"""The half maps against those of ``relion_reconstruct``, from the same simulated particles."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.validation.common import ball, curve, lowest, need_program, run, simulated_maps, volume
from benchmarks.validation.star_text import write_expanded
from benchmarks.validation.undamped import undamped
from cryocore.config.simulate import Simulate
from cryocore.maps.fsc import half_map_fsc, resolution_at
from cryocore.types import Floats32

BOX, PARTICLES, SEEDS = 128, 2000, 11


@dataclass(frozen=True)
class Case:
    """One simulated data set."""

    name: str
    molecule: str
    symmetry: str
    pixel_size_angstrom: float
    snr: float
    bfactor_angstrom2: float
    orientations: str

    def settings(self) -> Simulate:
        """The simulation of the case."""
        values = {key: value for key, value in vars(self).items() if key not in ("name", "symmetry")}
        return Simulate(n_particles=PARTICLES, box=BOX, **values)


CASES = (
    Case("C1, high SNR", "small", "C1", 1.5, 100.0, 50.0, "uniform"),
    Case("D7, high SNR", "proteasome", "D7", 1.8, 100.0, 50.0, "uniform"),
    Case("C1, realistic", "small", "C1", 1.5, 0.01, 200.0, "uniform"),
    Case("D7, realistic", "proteasome", "D7", 1.8, 0.01, 200.0, "preferred"),
)


def measure(folder: Path) -> dict[str, Any]:
    """All cases, one after the other."""
    need_program("relion_reconstruct")
    version = next((line for line in run("relion_reconstruct", "--version", cwd=folder).splitlines() if line), "")
    cases = {}
    for number, case in enumerate(CASES):
        directory = folder / f"case_{number}"
        directory.mkdir()
        simulated_maps(directory, case.settings(), case.symmetry)
        values = {"symmetry": case.symmetry, "snr": case.snr, "bfactor_angstrom2": case.bfactor_angstrom2}
        cases[case.name] = {**values, **compare(directory, case.symmetry)}
        if case.snr < 1:  # relion_postprocess refuses maps whose FSC never falls
            cases[case.name]["postprocess"] = postprocess(directory, case.pixel_size_angstrom)
        shutil.rmtree(directory)
    return {"relion": version.strip(), "box": BOX, "particles": PARTICLES, "cases": cases}


def compare(directory: Path, symmetry: str) -> dict[str, Any]:
    """FSC with each kind of RELION map, and of all with the truth, inside a ball and inside the run's mask; with the
    half maps of a round, and without their damping."""
    ours = [volume(directory / f"half{h}.mrc") for h in (1, 2)]
    divided = undamped(directory / "particles.parquet", symmetry)
    truth, shape = volume(directory / "true_map.mrc"), volume(directory / "mask.mrc")
    kinds = {"without gridding": ("--skip_gridding",), "default": ()}
    rows = {}
    for kind, options in kinds.items():
        began = time.monotonic()
        theirs = [relion_map(directory, "particles.star", h, symmetry, options) for h in (1, 2)]
        seconds = (time.monotonic() - began) / 2
        rows[kind] = {"seconds_per_map": seconds, **against(ours, divided, theirs, truth, shape)}
    if symmetry != "C1":
        write_expanded(directory / "particles.star", symmetry, directory / "expanded.star", half=1)
        theirs = [relion_map(directory, "expanded.star", 1, "C1", ("--skip_gridding",))]
        rows["every symmetry equivalent inserted"] = against(ours, divided, theirs, truth, shape)
    return {"maps": rows}


def relion_map(directory: Path, star: str, half: int, symmetry: str, options: tuple[str, ...]) -> Floats32:
    """The map that RELION makes of a half set, as cryocore's: padding 2, CTF, point group."""
    command = ["relion_reconstruct", "--i", star, "--o", "relion.mrc", "--ctf", "--subset", str(half)]
    run(*command, "--pad", "2", "--sym", symmetry, *options, cwd=directory)
    return volume(directory / "relion.mrc")


def against(
    ours: list[Floats32], divided: list[Floats32], theirs: list[Floats32], truth: Floats32, shape: Floats32
) -> dict[str, Any]:
    """How far two sets of maps agree, also without the damping of ours, and which is nearer to the truth."""
    window, box = ball(len(truth)), len(truth)
    pairs = list(zip(ours, theirs, strict=False))
    between = np.min([curve(a, b, window) for a, b in pairs], axis=0)
    without = np.min([curve(a, b, window) for a, b in zip(divided, theirs, strict=False)], axis=0)
    result: dict[str, Any] = {
        "halves": len(pairs),
        "fsc_between": between.round(5).tolist(),
        "least_to_0.9_nyquist": lowest(between, int(0.45 * box)),
        "undamped": {"least_to_0.9_nyquist": lowest(without, int(0.45 * box))},
    }
    for name, w in (("ball", window), ("mask", shape)):
        our_curve = np.mean([curve(a, truth, w) for a, _ in pairs], axis=0)
        undamped_curve = np.mean([curve(a, truth, w) for a in divided[: len(pairs)]], axis=0)
        their_curve = np.mean([curve(b, truth, w) for _, b in pairs], axis=0)
        difference = our_curve - their_curve
        result[name] = {
            "ours_to_truth": our_curve.round(5).tolist(),
            "theirs_to_truth": their_curve.round(5).tolist(),
            "mean": [float(c[1 : box // 2].mean()) for c in (our_curve, undamped_curve, their_curve)],
            "worst": lowest(difference, box // 2 - 1),
            "worst_to_0.95_nyquist": lowest(difference, int(0.475 * box)),
        }
    return result


def postprocess(directory: Path, pixel_size_angstrom: float) -> dict[str, Any]:
    """Resolution and FSC curves of ``relion_postprocess`` on our half maps and mask, next to ours.

    Resolutions are those of several random seeds each: the phases that the correction for the mask draws are a part of
    the result.
    """
    halves, shape = [volume(directory / f"half{h}.mrc") for h in (1, 2)], volume(directory / "mask.mrc")
    (directory / "post").mkdir()
    ours, theirs = [], []
    for seed in range(1, SEEDS + 1):
        command = ["relion_postprocess", "--i", "half1.mrc", "--i2", "half2.mrc", "--mask", "mask.mrc", "--force_mask"]
        options = ["--o", "post/post", "--random_seed", str(seed), "--angpix", str(pixel_size_angstrom)]
        run(*command, *options, cwd=directory)
        text = (directory / "post" / "post.star").read_text()
        theirs.append(float(next(line.split()[1] for line in text.splitlines() if "_rlnFinalResolution" in line)))
        curves = half_map_fsc(halves[0], halves[1], shape, pixel_size_angstrom, seed=seed)
        ours.append(resolution_at(curves.corrected, curves.resolution_angstrom, 0.143))
    table = loop(text, "data_fsc")
    used, differences = slice(1, BOX // 2), {}
    for name, values in (("Unmasked", curves.unmasked), ("Masked", curves.masked)):
        column = np.array(table[f"_rlnFourierShellCorrelation{name}Maps"], dtype=float)
        differences[name.lower()] = float(np.abs(column - values)[used].max())
    length = BOX * pixel_size_angstrom
    return {
        "seeds": SEEDS,
        "ours_angstrom": ours,
        "theirs_angstrom": theirs,
        "ours_shell": [length / value for value in ours],
        "theirs_shell": [length / value for value in theirs],
        "largest_difference": differences,
    }


def loop(text: str, block: str) -> dict[str, list[str]]:
    """The columns of the one loop in a block of a STAR file."""
    lines = iter(text[text.index(block) :].splitlines()[1:])
    labels: list[str] = []
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith("data_"):
            break
        if line.startswith("_"):
            labels.append(line.split()[0])
        elif labels and len(line.split()) == len(labels):
            rows.append(line.split())
    return {label: list(column) for label, column in zip(labels, zip(*rows, strict=True), strict=True)}
