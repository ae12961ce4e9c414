"""``docs/measurements/seeds.md`` and its figures, from what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.validation.common import ROOT
from cryocore.figures.look import CORRECT, INCORRECT, INK, QUIET, UNKNOWN, save, style
from cryocore.markdown import table
from cryocore.tables.io import atomic_path
from experiments.residual_arrays import measured, sentence
from experiments.seeds import LOSS, MOLECULES, SETS, STORE, Values, names

PAGE = ROOT / "docs" / "measurements" / "seeds.md"
FSC_FIGURE, LOSS_FIGURE = "seeds_fsc.svg", "seeds_loss.svg"
COMPARED = {"2000": CORRECT, "1000": UNKNOWN, "2000-half": INCORRECT}
"""The sets whose curves stand side by side."""
SHOWN = "20000-half"
WHY = """\
The loss `z` of the first pass, of right and of wrong particles; overlap: the area that both share. A loss shows two
peaks where what a right particle scores lies several of its standard deviations above what a wrong one does: with many
symmetry equivalents and much mass, as of the proteasome. A small molecule scores less at the same noise, and the peaks
run into one. Preferred views spread what right and wrong particles score (a side view shows more than a top view), and
bring wrong poses near to right ones: the dip between the peaks is shallow, and the test, which takes the geometry out,
does not call them two kinds. The three differ in symmetry, mass and views at once, so that none is shown by itself.

"""
HEAD = """\
# The first experiments

*For those who know the working notes that this began with, and ask whether their experiments give what they say.*

Written by `python -m experiments table` from `benchmarks/results/seeds`, which `python -m experiments seeds` measures:
the ordinary workflow on simulated images of 96 pixels of 2.2 Å at an SNR of 0.02, with all default scores, one data set
each. Of sets with half of the poses wrong, half of the particles are sorted away after one pass.

"""
RESIDUALS = """\
## A network on residuals alone

