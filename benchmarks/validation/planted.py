"""Planted errors in images of known structures: does the workflow find them, and does RELION read what it keeps?"""

from __future__ import annotations

import re
import shutil
import time
from contextlib import chdir
from pathlib import Path
from typing import Any

from benchmarks.validation.common import Skipped, ball, curve, lowest, need_data, need_program, run, volume
from benchmarks.validation.undamped import undamped
from benchmarks.validation.workflow import rounds_of, run_workflow
from cryocore.tables.particles import Particles, read_subset

N_ROUNDS = 4
INCORRECT = 0.3
SETS = {
    "20S proteasome (3J9I)": {
        "volume": "t20s_3j9i_D7_b128_a2.00.mrc",
        "symmetry": "D7",
        "box": 128,
        "n_particles": 2000,
        "snr": 0.002,
    },
    "HCN4 channel (6GYN)": {
        "volume": "hcn4_6gyn_C4_b96_a2.00.mrc",
        "symmetry": "C4",
        "box": 96,
        "n_particles": 3000,
        "snr": 0.003,
    },
}


def measure(folder: Path) -> dict[str, Any]:
    """Every set through the workflow, and the last selection of each through RELION."""
    found = {}
    for number, (name, values) in enumerate(SETS.items()):
        source = need_data(f"derived/{values['volume']}")
        began = time.monotonic()
        results = run_workflow(folder / f"run_{number}", **configuration(values, source))
        found[name] = {
            **values,
            "wrong_pose": INCORRECT,
            "seconds": time.monotonic() - began,
            "rounds": rounds_of(results, N_ROUNDS),
            "relion": selection_in_relion(results, str(values["symmetry"])),
        }
    return {"sets": found}


def configuration(values: dict[str, Any], source: Path) -> dict[str, Any]:
    """The settings of a run: the demo's rule and scores on another molecule."""
    simulate = {"volume": str(source), "pixel_size_angstrom": 2.0, "orientations": "preferred"}
    simulate |= {key: values[key] for key in ("box", "n_particles", "snr")}
    return {
        "n_rounds": N_ROUNDS,
        "symmetry": values["symmetry"],
        "backend": "cpu",
        "input": {"simulate": simulate, "plant": {"wrong_pose": INCORRECT}},
    }


def selection_in_relion(results: Path, symmetry: str) -> dict[str, Any]:
    """RELION's maps from ``subset.star`` of the last round, against ours of that round."""
    try:
        need_program("relion_reconstruct")
    except Skipped as reason:
        return {"skipped": str(reason)}
    last = results / f"round_{N_ROUNDS}"
    shutil.copy(last / "subset.star", results / "simulated" / "subset.star")
    text = (last / "subset.star").read_text()
    particles = results / "particles.parquet"
    _, selected = read_subset(last / "subset.parquet", Particles.read(particles))
    with chdir(results.parents[1]):  # which the paths of its images start from
        plain = undamped(particles, symmetry, selected)
    weighted, unweighted = [], []
    for half in (1, 2):
        command = ["relion_reconstruct", "--i", "subset.star", "--o", "relion.mrc", "--ctf", "--skip_gridding"]
        run(*command, "--subset", str(half), "--sym", symmetry, cwd=results / "simulated")
        theirs = volume(results / "simulated" / "relion.mrc")
        window, last_shell = ball(len(theirs)), int(0.45 * len(theirs))
        weighted.append(lowest(curve(volume(last / f"half{half}.mrc"), theirs, window), last_shell))
        unweighted.append(lowest(curve(plain[half - 1], theirs, window), last_shell))
    return {
        "rows": len(re.findall(r"^.*@.*$", text, re.MULTILINE)),
        "extra_columns": re.findall(r"^_(cryocore\w+)", text, re.MULTILINE),
        "least_to_0.9_nyquist": min(weighted, key=lambda item: item["value"]),
        "unweighted": {"least_to_0.9_nyquist": min(unweighted, key=lambda item: item["value"])},
    }
