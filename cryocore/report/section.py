"""A part of the report that is asked of the log: an answer as text, its figures and tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from cryocore.report.slider import Slider


@dataclass(frozen=True)
class Drawing:
    """A figure with the ``name`` of its files and what it shows; ``reveal`` is read on request.

    ``figure`` is one to draw, or the file of one that is drawn.
    """

    name: str
    figure: Figure | Path
    alt: str
    reveal: str = ""
    is_half: bool = False


@dataclass(frozen=True)
class Table:
    """Words and numbers as text; the first column names the row."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """One section: the answer first, then what it rests on.

    ``anchor`` : name of its address in the page; ``short`` : name in the list of contents
    ``answer`` : one or two sentences
    ``points`` : sentences that give the reasons
    ``slider`` : selections to move through; None: there are none
    ``reading`` : how to read the figures
    ``details`` : numbers as plain text, folded away
    ``warnings`` : sentences for the top of the report
    """

    anchor: str
    short: str
    title: str
    answer: str
    points: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    reading: str = ""
    details: str = ""
    warnings: tuple[str, ...] = ()
    slider: Slider | None = None
