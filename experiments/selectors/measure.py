"""Every method on every data set, and what its numbers are worth; resumable, one small file a data set."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from scipy.stats import rankdata

from benchmarks.machine import made_by
from benchmarks.validation.common import ROOT, Skipped
from benchmarks.watched import digest, watched
from cryocore import __version__
from cryocore.config.run import Config
from cryocore.errors import InputError
from cryocore.log.rates import auc
from cryocore.tables.io import write_json
from cryocore.types import Bools, Floats
from cryocore.validate.metrics import truth_map_metrics
from experiments.cases import Case
from experiments.comparisons import Run, best, measured, oracle_score, summary, with_areas
from experiments.runs import SCRIPTS, configuration, locked, shared_files
from experiments.selectors.methods import (
    FOLDER,
    Cost,
    Method,
    Missing,
    call,
    choices_of,
    placed,
    read_methods,
    scores_of,
    setup,
)
from experiments.selectors.sets import WORK, as_run, places, prepare, read_sets

STORE = ROOT / "benchmarks" / "results" / "selectors"
CLEAN_SHARE = 0.7
"""Of the particles that are kept where all are correct."""
ORACLE = "true map"
Values = dict[str, Any]


def run(
    part: Sequence[str] = (),
    *,
    only: Sequence[str] = (),
    cores: int = 1,
    discard: bool = False,
    store: Path = STORE,
) -> None:
    """Measure the data sets whose names begin with one of some words (default: all), by some methods (default: all but
    those that are run by name alone) and what these go on from; what is measured is not run again, unless its settings,
    a method's file or the code has changed.

    Raises
    ------
    InputError  if there is no such method.
    """
    known = {method.name: method for method in read_methods()}
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise InputError(f"no such method: {', '.join(unknown)}", fix=f"There are {', '.join(known)}")
    wanted = [method for method in known.values() if (method.name in only if only else not method.by_name)]
    bases = [known[method.after] for method in wanted if method.after]
    methods = [method for method in known.values() if method in [*wanted, *bases]]
    for method in methods:
        try:
            setup(method)
        except subprocess.CalledProcessError as error:
            print(f"{method.label}: not installed, {error}", flush=True)  # its rows say that it is missing
    for case in read_sets():
        if part and not case.name.startswith(tuple(part)):
            continue
        try:
            config = configuration(case)
        except Skipped as reason:
            print(f"{case.name}: skipped, {reason}", flush=True)
            continue
        home = WORK / case.name
        home.mkdir(parents=True, exist_ok=True)
        with locked(home):
            measure(case, config, home, methods, store / f"{case.name}.json", cores=cores)
        if discard:
            for folder in ("results", "logs", ".snakemake", "methods"):
                rmtree(home / folder, ignore_errors=True)


@cache
def code(*files: str) -> dict[str, str]:
    """Digests of what measures; a method's own file counts for that method alone."""
    found = watched(ROOT, [*SCRIPTS, "experiments/selectors/measure.py", *files])
    return {file: value for file, value in found.items() if (ROOT / file).parent != FOLDER}


def fingerprint(case: Case, method: Method | None = None, methods: Sequence[Method] = ()) -> str:
    """Digest of what decides about the baselines of a data set, or about the numbers of a method: settings and code,
    the method's file, and those of what it goes on from."""
    if method is None:
        return digest([case.config, code()])
    base = next((fingerprint(case, m, methods) for m in methods if m.name == method.after), "")
    return digest([case.config, code(*method.modules), method.digest, base])


def measure(case: Case, config: Config, home: Path, methods: Sequence[Method], file: Path, *, cores: int) -> None:
    """Measure what is not measured yet of one data set, or could not be; the file is written after each method.

    What is stored of other settings or code stays until it is measured again.
    """
    found: Values = json.loads(file.read_text()) if file.exists() else {}
    found = {**found, "name": case.name, "label": case.label, **case.factors, "methods": found.get("methods", {})}
    prints = {method.name: fingerprint(case, method, methods) for method in methods}
    stored = {name: said.get("fingerprint") for name, said in found["methods"].items() if "scores" in said}
    stale = {method.name for method in methods if stored.get(method.name) != prints[method.name]}
    stale |= {method.after for method in methods if method.name in stale}  # what it goes on from is made anew
    left, own = [method for method in methods if method.name in stale], fingerprint(case)
    current = found.get("fingerprint") == own and "baselines" in found
    if not left and current:
        print(f"{case.name}: up to date", flush=True)
        return
    rmtree(home / "results", ignore_errors=True)  # a method would find what it made before, and cost nothing
    prepare(home, config, cores)
    with as_run(home, config, cores) as (run, data):
        size = sizes(run)
        if not current:
            found |= {
                "fingerprint": own,
                "n": len(data),
                "error_rate": round(float(1.0 - run.correct.mean()), 4),
                "n_kept": sum(size.values()),
                "cryocore": __version__,
                **made_by(f"python -m experiments selectors {case.name}", shared_files(case.config)),
            }
            found["baselines"] = baselines(run, size)
            write_json(file, found)
        for method in left:
            said = measured_method(method, run, data.ids, size, home, found["methods"])
            print(f"{case.name}: {method.label}: {headline(said)}", flush=True)
            if "skipped" in said and method.name in stored:
                continue  # numbers of before, which are told to be old, are more than none
            made = made_by(f"python -m experiments selectors {case.name} --method {method.name}")
            about = {"fingerprint": prints[method.name], "digest": method.digest, **made}
            found["methods"] = {**found["methods"], method.name: {**about, **said}}
            write_json(file, found)


