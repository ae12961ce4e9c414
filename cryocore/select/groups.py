"""Particles grouped by view, micrograph or defocus, and scores made comparable between the groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryocore.statistics import centre_and_spread
from cryocore.types import Floats, Ints

if TYPE_CHECKING:
    from cryocore.geometry.sphere import Views

Columns = Mapping[str, NDArray[Any]]

CELL_COLUMNS = {
    "view": ("view_x", "view_y", "view_z"),
    "micrograph": ("micrograph",),
    "defocus": ("defocus_u_angstrom", "defocus_v_angstrom"),
}
"""Columns of the log that decide on a particle's cell."""

PER_CELL = 50
"""Particles that a cell of views or defoci has on average, or more."""
SHRINKAGE = 20.0
"""Particles of the whole set that count with those of a cell."""
MOST_DEFOCI = 20


def cells(kind: str, columns: Columns, symmetry: str) -> Ints:
    """The cell of each particle, ``(n,)``, from 0; ``kind`` is a key of ``CELL_COLUMNS``."""
    if kind == "view":
        from cryocore.geometry.symmetry import point_group  # slow to import, and not all cells are of views

        directions = np.stack([_floats(columns[name]) for name in CELL_COLUMNS["view"]], axis=1)
        return view_cells(directions, point_group(symmetry)).cell
    if kind == "micrograph":
        return _numbered(columns["micrograph"])
    u, v = (_floats(columns[name]) for name in CELL_COLUMNS["defocus"])
    return defocus_cells(0.5 * (u + v))


def view_cells(directions: Floats, group: Floats) -> Views:
    """Cells of viewing directions ``(n, 3)`` under a point group ``(m, 3, 3)``, in which there are enough particles."""
    from cryocore.geometry.sphere import views_of  # slow to import, and not all cells are of views

    return views_of(directions, group, view_nside(len(directions), group))


def view_nside(n: int, group: Floats) -> int:
    """Fineness of the cells in which ``n`` particles, with their symmetry equivalents, are PER_CELL or more on
    average."""
    from cryocore.geometry.sphere import nside_for

    return nside_for(n * len(group), PER_CELL, coarsest=1)


def defocus_cells(defocus_angstrom: Floats) -> Ints:
    """Ranges of mean defocus ``(n,)`` with equally many particles in each."""
    return np.searchsorted(defocus_edges(defocus_angstrom), defocus_angstrom, side="right")


def defocus_edges(defocus_angstrom: Floats) -> Floats:
    """Where one range ends and the next begins, ascending."""
    n_cells = int(np.clip(len(defocus_angstrom) // PER_CELL, 1, MOST_DEFOCI))
    return np.quantile(defocus_angstrom, np.linspace(0, 1, n_cells + 1)[1:-1])


@dataclass(frozen=True)
class Level:
    """Median and robust spread of a score in cells, ``(cells,)`` each, drawn towards those of all particles."""

    centre: Floats
    spread: Floats

    @classmethod
    def of(cls, values: Floats, cell: Ints, n_cells: int) -> Level:
        """As if 20 of all were in every cell; cells without a particle are like all particles."""
        centre, spread = centre_and_spread(values)
        centres, spreads = np.full(n_cells, centre), np.full(n_cells, spread)
        order = np.argsort(cell, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(cell[order])) + 1):
            own_centre, own_spread = centre_and_spread(values[members])
            share, c = len(members) / (len(members) + SHRINKAGE), cell[members[0]]
            centres[c] = share * own_centre + (1 - share) * centre
            spreads[c] = np.sqrt(share * own_spread**2 + (1 - share) * spread**2)
        return cls(centres, np.where(spreads > 0, spreads, 1.0))

    def relative(self, values: Floats, cell: Ints) -> Floats:
        """Scores less the median of their cell, over its spread, ``(n,)``."""
        return np.asarray((values - self.centre[cell]) / self.spread[cell])


def normalised(scores: Floats, cell: Ints) -> Floats:
    """Scores ``(n,)`` relative to those of their cell; NaN stays NaN."""
    known = np.flatnonzero(np.isfinite(scores))
    out = np.full(len(scores), np.nan)
    if len(known):
        level = Level.of(scores[known], cell[known], int(cell.max()) + 1)
        out[known] = level.relative(scores[known], cell[known])
    return out


def shrunk_means(values: Floats, cell: Ints) -> Floats:
    """Mean ``(n,)`` of each particle's cell, drawn towards the mean of all as if 20 of all were in every cell."""
    count, total = np.bincount(cell), np.bincount(cell, weights=values)
    return ((total + SHRINKAGE * values.mean()) / (count + SHRINKAGE))[cell]


def _numbered(labels: NDArray[Any]) -> Ints:
    """A number for each different label, in the order in which they come."""
    number: dict[Any, int] = {}
    found = (number.setdefault(label, len(number)) for label in labels.tolist())
    return np.fromiter(found, dtype=np.int64, count=len(labels))


def _floats(values: NDArray[Any]) -> Floats:
    return np.asarray(values, dtype=np.float64)
