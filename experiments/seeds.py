"""The first group's own experiments, as they describe them: three molecules, few and many particles, half of them
wrong, and half of those sorted away.

    python -m experiments seeds [NAME ...] [--cores N] [--discard]

What is measured is kept in ``benchmarks/results/seeds``, one file a data set, and not measured again unless settings or
code have changed; ``python -m experiments table`` writes the page and its figures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.machine import made_by
from benchmarks.validation.common import ROOT
from cryocore import __version__
from cryocore.config.run import Config, parse_config
from cryocore.explore.loss import analyse
from cryocore.log.rates import auc
from cryocore.log.rounds import open_round
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import resolution_at
from cryocore.tables.io import write_json
from cryocore.types import Bools, Floats
from experiments.evaluate import log_of
from experiments.runs import RUN, WORK, fingerprint, locked, measures, run_workflow

STORE = ROOT / "benchmarks" / "results" / "seeds"
LOSS, BINS = "z", 60
MOLECULES = {
    "proteasome": ("20S proteasome, D7, even views", "D7", "uniform"),
    "channel": ("channel, C4, preferred views", "C4", "preferred"),
    "small": ("small protein, C1, even views", "C1", "uniform"),
}
SETS = {
    "1000": (1000, 0.0),
    "2000": (2000, 0.0),
    "10000": (10_000, 0.0),
    "2000-half": (2000, 0.5),
    "20000-half": (20_000, 0.5),
}
Values = dict[str, Any]


def configuration(molecule: str, number: str) -> Config:
    """The settings of a data set."""
    n, wrong = SETS[number]
    _, symmetry, views = MOLECULES[molecule]
    simulate = {"molecule": molecule, "n_particles": n, "snr": 0.02, "orientations": views}
    values = {"run": RUN, "symmetry": symmetry, "n_rounds": 1, "select": {"rule": "fraction", "value": [0.5]}}
    return parse_config({**values, "input": {"simulate": simulate, "plant": {"wrong_pose": wrong}}})


def names() -> list[str]:
    """All data sets, the small ones first."""
    return [f"{molecule}-{number}" for number in sorted(SETS, key=lambda s: SETS[s]) for molecule in MOLECULES]


def run(part: Sequence[str] = (), *, cores: int = 1, discard: bool = False, store: Path = STORE) -> None:
    """Measure the data sets whose names begin with one of some words (default: all)."""
    for name in names():
        if part and not name.startswith(tuple(part)):
            continue
        config, home, file = configuration(*name.split("-", 1)), WORK / f"seeds-{name}", store / f"{name}.json"
        home.mkdir(parents=True, exist_ok=True)
        wanted = fingerprint(config, ("seeds",))
        if file.exists() and json.loads(file.read_text())["fingerprint"] == wanted:
            print(f"{name}: up to date", flush=True)
            continue
        with locked(home), tqdm(desc=name, unit="step", disable=None, leave=False) as bar:
            wrong = config.input.plant.total > 0
            run_workflow(home, config, cores, bar, *measures(config)[: 2 if wrong else 1])
            values = measured(home, rounds=2 if wrong else 1)
            made = made_by(f"python -m experiments seeds {name}")
            write_json(file, {"name": name, "fingerprint": wanted, "cryocore": __version__, **made, **values})
            if discard:
                for folder in ("results", "logs", ".snakemake"):
                    rmtree(home / folder, ignore_errors=True)
        said = ", ".join(f"{r['resolution_angstrom']:.2f} Å" for r in values["rounds"])
        print(f"{name}: {said}", flush=True)


def measured(home: Path, rounds: int) -> Values:
    """FSC of each round, and how the loss of the first is distributed."""
    results = home / "results" / RUN
    found = []
    for r in range(rounds):
        curves = FscCurves.read(results / f"round_{r}" / "fsc.parquet")
        metrics = json.loads((results / f"round_{r}" / "metrics.json").read_text())
        resolution = resolution_at(curves.corrected, curves.resolution_angstrom)
        shown = {
            "fsc": curves.corrected.round(4).tolist(),
            "angstrom": curves.resolution_angstrom[1:].round(3).tolist(),
        }
        told = {name: metrics.get(name) for name in ("n_kept", "correct_rate", "fsc_truth_area")}
        found.append({"resolution_angstrom": round(resolution, 3), **told, **shown})
    values: Values = {"rounds": found}
    if rounds > 1:
        log = open_round(log_of(results, 0))
        loss, correct = log.values(LOSS).astype(np.float64), log.flags() == 1
        values["loss"] = histogram(loss, correct)
        values["loss"]["verdict"] = analyse(results, loss=LOSS, round_number=0).distribution.verdict
    return values


def histogram(loss: Floats, correct: Bools) -> Values:
    """Densities of the loss of right and wrong particles, what of them overlaps, and its AUC."""
    low, high = np.quantile(loss, [0.001, 0.999])
    edges = np.linspace(float(low), float(high), BINS + 1)
    right, wrong = (np.histogram(loss[c], edges)[0] / max(np.count_nonzero(c), 1) for c in (correct, ~correct))
    return {
        "edges": edges.round(4).tolist(),
        "correct": right.round(6).tolist(),
        "incorrect": wrong.round(6).tolist(),
        "overlap": round(float(np.minimum(right, wrong).sum()), 4),
        "auc": round(float(auc(loss, correct) or 0.0), 4),
    }
