"""``docs/measurements/classifier-gain.md``, from what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.validation.common import ROOT
from cryocore.markdown import table
from cryocore.tables.io import atomic_path
from experiments.classifiers import STORE, measured_cases, read_plan

Values = dict[str, Any]
PAGE = ROOT / "docs" / "measurements" / "classifier-gain.md"
SHOWN = ("l2_loss", "zc", "ldac", "local", "dual", "mixture")
"""Scores of the log."""

HEAD = """\
# Gain of classifiers

*For those who ask whether a classifier finds what the scores of the log do not.*

[Classifiers](../how-to/use-a-classifier.md) beside the scores, on data with planted errors whose truth they learn from.
`experiments/classifiers.yaml` declares the cases, `python -m experiments classifiers` runs what is not measured yet,
`python -m experiments table` writes this page; all numbers are in `benchmarks/results/classifiers`. Half sets learn
apart, {folds} folds of micrographs in each. Intervals are a bootstrap over micrographs (95 %).
"""
ACCURACY = """\
Of scores, and of the true map (log-likelihood ratio with it), at the best threshold, chosen with the truth at hand; of
classifiers at probability 0.5.
"""
GAIN = """\
AUC of the best score of the log, and what a classifier has beyond it, the best score drawn anew in every resampling.
"""
KINDS = "AUC of correct particles against those of the kind of error that is hardest to find.\n"
TRANSFER = """\
Models that learned from all particles of "{source}" on other molecules and real images, beside models that learned
there.
"""


def write_page(store: Path = STORE, page: Path = PAGE) -> Path | None:
    """Write the page; returns its path, None where nothing is measured."""
    cases = measured_cases(store)
    if not cases:
        return None
    plan, _ = read_plan()
    parts = [HEAD.format(folds=plan["n_folds"]), "## Accuracy\n", ACCURACY, accuracy_table(cases)]
    parts += ["## Beyond the best score\n", GAIN, gain_table(cases)]
    parts += ["## By kind of error\n", KINDS, kinds_table(cases)]
    moved = [case for case in cases if "transfer" in case]
    if moved:
        parts += ["## On other molecules\n", TRANSFER.format(source=plan["transfer"]["from"]), *transfer_table(moved)]
    with atomic_path(page) as temporary:
        temporary.write_text("\n".join(parts).rstrip() + "\n")
    return page


def accuracy_table(cases: Sequence[Values]) -> str:
    """A row per case: scores, the ceiling, and classifiers."""
    models = [name for name in model_names(cases) if "," not in name]

    def row(case: Values) -> list[str]:
        scores = [f"{case['scores'][name]['accuracy']:.3f}" for name in SHOWN]
        ceiling = f"{case['oracle']['accuracy']:.3f}" if case["oracle"] else "-"
        return [_head(case), *scores, ceiling, *(cell(case, name) for name in models)]

    return table(["case", *(f"`{name}`" for name in SHOWN), "true map", *models], map(row, cases))


def cell(case: Values, name: str) -> str:
    """Accuracy of a classifier."""
    found = case["models"].get(name)
    return f"{found['accuracy']['value']:.3f}" if found else "-"


def model_names(cases: Sequence[Values]) -> list[str]:
    """Those that see all first."""
    names = list(dict.fromkeys(name for case in cases for name in case["models"]))
    return sorted(names, key=lambda name: "," in name)


def gain_table(cases: Sequence[Values]) -> str:
    """AUC of the best score and of the true map, and the gains."""
    names = [name for name in model_names(cases) if "," not in name]
    rows = []
    for case in cases:
        best = max((name for name in case["scores"]), key=lambda name: case["scores"][name]["auc"])
        ceiling = f"{case['oracle']['auc']:.3f}" if case["oracle"] else "-"
        gains = [_gain(case["models"].get(name)) for name in names]
        rows.append([case["label"], f"{best}, {case['scores'][best]['auc']:.3f}", *gains, ceiling])
    return table(["case", "best score", *names, "true map"], rows)


def kinds_table(cases: Sequence[Values]) -> str:
    """Of cases with several kinds of error the one with the lowest AUC."""
    names = [name for name in model_names(cases) if "," not in name]
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
            values = (f"{v['auc']['value']:.3f} ({_range(v['auc'])})" for v in (found, here))
            rows.append([case["label"], name, *values])
    yield table(["case", "model", "AUC, moved", "AUC, learned there"], rows)


def _gain(found: Values | None) -> str:
    return (
        f"{found['gain']['value']:+.3f} ({found['gain']['low']:+.3f} to {found['gain']['high']:+.3f})" if found else "-"
    )


def _range(estimate: Values) -> str:
    return f"{estimate['low']:.3f} to {estimate['high']:.3f}"


def _head(case: Values) -> str:
    return str(case["label"])
