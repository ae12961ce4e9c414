"""The figure of the orientation diagnostics."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from cryocore.explore.orientation.change import ConeChange
from cryocore.explore.orientation.diagnosis import Orientation
from cryocore.figures.look import CORRECT, INCORRECT, INK, QUIET, resolution_ticks, style
from cryocore.figures.views import DENSITY_MAP, FEWEST_IN_CELL, draw_sphere
from cryocore.geometry.sphere import centres
from cryocore.types import Floats

NSIDE_CONES = 16


def orientation_figure(result: Orientation) -> Figure:
    """Views before and after on one scale, the share kept; below, the directional FSC of both rounds."""
    with style():
        figure = Figure(figsize=(11.5, 6.6 if result.cones else 3.1), layout="constrained")
        rows = 2 if result.cones else 1
        grid = figure.add_gridspec(rows, 3, hspace=0.12)
        _views(figure, [figure.add_subplot(grid[0, i], projection="mollweide") for i in range(3)], result)
        if result.cones is not None:
            _curves(figure.add_subplot(grid[1, 0]), result.cones, result.rounds)
            _gains(figure, figure.add_subplot(grid[1, 1], projection="mollweide"), result.cones)
            _resolutions(figure.add_subplot(grid[1, 2]), result.cones, result.rounds)
    return figure


def _views(figure: Figure, panels: list[Any], result: Orientation) -> None:
    maps = result.maps
    density = [c / max(c.mean(), 1e-12) for c in (maps.before, maps.after)]
    shades = Normalize(0.0, max(float(np.quantile(np.concatenate(density), 0.995)), 1.0))
    factors = result.sampling.before.factor, result.sampling.after.factor
    for axes, number, values, factor in zip(panels, result.rounds, density, factors, strict=False):
        draw_sphere(figure, axes, values, maps.nside, DENSITY_MAP, shades, "times the mean density")
        axes.set_title(f"views in round {number}: SCF {factor:.3f}", loc="center")
    kept = np.full(len(maps.before), np.nan)
    np.divide(maps.after, maps.before, out=kept, where=maps.before >= FEWEST_IN_CELL)
    overall = float(np.clip(maps.after.sum() / max(maps.before.sum(), 1.0), 0.01, 0.99))
    norm = TwoSlopeNorm(overall, 0.0, 1.0)
    label = f"share kept ({100 * overall:.0f} % of all)"
    draw_sphere(figure, panels[2], kept, maps.nside, matplotlib.colormaps["PuOr"], norm, label)
    panels[2].set_title("kept of each view", loc="center")


def _curves(axes: Axes, change: ConeChange, rounds: tuple[int, int]) -> None:
    for fsc, number, colour in ((change.before, rounds[0], INCORRECT), (change.after, rounds[1], CORRECT)):
        with np.errstate(divide="ignore"):
            frequency = 1.0 / fsc.resolution_angstrom
        low, high = fsc.curves[:, 1:].min(axis=0), fsc.curves[:, 1:].max(axis=0)
        axes.fill_between(frequency[1:], low, high, color=colour, alpha=0.22, linewidth=0)
        axes.plot(frequency[1:], fsc.overall[1:], color=colour, linewidth=1.8, label=f"round {number}")
    axes.axhline(0.143, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.axhline(0.0, color=QUIET, linewidth=0.8)
    axes.set_ylim(-0.25, 1.03)
    axes.set_xlim(0.0, frequency[-1])
    ticks = resolution_ticks(change.before.resolution_angstrom)
    axes.set_xticks([1.0 / t for t in ticks], [f"{t:g}" for t in ticks])
    axes.set_xlabel("resolution (Å)")
    axes.set_ylabel("FSC")
    axes.set_title("FSC, and its range over cones")
    axes.grid(axis="y")
    axes.legend(fontsize=9)


def _gains(figure: Figure, axes: Any, change: ConeChange) -> None:
    """Change of the mean FSC by direction, beyond what the overall FSC explains."""
    values = _on_sphere(change.before.direction, change.loss)
    most = max(float(np.abs(change.loss).max()), 1e-3)
    norm = TwoSlopeNorm(0.0, -most, most)
    draw_sphere(
        figure, axes, values, NSIDE_CONES, matplotlib.colormaps["PuOr"], norm, "change of mean FSC beyond overall"
    )
    axes.set_title(f"change by direction: p = {change.p_value:.2g}", loc="center")


def _resolutions(axes: Axes, change: ConeChange, rounds: tuple[int, int]) -> None:
    both = [change.before.resolutions, change.after.resolutions]
    edges = np.linspace(1.0 / max(map(np.max, both)), 1.0 / min(map(np.min, both)) * 1.0001, 25)
    for values, number, colour in zip(both, rounds, (INCORRECT, CORRECT), strict=True):
        counts, _ = np.histogram(1.0 / values, edges)
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.3)
        axes.stairs(counts, edges, color=colour, linewidth=1.4, label=f"round {number}")
    step = next((s for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if (1.0 / edges[0] - 1.0 / edges[-1]) / s < 8), 10.0)
    ticks = step * np.arange(np.ceil(1.0 / edges[-1] / step), np.floor(1.0 / edges[0] / step) + 1)
    axes.set_xticks(1.0 / ticks, [f"{t:g}" for t in ticks.round(1)])
    axes.set_xlabel("resolution in a cone (Å)")
    axes.set_ylabel("cones")
    ratios = f"{change.before.area_ratio:.2f} → {change.after.area_ratio:.2f}"
    axes.set_title(f"Area ratio {ratios}")
    axes.legend(fontsize=9)


def _on_sphere(directions: Floats, values: Floats) -> Floats:
    """Values of axes on the bins of a sphere, each from the nearest axis."""
    return np.asarray(values[np.argmax(np.abs(centres(NSIDE_CONES) @ directions.T), axis=1)])
