"""Densities of views on the sphere, drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from cryocore.figures.look import INK
from cryocore.geometry.sphere import sphere_image
from cryocore.types import Floats

DENSITY_MAP = LinearSegmentedColormap.from_list("density", ["#F4F6F8", "#A9C6DC", "#3F7FB0", "#0B3C66", "#041C33"])

FEWEST_IN_CELL = 5


def draw_sphere(
    figure: Figure, axes: Any, values: Floats, side: int, colours: Any, norm: Normalize, label: str
) -> None:
    """Draw values of HEALPix bins ``(12 side²,)``, ring order, on Mollweide axes, with a colour bar below."""
    longitude, latitude, picture = sphere_image(values, side)
    mesh = axes.pcolormesh(longitude, latitude, picture, cmap=colours, norm=norm, rasterized=True)
    axes.set_facecolor("#D9DDE1")
    axes.set_xticks(np.deg2rad([-90, 0, 90]), ["", "", ""])
    axes.set_yticks(np.deg2rad([-60, -30, 0, 30, 60]), [""] * 5)
    axes.grid(color=INK, alpha=0.15, linewidth=0.6)
    bar = figure.colorbar(mesh, ax=axes, orientation="horizontal", shrink=0.7, aspect=28, pad=0.04)
    bar.set_label(label, fontsize=9.5)
    bar.outline.set_visible(False)


def mollweide(longitude: Floats, latitude: Floats) -> tuple[Floats, Floats]:
    """Places of directions (radians) in the equal-area projection, -2 to 2 across and -1 to 1 up.

    >>> [float(v.round(3)) for v in mollweide(np.array(np.pi / 2), np.array(np.pi / 6))]
    [0.915, 0.404]
    """
    angle = np.asarray(latitude, dtype=np.float64)
    for _ in range(50):  # Newton's method, slow at the poles, where the derivative vanishes
        slope = np.maximum(2.0 + 2.0 * np.cos(2.0 * angle), 1e-12)
        angle = angle - (2.0 * angle + np.sin(2.0 * angle) - np.pi * np.sin(latitude)) / slope
    return 2.0 * longitude / np.pi * np.cos(angle), np.sin(angle)
