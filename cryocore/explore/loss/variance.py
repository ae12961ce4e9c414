"""How much of the variance of the loss goes with what else is known of a particle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cryocore.explore.loss.columns import LossColumns
from cryocore.explore.loss.dependence import clipped, whitening
from cryocore.explore.loss.harmonics import view_functions
from cryocore.geometry.symmetry import point_group
from cryocore.types import Floats, Ints

SOURCES = ("view", "energy", "defocus", "image energy", "micrograph")
VIEW_DEGREE, HATS, PER_COLUMN = 8, 8, 20
BLOCK = 16384


@dataclass(frozen=True)
class Decomposition:
    """Shares of the variance of the loss, all adjusted for the number of fitted parameters: 0 in the mean for noise.

    ``alone`` : by source, R² of a regression on it alone
    ``share`` : by source, its part in ``together``: the mean over all orders of adding sources of what it adds
    ``together`` : R² of the regression on all sources; 1 less it is the rest, of which noise is one part
    """

    alone: dict[str, float]
    share: dict[str, float]
    together: float

    @property
    def rest(self) -> float:
        """What no source explains."""
        return 1.0 - self.together


def decompose(columns: LossColumns, loss: Floats | None = None) -> Decomposition:
    """Split the variance of the loss among the sources that the log knows.

    View: spherical harmonics that the point group leaves as they are. Energy (the root of the projection's), defocus
    and image energy: piecewise linear with eight knots at quantiles. Micrograph: a mean of its own for each. The shares
    are those of Lindeman, Merenda & Gold (1980).
    """
    loss = clipped(columns.loss if loss is None else loss)
    blocks = _blocks(columns)
    names = [*blocks, *(["micrograph"] if columns.micrograph is not None else [])]
    if np.ptp(loss) == 0 or not names:
        return Decomposition(dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0), 0.0)
    moments = _Moments(columns, blocks, loss)
    r2 = {frozenset(s): moments.adjusted(s) for k in range(len(names) + 1) for s in combinations(names, k)}
    share = {name: _share(name, [n for n in names if n != name], r2) for name in names}
    return Decomposition({n: r2[frozenset([n])] for n in names}, share, r2[frozenset(names)])


def _share(name: str, others: list[str], r2: dict[frozenset[str], float]) -> float:
    gains = [
        np.mean([r2[frozenset([*s, name])] - r2[frozenset(s)] for s in combinations(others, k)])
        for k in range(len(others) + 1)
    ]
    return float(np.mean(gains))


def _blocks(columns: LossColumns) -> dict[str, Floats | None]:
    """Sources with columns of their own; the values that hats stand on, None for views."""
    known: dict[str, Floats | None] = {} if columns.views is None else {"view": None}
    numbers = {
        "energy": columns.expected,
        "defocus": columns.defocus_angstrom,
        "image energy": columns.image_energy,
    }
    return known | {name: v for name, v in numbers.items() if v is not None and np.ptp(v) > 0}


class _Moments:
    """Sums of products of all columns and of the loss: of the whole, and of what differs within micrographs."""

    def __init__(self, columns: LossColumns, blocks: dict[str, Floats | None], loss: Floats) -> None:
        self.n = len(loss)
        knots = {k: np.unique(np.quantile(v, np.linspace(0, 1, HATS))) for k, v in blocks.items() if v is not None}
        degree = _degree(columns)
        codes = columns.micrograph
        self.micrographs = 0 if codes is None else len(np.unique(codes))
        loss = loss - loss.mean()
        raw, held = np.zeros((0, 0)), np.zeros((0, 0))
        for start in range(0, self.n, BLOCK):
            rows = slice(start, start + BLOCK)
            parts, self.place = [], {}
            first = 0
            for name, values in blocks.items():
                if values is None:
                    views = np.asarray(columns.views)[rows]
                    part = view_functions(views, degree, columns.symmetry)[0].astype(np.float64)
                else:
                    part = np.stack([np.interp(values[rows], knots[name], row) for row in np.eye(len(knots[name]))], 1)
                parts.append(part)
                self.place[name] = list(range(first, first + part.shape[1]))
                first += part.shape[1]
            x = np.concatenate([*parts, loss[rows, None], np.ones((len(loss[rows]), 1))], axis=1)
            if not start:
                raw = np.zeros((x.shape[1], x.shape[1]))
                held = np.zeros((0 if codes is None else int(codes.max()) + 1, x.shape[1]))
            raw += x.T @ x
            if codes is not None:
                held += _sums(codes[rows], x, len(held))
        self.total = raw[:-1, :-1] - np.outer(raw[:-1, -1], raw[-1, :-1]) / self.n
        counts = np.maximum(held[:, -1], 1.0)
        self.between = (held[:, :-1] / counts[:, None]).T @ held[:, :-1] if codes is not None else None
        if self.between is not None:
            self.inside = raw[:-1, :-1] - self.between

    def adjusted(self, names: Iterable[str]) -> float:
        """Adjusted R² of the regression on some sources."""
        names = list(names)
        by_micrograph = "micrograph" in names
        products = self.inside if by_micrograph else self.total
        lost = self.micrographs if by_micrograph else 1
        places = [i for name in names if name != "micrograph" for i in self.place[name]]
        left = float(products[-1, -1])
        if places:
            basis = whitening(products[np.ix_(places, places)])
            left -= float(np.sum((products[-1, places] @ basis) ** 2))
            lost += basis.shape[1]
        if self.n - lost <= 0:
            return 0.0
        return 1.0 - left / float(self.total[-1, -1]) * (self.n - 1) / (self.n - lost)


def _degree(columns: LossColumns) -> int:
    order = len(point_group(columns.symmetry))
    grown = min(round(VIEW_DEGREE * order**0.25), 2 * VIEW_DEGREE)
    return max((d for d in range(1, grown + 1) if d * (d + 2) * PER_COLUMN <= len(columns) * order), default=1)


def _sums(codes: Ints, values: Floats, n: int) -> Floats:
    """Sums of rows by code, ``(n, p)``."""
    order = np.argsort(codes, kind="stable")
    present, first = np.unique(codes[order], return_index=True)
    out = np.zeros((n, values.shape[1]))
    out[present] = np.add.reduceat(values[order], first, axis=0)
    return out
