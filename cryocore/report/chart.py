"""The FSC curves as a drawing that a browser can explore: places and colours in, nothing drawn here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator

from cryocore.figures.look import resolution_ticks, round_colour
from cryocore.types import Floats
from cryocore.validate.figures import Curve, FscPanel, fsc_panels

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 68, 410, 12, 254
"""Edges of the axes in units of the drawing, y down."""
FSC_RANGE = (-0.06, 1.03)


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Panel:
    """Axes with one line per round: ``lines`` are the points of SVG polylines, ``values`` what they show."""

    title: str
    label: str
    threshold: Tick | None
    y_ticks: tuple[Tick, ...]
    lines: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    x_label: str = "resolution (Å)"


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where a drawing is within its picture."""

    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


@dataclass(frozen=True)
class Chart(Frame):
    """All panels on one axis of resolution: ``places`` along it and ``resolution`` (Å) of every shell from 1."""

    panels: tuple[Panel, ...]
    colours: tuple[str, ...]
    x_ticks: tuple[Tick, ...]
    places: tuple[float, ...]
    resolution: tuple[float, ...]


def fsc_chart(curves: Sequence[Curve]) -> Chart:
    """The curves of all rounds, laid out."""
    resolution = curves[0].resolution_angstrom[1:]
    x = across(resolution, resolution[-1])
    return Chart(
        panels=tuple(_panel(p, x) for p in fsc_panels(curves)),
        colours=tuple(to_hex(round_colour(i, len(curves))) for i in range(len(curves))),
        x_ticks=resolution_axis(resolution),
        places=tuple(np.round(x, 1).tolist()),
        resolution=tuple(np.round(resolution, 3).tolist()),
    )


def across(resolution: Floats, last: float) -> Floats:
    """Places of resolutions (Å) along the axis that ends at the ``last`` one."""
    return np.asarray(np.round(LEFT + (RIGHT - LEFT) * last / resolution, 1))


def resolution_axis(resolution: Floats) -> tuple[Tick, ...]:
    """What to name along the axis of these resolutions (Å), those of shells from 1."""
    ticks = resolution_ticks(resolution)
    return tuple(Tick(float(across(np.array(t), resolution[-1])), f"{t:g}") for t in ticks)


def _panel(panel: FscPanel, x: Floats) -> Panel:
    low, high = FSC_RANGE if panel.threshold is not None else _range(panel.values)

    def down(values: Floats) -> Floats:
        return np.asarray(np.round(BOTTOM - (BOTTOM - TOP) * (np.clip(values, low, high) - low) / (high - low), 1))

    finite = [np.isfinite(v) for v in panel.values]
    return Panel(
        panel.title,
        panel.label,
        None if panel.threshold is None else Tick(float(down(np.array(panel.threshold))), f"{panel.threshold:g}"),
        linear_axis(low, high, BOTTOM, TOP),
        tuple(
            " ".join(f"{a:g},{b:g}" for a, b in zip(x[f], down(v[f]), strict=True))
            for v, f in zip(panel.values, finite, strict=True)
        ),
        tuple(tuple(round(float(a), 4) if np.isfinite(a) else None for a in v) for v in panel.values),
    )


def linear_axis(low: float, high: float, first: float, last: float, steps: int = 5) -> tuple[Tick, ...]:
    """Round values from ``low`` to ``high`` along an axis that goes from ``first`` to ``last``.

    >>> [(tick.at, tick.text) for tick in linear_axis(-1.0, 1.0, 0, 100, steps=2)]
    [(0.0, '−1'), (50.0, '0'), (100.0, '1')]
    """
    values = [v for v in MaxNLocator(steps).tick_values(low, high) if low <= v <= high]
    places = [round(first + (last - first) * (v - low) / (high - low), 1) for v in values]
    digits = 5 - int(np.floor(np.log10(high - low)))
    texts = [f"{round(v, digits) + 0.0:,.12g}".replace("-", "−") for v in values]
    return tuple(Tick(float(at), text) for at, text in zip(places, texts, strict=True))


def _range(values: Sequence[Floats]) -> tuple[float, float]:
    finite = np.concatenate([v[np.isfinite(v)] for v in values] + [np.zeros(1)])
    low, high = float(finite.min()), float(finite.max())
    margin = 0.08 * max(high - low, 1e-3)
    return low - margin, high + margin
