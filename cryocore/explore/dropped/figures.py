"""The figure of what a round leaves out: curves, and slices of the maps."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from cryocore.explore.dropped.measure import LEFT_OUT, SELECTED, Dropped
from cryocore.figures.look import CORRECT, INCORRECT, QUIET, UNKNOWN, style

COLOURS = {LEFT_OUT: INCORRECT, "random": UNKNOWN, SELECTED: CORRECT}


def dropped_figure(found: Dropped) -> Figure:
    """FSC between half maps, and with the selected particles; central slices, filtered by the FSC."""
    frequency = 1.0 / found.shells_angstrom[1:]
    with style():
        figure = Figure(figsize=(10.5, 5.9), layout="constrained")
        above, below = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=[1.0, 0.7]), dtype=object))
        halves, across = above.subplots(1, 2, sharey=True)
        for part in found.parts:
            halves.plot(frequency, part.fsc[1:], color=COLOURS[part.name], label=f"{part.name}, {part.n_particles:,}")
        whole = [np.maximum(part.fsc, 0.0) for part in found.parts if part.name != "random"]
        alike = np.sqrt(np.prod([2 * f / (1 + f) for f in whole], axis=0))
        across.plot(frequency, alike[1:], color=UNKNOWN, linestyle="--", label="if both had the same signal")
        across.plot(frequency, found.across[1:], color=COLOURS[LEFT_OUT], label="as it is")
        for axes in (halves, across):
            axes.axhline(0.0, color=QUIET, linewidth=0.8)
            axes.axhline(0.143, color=QUIET, linewidth=0.8, linestyle=":")
            axes.set(xlabel="1/Å", ylim=(-0.3, 1.03))
            axes.grid(axis="y")
            axes.legend(fontsize=9)
        grid = below.subplots(1, 2 * len(found.parts))
        for i, part in enumerate(found.parts):
            pictures = zip(grid[2 * i : 2 * i + 2], part.slices, ("x, y", "x, z"), strict=True)
            for axes, picture, plane in pictures:
                axes.imshow(picture, cmap="gray", origin="lower", interpolation="bicubic", vmin=-0.5, vmax=1.0)
                axes.set(xticks=[], yticks=[], xlabel=plane)
                axes.spines[:].set_visible(False)
            grid[2 * i].set_title(part.name)
    return figure
