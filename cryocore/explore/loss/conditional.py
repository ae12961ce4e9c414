"""The loss given the geometry: regressions on projection energy and view, for one kind of particle or for two.

Correct and incorrect particles of one view and one energy score differently; each kind follows the geometry in its own
way. So a mixture of two regressions tells peaks of kinds from peaks of views, where no histogram of the loss alone can.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from cryocore.explore.loss.columns import LossColumns
from cryocore.explore.loss.dependence import clipped
from cryocore.explore.loss.harmonics import view_functions
from cryocore.explore.loss.peaks import Peaks, find_peaks, fit_normals, histogram
from cryocore.geometry.symmetry import point_group
from cryocore.hashing import hashed_order, hashed_uniform
from cryocore.types import Floats

FITTED = 10_000
"""Particles that regressions are fitted to at most; they are evaluated for all."""
DEGREE, PER_COLUMN = 8, 40
"""Degree of harmonics of the view at most, and least number of particles per column of the regression."""
RIDGE_COUNT = 1.0
SPREAD_RANGES, PRIOR_COUNT = 6, 30.0
"""Ranges of the geometry with a spread of their own, drawn to that of all by so many particles."""
TRIAL_STEPS, STEPS = 15, 200
"""Of expectation maximisation, from each start and from the best of them."""
CLEAR_BIC = 10.0
CLEAR_D = 2.0
LEAST_SHARE = 0.02


@dataclass(frozen=True)
class Regressions:
    """One or two kinds of particles, the better one first.

    ``share`` ``(k,)`` : of the particles
    ``mean``, ``sd`` ``(k, n)`` : of each kind, given the geometry of each particle
    ``part`` ``(k, n)`` : probability of each kind, given geometry and loss
    ``bic`` : of the fit
    """

    share: Floats
    mean: Floats
    sd: Floats
    part: Floats
    bic: float

    @property
    def separation(self) -> float:
        """Ashman's D of the two kinds, median over the particles; 0 for one."""
        if len(self.share) < 2:
            return 0.0
        return float(np.median(np.sqrt(2) * np.abs(self.mean[0] - self.mean[1]) / np.hypot(self.sd[0], self.sd[1])))


@dataclass(frozen=True)
class Geometry:
    """What is left of the peaks when the geometry is taken out, and what the geometry makes by itself.

    ``one``, ``two`` : the loss of one kind or of two kinds, given the geometry
    ``same_geometry`` ``(n,)`` : losses on an axis where both kinds lie at the same place for all views and energies
    ``same_kind`` ``(n,)`` : losses as they would be if all particles were of the more frequent kind
    ``kinds``, ``views`` : peaks of the two
    ``are_two_kinds`` : whether two kinds are sure, None where that is open
    """

    one: Regressions
    two: Regressions
    same_geometry: Floats
    same_kind: Floats
    kinds: Peaks
    views: Peaks
    are_two_kinds: bool | None


def without_geometry(columns: LossColumns, seed: int = 0) -> Geometry:
    """Fit one and two kinds of particles to the score of all given projection energy and view.

    Rows have to be in an order that does not depend on the file's (see ``cryocore.hashing.hashed_order``).
    """
    score = clipped(columns.score)
    design, along = design_matrix(columns)
    rows = hashed_order(columns.ids, seed=seed, stream=14)[:FITTED]
    one, two = fit_regressions(design, along, score, rows)
    same_geometry = _aligned(score, two)
    common = int(np.argmax(two.share))
    kinds = find_peaks(same_geometry)
    sure = _two_kinds(one, two, kinds)
    if sure is False:
        same_geometry = score - one.mean[0] + np.median(one.mean[0])
        kinds = find_peaks(same_geometry)
        source, members = one, np.ones(len(score), dtype=bool)
        common = 0
    else:
        source, members = two, two.part[common] > 0.5
    noise = ndtri(np.clip(hashed_uniform(columns.ids, 1, seed=seed, stream=15)[:, 0], 1e-9, 1 - 1e-9))
    same_kind = source.mean[common][members] + source.sd[common][members] * noise[members]
    return Geometry(one, two, same_geometry, same_kind, kinds, find_peaks(same_kind), sure)


def design_matrix(columns: LossColumns) -> tuple[Floats, Floats | None]:
    """Columns ``(n, p)`` of the regression, the first of ones; and what spreads may change along, ``(n,)``."""
    n = len(columns)
    parts, along = [np.ones((n, 1))], None
    if columns.expected is not None and np.ptp(columns.expected) > 0:
        along = columns.expected
        s = (columns.expected - columns.expected.mean()) / columns.expected.std()
        parts.append(np.stack([s, s**2], axis=1))
    if columns.views is not None:
        order = len(point_group(columns.symmetry))
        most = min(n, FITTED) / PER_COLUMN
        grown = min(round(DEGREE * order**0.25), 2 * DEGREE)
        degree = max((d for d in range(1, grown + 1) if (d + 1) ** 2 / order <= most), default=0)
        if degree:
            parts.append(view_functions(columns.views, degree, columns.symmetry)[0].astype(np.float64))
    return np.concatenate(parts, axis=1), along


