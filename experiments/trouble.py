"""The numbers of a case of trouble: what the user is told, and what the list and the map are worth."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cryocore.backend import Backend
from cryocore.config.run import Config
from cryocore.log.names import MIXTURE
from cryocore.report.summary import findings, read_rounds
from cryocore.report.verdict import recommended_sentence, verdict
from cryocore.tables.io import read_table
from cryocore.tables.particles import Particles
from cryocore.workflow.status import run_status
from experiments.comparisons import Run, best, cryosieve_rule, measured, with_areas
from experiments.evaluate import error_rate_estimate, log_of, read_truth

Values = dict[str, Any]
OF_ROUND = ("round", "n_kept", "kept_share", "correct_rate", "recall", "resolution_angstrom", "fsc_truth_area")
PLACE = re.compile(r"^\S*/\S+(?:, (?:row|column|setting) \S+)*: ")
"""Of the file, at the beginning of a message."""


def stop_message(logs: Path) -> str | None:
    """What a run was refused with, from its logs; None where it is done, or ended by a fault of the program."""
    failed = [job for job in run_status(logs).jobs if job.state == "failed"]
    if len(failed) != 1 or "Traceback" in failed[0].log.read_text(errors="replace"):
        return None
    return PLACE.sub("", failed[0].said)


def told_at_stop(message: str | None) -> Values:
    """What the user of a run that was refused is told; None: it went on, and has no report."""
    return {"stop": message, "verdict": None, "recommended": None, "recommended_round": None, "warnings": []}


def told_by_report(results: Path, config: Config) -> Values:
    """What the user of a finished run is told, as its report says it."""
    found = findings(results, config.n_rounds, config.model_dump(mode="json"))
    return {
        "stop": None,
        "verdict": verdict(found.rounds[0], found.rounds[-1]).replace("\u00a0", " "),
        "recommended": recommended_sentence(found.rounds, found.stop),
        "recommended_round": found.stop.recommended,
        "warnings": found.warnings,
    }


def measure(
    home: Path, config: Config, backend: Backend, message: str | None, progress: Callable[[str], None]
) -> Values:
    """Measure a run that is finished, or was refused with a message after some rounds.

    Parameters
    ----------
    home : the directory that the workflow ran in
    message : of :func:`stop_message`; None: the run is finished
    progress : told what is being done

    Returns
    -------
    plain values: ``n``; ``error_rate``, the planted one; ``told`` (stop, verdict, recommended, recommended_round,
    warnings); ``estimate`` of the last round (value, low, high) or None; ``rounds``, numbers of each; ``aucs``, of the
    mixture and of the best single score in the last; ``areas``, FSC with the true map, mean over shells under the mask,
    of the maps of all particles, the correct ones, those that CryoSieve's rule keeps in the end and, where something
    was selected, the last round's and as many random ones
    """
    results = home / "results" / config.run
    data = Particles.read(results / "particles.parquet")
    correct, _ = read_truth(results / "simulated" / "truth.parquet", data)
    progress("what the report says")
    rounds = read_rounds(results, config.n_rounds)
    told = told_by_report(results, config) if message is None else told_at_stop(message)
    first, last = rounds[0], rounds[-1]
    selected = read_table(log_of(results, last["round"]), ["selected"]).column(0).to_numpy()
    areas = {"all": first["fsc_truth_area"], **({"chosen": last["fsc_truth_area"]} if last["round"] else {})}
    with tempfile.TemporaryDirectory(prefix="cryocore-experiment-") as folder:
        true_map = results / "simulated" / "true_map.mrc"
        run = Run(results, config, true_map, correct, data.column("half"), backend, Path(folder))
        replace(data, root=str((home / data.root).resolve())).write(run.particles)
        progress("maps of other subsets")
        size = {h: int(np.count_nonzero(selected & (run.half == h))) for h in (1, 2)}
        random = best(np.random.default_rng(0).random(len(data)), run.half, size)
        subsets = {"correct": correct, **({"random": random} if last["round"] else {})}
        areas |= {name: area_of(run, kept) for name, kept in subsets.items()}
        rule = cryosieve_rule(run, self_contribution=True, progress=progress)
        areas["cryosieve"] = rule["rounds"][-1]["fsc_truth_area"]
    return {
        "n": len(data),
        "error_rate": round(float(1.0 - correct.mean()), 6),
        "told": told,
        "estimate": error_rate_estimate([last]),
        "rounds": [{name: found[name] for name in OF_ROUND} for found in rounds],
        "aucs": two_aucs(last["aucs"]),
        "areas": areas,
    }


def area_of(run: Run, kept: Any) -> float | None:
    """FSC area of the map of some particles ``(n,)``; None where a half set has too few to make one."""
    if min(np.count_nonzero(kept & (run.half == h)) for h in (1, 2)) < 2:
        return None
    area: float | None = with_areas(measured(run, kept.astype(np.float64)))["fsc_truth_area"]
    return area


def measure_noise(home: Path, config: Config, message: str | None) -> Values:
    """Whether a run on noise was stopped, and with which message."""
    n = len(Particles.read(home / "results" / config.run / "particles.parquet"))
    return {"n": n, "error_rate": 1.0, "told": told_at_stop(message)}


def two_aucs(aucs: dict[str, float | None]) -> Values:
    """AUC of the mixture, and the best of all other scores with its name; None where nothing is incorrect.

    >>> two_aucs({"mixture": 0.97, "zc": 0.98, "z": 0.95, "ncc": None})
    {'mixture': 0.97, 'best': 0.98, 'best_name': 'zc'}
    """
    others = {name: area for name, area in aucs.items() if name != MIXTURE and area is not None}
    name = max(others, key=lambda score: others[score], default=None)
    return {"mixture": aucs.get(MIXTURE), "best": None if name is None else others[name], "best_name": name}


def first_sentence(told: Values) -> str:
    """What the user is told first: the stop's message, or the recommendation; its first sentence.

    >>> first_sentence({"stop": None, "recommended": "Nothing needs to be removed: 0.1 % are wrong. Go on."})
    'Nothing needs to be removed: 0.1 % are wrong.'
    """
    text = told["stop"] or told["recommended"] or ""
    return re.split(r"(?<=\.) +(?=[A-Z])", text)[0]


def kind_of(warning: str) -> str:
    """A warning without what differs from run to run: its first clause without brackets, numbers as N.

    >>> kind_of("Resolution got worse: 7.10 Å in round 0, 8.32 Å in round 3. Keep more particles.")
    'Resolution got worse'
    >>> kind_of("3.1 % of the particles (2.0 to 4.0; all pairs) are odd.")
    'N % of the particles are odd.'
    """
    plain = re.sub(r" \([^()]*\)", "", warning)
    clause = re.split(r"(?<=\.) +(?=[A-Z])|[:;] ", plain)[0]
    return re.sub(r"\d[\d,]*(?:\.\d+)?", "N", clause)


def headline(values: Values) -> str:
    """A case in one line: whether it was stopped, else the estimate beside the truth, and the map beside that of
    all."""
    told, estimate = values["told"], values.get("estimate")
    if told["stop"]:
        return f"stopped ({first_sentence(told)})"
    if estimate is None:
        return "not stopped"
    areas = values["areas"]
    return (
        f"{100 * values['error_rate']:.0f} % incorrect, estimated {100 * estimate['value']:.0f} %; "
        f"FSC area {areas['all']:.3f}, chosen {areas['chosen']:.3f}"
    )
