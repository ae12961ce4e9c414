"""Figures of the analysis: results in, matplotlib figures out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from cryocore.errors import InputError
from cryocore.explore.loss.answer import Analysis
from cryocore.explore.loss.columns import LossColumns
from cryocore.explore.loss.dependence import TESTS, clipped
from cryocore.explore.loss.direction import LEVEL, Direction
from cryocore.explore.loss.distribution import Distribution
from cryocore.explore.loss.peaks import histogram, smooth_density
from cryocore.figures.look import CLASSES, CORRECT, INCORRECT, INK, QUIET, UNKNOWN, save_both, style
from cryocore.geometry.sphere import bin_counts, nside_for, sphere_image
from cryocore.geometry.symmetry import point_group
from cryocore.hashing import hashed_order
from cryocore.log.names import lower_is_better
from cryocore.types import Floats

BINS, MOST_POINTS, RIDGES = 64, 20_000, 7
NAMES = {
    "mean": "mean, smooth in the view",
    "narrow": "mean, narrow views too",
    "in_plane": "mean, in-plane rotation",
    "shape": "spread and shape",
}
EQUAL_AREA = "mollweide"


@dataclass(frozen=True)
class BlindTest:
    """The same particles coloured by their loss in one panel and by shuffled losses in the others.

    ``answer`` : the panel (from 1) with the true losses; ``chance`` : of finding it by guessing
    """

    figure: Figure
    answer: int
    chance: float


def distribution_figure(columns: LossColumns, result: Distribution) -> Figure:
    """The loss by flag with its normal components; the loss at one geometry; what one kind would show; the variance."""
    with style():
        figure = Figure(figsize=(12.5, 6.4), layout="constrained")
        grid = figure.subplots(2, 2)
        _by_flag(grid[0, 0], columns, result)
        if result.geometry is not None:
            g = result.geometry
            better = f"{'-' if columns.name.endswith('_loss') else ''}{columns.name}, higher is better"
            label = "0: worse kind, 1: better kind" if g.are_two_kinds is not False else better
            _sample(grid[0, 1], g.same_geometry, "Geometry taken out", label, g.kinds.places)
            _sample(grid[1, 0], g.same_kind, "Geometry alone: all of one kind", better, g.views.places)
        else:
            grid[0, 1].set_visible(False)
            grid[1, 0].set_visible(False)
        _variance(grid[1, 1], result)
        figure.suptitle(result.verdict.capitalize(), x=0.01, ha="left", fontsize=13, fontweight="bold")
    return figure


def _by_flag(axes: Axes, columns: LossColumns, result: Distribution) -> None:
    sign = -1.0 if lower_is_better(columns.name) else 1.0
    low, high = np.quantile(columns.loss, [0.001, 0.999])
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    flags = np.full(len(columns), -1) if columns.flags is None else columns.flags
    for flag, label, colour in CLASSES:
        values = columns.loss[flags == flag]
        if len(values):
            counts = np.histogram(np.clip(values, low, high), edges)[0]
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(counts, edges, color=colour, linewidth=1.4, label=label)
    x = np.linspace(low, high, 400)
    parts = result.peaks.best.density(sign * x) * len(columns) * (edges[1] - edges[0])
    for part in parts:
        axes.plot(x, part, color=QUIET, linewidth=1.0)
    axes.plot(
        x, parts.sum(axis=0), color=INK, linewidth=1.4, linestyle=(0, (4, 2)), label=f"{len(parts)} normal, by BIC"
    )
    axes.set_title("The loss")
    axes.set_xlabel(columns.name)
    axes.set_ylabel("particles")
    axes.legend(fontsize=9)


def _sample(axes: Axes, values: Floats, title: str, label: str, places: tuple[float, ...]) -> None:
    low, high = np.quantile(values, [0.001, 0.999])
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    axes.stairs(np.histogram(values, edges)[0], edges, fill=True, color=UNKNOWN, alpha=0.4)
    fine, counts = histogram(values)
    scale = len(values) * (edges[1] - edges[0])
    middle = 0.5 * (fine[1:] + fine[:-1])
    shown = (middle >= low) & (middle <= high)
    axes.plot(middle[shown], smooth_density(fine, counts)[shown] * scale, color=INK, linewidth=1.4)
    if len(places) > 1:
        for place in places:
            axes.axvline(place, color=INCORRECT, linewidth=1.1, linestyle=(0, (4, 3)))
    axes.set_title(title)
    axes.set_xlabel(label)
    axes.set_ylabel("particles")


def _variance(axes: Axes, result: Distribution) -> None:
    shares = {**result.variance.share, "the rest": result.variance.rest}
    y = np.arange(len(shares))[::-1]
    colours = [CORRECT] * (len(shares) - 1) + [UNKNOWN]
    values = np.clip([*shares.values()], 0, 1)
    axes.barh(y, values, color=colours, height=0.55)
    alone = [result.variance.alone.get(name) for name in shares]
    for at, value, single in zip(y, values, alone, strict=True):
        text = f"{100 * value:.1f} %" + (f"  (alone {100 * max(single, 0):.1f} %)" if single is not None else "")
        axes.annotate(text, (value, at), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(y, [*shares])
    axes.set_xlim(0, min(max(float(values.max()) * 1.3, 0.1), 1.15))
    axes.set_title("Share of the variance (adjusted R²)")
    axes.tick_params(axis="y", length=0)


def ridge_figure(columns: LossColumns) -> Figure:
    """The loss by flag within ranges of projection energy, or of the view's tilt where that is not known."""
    if columns.expected is None and columns.views is None:
        raise InputError("the log has neither views nor expected scores", fix="Plot the distribution instead")
    along = columns.expected if columns.expected is not None else np.abs(np.asarray(columns.views)[:, 2])
    name = "√E" if columns.expected is not None else "abs(z) of the view"
    low, high = np.quantile(columns.loss, [0.002, 0.998])
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    borders = np.quantile(along, np.linspace(0, 1, RIDGES + 1))
    place = np.clip(np.searchsorted(borders, along, side="right") - 1, 0, RIDGES - 1)
    flags = np.full(len(columns), -1) if columns.flags is None else columns.flags
    with style():
        figure = Figure(figsize=(7.0, 6.4), layout="constrained")
        axes = figure.subplots()
        for i in range(RIDGES):
            inside = place == i
            total = np.histogram(columns.loss[inside], edges)[0]
            scale = 0.9 / max(total.max(), 1)
            for flag, label, colour in CLASSES:
                chosen = inside & (flags == flag)
                if chosen.any():
                    counts = np.histogram(columns.loss[chosen], edges)[0]
                    axes.stairs(i + counts * scale, edges, baseline=i, fill=True, color=colour, alpha=0.4)
                    axes.stairs(i + counts * scale, edges, baseline=i, color=colour, linewidth=1.2, label=label)
        axes.set_yticks(np.arange(RIDGES), [f"{a:.3g} to {b:.3g}" for a, b in pairwise(borders)])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylabel(f"range of {name}")
        axes.set_xlabel(columns.name)
        axes.set_title("The loss within narrow ranges of projection energy" if name == "√E" else "The loss by view")
        by_label = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
        figure.legend([*by_label.values()], [*by_label], loc="outside lower right", ncols=len(by_label))
    return figure


