"""The figure of resolution against the number of particles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from cryocore.explore.reslog.measure import Series
from cryocore.figures.look import CORRECT, INCORRECT, UNKNOWN, style


def reslog_figure(found: Sequence[Series]) -> Figure:
    """1 / d² against ln N with the fitted lines; filled points are smooth resolutions, open ones as read off."""
    with style():
        figure = Figure(figsize=(6.6, 4.0), layout="constrained")
        axes = figure.subplots()
        bounds, sets = ([s for s in found if s.bound is wanted] for wanted in (True, False))
        drawn = [*zip(sets, (INCORRECT, CORRECT), "os", strict=False), *((s, UNKNOWN, "x") for s in bounds)]
        for series, colour, marker in drawn:
            n = np.array([p.n_particles for p in series.points])
            smooth = np.array([p.smooth_resolution_angstrom for p in series.points])
            plain = np.array([p.resolution_angstrom for p in series.points])
            label = series.name
            if series.fit is not None and series.fit.bfactor_angstrom2 is not None:
                label += f": B = {series.fit.bfactor_angstrom2:.0f} ± {series.bfactor_sd_angstrom2:.0f} Å²"
                along = np.geomspace(smooth.max(), smooth.min(), 50)
                axes.plot(series.fit.particles_for(along), along**-2.0, color=colour, linewidth=1.4)
            axes.plot(n, plain**-2, marker, color=colour, fillstyle="none", markersize=5, alpha=0.6)
            axes.plot(n, smooth**-2, marker, color=colour, markersize=6, label=label)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(lambda n, _: f"{n:,.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("particles")
        axes.set_ylabel("1 / d² (1/Å²)")
        axes.set_title("Resolution at FSC 0.143 of random subsets")
        low, high = axes.get_ylim()
        right = axes.secondary_yaxis("right")
        steps = np.array([30, 20, 15, 12, 10, 9, 8, 7, 6, 5.5, 5, 4.5, 4, 3.7, 3.4, 3.2, 3, 2.8, 2.6, 2.4, 2.2, 2, 1.8])
        shown = steps[(steps**-2.0 > low) & (steps**-2.0 < high)]
        right.set_yticks(shown**-2.0, [f"{s:g} Å" for s in shown])
        axes.grid(axis="y")
        axes.legend(fontsize=9, loc="upper left")
    return figure
