"""``docs/measurements/trouble.md``, from what was measured of the cases of trouble."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from benchmarks.validation.common import ROOT
from cryocore.markdown import table
from cryocore.tables.io import atomic_path
from experiments.cases import read_cases
from experiments.page import read_measured
from experiments.runs import STORE
from experiments.trouble import first_sentence, kind_of

Values = dict[str, Any]
PAGE = ROOT / "docs" / "measurements" / "trouble.md"
SUBSETS = {
    "random": "random",
    "cryosieve": "CryoSieve's rule",
    "chosen": "chosen",
    "recommended": "recommended",
    "correct": "correct ones",
}

HEAD = """\
# Trouble

*For those who ask how the default fares on data that give trouble, and what it then says.*

`experiments/trouble.yaml` declares the rows: uneven views of real tables, real background, neighbours, gold beads,
inexact poses, wrong defoci, weak particles, duplicates, a wrong point group, nothing wrong, nearly everything wrong,
and noise. Each is run with several seeds by the ordinary workflow, three selections with all else at its default.

```bash
make experiments PART=trouble                              # all rows, and this page
make experiments PART=noise                                # noise alone with many seeds, ended at the first selection
python -m experiments run 'trouble-beads-*' --cores 1      # one row; several such commands share the work
```

A case that is up to date is not run again. {measured}
"""
SUMMARY = "## Summary\n"
LIST_TEXT = """\
## The list

Means over the seeds, of the last round. *Estimated*: share of incorrect particles; in how many runs its 95 % interval
holds the planted one, and the mean width of the interval. *Recall*: share of the correct particles that is kept. *Best
score*: the single score of the highest AUC, `mixture` left out.
"""
MAP_TEXT = """\
## The map

FSC with the true map under one mask, mean over all shells and seeds: of all particles, and what others gain or lose
against them, ± the standard deviation over the seeds. *Random*: as many as are chosen. *CryoSieve's rule*: a fifth
dropped per round by its score, above a cut-off that climbs from 40 Å to Nyquist, self-contribution left in; after its
last round. *Chosen*: the map of the last round. *Recommended*: that of the round that the report recommends.
"""
ROUNDS_TEXT = """\
## Round by round

What each round adds to the FSC area with the true map of the round before, mean over the seeds; the largest sum first.
"""
TOLD_TEXT = """\
## What the user is told

