"""``docs/measurements/experiments.md`` and its figures, from what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.validation.common import ROOT
from cryocore.figures.look import save
from cryocore.markdown import table
from cryocore.tables.io import atomic_path
from experiments.cases import read_cases
from experiments.evaluate import VARIANTS
from experiments.figures import rounds_figure, subsets_figure, with_cryosieve
from experiments.runs import STORE
from experiments.texts import (
    ADD_TEXT,
    AGREEMENT_TEXT,
    AREAS_TEXT,
    HEAD,
    KINDS_TEXT,
    REPEATS_TEXT,
    SCORES_TEXT,
    SET_TITLES,
)

Values = dict[str, Any]
PAGE = ROOT / "docs" / "measurements" / "experiments.md"
SHOWN = 3
"""How many scores of the highest mean AUC a table has, beside the best of any case and those with a reference value."""
SETS_HERE = frozenset(SET_TITLES)
SUBSETS = {
    "all": "all",
    "cryosieve": "CryoSieve's rule",
    "chosen": "chosen",
}


def write_page(store: Path = STORE, page: Path = PAGE) -> Path:
    """Write the page, and the figures of the named rows to ``images/`` beside it; returns the page's path."""
    cases = [case for case in read_measured(store) if SETS_HERE.intersection(case["sets"])]
    rows = [case for case in cases if "table" in case["sets"]]
    drawn = [case for case in rows if case["oracle"]]
    if drawn:
        for name, figure in (("rounds", rounds_figure(drawn)), ("subsets", subsets_figure(drawn))):
            save(figure, page.parent / "images" / f"experiments_{name}.png", dpi=110)
    with atomic_path(page) as temporary:
        temporary.write_text(page_text(cases, with_figures=bool(drawn)))
    return page


def read_measured(store: Path) -> list[Values]:
    """Everything that was measured, with label, sets and reference as the grid has them now, in the grid's order."""
    grid = {case.name: (number, case) for number, case in enumerate(read_cases())}
    found = []
    for path in sorted(store.glob("*.json")):
        values = json.loads(path.read_text())
        number, case = grid.get(values["name"], (len(grid), None))
        about = {} if case is None else {"label": case.label, "sets": case.sets, "reference": case.reference}
        found.append((number, {**values, **about}))
    return [values for _, values in sorted(found, key=lambda pair: pair[0])]


def page_text(cases: Sequence[Values], *, with_figures: bool) -> str:
    """The whole page."""
    parts = [HEAD]
    for name in SET_TITLES:
        members = [c for c in cases if name in c["sets"] and (name != "grid" or set(c["sets"]) == {"grid"})]
        if name == "repeats" or not members:
            continue
        figures = with_figures and name == "table"
        parts += [f"## {SET_TITLES[name]}\n", SCORES_TEXT if name == "table" else "", scores_table(members)]
        parts += ["![AUC in every round](images/experiments_rounds.png)\n"] if figures else []
        parts += [AREAS_TEXT if name == "table" else "", areas] if (areas := areas_table(members)) else []
        if name == "table" and (agreement := agreement_table(members)):
            parts += [AGREEMENT_TEXT, agreement]
        parts += ["![FSC area of subsets](images/experiments_subsets.png)\n"] if figures else []
        if mixed := [case for case in members if len(_kinds(case)) > 1]:
            parts += [KINDS_TEXT, *(kinds_table(case) for case in mixed)]
    if repeats := [case for case in cases if "repeats" in case["sets"]]:
        parts += [f"## {SET_TITLES['repeats']}\n", coverage(repeats)]
    return "\n".join(part for part in [*parts, ADD_TEXT] if part)


def scores_table(cases: Sequence[Values]) -> str:
    """AUC of the shown scores in the last round; reference values in brackets."""
    names = shown_scores(cases)
    with_truth = any(case["oracle"] for case in cases)

    def row(case: Values) -> list[str]:
        last, rule = case["rounds"][-1]["aucs"], case["cryosieve_rule"]
        found = {name: last.get(name, {}).get("any") for name in names}
        if with_truth:
            found["scored_by_correct"] = case["maps"].get("scored_by_correct", {}).get("auc")
            found["oracle"] = case["oracle"] and case["oracle"]["any"]
            found["cryosieve_rule"] = rule and rule[VARIANTS[0]]["auc"]
        best = max((v for v in (found[name] for name in names) if v is not None), default=None)
        cells = [f"**{_digits(v)}**" if v is not None and v == best else _digits(v) for v in found.values()]
        known = case["reference"]
        return [case["label"], *(c + _bracket(known.get(name)) for name, c in zip(found, cells, strict=True))]

    others = ["`mixture`, map of the correct ones", "true map", "CryoSieve's rule"] if with_truth else []
    return table(["case", *(f"`{name}`" for name in names), *others], map(row, cases))


