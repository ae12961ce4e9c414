"""The first group's classifier: 512 residuals of right and 488 of wrong particles, 160 pixels a side, as two plain
arrays that ``cryocore train`` is given without a run.

    python -m experiments residuals [--cores N]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.machine import made_by
from cryocore.config.run import parse_config
from cryocore.tables.io import write_json
from experiments.runs import RUN, run_workflow
from experiments.seeds import STORE

NAME = "residuals"
COUNTS = {"correct": 512, "incorrect": 488}
SIDE, PIXEL_ANGSTROM, PARTICLES = 160, 1.3, 2000
Values = dict[str, Any]


def run(*, cores: int = 1, store: Path = STORE) -> None:
    """Simulate, score the first map, write both arrays and train on them; keep what the network is worth."""
    simulate = {"molecule": "proteasome", "n_particles": PARTICLES, "snr": 0.02, "orientations": "uniform"}
    simulate |= {"box": SIDE, "pixel_size_angstrom": PIXEL_ANGSTROM}
    values = {"run": RUN, "symmetry": "D7", "n_rounds": 1, "backend": "cpu"}
    config = parse_config({**values, "input": {"simulate": simulate, "plant": {"wrong_pose": 0.5}}})
    with tempfile.TemporaryDirectory(prefix="cryocore-residuals-") as name, tqdm(disable=True) as bar:
        home = Path(name)
        run_workflow(home, config, cores, bar, f"results/{RUN}/round_0/metrics.json")
        for which, count in COUNTS.items():
            chosen = ("--round", "0", "--which", which, "--count", str(count), "--format", "npy")
            verb(home, cores, "residuals", f"results/{RUN}", *chosen, "--out", which)
        arrays = (f"--{which}={which}/residual.npy" for which in COUNTS)
        evaluation = json.loads(verb(home, cores, "train", *arrays, "--out", "model", "--json"))["evaluation"]
    made = made_by("python -m experiments residuals")
    about = {**COUNTS, "side": SIDE, "auc": evaluation["auc"], "accuracy": evaluation["accuracy"]}
    write_json(store / f"{NAME}.json", {**made, **about})
    print(sentence(about))


def verb(home: Path, cores: int, *arguments: str) -> str:
    """What a command of cryocore prints."""
    command = [sys.executable, "-m", "cryocore", *arguments, "--backend", "cpu", "--threads", str(cores)]
    return subprocess.run(command, cwd=home, check=True, stdout=subprocess.PIPE, text=True).stdout


def measured(store: Path = STORE) -> Values | None:
    """What was measured."""
    file = store / f"{NAME}.json"
    return json.loads(file.read_text()) if file.exists() else None


def sentence(found: Values) -> str:
    """What the network is worth, in words."""
    area, right = found["auc"], found["accuracy"]
    interval = f"{area['low']:.3f} to {area['high']:.3f}"
    n = found["correct"] + found["incorrect"]
    wrong = round((1.0 - right["value"]) * n)
    return (
        f"{found['correct']} correct and {found['incorrect']} wrong residuals of {found['side']} pixels (20S "
        f"proteasome, SNR 0.02, from round 0 with half of the poses wrong): AUC {area['value']:.3f} ({interval}), "
        f"{wrong} of {n:,} called wrongly."
    )
