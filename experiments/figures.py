"""The two figures of docs/measurements/experiments.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cryocore.figures.look import CORRECT, INCORRECT, INK, QUIET, UNKNOWN, style

SHOWN = {
    "mixture": ("#E69F00", "-"),
    "dual": (CORRECT, "-"),
    "zc": ("#009E73", "-"),
    "z": ("#56B4E9", "-"),
    "local": ("#CC79A7", "-"),
    "cryosieve": (INCORRECT, "--"),
    "l2_loss": (UNKNOWN, ":"),
}
"""Colour (Okabe and Ito 2008) and line of the scores in the figure of rounds; others are in the table."""

LIMITS, TICKS = (0.45, 0.9995), (0.5, 0.7, 0.9, 0.97, 0.99, 0.999)
"""The axis of AUC is logarithmic in the odds, so that 0.99 and 0.999 are as far apart as 0.9 and 0.99."""

SUBSETS = {
    "all": ("all particles", "o", "white", INK),
    "random": ("random, same size", "s", "white", UNKNOWN),
    "cryosieve": ("CryoSieve's rule, its best round", "D", INCORRECT, INCORRECT),
    "chosen": ("chosen by cryocore", "o", CORRECT, CORRECT),
    "oracle": ("best by the true map, same size", "^", "#009E73", "#009E73"),
    "correct": ("truly correct", "|", INK, INK),
}
"""Legend, marker, face and edge colour of each subset."""


def rounds_figure(cases: Sequence[dict[str, Any]]) -> Figure:
    """AUC of the scores in every round, a panel per case, on a scale of log odds; dashed: with the true map."""
    columns = min(4, len(cases))
    rows = -(-len(cases) // columns)
    with style():
        figure = Figure(figsize=(11.5, 0.8 + 2.6 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, case in zip(panels, cases, strict=False):
            _rounds_panel(axes, case)
        for axes in panels[len(cases) :]:
            axes.set_visible(False)
        for i, axes in enumerate(panels[: len(cases)]):
            if i % columns == 0:
                axes.set_ylabel("AUC")
            if i + columns >= len(cases):
                axes.set_xlabel("round")
                axes.tick_params(labelbottom=True)
        found = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=len(found))
    return figure


def _rounds_panel(axes: Axes, case: dict[str, Any]) -> None:
    numbers = [values["round"] for values in case["rounds"]]
    for name, (colour, line) in SHOWN.items():
        aucs = [values["aucs"].get(name, {}).get("any", np.nan) for values in case["rounds"]]
        if np.isfinite(aucs).any():
            aucs = np.clip(aucs, *LIMITS)
            axes.plot(numbers, aucs, color=colour, linestyle=line, linewidth=1.8, label=name)
    if case["oracle"]:
        limit = min(case["oracle"]["any"], LIMITS[1])
        axes.axhline(limit, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="true map")
    axes.set_title(case["label"], fontsize=8.5)
    axes.set_yscale("logit")
    axes.set_ylim(*LIMITS)
    axes.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.minorticks_off()
    axes.grid(axis="y")


def subsets_figure(cases: Sequence[dict[str, Any]]) -> Figure:
    """FSC area, against the truth, of the maps of several subsets: a row per case."""
    with style():
        figure = Figure(figsize=(11.5, 1.5 + 0.42 * len(cases)), layout="constrained")
        axes = figure.subplots()
        for row, case in enumerate(cases):
            maps = with_cryosieve(case)
            areas = {name: maps[name]["fsc_truth_area"] for name in SUBSETS if name in maps}
            axes.plot([min(areas.values()), max(areas.values())], [row, row], color=QUIET, linewidth=0.8, zorder=1)
            for name, area in areas.items():
                label, marker, face, edge = SUBSETS[name]
                size = 220 if marker == "|" else 48
                dot = axes.scatter(area, row, marker=marker, s=size, color=face, linewidth=1.5, zorder=2, label=label)
                dot.set_edgecolor(edge)
        axes.set_yticks(range(len(cases)), [case["label"] for case in cases])
        axes.set_ylim(len(cases) - 0.5, -0.5)
        axes.set_xlabel("FSC of the map against the truth, mean over shells")
        axes.grid(axis="x")
        handles = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    return figure


def with_cryosieve(case: dict[str, Any]) -> dict[str, Any]:
    """The maps of a case, CryoSieve's best round among them."""
    rounds = [values for variant in (case["cryosieve_rule"] or {}).values() for values in variant["rounds"]]
    best = max(rounds, key=lambda values: values["fsc_truth_area"], default=None)
    return {**case["maps"], **({"cryosieve": best} if best else {})}
