"""Figures of an evaluation: results in, matplotlib figures out."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binomtest

from cryocore.classify.evaluation import Comparison, Evaluation
from cryocore.figures.look import CORRECT, INCORRECT, INK, QUIET, style
from cryocore.figures.views import DENSITY_MAP
from cryocore.log.names import PROBABILITY


def evaluation_figures(evaluation: Evaluation, comparison: Comparison | None = None) -> dict[str, Figure]:
    """All figures by name."""
    figures = {"confusion": confusion_figure(evaluation), "reliability": reliability_figure(evaluation)}
    return figures if comparison is None else figures | {"comparison": comparison_figure(comparison)}


def confusion_figure(evaluation: Evaluation) -> Figure:
    """Counts of particles by truth and call; the shade is the share of the true class."""
    table = np.array(evaluation.confusion)
    shares = table / table.sum(axis=1, keepdims=True)
    with style():
        figure = Figure(figsize=(4.2, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap=DENSITY_MAP, vmin=0.0, vmax=1.0)
        for (row, column), n in np.ndenumerate(table):
            share = shares[row, column]
            text = f"{n:,}\n{share:.1%}"
            axes.text(column, row, text, ha="center", va="center", fontsize=13, color="white" if share > 0.45 else INK)
        axes.set_xticks([0, 1], ["incorrect", "correct"])
        axes.set_yticks([0, 1], ["incorrect", "correct"], rotation=90, va="center")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("called")
        axes.set_ylabel("true")
        axes.set_title(f"Accuracy {evaluation.accuracy.value:.1%}, κ {evaluation.kappa.value:.2f}")
    return figure


def reliability_figure(evaluation: Evaluation) -> Figure:
    """The share of correct particles over the probability, with 95 % intervals (Wilson), and how many have it."""
    full = [b for b in evaluation.reliability if b.n]
    with style():
        figure = Figure(figsize=(4.8, 4.8), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        above.plot([0, 1], [0, 1], color=QUIET, linewidth=1.1, linestyle=(0, (4, 3)))
        x, y = [b.probability for b in full], np.array([b.share for b in full])
        intervals = [
            binomtest(round(b.n * b.share), b.n).proportion_ci(method="wilson") for b in full if b.share is not None
        ]
        reach = [np.clip(y - [i.low for i in intervals], 0, 1), np.clip([i.high for i in intervals] - y, 0, 1)]
        above.errorbar(x, y, reach, color=CORRECT, marker="o", markersize=6, capsize=3, linewidth=1.5)
        above.set_ylabel("share of correct particles")
        error, chance = evaluation.calibration_error.value, evaluation.calibration_by_chance
        above.set_title(f"Calibration off by {error:.3f} ({chance:.3f} by chance)")
        above.set_ylim(-0.03, 1.03)
        above.grid()
        _counts(below, evaluation)
        below.set_xlabel("probability of being correct")
    return figure


def _counts(axes: Axes, evaluation: Evaluation) -> None:
    bins = evaluation.reliability
    middle, width = [(b.low + b.high) / 2 for b in bins], bins[0].high - bins[0].low
    correct = np.array([b.n * (b.share or 0.0) for b in bins])
    incorrect = np.array([b.n for b in bins]) - correct
    options: dict[str, Any] = {"width": 0.92 * width, "linewidth": 0}
    axes.bar(middle, incorrect, color=INCORRECT, label="incorrect", **options)
    axes.bar(middle, correct, bottom=incorrect, color=CORRECT, label="correct", **options)
    axes.set_ylabel("particles")
    axes.set_xlim(-0.03, 1.03)
    axes.legend(fontsize=9, loc="upper center", ncols=2)


def comparison_figure(comparison: Comparison) -> Figure:
    """AUC of the classifier and of every score, with intervals, the best below it."""
    scores = sorted(comparison.gain, key=lambda name: comparison.auc[name].value)
    names = [*scores, PROBABILITY]
    with style():
        figure = Figure(figsize=(6.4, 1.3 + 0.36 * len(names)), layout="constrained")
        axes = figure.subplots()
        for place, name in enumerate(names):
            auc = comparison.auc[name]
            reach = [[max(auc.value - auc.low, 0.0)], [max(auc.high - auc.value, 0.0)]]
            colour = CORRECT if name == PROBABILITY else INK
            axes.errorbar(
                auc.value, place, xerr=reach, color=colour, marker="o", markersize=6.5, capsize=3, linewidth=1.7
            )
        axes.axvline(0.5, color=QUIET, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(names)), ["classifier" if n == PROBABILITY else n for n in names])
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xlabel("AUC, correct against incorrect particles")
        gain = comparison.gain_over_best
        axes.set_title(f"AUC {gain.value:+.3f} over the best score ({gain.low:+.3f} to {gain.high:+.3f})")
        axes.grid(axis="x")
    return figure
