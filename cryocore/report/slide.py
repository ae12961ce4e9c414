"""A finished run on one slide: what was left out, what it did to the map, in figures that fit a screen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import expit

from cryocore.errors import InputError
from cryocore.explore.recommended import recommended_number
from cryocore.figures.look import CORRECT, INCORRECT, INK, QUIET, UNKNOWN, style
from cryocore.log.names import MIXTURE
from cryocore.log.rounds import find_rounds, wanted_round
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import resolution_at
from cryocore.maps.mrc import read_map
from cryocore.report.reasons import KINDS
from cryocore.types import Bools, Floats, Floats32

WIDTH, HEIGHT = 13.333, 7.5
"""Inches, as slides have."""
BINS = 60
WORDS = {**KINDS, "spoilt": "spoilt", "unknown": "cannot be told"}
"""Of kinds of particles, also of those that the scores do not tell."""


@dataclass(frozen=True)
class Slide:
    """What is shown of a run: of all particles, and of those of the recommended round.

    ``slices`` : (z, x) of the map of either, in half of the box
    ``probability`` : of being correct ``(n,)``, NaN where it is not known; ``kept`` ``(n,)``
    ``kinds`` : how many particles are most probably of each kind
    """

    name: str
    number: int
    kept: Bools
    probability: Floats
    kinds: dict[str, int]
    curves: tuple[FscCurves, FscCurves]
    slices: tuple[Floats32, Floats32]

    @property
    def resolutions(self) -> tuple[float, float]:
        """At FSC 0.143, in Å."""
        first, second = (resolution_at(c.corrected, c.resolution_angstrom) for c in self.curves)
        return first, second


def read_slide(run_dir: Path) -> Slide:
    """The slide of ``results/<run>``.

    Raises
    ------
    InputError  if the run is not finished, or its maps are gone.
    """
    number = recommended_number(run_dir)
    log = wanted_round(find_rounds(run_dir), str(number))
    folders = [run_dir / f"round_{r}" for r in (0, number)]
    missing = next((f / n for f in folders for n in ("map.mrc", "fsc.parquet") if not (f / n).exists()), None)
    if missing is not None:
        raise InputError("the file does not exist", file=missing, fix="Run the workflow again")
    first, second = (FscCurves.read(folder / "fsc.parquet") for folder in folders)
    before, after = (_slice(read_map(folder / "map.mrc")[0]) for folder in folders)
    odds = log.column(MIXTURE)
    kept = log.values("selected").astype(bool)
    probability = np.full(len(kept), np.nan) if odds is None else expit(odds.astype(np.float64))
    kinds = log.column("likely_kind")
    of_kind = {} if kinds is None else {str(k): int(n) for k, n in Counter(kinds.astype(str).tolist()).items()}
    return Slide(run_dir.resolve().name, number, kept, probability, of_kind, (first, second), (before, after))


def _slice(volume: Floats32) -> Floats32:
    n = len(volume)
    inner = slice(n // 8, n - n // 8)
    return volume[inner, n // 2, inner].copy()


def draw(slide: Slide) -> Figure:
    """The slide as a figure."""
    n, kept = len(slide.kept), int(slide.kept.sum())
    before, after = slide.resolutions
    with style():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        above, below = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=[1.0, 0.95]), dtype=object))
        figure.suptitle(
            f"{slide.name}: {kept:,} of {n:,} particles kept, {before:.2f} → {after:.2f} Å",
            x=0.015,
            ha="left",
            fontsize=20,
            weight="bold",
        )
        fsc, likely = above.subplots(1, 2)
        for curve, colour, label in zip(
            slide.curves, (UNKNOWN, CORRECT), (f"all, {n:,}", f"kept, {kept:,}"), strict=True
        ):
            fsc.plot(1.0 / curve.resolution_angstrom[1:], curve.corrected[1:], color=colour, linewidth=2.2, label=label)
        fsc.axhline(0.143, color=QUIET, linewidth=1.0, linestyle=":")
        fsc.set(xlabel="1/Å", ylabel="FSC of half maps", ylim=(-0.08, 1.03))
        fsc.legend(fontsize=12)
        fsc.grid(axis="y")
        _draw_probability(likely, slide)
        pictures, kinds = below.subplots(1, 3, width_ratios=[1.0, 1.0, 1.5])[:2], below.axes[2]
        low, high = np.quantile(np.stack(slide.slices), [0.01, 0.998])
        for axes, picture, title in zip(pictures, slide.slices, ("all", "kept"), strict=True):
            axes.imshow(picture, origin="lower", cmap="gray", vmin=low, vmax=high, interpolation="bicubic")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.set_title(title, loc="center")
        _draw_kinds(kinds, slide.kinds)
    return figure


def _draw_probability(axes: Any, slide: Slide) -> None:
    """How probably correct the particles are, kept and left out."""
    edges = np.linspace(0.0, 1.0, BINS + 1)
    for chosen, colour, label in ((slide.kept, CORRECT, "kept"), (~slide.kept, INCORRECT, "left out")):
        values = slide.probability[chosen & np.isfinite(slide.probability)]
        if len(values):
            counts = np.histogram(values, edges)[0]
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.45, label=f"{label}, {chosen.sum():,}")
    axes.set(xlabel="probability of being correct", ylabel="particles", yscale="symlog")
    axes.legend(fontsize=12)


def _draw_kinds(axes: Any, kinds: dict[str, int]) -> None:
    """What particles most probably are, the commonest above."""
    shown = sorted(((count, name) for name, count in kinds.items() if count), key=lambda kind: kind[0])
    counts: NDArray[np.int64] = np.array([count for count, _ in shown], dtype=np.int64)
    colours = [CORRECT if name == "correct" else INCORRECT for _, name in shown]
    bars = axes.barh([WORDS.get(name, name) for _, name in shown], counts, color=colours, alpha=0.75)
    axes.bar_label(bars, [f"{count:,}" for count in counts], padding=4, color=INK, fontsize=11)
    axes.set(xticks=[], xlim=(0, 1.18 * max(counts.max(initial=1), 1)))
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=12)
    axes.set_title("what particles most probably are")
