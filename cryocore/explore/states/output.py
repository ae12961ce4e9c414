"""What is kept of a second state: log odds, the difference map, and its figure."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from cryocore.explore.left_out import STATES_FIGURE, STATES_TABLE
from cryocore.explore.states.measure import SIGNIFICANT, Second, States
from cryocore.figures.look import CORRECT, INCORRECT, QUIET, save, style
from cryocore.maps.mrc import write_map
from cryocore.tables.io import write_table
from cryocore.types import Ids

DIFFERENCE = "states_difference.mrc"
FILES = STATES_TABLE, DIFFERENCE, f"{STATES_FIGURE}.svg"
SHOWN_ODDS = 10.0


def write_states(found: States, ids: Ids, folder: Path) -> list[Path]:
    """Write ``FILES`` of a second state of the particles ``ids`` ``(n,)``; where there is none, those of before go.

    The difference map is at low resolution, on voxels of its own, in standard deviations of its noise.
    """
    files = [folder / name for name in FILES]
    for file in files:
        file.unlink(missing_ok=True)
    if found.second is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    write_table(files[0], found.table(ids), round=found.number)
    write_map(files[1], found.second.difference, found.second.voxel_angstrom)
    figure = states_figure(found.second)
    save(figure, files[2])
    plt.close(figure)
    return files


def states_figure(second: Second) -> Figure:
    """Slices of the map through where the states differ, with the difference over them, and the log odds."""
    with style():
        figure = Figure(figsize=(10.5, 3.0), layout="constrained")
        *slices, odds = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.5])
        middle = len(second.map) // 2
        x, y, z = (0.0, 0.0, 0.0) if second.region is None else second.region.centre_angstrom
        at = [middle + round(c / second.voxel_angstrom) for c in (z, y, x)]
        reach, far = float(np.quantile(np.abs(second.map), 0.998)), float(np.abs(second.difference).max())
        for axes, (axis, plane) in zip(slices, enumerate(("x, y", "x, z", "y, z")), strict=True):
            picture, change = (np.take(v, at[axis], axis=axis) for v in (second.map, second.difference))
            axes.imshow(picture, cmap="gray", origin="lower", interpolation="bicubic", vmin=-0.5 * reach, vmax=reach)
            for level, colour in ((SIGNIFICANT, CORRECT), (-SIGNIFICANT, INCORRECT)):
                signed = np.sign(level) * change
                if signed.max() > SIGNIFICANT:
                    axes.contourf(signed, [SIGNIFICANT, far + 1.0], colors=colour, alpha=0.5)
            axes.set(xticks=[], yticks=[], xlabel=plane)
            axes.spines[:].set_visible(False)
        known = np.clip(second.log_odds[np.isfinite(second.log_odds)], -SHOWN_ODDS, SHOWN_ODDS)
        odds.hist(known, bins=60, color=QUIET)
        odds.axvline(0.0, color=INCORRECT, linewidth=1.0)
        odds.set(xlabel="log odds of the second state", ylabel="particles", yscale="log")
    return figure