def direction_figure(columns: LossColumns, result: Direction) -> Figure:
    """Mean loss by view, and every test's effect with its interval, filled where found."""
    if columns.views is None:
        raise InputError("the log has no poses", column="quat_w", fix="Give a log with quaternions")
    with style():
        figure = Figure(figsize=(12.5, 4.0), layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=[1.0, 1.15], squeeze=False)[0]
        _mean_map(left, columns)
        axes = right.subplots()
        colours = (CORRECT, INCORRECT, UNKNOWN)
        for i, answer in enumerate(result.questions):
            shift = 0.22 * (i - 0.5 * (len(result.questions) - 1))
            label = "as it is" if answer.given == "nothing" else f"given {answer.given}"
            for j, name in enumerate(TESTS):
                effect, y = answer.effect[name], len(TESTS) - 1 - j - shift
                share = max(effect.share, 0.0)
                error = [[max(share - effect.low, 0.0)], [max(effect.high - share, 0.0)]]
                full = answer.p_adjusted[name] <= LEVEL
                look: dict[str, Any] = {"color": colours[i % 3], "fmt": "o", "mfc": colours[i % 3] if full else "white"}
                axes.errorbar(share, y, xerr=error, capsize=2, markersize=6, label=label if j == 0 else None, **look)
                text = f"p = {answer.p_adjusted[name]:.3f}"
                axes.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
        axes.axvline(0.0, color=QUIET, linewidth=0.8)
        axes.set_yticks(np.arange(len(TESTS))[::-1], [NAMES[name] for name in TESTS])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("share of the variance explained (adjusted R²), 95 % interval")
        axes.set_title("Does it depend on the pose?")
        axes.annotate("adjusted p", (1.01, 1.0), xycoords="axes fraction", va="bottom", fontsize=8.5)
        axes.grid(axis="x")
        right.legend(fontsize=9, loc="outside lower right", ncols=len(result.questions), title="filled: p at most 5 %")
    return figure