First the message of a run that is stopped, or the recommendation of its report, of the first seed; then all warnings of
the row's runs, numbers as N. These runs know the truth, and some warnings are of it.
"""


def write_page(store: Path = STORE, page: Path = PAGE) -> Path | None:
    """Write the page; returns its path, None where nothing is measured."""
    cases = [case for case in read_measured(store) if {"trouble", "noise"}.intersection(case["sets"])]
    if not cases:
        return None
    with atomic_path(page) as temporary:
        temporary.write_text(page_text(cases))
    return page


def page_text(cases: Sequence[Values]) -> str:
    """The whole page."""
    rows = by_row([case for case in cases if "noise" not in case["sets"]])
    noise = by_row([case for case in cases if "noise" in case["sets"]])
    parts = [HEAD.format(measured=_measured(cases)), SUMMARY, "".join(f"- {line}\n" for line in summary(rows, noise))]
    if alarms := false_alarms(rows):
        parts.append(alarms)
    if rows:
        parts += [LIST_TEXT, list_table(rows), MAP_TEXT, map_table(rows), rounds_text(rows)]
    return "\n".join([*parts, TOLD_TEXT, *told(rows | noise)])


def by_row(cases: Sequence[Values]) -> dict[str, list[Values]]:
    """The cases of each row, by its label, in the order of the plan."""
    found: dict[str, list[Values]] = {}
    for case in cases:
        found.setdefault(case["label"], []).append(case)
    return found


def _measured(cases: Sequence[Values]) -> str:
    planned = [case for case in read_cases() if {"trouble", "noise"}.intersection(case.sets)]
    return f"Measured here: {len(cases)} of {len(planned)} cases."


def summary(rows: dict[str, list[Values]], noise: dict[str, list[Values]]) -> Iterator[str]:
    """The findings over all rows, a line each."""
    runs = [case for cases in rows.values() for case in cases]
    if estimates := [case for case in runs if has_estimate(case)]:
        missed = [label for label, cases in rows.items() if any(has_estimate(c) and not covers(c) for c in cases)]
        where = f"; not always: {'; '.join(missed)}" if missed else ""
        yield (
            f"The 95 % interval of the share of incorrect particles holds it in {sum(map(covers, estimates))} of "
            f"{len(estimates)} runs; mean width {100 * mean(map(width, estimates)):.1f} %{where}."
        )
    stopped = {label: sum(bool(c["told"]["stop"]) for c in cases) for label, cases in rows.items()}
    if any(stopped.values()):
        named = (f"{label} ({n} of {len(rows[label])})" for label, n in stopped.items() if n)
        yield f"Stopped with a message: {'; '.join(named)}."
    for text, worse in (("worse than that of all particles", True), ("better", False)):
        found = [label for label, cases in rows.items() if differs(cases, worse=worse)]
        yield (
            f"Rows whose chosen map is {text} by more than the standard deviation of the difference: "
            f"{len(found)} of {len(rows)}{': ' if found else ''}{'; '.join(found)}."
        )
    for label, cases in noise.items():
        yield f"{label[0].upper()}{label[1:]}: {sum(bool(c['told']['stop']) for c in cases)} of {len(cases)} stopped."


def has_estimate(case: Values) -> bool:
    """Whether a run says how many particles are incorrect, with an interval."""
    estimate = case.get("estimate")
    return estimate is not None and estimate["low"] is not None and estimate["high"] is not None


def covers(case: Values) -> bool:
    """Whether the interval holds the planted share."""
    return bool(case["estimate"]["low"] <= case["error_rate"] <= case["estimate"]["high"])


def width(case: Values) -> float:
    """Of the interval."""
    return float(case["estimate"]["high"] - case["estimate"]["low"])


def gains(cases: Sequence[Values], subset: str) -> list[float]:
    """FSC area of a subset's map less that of all particles, of the runs that have both."""
    pairs = [(areas.get(subset), areas["all"]) for areas in map(areas_of, cases)]
    return [area - all_ for area, all_ in pairs if area is not None and all_ is not None]


def areas_of(case: Values) -> dict[str, float | None]:
    """FSC area of each subset's map, with that of the recommended round."""
    number = case["told"]["recommended_round"]
    recommended = {} if number is None else {"recommended": case["rounds"][number]["fsc_truth_area"]}
    return case["areas"] | recommended


def differs(cases: Sequence[Values], *, worse: bool) -> bool:
    """Whether the chosen map is worse, or better, than that of all by more than the standard deviation over the seeds.

    One seed has none, and says nothing.
    """
    found = gains(cases, "chosen")
    if len(found) < 2:
        return False
    return (-1 if worse else 1) * mean(found) > stdev(found)


def false_alarms(rows: dict[str, list[Values]]) -> str:
    """How often each warning comes up where nothing is wrong; nothing where no such case is measured."""
    clean = [case for cases in rows.values() for case in cases if "clean" in case["sets"]]
    if not clean:
        return ""
    counts = warned(clean)
    found = {"stopped with a message": sum(bool(case["told"]["stop"]) for case in clean)}
    found["an interval that excludes 0"] = sum(has_estimate(c) and c["estimate"]["low"] > 0 for c in clean)
    lines = [[text, f"{n} of {len(clean)}"] for text, n in (*found.items(), *counts.most_common())]
    return "Where nothing is wrong, this comes up:\n\n" + table(["", "runs"], lines)


def warned(cases: Sequence[Values]) -> Counter[str]:
    """How many runs have a warning of each kind, in the order in which they come up."""
    return Counter(kind for case in cases for kind in dict.fromkeys(map(kind_of, case["told"]["warnings"])))