def shown_scores(cases: Sequence[Values]) -> list[str]:
    """Names of the scores of a table, the one with the highest mean AUC first."""
    ranked = by_mean_auc(cases)
    best = {max(aucs, key=lambda name: aucs[name]["any"]) for case in cases if (aucs := case["rounds"][-1]["aucs"])}
    known = {name for case in cases for name in case["reference"]}
    return [name for name in ranked if name in {*ranked[:SHOWN], *best, *known}]


def by_mean_auc(cases: Sequence[Values]) -> list[str]:
    """All scores, the one with the highest mean AUC in the last round first."""
    found: dict[str, list[float]] = {}
    for case in cases:
        for name, aucs in case["rounds"][-1]["aucs"].items():
            found.setdefault(name, []).append(aucs["any"])
    return sorted(found, key=lambda name: -sum(found[name]) / len(found[name]))


def areas_table(cases: Sequence[Values]) -> str:
    """FSC area of the truly correct particles' map, that of others beside it, and the estimated error rate.

    Nothing where no case has either.
    """
    known = [case for case in cases if case["oracle"] or case["rounds"][-1]["error_rate_estimate"]]

    def row(case: Values) -> list[str]:
        maps = with_cryosieve(case) if case["oracle"] else {}
        correct = maps.get("correct", {})
        lost = [_lost(maps.get(name, {}), correct, "fsc_truth_area") for name in SUBSETS]
        return [case["label"], _digits(correct.get("fsc_truth_area")), *lost, _estimated(case)]

    head = ["case", "correct ones", *SUBSETS.values(), "estimated incorrect"]
    return table(head, map(row, known)) if known else ""


def agreement_table(cases: Sequence[Values]) -> str:
    """How the half maps of several subsets agree beyond the truth, over all cases; nothing where not measured."""
    known = [case["maps"] for case in cases if "across" in case["maps"]]
    titles = {"all": "all", "correct": "correct ones", "chosen": "chosen", "across": "scored across"}
    rows = []
    for name, title in titles.items() if known else ():
        found = [maps[name]["beyond_truth"] for maps in known]
        rows.append([title, *(f"{value:+.3f}" for value in (min(found), sum(found) / len(found), max(found)))])
    return table(["particles", "least", "mean", "most"], rows) if known else ""


def _lost(values: Values, correct: Values, name: str) -> str:
    area, best = values.get(name), correct.get(name)
    return "-" if area is None or best is None else f"{100 * (area / best - 1):+.1f} %"


def _estimated(case: Values) -> str:
    """The share of incorrect particles estimated from the last round, with its interval."""
    found = case["rounds"][-1]["error_rate_estimate"]
    return f"{_digits(found['value'])} ({_digits(found['low'])} to {_digits(found['high'])})" if found else "-"


def kinds_table(case: Values) -> str:
    """AUC of every score against each kind of error."""
    aucs, kinds = case["rounds"][-1]["aucs"], _kinds(case)
    rows = [[f"`{name}`", *(_digits(found.get(kind)) for kind in kinds)] for name, found in aucs.items()]
    if case["oracle"]:
        rows.append(["true map", *(_digits(case["oracle"].get(kind)) for kind in kinds)])
    return f"{case['label']}:\n\n" + table(["score", *(f"`{kind}`" for kind in kinds)], rows)


def coverage(cases: Sequence[Values]) -> str:
    """How often the interval of the error rate holds the planted one, and how steady AUC and correct rate are."""
    columns: dict[str, Callable[[Values], float | None]] = {
        "AUC": lambda case: case["rounds"][-1]["aucs"][case["selected_by"]]["any"],
        "correct rate": lambda case: case["maps"]["chosen"]["correct_rate"],
        "FSC area": lambda case: case["maps"]["chosen"]["fsc_truth_area"],
        "estimated error rate": lambda case: (case["rounds"][-1]["error_rate_estimate"] or {}).get("value"),
    }
    found = {name: [v for v in map(value, cases) if v is not None] for name, value in columns.items()}
    rows = [[name, _digits(min(v)), _digits(sum(v) / len(v)), _digits(max(v))] for name, v in found.items() if v]
    estimates = [(case["error_rate"], case["rounds"][-1]["error_rate_estimate"]) for case in cases]
    held = [e["low"] <= rate <= e["high"] for rate, e in estimates if e and e["low"] is not None]
    text = REPEATS_TEXT.format(n=len(cases), label=cases[0]["label"].split("-seed")[0])
    covered = f"\nThe interval holds the planted rate in {sum(held)} of {len(held)}.\n" if held else ""
    return text + "\n" + table(["", "least", "mean", "most"], rows) + covered


def _kinds(case: Values) -> list[str]:
    found = case["rounds"][-1]["aucs"][case["selected_by"]]
    return [kind for kind in found if kind != "any"]


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _bracket(value: float | None) -> str:
    return "" if value is None else f" ({value:g})"