def _mean_map(figure: Any, columns: LossColumns) -> None:
    views, group = np.asarray(columns.views), point_group(columns.symmetry)
    side = nside_for(len(views) * len(group))
    loss = clipped(columns.loss)
    counts = bin_counts(views, side, group)
    mean = bin_counts(views, side, group, loss) / np.maximum(counts, 1)
    mean[counts < 5] = np.nan
    axes = figure.subplots(subplot_kw={"projection": EQUAL_AREA})
    longitude, latitude, picture = sphere_image(mean, side)
    middle = float(np.mean(loss))
    reach = max(float(np.nanmax(np.abs(mean - middle))) if np.isfinite(mean).any() else 1.0, 1e-9)
    norm = TwoSlopeNorm(middle, middle - reach, middle + reach)
    mesh = axes.pcolormesh(longitude, latitude, picture, cmap="PuOr", norm=norm, rasterized=True)
    _bare(axes)
    axes.set_title(f"mean {columns.name} by view", loc="center")
    bar = figure.colorbar(mesh, ax=axes, orientation="horizontal", shrink=0.7, aspect=28, pad=0.04)
    bar.set_label(columns.name)
    bar.outline.set_visible(False)


def blind_figure(columns: LossColumns, *, panels: int = 2, seed: int = 0, all_equivalents: bool = False) -> BlindTest:
    """Viewing directions coloured by the loss in one panel and by shuffled losses in others, as the seed decides.

    Whoever finds the panel of the true losses more often than by chance sees a dependence. ``all_equivalents`` shows
    every direction from all equivalent sides.
    """
    if columns.views is None:
        raise InputError("the log has no poses", column="quat_w", fix="Give a log with quaternions")
    rows = hashed_order(columns.ids, seed=seed, stream=17)[:MOST_POINTS]
    views, loss = columns.views[rows], clipped(columns.loss)[rows]
    rng = np.random.default_rng([seed, 23])
    answer = int(rng.integers(panels))
    shown = [loss if i == answer else rng.permutation(loss) for i in range(panels)]
    equivalents = point_group(columns.symmetry) if all_equivalents else np.eye(3)[None]
    places = np.concatenate([views @ operator for operator in equivalents])
    longitude = np.arctan2(places[:, 1], places[:, 0])
    latitude = np.arcsin(np.clip(places[:, 2], -1.0, 1.0))
    order = rng.permutation(len(places))
    shades = Normalize(*np.quantile(loss, [0.02, 0.98]))
    size = float(np.clip(12_000 / len(places), 0.7, 14.0))
    across = min(panels, 3)
    down = -(-panels // across)
    with style():
        figure = Figure(figsize=(5.6 * across, 3.0 * down + 0.4), layout="constrained")
        grid = figure.subplots(down, across, subplot_kw={"projection": EQUAL_AREA}, squeeze=False)
        for axes in grid.flat[panels:]:
            axes.set_visible(False)
        for number, (axes, values) in enumerate(zip(grid.flat, shown, strict=False), start=1):
            colours = np.tile(values, len(equivalents))[order]
            points = axes.scatter(
                longitude[order],
                latitude[order],
                s=size,
                c=colours,
                cmap=matplotlib.colormaps["viridis"],
                norm=shades,
                linewidths=0,
                rasterized=True,
            )
            _bare(axes)
            axes.set_title(f"panel {number}", loc="center")
        bar = figure.colorbar(points, ax=grid, shrink=0.75, aspect=24, pad=0.02)
        bar.set_label(columns.name)
        bar.outline.set_visible(False)
        figure.suptitle("Which panel has the true losses?", x=0.01, ha="left", fontsize=12.5, fontweight="bold")
    return BlindTest(figure, answer + 1, 1.0 / panels)


def _bare(axes: Any) -> None:
    axes.set_facecolor("#EEF1F3")
    axes.set_xticks(np.deg2rad([-90, 0, 90]), ["", "", ""])
    axes.set_yticks(np.deg2rad([-60, -30, 0, 30, 60]), [""] * 5)
    axes.grid(color=INK, alpha=0.15, linewidth=0.6)


def write_figures(result: Analysis, folder: Path) -> None:
    """Write the figures of an analysis as ``distribution``, ``ranges`` and ``direction``, .png and .svg."""
    columns = result.columns
    save_both(distribution_figure(columns, result.distribution), folder, "distribution")
    if columns.expected is not None or columns.views is not None:
        save_both(ridge_figure(columns), folder, "ranges")
    if result.direction is not None:
        save_both(direction_figure(columns, result.direction), folder, "direction")
