"""The figures of a post-processed map."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from cryocore.explore.postprocess.sharpen import Sharpened
from cryocore.figures.look import CORRECT, INCORRECT, INK, QUIET, UNKNOWN, resolution_ticks, style
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import RESOLUTION_FSC

CURVES = {
    "corrected": ("corrected for the mask", INK, "-", 2.2),
    "masked": ("masked", CORRECT, "-", 1.4),
    "unmasked": ("unmasked", UNKNOWN, "-", 1.4),
    "phase_randomised": ("phases randomised, masked", INCORRECT, "--", 1.4),
}
COARSEST_SHOWN_ANGSTROM = 30.0
"""Of the Guinier plot, unless the resolution is little better."""


def fsc_figure(curves: FscCurves, resolution_angstrom: float) -> Figure:
    """All four curves, and the resolution at FSC 0.143."""
    with style():
        figure = Figure(figsize=(6.6, 4.0), layout="constrained")
        axes = figure.subplots()
        frequency = 1.0 / curves.resolution_angstrom[1:]
        for name, (label, colour, line, width) in CURVES.items():
            axes.plot(frequency, getattr(curves, name)[1:], line, color=colour, linewidth=width, label=label)
        axes.axhline(0.0, color=QUIET, linewidth=0.8)
        axes.axhline(RESOLUTION_FSC, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        at = 1.0 / resolution_angstrom
        axes.plot(at, RESOLUTION_FSC, "o", color=INK, markersize=6)
        axes.annotate(
            f"{resolution_angstrom:.2f} Å", (at, RESOLUTION_FSC), (5, 5), textcoords="offset points", fontsize=9
        )
        ticks = resolution_ticks(curves.resolution_angstrom)
        axes.set_xlim(0.0, frequency[-1])
        axes.set_ylim(-0.06, 1.03)
        axes.set_xticks([1.0 / t for t in ticks], [f"{t:g}" for t in ticks])
        axes.set_xlabel("resolution (Å)")
        axes.set_ylabel("FSC")
        axes.set_title("Between the half maps")
        axes.grid(axis="y")
        axes.legend(fontsize=9, loc="upper right")
    return figure


def guinier_figure(done: Sharpened) -> Figure:
    """ln of the mean amplitudes against 1 / d², the fitted line, and the amplitudes after sharpening."""
    plot, fit = done.guinier, done.fit
    with style():
        figure = Figure(figsize=(6.6, 4.0), layout="constrained")
        axes = figure.subplots()
        finest = done.resolution_angstrom**-2.0
        end = 1.05 * finest
        shown = (plot.inverse_d2 >= min(COARSEST_SHOWN_ANGSTROM**-2.0, finest / 9)) & (plot.inverse_d2 <= end)
        lines = {
            "mean of the half maps": (plot.original, UNKNOWN),
            "weighted by the FSC": (plot.weighted, CORRECT),
            f"sharpened, B = {done.bfactor_angstrom2:.0f} Å²": (plot.sharpened, INCORRECT),
        }
        for label, (values, colour) in lines.items():
            drawn = shown & np.isfinite(values) & ((values is plot.original) | (plot.inverse_d2 <= finest))
            axes.plot(
                plot.inverse_d2[drawn], values[drawn], "o-", color=colour, markersize=3, linewidth=1.2, label=label
            )
        if fit is not None:
            along = np.array([fit.from_angstrom, fit.to_angstrom]) ** -2.0
            fitted = fit.intercept + 0.25 * fit.bfactor_angstrom2 * along
            label = f"fit, B = {fit.bfactor_angstrom2:.0f} ± {fit.bfactor_sd_angstrom2:.0f} Å²"
            axes.plot(along, fitted, color=INK, linewidth=2.0, label=label)
        axes.set_xlim(0.0, end)
        axes.set_xlabel("1 / d² (1/Å²)")
        axes.set_ylabel("ln of the mean amplitude")
        axes.set_title(f"Guinier plot, to the resolution of {done.resolution_angstrom:.2f} Å")
        axes.grid(axis="y")
        axes.legend(fontsize=9, loc="upper right")
    return figure
