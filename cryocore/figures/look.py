"""The look of all figures and how they are saved: the same bytes every time, without dates or versions."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from cryocore.errors import InputError
from cryocore.tables.io import atomic_path
from cryocore.types import Floats

CORRECT, INCORRECT, UNKNOWN, INK, QUIET = "#0072B2", "#D55E00", "#7A8794", "#1D2733", "#8C97A3"
"""Colours that remain distinct without red-green vision (Okabe and Ito 2008)."""
CLASSES = ((1, "correct", CORRECT), (0, "incorrect", INCORRECT), (-1, "not known", UNKNOWN))
"""Flags of particles, what they mean, and their colours."""
STYLE = {
    "font.size": 10.5,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "grid.color": "#E3E7EB",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.hashsalt": "cryocore",
    "svg.fonttype": "path",
    "figure.dpi": 100,
    "savefig.dpi": 150,
}
METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def style() -> AbstractContextManager[None]:
    """The look of all figures."""
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **STYLE, "backend": "agg"}
    return matplotlib.rc_context(settings)


def require_format(path: Path) -> None:
    """Refuse the name of a figure that :func:`save` would.

    Raises
    ------
    InputError  if it does not end in .png, .svg or .pdf.
    """
    if path.suffix.lower() not in METADATA:
        raise InputError("figures are written as .png, .svg or .pdf", file=path, fix="Give such a name")


def save(figure: Figure, *paths: Path, dpi: float | None = None) -> None:
    """Write a figure; the name of each file says in which format, as ``.png``, ``.svg`` or ``.pdf``.

    ``dpi`` are the pixels per inch of a picture; None: those of the look.

    Raises
    ------
    InputError  if it is none of these.
    """
    for path in paths:
        require_format(path)
        suffix = path.suffix.lower()
        with style(), atomic_path(path) as temporary:
            _print(figure, temporary, suffix, dpi or matplotlib.rcParams["savefig.dpi"])
        figure.set_layout_engine("none")  # all files have the layout of the first


def _print(figure: Figure, path: Path, suffix: str, dpi: float) -> None:
    """Draw a figure once; ``Figure.savefig`` draws it a second time for its layout. Pictures are compressed quickly."""
    about = METADATA[suffix]
    figure.set_facecolor("white")
    figure.set_dpi(dpi)
    canvas: Any  # its drawing methods have no types
    if suffix == ".svg":
        canvas = FigureCanvasSVG(figure)
        canvas.print_svg(path, metadata=about)
    elif suffix == ".pdf":
        canvas = FigureCanvasPdf(figure)
        canvas.print_pdf(path, metadata=about)
    else:
        canvas = FigureCanvasAgg(figure)
        canvas.print_png(path, metadata=about, pil_kwargs={"compress_level": 3})


def save_both(figure: Figure, folder: Path, name: str) -> None:
    """Write ``name.png`` and ``name.svg``."""
    save(figure, folder / f"{name}.png", folder / f"{name}.svg")


def resolution_ticks(resolution_angstrom: Floats) -> list[float]:
    """Resolutions (Å) to name along an axis of spatial frequency, none too close to its neighbour."""
    last = 1.0 / resolution_angstrom[-1]
    steps = np.array(
        [100, 50, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.7, 2.5, 2.2, 2, 1.8, 1.6, 1.5, 1.3, 1.2, 1.1, 1]
    )
    ticks: list[float] = []
    for step in steps[1.0 / steps <= last * 1.001]:
        if 1.0 / step - (1.0 / ticks[-1] if ticks else 0.0) >= 0.085 * last:
            ticks.append(float(step))
    return ticks


def round_colour(index: int, count: int) -> Any:
    """From light (first) to dark (last), readable on white."""
    return matplotlib.colormaps["viridis"](0.78 * (1.0 - index / max(count - 1, 1)))
