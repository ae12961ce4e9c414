"""Particles grouped by view, micrograph or defocus, and scores made comparable between the groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.statistics import centre_and_spread
from cryocore.types import Floats, Ints

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
BLOCK = 16_384
"""Views that are folded at a time."""
DECIMALS = 9
"""To which directions are rounded: poses on a grid lie on the borders of cells, where a last bit would decide."""
_REFERENCE = np.array([0.2673, 0.5345, 0.8018])
"""A direction on no symmetry axis or plane: of its mates each direction is represented by the one nearest to it."""


def cells(kind: str, columns: Columns, symmetry: str) -> Ints:
    """The cell of each particle, ``(n,)``, from 0; ``kind`` is a key of ``CELL_COLUMNS``."""
    if kind == "view":
        from cryocore.geometry.symmetry import point_group  # slow to import, and not all cells are of views

        directions = np.stack([_floats(columns[name]) for name in CELL_COLUMNS["view"]], axis=1)
        return view_cells(directions, point_group(symmetry))
    if kind == "micrograph":
        return _numbered(columns["micrograph"])
    u, v = (_floats(columns[name]) for name in CELL_COLUMNS["defocus"])
    return defocus_cells(0.5 * (u + v))


def view_cells(directions: Floats, group: Floats) -> Ints:
    """Cells of viewing directions ``(n, 3)``, all mates under the point group ``(m, 3, 3)`` in the same one."""
    import healpix  # slow to import, and not all cells are of views

    nside = view_nside(len(directions), group)
    pixel = np.empty(len(directions), dtype=np.int64)
    for start in range(0, len(directions), BLOCK):
        block = slice(start, start + BLOCK)
        pixel[block] = healpix.vec2pix(nside, *folded(directions[block], group).T)
    found = np.bincount(pixel, minlength=12 * nside**2) > 0
    return (np.cumsum(found) - 1)[pixel]


def view_nside(n: int, group: Floats) -> int:
    """Fineness of the cells in which ``n`` particles, with their mates, are PER_CELL or more on average."""
    wanted = n * len(group) / (12 * PER_CELL)
    return next((side for side in (16, 8, 4, 2) if side**2 <= wanted), 1)


def folded(directions: Floats, group: Floats) -> Floats:
    """Of each viewing direction ``(n, 3)`` the mate that represents it, ``(n, 3)``."""
    nearness = np.round(directions @ (group @ _REFERENCE).T, DECIMALS)
    return np.round(np.einsum("nj,njk->nk", directions, group[np.argmax(nearness, axis=1)]), DECIMALS)


def defocus_cells(defocus_angstrom: Floats) -> Ints:
    """Ranges of mean defocus ``(n,)`` with equally many particles in each."""
    return np.searchsorted(defocus_edges(defocus_angstrom), defocus_angstrom, side="right")


def defocus_edges(defocus_angstrom: Floats) -> Floats:
    """Where one range ends and the next begins, ascending."""
    n_cells = int(np.clip(len(defocus_angstrom) // PER_CELL, 1, MOST_DEFOCI))
    return np.quantile(defocus_angstrom, np.linspace(0, 1, n_cells + 1)[1:-1])


def normalised(scores: Floats, cell: Ints) -> Floats:
    """Scores ``(n,)`` less the median of their cell, over its robust standard deviation.

    Both are drawn towards those of all particles, as if 20 of all were in every cell; NaN stays NaN.
    """
    finite = np.isfinite(scores)
    if not finite.any():
        return scores
    centre, spread = centre_and_spread(scores[finite])
    out = np.full(len(scores), np.nan)
    scored = np.flatnonzero(finite)
    order = scored[np.argsort(cell[scored], kind="stable")]
    for members in np.split(order, np.flatnonzero(np.diff(cell[order])) + 1):
        own_centre, own_spread = centre_and_spread(scores[members])
        share = len(members) / (len(members) + SHRINKAGE)
        width = np.sqrt(share * own_spread**2 + (1 - share) * spread**2)
        middle = share * own_centre + (1 - share) * centre
        out[members] = (scores[members] - middle) / width if width > 0 else scores[members] - middle
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
