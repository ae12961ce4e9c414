"""Figures of replays and rankings: values in, matplotlib figures out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.explore.replay.groups import Ranking
from cryocore.explore.replay.outcome import Outcome
from cryocore.figures.look import CORRECT, INCORRECT, INK, QUIET, UNKNOWN, style

BINS = 64
NAMED = 3
"""Bad groups that are named in a panel."""
PLURALS = {"micrograph": "Micrographs", "optics_group": "Optics groups", "defocus": "Ranges of defocus"}


def cut_figure(outcome: Outcome) -> Figure:
    """Histogram of the score by flag, one panel per half set, with the worst score that is kept."""
    known = outcome.score[np.isfinite(outcome.score)]
    if not len(known):
        raise InputError(f"no {outcome.plan.score} is a number", fix="Plot another score")
    low, high = np.quantile(known, [0.002, 0.998])
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    with style():
        figure = Figure(figsize=(10.0, 3.2), layout="constrained")
        for axes, h, worst in zip(figure.subplots(1, 2, sharey=True), (1, 2), outcome.worst_kept, strict=True):
            _half(axes, outcome, outcome.half == h, edges, worst)
            axes.set_title(f"half set {h}")
            axes.set_xlabel(outcome.plan.score)
        figure.axes[0].set_ylabel("particles")
        by_label = dict(zip(*figure.axes[0].get_legend_handles_labels()[::-1], strict=True))
        figure.legend([*by_label.values()], [*by_label], loc="outside upper right", ncols=len(by_label))
        figure.suptitle(f"Round {outcome.plan.selection}: {outcome.plan}", x=0.01, ha="left", fontsize=11.5)
    return figure


def _half(axes: Axes, outcome: Outcome, members: NDArray[np.bool_], edges: NDArray[Any], worst: float) -> None:
    for flag, label, colour in ((1, "correct", CORRECT), (0, "incorrect", INCORRECT), (-1, "not known", UNKNOWN)):
        chosen = members & (outcome.flags == flag) & np.isfinite(outcome.score)
        if not chosen.any():
            continue
        every, kept = (
            np.histogram(np.clip(outcome.score[rows], edges[0], edges[-1]), edges)[0]
            for rows in (chosen, chosen & outcome.kept)
        )
        axes.stairs(kept, edges, fill=True, color=colour, alpha=0.4)
        axes.stairs(every, edges, color=colour, linewidth=1.4, label=f"{label} (filled: kept)")
    if np.isfinite(worst):
        axes.axvline(worst, color=INK, linewidth=1.1, linestyle=(0, (4, 3)), label="worst kept")
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def groups_figure(rankings: dict[str, Ranking], what: str = "incorrect") -> Figure:
    """Share of incorrect particles by group with its interval, a panel per kind; those worse than chance in orange."""
    with style():
        figure = Figure(figsize=(11.5, 3.2), layout="constrained")
        panels = figure.subplots(1, max(len(rankings), 1), squeeze=False)[0]
        for axes, (kind, ranking) in zip(panels, rankings.items(), strict=False):
            _groups(axes, kind, ranking)
            axes.set_ylabel(f"share {what}")
    return figure


def _groups(axes: Axes, kind: str, ranking: Ranking) -> None:
    """Groups by rank, or where they have an order of their own (defocus) by that."""
    order = np.arange(len(ranking))
    if kind == "defocus":
        order = np.argsort([float(name.split()[0]) for name in ranking.name])
    x = np.arange(len(ranking)) + 1
    for worse, colour in ((False, CORRECT), (True, INCORRECT)):
        chosen = ranking.worse[order] == worse
        middle, rows = ranking.shrunk[order][chosen], order[chosen]
        if not chosen.any():
            continue
        error = np.abs(np.stack([middle - ranking.low[rows], ranking.high[rows] - middle]))
        look: dict[str, Any] = {"fmt": "o", "color": colour, "markersize": 3.5, "elinewidth": 1.0}
        axes.errorbar(x[chosen], middle, error, **look)
    axes.axhline(ranking.overall, color=QUIET, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
    axes.set_title(f"{PLURALS[kind]}: {ranking.worse.sum()} of {len(ranking)} worse")
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.margins(x=0.04)
    if kind == "defocus":
        ticks = x[:: max(len(x) // 5, 1)]
        axes.set_xticks(ticks, [f"{float(ranking.name[order[i - 1]].split()[0]) / 1e4:.2f}" for i in ticks])
        axes.set_xlabel("defocus from (µm)")
    elif len(x) <= 6:
        axes.set_xticks(x, [ranking.name[i] for i in order])
    else:
        axes.set_xlabel("rank, worst first")
        for i in range(min(NAMED, int(ranking.worse.sum()))):
            name = Path(ranking.name[i]).stem
            axes.annotate(name, (i + 1, ranking.shrunk[i]), (8, 4 - 9 * i), textcoords="offset points", fontsize=8)