def sizes(run: Run) -> dict[int, int]:
    """How many particles of each half set a choice has: the correct ones, or 70 % where all are."""
    share = CLEAN_SHARE if run.correct.all() else 1.0
    return {h: round(share * np.count_nonzero(run.correct & (run.half == h))) for h in (1, 2)}


def baselines(run: Run, size: dict[int, int]) -> Values:
    """All particles, as many random ones, the correct ones, and the best by their likelihood under the true map."""
    truth = oracle_score(run, run.results / "simulated" / "true_map.mrc")
    some = best(np.random.default_rng(0).random(len(run.half)), run.half, size)
    subsets: dict[str, Bools] = {"all": np.ones(len(run.half), dtype=bool), "random": some, "correct": run.correct}
    found = {name: worth(run, kept.astype(np.float64)) for name, kept in subsets.items()}
    return {**found, ORACLE: of_score(run, truth, size)}


def measured_method(method: Method, run: Run, ids: Any, size: dict[int, int], home: Path, others: Values) -> Values:
    """What a method costs and what its numbers are worth; ``skipped`` or ``failed`` says why there are none."""
    out = home / "methods" / method.name
    rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    before = others.get(method.after, {}).get("cost", {"cpu_s": 0.0, "gib": 0.0})
    if method.after and "cost" not in others.get(method.after, {}):
        return {"skipped": f"{method.after} has no result"}
    named = places(home, run.config, out)
    try:
        cost = call(method, named, out.with_suffix(".log"))
        scores = dict(scores_of(method, named, ids))
        weights = choices_of(method, named, ids)
    except Missing as reason:
        return {"skipped": str(reason)}
    except (InputError, RuntimeError, KeyError, ValueError) as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    total = Cost(cost.cpu_s + before["cpu_s"], max(cost.gib, before["gib"]))
    said: Values = {"cost": {"cpu_s": round(total.cpu_s, 1), "gib": round(total.gib, 2)}}
    said["scores"] = {name: of_score(run, values, size) for name, values in scores.items()}
    choices = [worth(run, own) for own in weights]
    if method.maps:
        choices.append(worth_of_maps(run, placed(method.maps, named)))
    if choices:
        said["own"] = max(choices, key=lambda choice: choice["area"])
    return said


def of_score(run: Run, values: Floats, size: dict[int, int]) -> Values:
    """AUC of correct against incorrect ones, and what as many of the best as there are correct ones are worth;
    particles without a value rank last."""
    ranked = rankdata(np.where(np.isnan(values), -np.inf, values))
    area = None if run.correct.all() else auc(ranked, run.correct)
    kept = best(ranked, run.half, size).astype(np.float64)
    scored = int(np.count_nonzero(~np.isnan(values)))
    return {"auc": None if area is None else round(area, 5), "n_scored": scored, **worth(run, kept)}


def worth(run: Run, weights: Floats) -> Values:
    """The map of particles of some weights ``(n,)``: their number and share of correct ones, both by weight, and its
    FSC with the truth, mean over shells."""
    found, total = with_areas(measured(run, weights)), float(weights.sum())
    right = round(float(weights[run.correct].sum()) / total, 6) if total else None
    return {"n": round(total, 1), "right": right, "area": found["fsc_truth_area"]}


def worth_of_maps(run: Run, folder: Path) -> Values:
    """The same of half maps of all particles, each weighted as a program does."""
    found = truth_map_metrics(folder, run.true_map)
    everything = summary(run, np.ones(len(run.half), dtype=bool))
    return {"n": everything["n"], "right": everything["correct_rate"], "area": round(found["fsc_truth_area"], 6)}


def headline(said: Values) -> str:
    """A method in one line.

    >>> headline({"scores": {"z": {"auc": 0.9, "area": 0.5}}, "cost": {"cpu_s": 3.0}})
    'z AUC 0.900, area 0.500; 3 CPU s'
    """
    if "scores" not in said:
        return str(said.get("skipped") or said.get("failed"))
    scores = "; ".join(f"{name} {_told(values)}" for name, values in said["scores"].items())
    return f"{scores}; {said['cost']['cpu_s']:.0f} CPU s"


def _told(values: Values) -> str:
    area = f"area {values['area']:.3f}"
    return area if values["auc"] is None else f"AUC {values['auc']:.3f}, {area}"