`python -m experiments residuals` writes the residuals of the first map as two plain arrays, and gives them to
`cryocore train --correct A.npy --incorrect B.npy` without a run:
"""


def read(store: Path = STORE) -> dict[str, Values]:
    """What was measured, by name."""
    files = ((name, store / f"{name}.json") for name in names())
    return {name: json.loads(file.read_text()) for name, file in files if file.exists()}


def write_page(*, page: Path = PAGE, store: Path = STORE) -> Path | None:
    """Write the page and its figures; None where nothing is measured."""
    found = read(store)
    if not found:
        return None
    save(fsc_figure(found), page.parent / "images" / FSC_FIGURE)
    save(loss_figure(found), page.parent / "images" / LOSS_FIGURE)
    with atomic_path(page) as temporary:
        temporary.write_text(text(found, measured(store)))
    return page


def shortfall(found: dict[str, Values]) -> str:
    """How far what is left after sorting falls short of half as many particles, all right."""
    short = []
    for name, values in found.items():
        molecule, number = name.split("-", 1)
        n, wrong = SETS[number]
        half = found.get(f"{molecule}-{n // 2}")
        if wrong and half is not None and len(values["rounds"]) > 1:
            areas = [of["rounds"][-1]["fsc_truth_area"] for of in (half, values)]
            short.append(areas[0] - areas[1])
    if not short:
        return ""
    least, most = min(short), max(short)
    return (
        f"\nWhat is left agrees with the truth by {least:.3f} to {most:.3f} less than the map of half as many\n"
        "particles, all of them right: a few wrong ones stay, and a few right ones go.\n"
    )


def text(found: dict[str, Values], arrays: Values | None) -> str:
    """The page."""
    rows = []
    for name, values in found.items():
        molecule, number = name.split("-", 1)
        n, wrong = SETS[number]
        what = f"{n:,}, half wrong" if wrong else f"{n:,}"
        first, *after = values["rounds"]
        sorted_away = f"{after[0]['resolution_angstrom']:.2f}" if after else ""
        right = f"{100 * after[0]['correct_rate']:.1f}" if after else ""
        areas = [f"{r['fsc_truth_area']:.3f}" for r in values["rounds"]]
        rows.append([molecule, what, f"{first['resolution_angstrom']:.2f}", sorted_away, right, " -> ".join(areas)])
    head = ["molecule", "particles", "Å", "half sorted away, Å", "right among kept, %", "FSC with the truth, mean"]
    losses = [
        [
            MOLECULES[name.split("-", 1)[0]][0],
            f"{SETS[name.split('-', 1)[1]][0]:,}",
            f"{100 * values['loss']['overlap']:.0f}",
            f"{values['loss']['auc']:.3f}",
            values["loss"]["verdict"],
        ]
        for name, values in found.items()
        if "loss" in values
    ]
    return (
        HEAD
        + table(head, rows)
        + shortfall(found)
        + f"\n![FSC of few and many, right and wrong particles](images/{FSC_FIGURE})\n\n"
        + "## Why one loss has two peaks and another none\n\n"
        + WHY
        + table(["molecule", "particles", "overlap, %", "AUC", "`cryocore loss-distribution` says"], losses)
        + f"\n![Losses of right and wrong particles](images/{LOSS_FIGURE})\n\n"
        + "[Loss distributions](../explanation/loss-distribution.md) says how the verdict is found.\n"
        + of_residuals(arrays)
    )


def of_residuals(found: Values | None) -> str:
    """What a network learns from residuals alone, where it was measured."""
    return "" if found is None else f"\n{RESIDUALS}\n{sentence(found)}\n"


def fsc_figure(found: dict[str, Values]) -> Figure:
    """FSC of many good, few good, and many half wrong particles with and without sorting, a panel a molecule."""
    with style():
        figure = Figure(figsize=(12.0, 3.9), layout="constrained")
        for axes, (molecule, (title, *_)) in zip(figure.subplots(1, 3, sharey=True), MOLECULES.items(), strict=True):
            for number, colour in COMPARED.items():
                values = found.get(f"{molecule}-{number}")
                for r, curve in enumerate(values["rounds"] if values else ()):
                    n, wrong = SETS[number]
                    what = "right" if not wrong else "half sorted away" if r else "half wrong"
                    how = "--" if wrong and not r else "-"
                    frequency = 1.0 / np.array(curve["angstrom"])
                    axes.plot(frequency, curve["fsc"][1:], how, color=colour, label=f"{n:,}, {what}")
            axes.axhline(0.143, color=QUIET, linewidth=0.8, linestyle=":")
            axes.set(xlabel="1/Å", ylim=(-0.1, 1.03))
            axes.set_title(title)
            axes.grid(axis="y")
            axes.legend(fontsize=9)
    return figure


def loss_figure(found: dict[str, Values]) -> Figure:
    """Histograms of right and wrong particles, a panel a molecule."""
    with style():
        figure = Figure(figsize=(12.0, 3.6), layout="constrained")
        for axes, (molecule, (title, *_)) in zip(figure.subplots(1, 3), MOLECULES.items(), strict=True):
            values = next(
                (found[f"{molecule}-{s}"] for s in ("20000-half", "2000-half") if f"{molecule}-{s}" in found), None
            )
            if values is not None:
                loss = values["loss"]
                both = 0.5 * (np.array(loss["correct"]) + np.array(loss["incorrect"]))
                for heights, colour, label in (
                    (loss["correct"], CORRECT, "right"),
                    (loss["incorrect"], INCORRECT, "wrong"),
                ):
                    axes.stairs(
                        0.5 * np.array(heights), loss["edges"], color=colour, fill=True, alpha=0.45, label=label
                    )
                axes.stairs(both, loss["edges"], color=INK, linewidth=1.1, label="all")
                axes.legend(fontsize=9, title=f"overlap {100 * loss['overlap']:.0f} %")
            axes.set(xlabel=f"loss ({LOSS}, higher is better)", yticks=[])
            axes.set_title(title)
    return figure
