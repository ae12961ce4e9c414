"""``docs/measurements/classifier-gain.md``, from what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.validation.common import ROOT
from cryocore.classify.start import AS_IT_IS, FROM_SCRATCH
from cryocore.markdown import table
from cryocore.tables.io import atomic_path
from experiments.classifiers import STORE, TUNED, measured_cases, read_plan

Values = dict[str, Any]
PAGE = ROOT / "docs" / "measurements" / "classifier-gain.md"
HEAD = """\
# Gain of classifiers

*For those who ask whether a classifier finds what the scores of the log do not.*

[Classifiers](../how-to/use-a-classifier.md) beside the scores, on data with planted errors whose truth they learn from:
half sets apart, {folds} folds of micrographs in each. Intervals are a bootstrap over micrographs (95 %).
`experiments/classifiers.yaml` declares the cases, `python -m experiments classifiers` measures them; all numbers are in
`benchmarks/results/classifiers`.
"""
GAIN = """\
AUC of the best score of the log and of the true map (log-likelihood ratio with it), and what a classifier has beyond
the former, drawn anew in every resampling. Accuracy: of {models} at probability 0.5.
"""
KINDS = "AUC of correct particles against those of the kind of error that is hardest to find.\n"
TRANSFER = """\
AUC of models that learned from all particles of "{source}", moved to other data, beside models that learned there.
"""
FINE = """\
AUC of networks that learned from all particles of "{source}", go on with {few} of another case (a quarter, where that
is less) and are asked of all others of it; beside themselves as they were, and beside one that learns from these alone.
"""


def write_page(store: Path = STORE, page: Path = PAGE) -> Path | None:
    """Write the page; returns its path, None where nothing is measured."""
    cases = measured_cases(store)
    if not cases:
        return None
    plan, _ = read_plan()
    parts = [HEAD.format(folds=plan["n_folds"]), "## Beyond the best score\n"]
    parts += [GAIN.format(models=", ".join(whole_models(cases))), gain_table(cases)]
    parts += ["## By kind of error\n", KINDS, kinds_table(cases)]
    moved = [case for case in cases if "transfer" in case]
    if moved:
        parts += ["## On other molecules\n", TRANSFER.format(source=plan["transfer"]["from"]), *transfer_table(moved)]
    tuned = [case for case in cases if case.get("fine_tuned")]
    if tuned:
        words = FINE.format(source=plan["transfer"]["from"], few=plan["transfer"]["few"])
        parts += ["## Fine-tuned on a few images\n", words, tuned_table(tuned)]
    with atomic_path(page) as temporary:
        temporary.write_text("\n".join(parts).rstrip() + "\n")
    return page


def whole_models(cases: Sequence[Values]) -> list[str]:
    """Names of the classifiers that see everything."""
    return list(dict.fromkeys(name for case in cases for name in case["models"] if "," not in name))


def gain_table(cases: Sequence[Values]) -> str:
    """AUC of the best score and of the true map, the gains, and the accuracies."""
    names = whole_models(cases)
    rows = []
    for case in cases:
        best = max((name for name in case["scores"]), key=lambda name: case["scores"][name]["auc"])
        ceiling = f"{case['oracle']['auc']:.3f}" if case["oracle"] else "-"
        gains = [_gain(case["models"].get(name)) for name in names]
        found = (case["models"].get(name) for name in names)
        accuracies = ", ".join(f"{model['accuracy']['value']:.3f}" if model else "-" for model in found)
        rows.append([case["label"], f"{best}, {case['scores'][best]['auc']:.3f}", ceiling, *gains, accuracies])
    return table(["case", "best score", "true map", *names, "accuracy"], rows)


def kinds_table(cases: Sequence[Values]) -> str:
    """Of cases with several kinds of error the one with the lowest AUC."""
    names = whole_models(cases)
    rows = []
    for case in cases:
        found = {name: case["models"][name]["kinds"] for name in names if name in case["models"]}
        kinds = sorted({kind for of_model in found.values() for kind in of_model})
        if len(kinds) < 2:
            continue
        hardest = min(kinds, key=lambda kind: sum(of_model[kind]["value"] for of_model in found.values()))
        cells = (f"{found[name][hardest]['value']:.3f}" if name in found else "-" for name in names)
        rows.append([case["label"], hardest.replace("_", " "), *cells])
    return table(["case", "kind", *names], rows)


def transfer_table(cases: Sequence[Values]) -> Iterator[str]:
    """AUC and gain where a model was moved, beside the model that learned on the spot."""
    rows = []
    for case in cases:
        for name, found in case["transfer"].items():
            here = case["models"][name]
            moved = f"{found['auc']['value']:.3f} ({_range(found['auc'])})"
            rows.append([case["label"], name, moved, f"{here['auc']['value']:.3f}"])
    yield table(["case", "model", "moved", "learned there"], rows)


def tuned_table(cases: Sequence[Values]) -> str:
    """AUC of a network in three conditions, and what going on has gained."""
    names = [TUNED, AS_IT_IS, FROM_SCRATCH]
    rows = []
    for case in cases:
        for found in case["fine_tuned"].values():
            aucs = (f"{found['auc'][n]['value']:.3f} ({_range(found['auc'][n])})" for n in names)
            rows.append([case["label"], found["few"], *aucs, _gain(found)])
    return table(["case", "images", *names, "gain over the start"], rows)


def _gain(found: Values | None) -> str:
    return (
        f"{found['gain']['value']:+.3f} ({found['gain']['low']:+.3f} to {found['gain']['high']:+.3f})" if found else "-"
    )


def _range(estimate: Values) -> str:
    return f"{estimate['low']:.3f} to {estimate['high']:.3f}"