def list_table(rows: dict[str, list[Values]]) -> str:
    """What is estimated and kept, beside the truth."""

    def row(label: str, cases: Sequence[Values]) -> list[str]:
        known = [case for case in cases if has_estimate(case)]
        held = f"{sum(map(covers, known))} of {len(known)}" if known else "-"
        names = Counter(case["aucs"]["best_name"] for case in cases if case["aucs"]["best_name"])
        best = f" `{names.most_common(1)[0][0]}`" if names else ""
        return [
            label,
            _percent(cases, lambda case: case["error_rate"]),
            _percent(known, lambda case: case["estimate"]["value"]),
            held,
            _percent(known, width),
            *(_percent(cases, _of_list(name)) for name in ("kept_share", "correct_rate", "recall")),
            _number(cases, lambda case: case["aucs"]["mixture"]),
            _number(cases, lambda case: case["aucs"]["best"]) + best,
        ]

    head = [
        "row",
        "incorrect",
        "estimated",
        "held",
        "width",
        "kept",
        "correct",
        "recall",
        "AUC `mixture`",
        "best score",
    ]
    return table(head, (row(label, cases) for label, cases in rows.items()))


def _of_list(name: str) -> Callable[[Values], float | None]:
    """A number of the last round, None where nothing was selected."""
    return lambda case: case["rounds"][-1][name] if len(case["rounds"]) > 1 else None


def map_table(rows: dict[str, list[Values]]) -> str:
    """FSC area of the map of all particles, and what other maps gain or lose."""

    def row(label: str, cases: Sequence[Values]) -> list[str]:
        return [
            label,
            _number(cases, lambda case: case["areas"]["all"]),
            *(_gain(gains(cases, name)) for name in SUBSETS),
        ]

    return table(["row", "all", *SUBSETS.values()], (row(label, cases) for label, cases in rows.items()))


def rounds_text(rows: dict[str, list[Values]]) -> str:
    """What each round adds to the FSC area of the map, of rows that have all rounds; the largest sum first."""
    longest = max(len(case.get("rounds", ())) for cases in rows.values() for case in cases)
    added = {}
    for label, cases in rows.items():
        whole = [case["rounds"] for case in cases if len(case.get("rounds", ())) == longest]
        areas = np.array([[each.get("fsc_truth_area") for each in rounds] for rounds in whole], dtype=np.float64)
        if len(areas) and np.isfinite(areas).all():
            added[label] = np.diff(areas, axis=1).mean(axis=0)
    order = sorted(added, key=lambda label: -float(added[label].sum()))
    lines = ([label, *(f"{step:+.4f}" for step in added[label])] for label in order)
    head = ["row", *(f"round {r}" for r in range(1, longest))]
    return f"{ROUNDS_TEXT}\n{table(head, lines)}" if added and longest > 1 else ""


def told(rows: dict[str, list[Values]]) -> Iterator[str]:
    """What the user is told, row by row."""
    lines = []
    for label, cases in rows.items():
        found = (f"{text.rstrip('.')} ({n} of {len(cases)})" for text, n in warned(cases).most_common())
        lines.append([label, first_sentence(cases[0]["told"]) or "-", "; ".join(found) or "-"])
    yield table(["row", "first", "warnings"], lines)


def _values(cases: Sequence[Values], value: Callable[[Values], float | None]) -> list[float]:
    return [found for found in map(value, cases) if found is not None]


def _percent(cases: Sequence[Values], value: Callable[[Values], float | None]) -> str:
    found = _values(cases, value)
    return f"{100 * mean(found):.1f} %" if found else "-"


def _number(cases: Sequence[Values], value: Callable[[Values], float | None]) -> str:
    found = _values(cases, value)
    return f"{mean(found):.3f}" if found else "-"


def _gain(found: Sequence[float]) -> str:
    if not found:
        return "-"
    return f"{mean(found):+.3f}" + (f" ± {stdev(found):.3f}" if len(found) > 1 else "")
