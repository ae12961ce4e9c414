"""``docs/measurements/weighting.md`` and its figure, from what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.validation.common import ROOT
from cryocore.figures.look import save
from cryocore.markdown import table
from cryocore.tables.io import atomic_path
from experiments.solvers import STORE, measured_cases, read_specs

Values = dict[str, Any]
PAGE = ROOT / "docs" / "measurements" / "weighting.md"
FIGURE = "solvers_area.png"
TRUTH, UNIFORM = "true flags", "uniform weights"
COLOURS = {"proteasome": "#0072b2", "channel": "#d55e00", "small": "#009e73"}
TICKS = (-80, -40, -20, -10, -5, -2, -1, 0, 1)
"""Linear between -2 and 2 per cent, logarithmic beyond, so that a collapse does not hide what is near."""
MARKS = {0.1: "o", 0.3: "s", 0.5: "D"}

HEAD = """\
# Weighting

*For those who ask which way to weigh particles makes the best map: all of them on the same images.*

{n:,} particles at SNR {snr:g}, uniformly wrong poses. `experiments/solvers.yaml` declares the ways
([formulas](../reference/selection-rules.md)); map, losses and weights follow in turn, {rounds} times where there are
weights. `python -m experiments solvers` measures them; all numbers are in `benchmarks/results/solvers`.
"""

RATE = 0.3
"""Share of incorrect particles of the cases in the table."""
TABLE_TEXT = """\
At 30 % incorrect particles. *Area*: mean over all shells of the FSC with the true map, under the mask of the first
round. Of the {molecule}: the share of the weight on correct particles, the effective number (Σ w)² / Σ w² in the poorer
half, and minus the log-likelihood ratio of the *other* half set's correct particles under the map, in nats per
particle, lower is better.
"""


def write_page(store: Path = STORE, page: Path = PAGE) -> Path | None:
    """Write the page and its figure; returns its path, None where nothing is measured."""
    cases = list(measured_cases(store))
    if not cases:
        return None
    save(area_figure(cases), page.parent / "images" / FIGURE, dpi=110)
    with atomic_path(page) as temporary:
        temporary.write_text(page_text(cases))
    return page


def page_text(cases: Sequence[Values]) -> str:
    """The whole page."""
    parts = [
        HEAD.format(n=cases[0]["n"], snr=cases[0]["snr"], rounds=most_rounds(cases)),
        f"![FSC area](images/{FIGURE})\n",
    ]
    if shown := [case for case in cases if case["rate"] == RATE]:
        about = shown[len(shown) // 2]
        head = ["", *(f"area, {case['molecule']}" for case in shown), "correct weight", "effective", "other half"]
        parts += [TABLE_TEXT.format(molecule=about["molecule"]), table(head, solver_rows(shown, about))]
    parts += ["## What is lost\n", *losses(cases)]
    return "\n".join(parts)


def solver_rows(cases: Sequence[Values], about: Values) -> Iterator[list[str]]:
    """A row per solver: its FSC area in every case, and of one case what its weights are worth."""
    for label, found in by_solver(cases):
        areas = [f"{v['fsc_truth_area']:.3f}" if v else "-" for v in found]
        v = about["solvers"].get(label)
        numbers = ["-"] * 3
        if v:
            other = v["cross_validation"]["truth"]
            numbers = [f"{v['correct_weight']:.3f}", f"{v['n_effective']:.0f}", f"{other:.2f}"]
        yield [label, *areas, *numbers]


def most_rounds(cases: Sequence[Values]) -> int:
    """Rounds of the solvers that have weights."""
    return max(len(v["course"]) for case in cases for v in case["solvers"].values()) - 1


def by_solver(cases: Sequence[Values]) -> Iterator[tuple[str, list[Values | None]]]:
    """Each solver with its numbers in every case, in the order in which they were declared."""
    for spec in read_specs()[1]:
        found = [case["solvers"].get(spec.label) for case in cases]
        if any(found):
            yield spec.label, found


def losses(cases: Sequence[Values]) -> Iterator[str]:
    """Per case the best solver, and how much less its map is worth than that of the true flags."""
    head = ["case", "uniform weights", "best solver", "its loss"]
    rows = []
    for case in cases:
        areas = {label: v["fsc_truth_area"] for label, v in case["solvers"].items()}
        truth = areas[TRUTH]
        best = max((label for label in areas if label not in (TRUTH, UNIFORM)), key=lambda label: areas[label])
        name = f"{case['molecule']}, {100 * case['rate']:g} %"
        rows.append([name, _percent(areas[UNIFORM], truth), best, _percent(areas[best], truth)])
    yield "FSC area relative to the map of the true flags.\n"
    yield table(head, rows)


def area_figure(cases: Sequence[Values]) -> Figure:
    """FSC area of every solver relative to the true flags, one mark per case."""
    solvers = [(label, found) for label, found in by_solver(cases) if label != TRUTH]
    figure = Figure(figsize=(8.4, 0.36 * len(solvers) + 1.5), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(solvers))[::-1]
    for i, case in enumerate(cases):
        shown = f"{case['molecule']}, {100 * case['rate']:g} % incorrect"
        colour, mark = COLOURS[case["molecule"]], MARKS[case["rate"]]
        values = [_relative(found[i], case["solvers"][TRUTH]) for _, found in solvers]
        heights = places + 0.07 * (i % 3 - 1)
        axes.plot(values, heights, linestyle="", marker=mark, color=colour, markersize=5.5, alpha=0.85, label=shown)
    axes.axvspan(-1, 0, color="#e8edf2", zorder=0)
    axes.axvline(0, color="#5b6875", linewidth=0.8, zorder=0)
    axes.set_xscale("symlog", linthresh=2.0)
    axes.set_xticks(TICKS, [f"{t:g}" for t in TICKS])
    axes.set_xlim(TICKS[0], TICKS[-1])
    axes.set_yticks(places, [label for label, _ in solvers])
    axes.set_xlabel("FSC area with the true map, difference from that of the true flags in % (grey: within 1 %)")
    axes.grid(axis="x", color="#dde2e7", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    return figure


def _relative(values: Values | None, truth: Values) -> float:
    """Area less that of the true flags, in per cent of it; NaN where it is not known."""
    return np.nan if values is None else 100.0 * (values["fsc_truth_area"] / truth["fsc_truth_area"] - 1.0)


def _percent(value: float, reference: float) -> str:
    return f"{100 * (value / reference - 1):+.1f} %"
