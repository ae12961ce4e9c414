"""Second states that are planted, found or not: what is seen at which signal, and what is taken for one and is not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import made_by
from benchmarks.validation.common import ROOT
from cryocore.backend import get_backend
from cryocore.config.run import Config, parse_config
from cryocore.explore.gallery import Seen
from cryocore.explore.states import states
from cryocore.ingest.particles import ingest
from cryocore.log.rates import auc
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.simulate.stage import simulate
from cryocore.tables.io import as_numpy, read_table, write_json

Values = dict[str, Any]

STORE = ROOT / "benchmarks" / "results" / "states"
SEEDS = 20
SNR, SHARE = 0.02, 0.1
KINDS = ("missing", "turned")
SNRS = (0.005, 0.01, 0.02, 0.05)
SHARES = (0.05, 0.1, 0.3, 0.5)
MOLECULES: dict[str, Values] = {
    "small": {"symmetry": "C1", "molecule": "small", "pixel_size_angstrom": 2.0, "orientations": "uniform"},
    "channel": {"symmetry": "C4", "molecule": "channel", "pixel_size_angstrom": 3.0, "orientations": "uniform"},
    "proteasome": {"symmetry": "D7", "molecule": "proteasome", "pixel_size_angstrom": 3.6, "orientations": "uniform"},
}
TROUBLE: dict[str, tuple[str, Values, Values]] = {
    "wrong": ("30 % wrong poses", {}, {"wrong_pose": 0.3}),
    "local": ("20 % poses off by 5 to 20°, 10 % wrong shifts", {}, {"local_pose": 0.2, "wrong_shift": 0.1}),
    "junk": ("30 % junk", {}, {"junk": 0.3}),
    "jitter": ("poses inexact by 2°", {"pose_jitter_deg": 2.0}, {}),
    "quality": (
        "B-factors spread by 60 Å², scales by 0.3",
        {
            "micrograph_bfactor_sd_angstrom2": 60.0,
            "particle_bfactor_sd_angstrom2": 60.0,
            "micrograph_scale_spread": 0.3,
        },
        {},
    ),
    "scale": ("images scaled by 0.3", {"scale_spread": 0.3}, {}),
    "defocus": ("20 % of the micrographs with a wrong defocus", {"wrong_defocus": 0.2}, {}),
    "weak": ("30 % weak, 30 % with a neighbour", {"weak": 0.3, "neighbours": 0.3}, {}),
    "beads": ("10 % with a gold bead", {"beads": 0.1}, {}),
    "background": ("coloured noise, gradients", {"noise": "coloured", "background": 0.3}, {}),
    "views": ("preferred views", {"orientations": "preferred"}, {}),
    "one-view": ("95 % in one view", {"orientations": "single"}, {}),
}
"""Label, settings and planted errors of sets without a second state."""


@dataclass(frozen=True)
class Case:
    """A data set, by its settings; ``group`` is the table that it belongs to."""

    name: str
    group: str
    label: str
    seed: int
    molecule: str = "small"
    simulate: Values = field(default_factory=dict)
    plant: Values = field(default_factory=dict)

    @property
    def config(self) -> Config:
        """The configuration of a run of it."""
        made = {**MOLECULES[self.molecule]}
        symmetry = made.pop("symmetry")
        settings = {"n_particles": 2000, "box": 64, "bfactor_angstrom2": 100, "snr": SNR, **made, **self.simulate}
        given = {"run": "states", "symmetry": symmetry, "seed": self.seed, "backend": "cpu"}
        return parse_config({**given, "input": {"simulate": settings, "plant": self.plant}})


def second(kind: str, share: float, snr: float = SNR) -> Values:
    """Settings of a set with a second state."""
    return {"second_state": kind, "second_share": share, "snr": snr}


def cases() -> Iterator[Case]:
    """All of them, those of the main table first."""
    for seed in range(SEEDS):
        yield Case(f"none-{seed}", "seeds", "none", seed)
        for kind in KINDS:
            yield Case(f"{kind}-{seed}", "seeds", kind, seed, simulate=second(kind, SHARE))
    for name, (label, simulated, planted) in TROUBLE.items():
        yield Case(f"trouble-{name}", "trouble", label, 0, simulate=simulated, plant=planted)
    for molecule in ("channel", "proteasome"):
        label = f"{molecule}, {MOLECULES[molecule]['symmetry']}"
        yield Case(f"{molecule}-none", "trouble", f"{label}: nothing wrong", 0, molecule)
        for kind in (*KINDS, "broken"):
            yield Case(f"{molecule}-{kind}", "symmetric", f"{label}: {kind}", 0, molecule, second(kind, SHARE))
    for kind in KINDS:
        for snr in SNRS:
            for share in SHARES:
                name = f"{kind}-snr{snr:g}-share{share:g}"
                yield Case(name, "grid", kind, 100, simulate=second(kind, share, snr))


def measure(case: Case) -> Values:
    """Simulate a set, look for a second state in its first round, and compare with the truth."""
    config, backend = case.config, get_backend("cpu", threads=1)
    with tempfile.TemporaryDirectory() as made:
        run = Path(made)
        particles, maps, log = run / "particles.parquet", run / "round_0", run / "log" / "round=0" / "log.parquet"
        how: dict[str, Any] = {"symmetry": config.symmetry, "backend": backend}
        simulate(config.input.simulate, config.input.plant, seed=case.seed, out_dir=run / "simulated", **how)
        data = ingest(run / "simulated" / "particles.star", root=None, pixel_size_angstrom=None, seed=case.seed)
        data.write(particles)
        reconstruct(particles, None, None, settings=config.reconstruct, out_dir=maps, **how)
        score(particles, maps, None, settings=config.score, round_number=0, seed=case.seed, out=log, **how)
        found = states(Seen.of_run(run, "last", backend), seed=case.seed)
        truth = read_table(run / "simulated" / "truth.parquet")
    told = found.as_dict()
    separation: float | None = None
    if found.second is not None and "state" in truth.column_names:
        odds, state = found.second.log_odds, as_numpy(truth.column("state")) == 1
        known = np.isfinite(odds)
        separation = auc(odds[known], state[known])
    of_case = {"name": case.name, "group": case.group, "label": case.label, "seed": case.seed}
    settings = {name: case.simulate.get(name) for name in ("snr", "second_state", "second_share")}
    return {**of_case, **settings, "auc": separation, "found": told}


def run(part: Sequence[str] = (), *, cores: int = 1, store: Path = STORE) -> None:
    """Measure the cases whose names begin with one of some words (default: all), but those that are measured."""
    wanted = [c for c in cases() if not part or c.name.startswith(tuple(part))]
    left = [case for case in wanted if not (store / f"{case.name}.json").exists()]
    store.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(cores) as pool:
        for values in pool.map(measure, left):
            made = made_by(f"python -m experiments states {values['name']}")
            write_json(store / f"{values['name']}.json", values | made)
            print(f"{values['name']:24} {values['found']['standard_errors']:5.1f}", flush=True)
