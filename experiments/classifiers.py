"""Classifiers beside the scores of the log, on data whose truth is known: ``experiments/classifiers.yaml``."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.special import expit
from tqdm import tqdm

from benchmarks.machine import made_by
from benchmarks.validation.common import ROOT, Skipped
from cryocore.backend import get_backend
from cryocore.classify.ensemble import Folds, fit_ensemble
from cryocore.classify.evaluation import compare, evaluate
from cryocore.classify.examples import Examples, Pictures
from cryocore.classify.models import OnPictures, fit_model
from cryocore.classify.results import scores_of
from cryocore.classify.rounds import ScoredRound, open_run
from cryocore.classify.start import AS_IT_IS, FROM_SCRATCH
from cryocore.classify.training_set import TrainingSet, true_training_set
from cryocore.config.classify import Classify
from cryocore.log.rates import auc, rounded
from cryocore.tables.io import read_table, write_json
from cryocore.types import Floats, Rows
from experiments.cases import GRID, Case, from_shared_data, simulated
from experiments.comparisons import Run, oracle_score
from experiments.evaluate import read_truth, true_map_of
from experiments.runs import RUN, WORK, configuration, locked, measures, run_workflow, shared_files

PLAN = GRID.with_name("classifiers.yaml")
STORE = ROOT / "benchmarks" / "results" / "classifiers"
RESIDUAL = ("residual_power", "ring_residual", "residual_")
PROJECTION = ("projection_power", "expected_")
TUNED = "fine-tuned"
ALONE = {"residual powers": RESIDUAL, "residual and projection powers": (*RESIDUAL, *PROJECTION)}
"""What logistic regression sees where it does not see all: names of features begin with these."""


@dataclass(frozen=True)
class Opened:
    """A case's last round, the training particles that its truth makes of all particles, and the scores of the log for
    them.

    ``oracle`` : log-likelihood ratio with the true map, ``(n,)``; None without one
    """

    scored: ScoredRound
    training_set: TrainingSet
    scores: dict[str, Floats]
    oracle: Floats | None


def read_plan(path: Path = PLAN) -> tuple[dict[str, Any], dict[str, Case]]:
    """The plan, and its cases by label."""
    plan, grid = yaml.safe_load(path.read_text()), yaml.safe_load(GRID.read_text())
    cases = {}
    for entry in plan["cases"]:
        settings = {"n_rounds": plan["n_rounds"], **entry.get("settings", {})}
        given = {name: entry[name] for name in ("molecule", "kind", "rate", "snr", "n")}
        variant = f"classifiers{'-' if 'variant' in entry else ''}{entry.get('variant', '')}"
        case = simulated(grid, sets=("classifiers",), settings=settings, variant=variant, **given)
        cases[entry["label"]] = case
    for entry in plan["real"]:
        known = next(e for e in grid["real"] if e["molecule"] == entry["molecule"])
        cases[entry["label"]] = from_shared_data(grid, known, entry["kind"], entry["rate"])
    return plan, cases


def measure(*, cores: int, labels: Sequence[str] = (), store: Path = STORE) -> None:
    """Measure what is not measured yet, case by case; the model that others are scored by is made first."""
    plan, cases = read_plan()
    settings = Classify(**{name: plan[name] for name in ("n_folds", "image_size", "n_epochs")})
    transfer = plan["transfer"]
    wanted = [label for label in cases if not labels or label in labels]
    for label in wanted:
        case = cases[label]
        path = store / f"{case.name.replace('-classifiers', '')}.json"
        if path.exists():
            print(f"{label}: up to date", flush=True)
            continue
        others = [cases[transfer["from"]]] if label in transfer["to"] else []
        try:
            with opened(case, cores, settings) as found:
                alone = next((e.get("alone", False) for e in plan["cases"] if e["label"] == label), False)
                values = case_numbers(found, plan["models"], settings, alone=alone)
                for other in others:
                    with opened(other, cores, settings) as source:
                        values |= transferred(source, found, plan["models"], settings, few=transfer["few"])
        except Skipped as reason:
            print(f"{label}: skipped, {reason}", flush=True)
            continue
        made = made_by(f"python -m experiments classifiers {shlex.quote(label)}", shared_files(case.config))
        about = {"label": label, **case.factors, **made, "images": len(found.training_set.correct)}
        write_json(path, about | values)
        print(f"{label}: done", flush=True)


@contextmanager
def opened(case: Case, cores: int, settings: Classify) -> Iterator[Opened]:
    """A case through the workflow, and its last round; its images are gone at the end."""
    home = WORK / case.name
    home.mkdir(parents=True, exist_ok=True)
    config = configuration(case)
    with locked(home), tempfile.TemporaryDirectory(prefix="cryocore-classifiers-") as folder, chdir(home):
        with tqdm(desc=case.name, disable=None, leave=False) as bar:
            run_workflow(home, config, cores, bar, *measures(config))
        backend = get_backend(config.backend, threads=cores)
        scored = open_run(Path("results") / RUN, "last", backend)
        results = (home / "results" / RUN).resolve()
        made = results / ("simulated" if config.input.star is None else "planted")
        correct, kinds = read_truth(made / "truth.parquet", scored.data)
        everyone = settings.model_copy(update={"n_training": len(correct)})
        training_set = true_training_set(scored, everyone, correct.astype(np.int8), kinds.astype(np.str_))
        oracle, true_map = None, true_map_of(config, made)
        if true_map is not None:
            run = Run(results, config, true_map, correct, scored.data.column("half"), backend, Path(folder))
            replace(scored.data, root=str((home / scored.data.root).resolve())).write(run.particles)
            oracle = oracle_score(run, true_map)
        plain = read_table(scored.scores, ["l2_loss"]).column(0).to_numpy().astype(np.float64)
        scores = {"l2_loss": -plain, **scores_of(training_set, np.arange(len(correct)))}
        yield Opened(scored, training_set, scores, oracle)
    shutil.rmtree(home, ignore_errors=True)


def case_numbers(found: Opened, models: Sequence[str], settings: Classify, *, alone: bool) -> dict[str, Any]:
    """Every model scored by folds, beside the scores and the true map; with ``alone`` also models that see less."""
    training_set, seed = found.training_set, found.scored.seed
    folds = Folds.of(training_set.examples.micrograph, settings.n_folds, seed)
    values: dict[str, Any] = {
        "scores": {name: assessed(v, training_set) for name, v in found.scores.items()},
        "oracle": None if found.oracle is None else assessed(found.oracle, training_set),
        "models": {},
    }
    for kind in models:
        values["models"][kind] = by_folds(kind, training_set, folds, settings, found, seed)
    for name, prefixes in ALONE.items() if alone else ():
        part = replace(training_set, examples=seeing(training_set.examples, prefixes))
        values["models"][f"logistic, {name}"] = by_folds("logistic", part, folds, settings, found, seed)
    if alone:
        image, prediction = np.moveaxis(training_set.examples.pictures.pairs, 1, 0)
        blind = Pictures(np.stack([image - prediction, np.zeros_like(image)], axis=1))
        part = replace(training_set, examples=replace(training_set.examples, pictures=blind))
        values["models"]["cnn, residual alone"] = by_folds("cnn", part, folds, settings, found, seed)
    return values


def by_folds(
    kind: str, training_set: TrainingSet, folds: Folds, settings: Classify, found: Opened, seed: int
) -> dict[str, Any]:
    """What an ensemble says of particles that it has not seen."""
    ensemble = fit_ensemble(kind, training_set, folds, settings, seed=seed)
    return numbers(expit(ensemble.log_odds(training_set.examples)), training_set, found.scores, seed)


def numbers(share: Floats, training_set: TrainingSet, scores: dict[str, Floats], seed: int) -> dict[str, Any]:
    """Accuracy, AUC and so on with intervals, and the difference from the best score of the log."""
    given: dict[str, Any] = {"groups": training_set.examples.micrograph, "seed": seed}
    evaluation = evaluate(share, training_set.correct, kinds=training_set.kinds, **given).as_dict()
    comparison = compare(share, scores, training_set.correct, **given)
    names = ("accuracy", "balanced_accuracy", "auc", "kappa", "calibration_error")
    kinds = {name: value["auc"] for name, value in evaluation["kinds"].items()}
    gain = {"best": comparison.best, **comparison.as_dict()["gain_over_best"]}
    return {**{name: evaluation[name] for name in names}, "kinds": kinds, "gain": gain}


def assessed(score: Floats, training_set: TrainingSet) -> dict[str, float | None]:
    """AUC of a score, and the accuracy of the best threshold, which is chosen with the truth at hand."""
    order = np.argsort(-score, kind="stable")
    correct = training_set.correct[order]
    hits = np.concatenate([[0], np.cumsum(correct)]) + np.concatenate([np.cumsum(~correct[::-1])[::-1], [0]])
    return rounded({"accuracy": float(hits.max() / len(score)), "auc": auc(score, training_set.correct)}, 4)


def seeing(examples: Examples, prefixes: tuple[str, ...]) -> Examples:
    """Examples with the features whose names begin so."""
    at = [i for i, name in enumerate(examples.names) if name.startswith(prefixes)]
    return replace(examples, names=tuple(examples.names[i] for i in at), features=examples.features[:, at])


def transferred(
    source: Opened, target: Opened, models: Sequence[str], settings: Classify, *, few: int
) -> dict[str, Any]:
    """Models of all particles of one case score those of another; a network also learns from a ``few`` of these."""
    training_set, seed = source.training_set, source.scored.seed
    stopping = Folds.of(training_set.examples.micrograph, settings.n_folds, seed)(training_set.examples) == 0
    found, tuned = {}, {}
    for kind in models:
        model = fit_model(
            kind, training_set.examples, training_set.correct, training_set.weight, stopping, settings, seed=seed
        )
        share = expit(model.log_odds(target.training_set.examples))
        found[kind] = numbers(share, target.training_set, target.scores, seed)
        if isinstance(model, OnPictures):
            tuned[kind] = fine_tuned(model, target.training_set, few, settings, target.scored.seed)
    return {"transfer": found, "fine_tuned": tuned}


def fine_tuned(start: OnPictures, training_set: TrainingSet, few: int, settings: Classify, seed: int) -> dict[str, Any]:
    """A network that goes on with a few particles, a quarter at most: AUC on all others, of itself as it was and of one
    from scratch too, with intervals, and the gain over itself as it was."""
    few = min(few, len(training_set.correct) // 4)
    order = np.random.default_rng([seed, few]).permutation(len(training_set.correct))
    seen, rest = (part_of(training_set, rows) for rows in (np.sort(order[:few]), np.sort(order[few:])))
    stopping = Folds.of(seen.examples.micrograph, settings.n_folds, seed)(seen.examples) == 0
    learn = partial(fit_model, "cnn", seen.examples, seen.correct, seen.weight, stopping, seed=seed)
    slow = settings.model_copy(update={"start": "the network that it is given"})  # which sets the learning rate
    models = {
        TUNED: learn(slow, start=start.network),
        AS_IT_IS: start,
        FROM_SCRATCH: learn(settings),
    }
    given: dict[str, Any] = {"groups": rest.examples.micrograph, "seed": seed}
    odds = {name: model.log_odds(rest.examples) for name, model in models.items()}
    aucs = {
        name: evaluate(expit(values), rest.correct, kinds=rest.kinds, **given).as_dict()["auc"]
        for name, values in odds.items()
    }
    comparison = compare(expit(odds[TUNED]), {AS_IT_IS: odds[AS_IT_IS]}, rest.correct, **given)
    return {"few": few, "auc": aucs, "gain": comparison.as_dict()["gain_over_best"]}


def part_of(training_set: TrainingSet, rows: Rows) -> TrainingSet:
    """Some of the examples."""
    arrays: dict[str, Any] = {name: getattr(training_set, name)[rows] for name in ("correct", "weight", "kinds")}
    return TrainingSet(training_set.examples.take(rows), **arrays)


def measured_cases(store: Path = STORE) -> list[dict[str, Any]]:
    """What was measured, in the order of the plan."""
    _, cases = read_plan()
    paths = [store / f"{case.name.replace('-classifiers', '')}.json" for case in cases.values()]
    return [json.loads(path.read_text()) for path in paths if path.exists()]
