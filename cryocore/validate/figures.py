"""The figures of a run: arrays in, matplotlib figures out. No global state, and the same bytes every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from cryocore.figures.look import CLASSES, CORRECT, INCORRECT, INK, QUIET, UNKNOWN, resolution_ticks, round_colour
from cryocore.types import Floats
from cryocore.validate.surfaces import VIEWS, MapPictures

MOST_NAMED = 10
"""Rounds that fit side by side below an axis."""


@dataclass(frozen=True)
class Curve:
    """A resolution curve of a round: one value per shell from 0."""

    round: int
    resolution_angstrom: Floats
    half_maps: Floats
    truth: Floats | None


@dataclass(frozen=True)
class Scores:
    """The chosen score of all particles in a round; flags are 1 correct, 0 incorrect, -1 unknown."""

    round: int
    values: Floats
    flags: NDArray[np.int8]
    cut: float | None


@dataclass(frozen=True)
class FscPanel:
    """What one panel of the FSC figure shows: a curve per round, one value per shell from 1.

    ``threshold`` : a level of FSC; None where the panel shows differences
    """

    title: str
    label: str
    threshold: float | None
    values: tuple[Floats, ...]


def fsc_panels(curves: Sequence[Curve]) -> list[FscPanel]:
    """Half-map FSC of all rounds, FSC against the truth where there is one, and what changed since the first."""
    halves = tuple(c.half_maps[1:] for c in curves)
    truth = tuple(c.truth[1:] for c in curves if c.truth is not None)
    panels = [FscPanel("Between the half maps (corrected)", "FSC", 0.143, halves)]
    with_truth = len(truth) == len(curves)
    if with_truth:
        panels.append(FscPanel("Against the true map", "FSC", 0.5, truth))
    if len(curves) > 1:
        shown = truth if with_truth else halves
        title = f"Change since round {curves[0].round}, {'truth' if with_truth else 'half maps'}"
        panels.append(FscPanel(title, "change of FSC", None, tuple(v - shown[0] for v in shown)))
    return panels


def fsc_figure(curves: Sequence[Curve]) -> Figure:
    """The panels of :func:`fsc_panels` side by side."""
    panels = fsc_panels(curves)
    figure = Figure(figsize=(11.5, 3.9), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _fsc_panel(axes, curves, panel)
        axes.set_title(panel.title)
        if panel.threshold is not None:
            axes.axhline(panel.threshold, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            at = (0.0, panel.threshold)
            axes.annotate(f"{panel.threshold:g}", at, (4, 3), textcoords="offset points", fontsize=9)
            axes.set_ylim(-0.06, 1.03)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(curves), 10), title="round")
    return figure


def _fsc_panel(axes: Axes, curves: Sequence[Curve], panel: FscPanel) -> None:
    for i, (curve, values) in enumerate(zip(curves, panel.values, strict=True)):
        line = "--" if i == 0 else "-"
        width = 2.4 if i == len(curves) - 1 else 1.5
        frequency = 1.0 / curve.resolution_angstrom[1:]
        axes.plot(frequency, values, line, color=round_colour(i, len(curves)), linewidth=width, label=str(curve.round))
    axes.axhline(0.0, color=QUIET, linewidth=0.8)
    ticks = resolution_ticks(curves[0].resolution_angstrom)
    axes.set_xlim(0.0, 1.0 / curves[0].resolution_angstrom[-1])
    axes.set_xticks([1.0 / t for t in ticks], [f"{t:g}" for t in ticks])
    axes.set_xlabel("resolution (Å)")
    axes.set_ylabel(panel.label)
    axes.grid(axis="y")


def progress_figure(table: dict[str, list[Any]]) -> Figure:
    """Particles kept, resolution and, where flags exist, rates, round by round."""
    known = any(v is not None for v in table["correct_rate"])
    rounds = table["round"]
    figure = Figure(figsize=(11.5, 3.3), layout="constrained")
    kept, resolution, *rest = figure.subplots(1, 3 if known else 2)
    kept.bar(rounds, table["n_kept"], color=[round_colour(i, len(rounds)) for i in range(len(rounds))], width=0.62)
    for r, n in zip(rounds, table["n_kept"], strict=True):
        kept.annotate(f"{n:,}", (r, n), (0, 3), textcoords="offset points", ha="center", fontsize=9)
    kept.set_title("Particles kept")
    kept.margins(y=0.14)
    _lines(
        resolution,
        rounds,
        {
            "FSC 0.143": (table["resolution_angstrom"], CORRECT, "o"),
            "FSC 0.5": (table["resolution_half_angstrom"], INCORRECT, "s"),
        },
    )
    resolution.set_title("Resolution (Å), finer is up")
    resolution.invert_yaxis()
    if known:
        rates = {
            "correct rate": (table["correct_rate"], CORRECT, "o"),
            "recall": (table["recall"], INCORRECT, "s"),
            "AUC of score": (table["auc"], UNKNOWN, "^"),
        }
        _lines(rest[0], rounds, rates)
        rest[0].set_title("Against the truth")
        rest[0].set_ylim(top=1.02)
    for axes in figure.axes:
        axes.set_xticks(rounds)
        axes.set_xlabel("round")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    return figure


def stopping_figure(table: dict[str, list[Any]]) -> Figure:
    """FSC area of every round beside the best round's, with twice its deviation, and the particles that it has."""
    figure = Figure(figsize=(6.6, 3.3), layout="constrained")
    axes = figure.subplots()
    names = ("round", "fsc_area_difference", "fsc_area_difference_sd", "is_recommended")
    rounds, count = table["round"], len(table["round"])
    for i, (r, area, sd, is_recommended) in enumerate(zip(*(table[k] for k in names), strict=True)):
        axes.errorbar(r, area, 2 * sd, color=round_colour(i, count), marker="o", markersize=6, capsize=3, linewidth=1.5)
        if is_recommended:
            ring: dict[str, Any] = {"markersize": 13, "fillstyle": "none", "markeredgewidth": 2, "color": INCORRECT}
            axes.plot(r, area, "o", label="recommended subset", **ring)
    axes.axhline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    named = slice(None, None, -(-count // MOST_NAMED))
    labels = [f"{r}\n{_short(n)}" for r, n in zip(rounds, table["n_effective"], strict=True)]
    axes.set_xticks(rounds[named], labels[named])
    axes.set_title("FSC area beside the best round")
    axes.set_xlabel("round, and effective number of particles")
    axes.set_ylabel("difference of mean FSC")
    axes.margins(x=0.08, y=0.15)
    axes.grid(axis="y")
    axes.legend(fontsize=9, loc="best")
    return figure


def _short(n: float) -> str:
    """A number of particles in a few characters.

    >>> _short(873.4), _short(12_340), _short(1_234_000)
    ('873', '12.3k', '1.23M')
    """
    return f"{n:.0f}" if n < 10_000 else f"{n / 1000:.1f}k" if n < 1_000_000 else f"{n / 1e6:.2f}M"


def _lines(axes: Axes, x: list[int], lines: dict[str, tuple[list[Any], str, str]]) -> None:
    for label, (values, colour, marker) in lines.items():
        y = [np.nan if v is None else v for v in values]
        axes.plot(x, y, color=colour, marker=marker, markersize=6, linewidth=1.8, label=label)
    axes.margins(x=0.08, y=0.12)
    axes.legend(fontsize=9)


def histogram_figure(panels: Sequence[Scores], name: str) -> Figure:
    """Small multiples, one per round, on one axis: the score of correct, incorrect and unknown particles."""
    columns = min(len(panels), 5)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(11.5, 0.6 + 2.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    edges = _shared_edges(panels)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _histogram(axes, panel, edges)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(len(panels) - columns, 0) : len(panels)]:
        axes.set_xlabel(name)
        axes.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("particles")
    by_label = {
        label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(by_label.values()), list(by_label), loc="outside upper right", ncols=len(by_label), fontsize=9.5)
    return figure


def _shared_edges(panels: Sequence[Scores]) -> Floats:
    finite = [p.values[np.isfinite(p.values)] for p in panels]
    spans = [np.quantile(v, [0.002, 0.998]) for v in finite if v.size]
    low, high = (min(s[0] for s in spans), max(s[1] for s in spans)) if spans else (0.0, 1.0)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, 49)


def _histogram(axes: Axes, panel: Scores, edges: Floats) -> None:
    for flag, label, colour in CLASSES:
        values = panel.values[(panel.flags == flag) & np.isfinite(panel.values)]
        if values.size:
            counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(counts, edges, color=colour, linewidth=1.4, label=label)
    if panel.cut is not None and edges[0] <= panel.cut <= edges[-1]:
        axes.axvline(panel.cut, color=INK, linewidth=1.1, linestyle=(0, (4, 3)), label="cut for the next round")
    axes.set_title(f"round {panel.round}")


def surface_figure(maps: Sequence[MapPictures]) -> Figure:
    """Shaded surfaces from the front, the side and the top: one column per round, one scale for all."""
    size = len(maps[0].surfaces[0])
    drawn = [np.any([m.surfaces[row].min(axis=2) < 1 for m in maps], axis=0) for row in range(len(VIEWS))]
    width = max(_reach(view.any(axis=0)) for view in drawn)
    heights = [_reach(view.any(axis=1)) for view in drawn]
    figure, grid = _picture_grid(len(maps), [height / width for height in heights])
    for axes, pictures in zip(grid.T, maps, strict=True):
        axes[0].set_title(f"round {pictures.round}", loc="center")
        for row, picture, height in zip(axes, pictures.surfaces, heights, strict=True):
            up, right = (slice(size // 2 - reach, size // 2 + reach + 1) for reach in (height, width))
            row.imshow(picture[up, right], origin="lower", interpolation="lanczos")
    _row_names(grid, VIEWS)
    return figure


def _reach(drawn: NDArray[np.bool_]) -> int:
    """Pixels from the middle to the farthest drawn one, and a margin."""
    middle = len(drawn) // 2
    places = np.flatnonzero(drawn)
    farthest = int(np.abs(places - middle).max()) if places.size else middle
    return min(farthest + len(drawn) // 40, middle - 1)


def slice_figure(maps: Sequence[MapPictures]) -> Figure:
    """Central slices through the maps, one column per round, one grey scale for all: that of the last."""
    low, high = np.quantile(np.stack(maps[-1].slices), [0.01, 0.998])
    figure, grid = _picture_grid(len(maps), [1.0, 1.0])
    for axes, pictures in zip(grid.T, maps, strict=True):
        axes[0].set_title(f"round {pictures.round}", loc="center")
        for row, picture in zip(axes, pictures.slices, strict=True):
            row.imshow(picture, origin="lower", cmap="gray", vmin=low, vmax=high, interpolation="bicubic")
    _row_names(grid, ("x, z", "x, y"))
    return figure


def _picture_grid(columns: int, heights: Sequence[float]) -> tuple[Figure, NDArray[Any]]:
    """Axes for pictures, one row per height, which counts in widths of a picture."""
    side = min(11.2 / columns, 3.0)
    figure = Figure(
        figsize=(side * columns + 0.3, side * sum(heights) + 0.35),
        layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.05, wspace=0.0, hspace=0.0),
    )
    grid = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    return figure, grid


def _row_names(grid: NDArray[Any], names: Sequence[str]) -> None:
    for axes, name in zip(grid[:, 0], names, strict=True):
        axes.set_ylabel(name, fontsize=11.5, fontweight="bold")