def fit_regressions(
    design: Floats, along: Floats | None, score: Floats, rows: NDArray[np.intp]
) -> tuple[Regressions, Regressions]:
    """Fit one and two regressions of ``score`` ``(n,)`` on ``design`` ``(n, p)`` to some rows."""
    x, y = design[rows], score[rows]
    ranges = np.zeros(len(score), dtype=np.intp) if along is None else _ranges(along, rows)
    at = ranges[rows]
    one = _maximised(x, y, at, np.ones((1, len(y))), STEPS)[0]
    residual = (y - x @ one.coefficients[0]) / one.spread[0][at]
    starts = [residual, y]
    if along is not None:
        starts.append((y - np.median(y)) / along[rows])
        starts.append(y / along[rows])
    trials = [_maximised(x, y, at, _halves(start), TRIAL_STEPS) for start in starts]
    two = _maximised(x, y, at, max(trials, key=lambda t: t[0].log_likelihood)[1], STEPS)[0]
    return _evaluated(one, design, ranges, score), _evaluated(two, design, ranges, score)


@dataclass(frozen=True)
class _Fit:
    share: Floats
    coefficients: Floats
    spread: Floats
    log_likelihood: float
    n: int

    @property
    def bic(self) -> float:
        k, p = self.coefficients.shape
        return float(-2 * self.log_likelihood + (k * (p + self.spread.shape[1]) + k - 1) * np.log(self.n))


def _maximised(x: Floats, y: Floats, at: NDArray[np.intp], part: Floats, steps: int) -> tuple[_Fit, Floats]:
    """Weighted least squares in turn with the parts ``(k, n)`` that each kind has in each particle."""
    n, p = x.shape
    k, n_ranges, last = len(part), int(at.max()) + 1, -np.inf
    ridge = RIDGE_COUNT * np.diag(np.concatenate([[0.0], np.ones(p - 1)]))
    least = 0.02 * float(np.std(y)) + 1e-12
    share, coefficients = np.full(k, 1 / k), np.zeros((k, p))
    spread = np.full((k, n_ranges), float(np.std(y)) + 1e-12)
    for _ in range(steps):
        joint = np.empty((k, n))
        for i in range(k):
            weight = part[i] / spread[i][at] ** 2
            scale = max(float(weight.mean()), 1e-30)
            xw = x * (weight / scale)[:, None]
            coefficients[i] = np.linalg.lstsq(xw.T @ x + ridge, xw.T @ y, rcond=1e-12)[0]
            square = part[i] * (y - x @ coefficients[i]) ** 2
            overall = square.sum() / max(part[i].sum(), 1.0)
            held = np.bincount(at, weights=part[i], minlength=n_ranges)
            sums = np.bincount(at, weights=square, minlength=n_ranges)
            spread[i] = np.sqrt(np.maximum((sums + PRIOR_COUNT * overall) / (held + PRIOR_COUNT), least**2))
            share[i] = (part[i].sum() + 0.5) / (n + 0.5 * k)
            z = (y - x @ coefficients[i]) / spread[i][at]
            joint[i] = np.log(share[i]) - 0.5 * z**2 - np.log(spread[i][at]) - 0.5 * np.log(2 * np.pi)
        each = np.logaddexp.reduce(joint, axis=0)
        part = np.exp(joint - each)
        reached = float(each.sum())
        if abs(reached - last) < 1e-6 * n:
            break
        last = reached
    return _Fit(share, coefficients, spread, reached, n), part


def _evaluated(fit: _Fit, design: Floats, ranges: NDArray[np.intp], score: Floats) -> Regressions:
    mean, sd = fit.coefficients @ design.T, fit.spread[:, ranges]
    order = np.argsort(-np.median(mean, axis=1))
    mean, sd, share = mean[order], sd[order], fit.share[order]
    joint = np.log(share)[:, None] - 0.5 * ((score - mean) / sd) ** 2 - np.log(sd)
    part = np.exp(joint - np.logaddexp.reduce(joint, axis=0))
    return Regressions(share, mean, sd, part, fit.bic)


def _ranges(along: Floats, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Ranges of ``along`` ``(n,)`` with equally many of ``rows`` in each."""
    edges = np.quantile(along[rows], np.linspace(0, 1, SPREAD_RANGES + 1)[1:-1])
    return np.searchsorted(edges, along, side="right")


def _halves(values: Floats) -> Floats:
    """Two soft parts of a sample by a mixture of two normal densities."""
    two = fit_normals(*histogram(values), 2)
    joint = np.log(two.density(values) + 1e-300)
    return np.asarray(np.exp(joint - np.logaddexp.reduce(joint, axis=0)))


def _aligned(score: Floats, two: Regressions) -> Floats:
    """Scores on an axis on which the worse kind lies at 0 and the better one at 1 for every geometry.

    The axis is stretched in proportion, so that no peaks are made; where the two kinds are less than half as far apart
    as usual, particles are left out.
    """
    gap = two.mean[0] - two.mean[1]
    usual = float(np.median(gap))
    clear = gap > 0.5 * usual if usual > 0 else np.ones(len(score), dtype=bool)
    gap = np.where(gap > 0, gap, 1.0)
    return np.asarray(((score - two.mean[1]) / gap)[clear])


def _two_kinds(one: Regressions, two: Regressions, kinds: Peaks) -> bool | None:
    """Whether there are two kinds of particles of the same geometry: the fits and the dip test have to agree."""
    clear = one.bic - two.bic > CLEAR_BIC and two.separation > CLEAR_D and float(two.share.min()) > LEAST_SHARE
    if clear and kinds.count >= 2:
        return True
    return None if clear and (kinds.count == 0 or kinds.p_value < 0.1) else False
