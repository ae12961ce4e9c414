"""Small pictures in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cryocore.figures.look import INK, style
from cryocore.types import Floats32

INCHES = 0.9
"""Side of a picture, whatever its pixels: 90 at the figure's own 100 per inch."""


@dataclass(frozen=True)
class Row:
    """Pictures ``(m, s, s)`` on one grey scale about 0, what they are called, and a caption for each, or none."""

    name: str
    pictures: Floats32
    captions: Sequence[str] = ()
    colour: str = INK


def tiles(rows: Sequence[Row]) -> Figure:
    """Rows of pictures, each on the grey scale of its row: three standard deviations about 0."""
    columns = max(len(row.pictures) for row in rows)
    with style():
        figure = Figure(figsize=(INCHES * columns + 0.3, (INCHES + 0.2) * len(rows)), layout="constrained")
        for axes, row in zip(figure.subplots(len(rows), squeeze=False)[:, 0], rows, strict=True):
            end = 3.0 * float(np.sqrt(np.mean(np.square(row.pictures, dtype=np.float64)))) or 1.0
            draw_strip(axes, row.pictures, end, columns)
            caption_strip(axes, row.pictures, row.captions)
            axes.set_ylabel(row.name, fontsize=8.5, color=row.colour)
    return figure


def draw_strip(axes: Any, pictures: Floats32, end: float, columns: int) -> None:
    """Draw pictures ``(m, s, s)`` side by side, grey from ``-end`` to ``end``, with room for so many ``columns``."""
    side = pictures.shape[-1]
    step = side + _gap(side)
    strip = np.full((side, columns * step - _gap(side)), np.nan)
    for i, picture in enumerate(pictures):
        strip[:, i * step : i * step + side] = picture
    axes.imshow(strip, cmap="gray", vmin=-end, vmax=end, interpolation="nearest", origin="lower")
    axes.set(yticks=[], xticks=[])
    axes.spines[:].set_visible(False)


def caption_strip(axes: Any, pictures: Floats32, captions: Sequence[str]) -> None:
    """Write captions above the pictures of a strip."""
    side = pictures.shape[-1]
    centres = [i * (side + _gap(side)) + side / 2 for i in range(len(captions))]
    axes.set_xticks(centres, captions, fontsize=7.5, color=INK)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0)


def _gap(side: int) -> int:
    return max(side // 24, 1)
