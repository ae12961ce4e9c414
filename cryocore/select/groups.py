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

BIN_COLUMNS = {
    "view": ("view_x", "view_y", "view_z"),
    "micrograph": ("micrograph",),
    "defocus": ("defocus_u_angstrom", "defocus_v_angstrom"),
}
"""Columns of the log that decide on a particle's bin."""

PER_BIN = 50
"""Particles that a bin of views or defoci has on average, or more."""
SHRINKAGE = 20.0
"""Particles of the whole set that count with those of a bin."""
MOST_DEFOCI = 20


def bins(kind: str, columns: Columns, symmetry: str) -> Ints:
    """The bin of each particle, ``(n,)``, from 0; ``kind`` is a key of ``BIN_COLUMNS``."""
    if kind == "view":
        from cryocore.geometry.symmetry import point_group  # slow to import, and not all bins are of views

        directions = np.stack([_floats(columns[name]) for name in BIN_COLUMNS["view"]], axis=1)
        return view_bins(directions, point_group(symmetry)).bin_index
    if kind == "micrograph":
        return _numbered(columns["micrograph"])
    u, v = (_floats(columns[name]) for name in BIN_COLUMNS["defocus"])
    return defocus_bins(0.5 * (u + v))


def view_bins(directions: Floats, group: Floats) -> Views:
    """Bins of viewing directions ``(n, 3)`` under a point group ``(m, 3, 3)``, in which there are enough particles."""
    from cryocore.geometry.sphere import views_of  # slow to import, and not all bins are of views

    return views_of(directions, group, view_nside(len(directions), group))


def view_nside(n: int, group: Floats) -> int:
    """Fineness of the bins in which ``n`` particles, with their symmetry equivalents, are PER_BIN or more on
    average."""
    from cryocore.geometry.sphere import nside_for

    return nside_for(n * len(group), PER_BIN, coarsest=1)


def defocus_bins(defocus_angstrom: Floats) -> Ints:
    """Ranges of mean defocus ``(n,)`` with equally many particles in each."""
    return np.searchsorted(defocus_edges(defocus_angstrom), defocus_angstrom, side="right")


def defocus_edges(defocus_angstrom: Floats) -> Floats:
    """Where one range ends and the next begins, ascending."""
    n_bins = int(np.clip(len(defocus_angstrom) // PER_BIN, 1, MOST_DEFOCI))
    return np.quantile(defocus_angstrom, np.linspace(0, 1, n_bins + 1)[1:-1])


@dataclass(frozen=True)
class Level:
    """Median and robust spread of a score in bins, ``(bins,)`` each, drawn towards those of all particles."""

    centre: Floats
    spread: Floats

    @classmethod
    def of(cls, values: Floats, bin_index: Ints, n_bins: int) -> Level:
        """As if 20 of all were in every bin; bins without a particle are like all particles."""
        centre, spread = centre_and_spread(values)
        centres, spreads = np.full(n_bins, centre), np.full(n_bins, spread)
        order = np.argsort(bin_index, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(bin_index[order])) + 1):
            own_centre, own_spread = centre_and_spread(values[members])
            share, c = len(members) / (len(members) + SHRINKAGE), bin_index[members[0]]
            centres[c] = share * own_centre + (1 - share) * centre
            spreads[c] = np.sqrt(share * own_spread**2 + (1 - share) * spread**2)
        return cls(centres, np.where(spreads > 0, spreads, 1.0))

    def relative(self, values: Floats, bin_index: Ints) -> Floats:
        """Scores less the median of their bin, over its spread, ``(n,)``."""
        return np.asarray((values - self.centre[bin_index]) / self.spread[bin_index])


def normalised(scores: Floats, bin_index: Ints) -> Floats:
    """Scores ``(n,)`` relative to those of their bin; NaN stays NaN."""
    known = np.flatnonzero(np.isfinite(scores))
    out = np.full(len(scores), np.nan)
    if len(known):
        level = Level.of(scores[known], bin_index[known], int(bin_index.max()) + 1)
        out[known] = level.relative(scores[known], bin_index[known])
    return out


def shrunk_means(values: Floats, bin_index: Ints) -> Floats:
    """Mean ``(n,)`` of each particle's bin, drawn towards the mean of all as if 20 of all were in every bin."""
    count, total = np.bincount(bin_index), np.bincount(bin_index, weights=values)
    return ((total + SHRINKAGE * values.mean()) / (count + SHRINKAGE))[bin_index]


def _numbered(labels: NDArray[Any]) -> Ints:
    """A number for each different label, in the order in which they come."""
    number: dict[Any, int] = {}
    found = (number.setdefault(label, len(number)) for label in labels.tolist())
    return np.fromiter(found, dtype=np.int64, count=len(labels))


def _floats(values: NDArray[Any]) -> Floats:
    return np.asarray(values, dtype=np.float64)
