"""The figure of an audit: one panel for each question."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cryocore.explore.audit.audit import Audit
from cryocore.explore.audit.ruler import Measured
from cryocore.figures.look import CORRECT, INCORRECT, QUIET, UNKNOWN, resolution_ticks, style
from cryocore.types import Floats

LISTED, RANDOM, DEALT = CORRECT, UNKNOWN, INCORRECT
"""Colours of the list, of random lists, and of those dealt out anew within groups."""


def audit_figure(found: Audit) -> Figure:
    """Half-map FSC of all lists; their areas; FSC of images without phases; Jaccard indices; local resolution before
    and after, and of all lists."""
    with style():
        figure = Figure(figsize=(11.0, 11.0), layout="constrained")
        panels = figure.subplots(3, 2, width_ratios=[1.25, 1.0]).ravel()
        drawn = _curves, _areas, _noise, _stability, _local_shares, _local_change
        for axes, draw, letter in zip(panels, drawn, "abcdef", strict=True):
            draw(axes, found)
            axes.set_title(f"{letter}  {axes.get_title(loc='left')}")
    return figure


def _curves(axes: Any, found: Audit) -> None:
    axes.set_title("Half-map FSC under the same mask")
    size, views = found.of("size").values, found.of("views").values
    for values, colour, name in ((size, RANDOM, "random lists"), (views, DEALT, f"same {found.within}")):
        for i, other in enumerate(values.get("others", ())):
            curve = Measured.of(other).fsc
            _line(axes, found, curve, color=colour, linewidth=0.9, alpha=0.7, label=None if i else name)
    if "list" in size:
        _line(axes, found, Measured.of(size["list"]).fsc, color=LISTED, linewidth=2.0, label="the list")
    _frequency_axis(axes, found)
    axes.axhline(0.143, color=QUIET, linewidth=0.8, linestyle=":")
    axes.set(ylim=(-0.1, 1.03), ylabel="FSC")


def _areas(axes: Any, found: Audit) -> None:
    axes.set_title("Area under the FSC")
    size, views = found.of("size").values, found.of("views").values
    rows = [
        ("random lists", [o["area"] for o in size.get("others", ())], RANDOM),
        (f"same {found.within}", [o["area"] for o in views.get("others", ())], DEALT),
        ("the list", [size["list"]["area"]] if "list" in size else [], LISTED),
    ]
    for y, (_, values, colour) in enumerate(rows):
        axes.plot(values, np.full(len(values), y), "o" if y < 2 else "D", color=colour, markersize=7, alpha=0.85)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set(ylim=(-0.6, len(rows) - 0.4), xlabel="mean FSC over the shells in use")
    axes.grid(axis="x")


def _noise(axes: Any, found: Audit) -> None:
    axes.set_title("Images without phases beyond the cut")
    values, ruler = found.of("noise").values, found.ruler
    shells = ruler.beyond
    if "selected" in values:
        for i, other in enumerate(values["random"]):
            curve = np.array(other["fsc"])[shells]
            axes.plot(shells, curve, color=RANDOM, linewidth=0.9, alpha=0.8, label=None if i else "random lists")
        axes.plot(shells, np.array(values["selected"]["fsc"])[shells], color=LISTED, linewidth=2.0, label="selected")
        sd = 2.0 / np.sqrt(ruler.samples.per_shell[shells])
        axes.fill_between(shells, -sd, sd, color=QUIET, alpha=0.18, linewidth=0, label="95 % by chance")
        axes.legend(fontsize=9, loc="upper right")
    axes.axhline(0.0, color=QUIET, linewidth=0.8)
    ticks = [t for t in resolution_ticks(ruler.resolution_angstrom) if t <= ruler.resolution_angstrom[shells[0]]]
    side = ruler.grid.box * ruler.grid.pixel_size_angstrom
    axes.set_xticks([side / t for t in ticks], [f"{t:g}" for t in ticks])
    low, high = axes.get_ylim()
    axes.set(xlabel="resolution (Å)", ylabel="FSC", ylim=(min(low, -0.25), max(high, 0.25)))


def _stability(axes: Any, found: Audit) -> None:
    axes.set_title("The list from half of the particles")
    values = found.of("stability").values
    if values:
        jaccard = values["jaccard"]
        axes.plot(jaccard, np.zeros(len(jaccard)), "o", color=LISTED, markersize=7, alpha=0.6)
        axes.plot([values["by_chance"]], [1], "o", color=RANDOM, markersize=7)
        axes.set_yticks([0, 1], ["chosen again", "by chance"])
    axes.set(xlim=(-0.02, 1.03), ylim=(-0.8, 1.8), xlabel="Jaccard index with the list")
    axes.grid(axis="x")


def _local_shares(axes: Any, found: Audit) -> None:
    axes.set_title("Local resolution")
    values = found.of("local").values
    if not values:
        return
    lines = [(other, RANDOM, 0.9, None if i else "random lists") for i, other in enumerate(values["others"])]
    lines += [(values["all"], INCORRECT, 2.0, "all particles"), (values["list"], LISTED, 2.0, "the list")]
    for measured, colour, width, name in lines:
        at = np.sort(measured["local_resolutions_angstrom"])
        axes.step(at, np.arange(1, len(at) + 1) / len(at), where="post", color=colour, linewidth=width, label=name)
    axes.set(xlabel=f"local resolution in windows of {found.ruler.window_angstrom:.0f} Å (Å)", ylim=(0.0, 1.02))
    axes.set_ylabel("share of windows as good")
    axes.invert_xaxis()
    axes.grid(axis="y")
    axes.legend(fontsize=9, loc="lower left")


def _local_change(axes: Any, found: Audit) -> None:
    axes.set_title("Before and after")
    values = found.of("local").values
    if not values:
        return
    before, after = (np.array(values[name]["local_resolutions_angstrom"]) for name in ("all", "list"))
    low, high = (float(of([before, after])) for of in (np.min, np.max))
    ends = [low - 0.05 * (high - low), high + 0.05 * (high - low)]
    axes.plot(ends, ends, color=QUIET, linewidth=0.8)
    axes.plot(before, after, "o", color=LISTED, markersize=4, alpha=0.5, markeredgewidth=0)
    axes.set(xlim=ends[::-1], ylim=ends[::-1], xlabel="all particles (Å)", ylabel="the list (Å)")
    axes.text(0.97, 0.05, "worse with the list", transform=axes.transAxes, ha="right", color=QUIET, fontsize=9)
    axes.text(0.03, 0.92, "better with the list", transform=axes.transAxes, color=QUIET, fontsize=9)


def _line(axes: Any, found: Audit, curve: Floats, **look: Any) -> None:
    shells = np.arange(1, found.ruler.grid.last_shell + 1)
    axes.plot(shells, curve[shells], **look)


def _frequency_axis(axes: Any, found: Audit) -> None:
    ruler = found.ruler
    side = ruler.grid.box * ruler.grid.pixel_size_angstrom
    ticks = resolution_ticks(ruler.resolution_angstrom)
    axes.set_xticks([side / t for t in ticks], [f"{t:g}" for t in ticks])
    axes.set_xlabel("resolution (Å)")
    axes.grid(axis="y")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=9, loc="upper right")
