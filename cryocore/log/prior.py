"""How likely a particle is to be correct before its scores are looked at.

Incorrect particles are not spread evenly: random poses fall into rare views, whole micrographs are bad. So the log odds
of being correct are a smooth function of what is known beforehand, a sum of one term for each of

- the expected score, the density of views around the particle's own, and its mean defocus: cosines of its rank,
- its optics group, and its micrograph within the group: a number for each.

Every term is drawn towards 0, by a normal prior whose variance is estimated with it (empirical Bayes; Efron 2010), so
that where there is nothing to learn all particles have the same odds. Shares that depend on covariates are those of
false discovery rate regression (Scott et al. 2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from cryocore.geometry.sphere import densities
from cryocore.geometry.symmetry import point_group
from cryocore.types import Floats, Ints

Columns = Mapping[str, NDArray[Any]]

COVARIATE_COLUMNS = ("view_x", "view_y", "view_z", "defocus_u_angstrom", "defocus_v_angstrom")
"""Columns of the log that covariates are made of, beside those of the scores; any may be missing."""
GROUP_COLUMNS = ("optics_group", "micrograph")
"""Columns of the log that group particles, the coarser first."""

ORDERS = {"expected": 4, "density": 4, "defocus": 3}
"""Cosines of each covariate; the k-th is drawn to 0 k times as strongly, which makes the function smooth."""
LEVELS = np.linspace(0.0, 1.0, 129)
"""Ranks of the quantiles by which values become ranks."""
SPREADS = (0.03, 3.0)
"""Bounds of the standard deviations of terms."""
MAX_ODDS = 12.0
"""Bound of prior log odds."""
LEAST_GROUP_SPREAD = 0.15
"""Groups whose log odds spread by less are taken to be alike."""
GROUP_STEPS = 60


@dataclass(frozen=True)
class Prior:
    """Log odds of being correct as a function of covariates.

    ``quantiles`` : ``(k, 129)``, of each covariate, by which its values become ranks
    ``coefficients`` : ``(p,)``, the constant first
    ``spreads`` : ``(k,)``, standard deviation of the first cosine's coefficient of each covariate
    """

    quantiles: Floats
    coefficients: Floats
    spreads: Floats

    @classmethod
    def constant(cls, share: float, covariates: Floats) -> Prior:
        """The same share of correct ones for all, before it has seen a score; ``covariates`` as in :meth:`design`."""
        quantiles = np.stack([np.quantile(v[np.isfinite(v)], LEVELS) for v in covariates.T] or [np.zeros(0)])
        coefficients = np.zeros(1 + sum(list(ORDERS.values())[: covariates.shape[1]]))
        coefficients[0] = logit(share)
        return cls(quantiles, coefficients, np.ones(covariates.shape[1]))

    def log_odds(self, design: Floats) -> Floats:
        """Of rows ``(n, p)`` of a :meth:`design`, ``(n,)``."""
        return np.clip(np.einsum("np,p->n", design, self.coefficients), -MAX_ODDS, MAX_ODDS)

    def design(self, covariates: Floats) -> Floats:
        """The terms ``(n, p)`` of covariates ``(n, k)``: 1, and cosines of ranks; 0 where a covariate is NaN."""
        columns = [np.ones(len(covariates))]
        for values, quantiles, order in zip(covariates.T, self.quantiles, ORDERS.values(), strict=False):
            rank = np.interp(values, quantiles, LEVELS)
            columns += [np.where(np.isfinite(values), np.cos(np.pi * k * rank), 0.0) for k in range(1, order + 1)]
        return np.stack(columns, axis=1)

    @property
    def _terms(self) -> tuple[Ints, Floats]:
        """Covariate of each coefficient but the constant, and how strongly it is drawn to 0, ``(p - 1,)`` each."""
        orders = list(ORDERS.values())[: len(self.spreads)]
        return np.repeat(np.arange(len(orders)), orders), np.concatenate(
            [np.arange(1.0, order + 1) for order in orders] or [np.zeros(0)]
        )

    @property
    def penalty(self) -> float:
        """Minus the log density of the coefficients, up to a constant."""
        covariate, order = self._terms
        return float(0.5 * np.sum((self.coefficients[1:] * order / self.spreads[covariate]) ** 2))

    def improved(self, design: Floats, correct: Floats, weights: Floats, *, learn: bool = True) -> Prior:
        """One Newton step towards parts ``correct`` ``(n,)`` of particles that count ``weights`` ``(n,)``.

        With ``learn``, spreads as well, by what is left to know of the coefficients: the information of the parts less
        that which is missing, as they are no certain labels (Louis 1982).
        """
        p = expit(self.log_odds(design))
        covariate, order = self._terms
        pull = np.concatenate([[1e-9], (order / self.spreads[covariate]) ** 2])
        information = _square(design, weights * p * (1.0 - p))
        gradient = np.einsum("np,n->p", design, weights * (correct - p)) - pull * self.coefficients
        step = np.linalg.solve(information + np.diag(pull + 1e-6), gradient)
        step *= min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
        coefficients = self.coefficients + step
        if not learn or not len(order):
            return replace(self, coefficients=coefficients)
        values, axes = np.linalg.eigh(information - _square(design, weights * correct * (1.0 - correct)))
        known = (axes * np.maximum(values, 0.0)) @ axes.T
        left = np.diag(np.linalg.inv(known + np.diag(pull + 1e-6)))[1:]
        squares = np.bincount(covariate, weights=(coefficients[1:] ** 2 + left) * order**2)
        spreads = np.clip(np.sqrt(squares / np.bincount(covariate)), *SPREADS)
        return replace(self, coefficients=coefficients, spreads=spreads)


def covariates_of(columns: Columns, expected: Floats, symmetry: str | None) -> Floats:
    """What is known of particles before their scores, ``(n, k)``: as many of ``ORDERS`` as the log has, in order.

    Without a ``symmetry``, views and defoci are left out.
    """
    found = [expected]
    if symmetry is not None and all(name in columns for name in COVARIATE_COLUMNS):
        views = np.stack([_floats(columns[name]) for name in COVARIATE_COLUMNS[:3]], axis=1)
        found.append(densities(views, point_group(symmetry)))
        u, v = (_floats(columns[name]) for name in COVARIATE_COLUMNS[3:])
        found.append(0.5 * (u + v))
    return np.stack(found, axis=1)


def group_effects(ratio: Floats, prior: Floats, group: Ints) -> Floats:
    """What a particle's group adds to its log odds of being correct, ``(n,)``.

    Parameters
    ----------
    ratio : (n,)  log-likelihood ratio of correct to incorrect, by the scores
    prior : (n,)  log odds before the scores
    group : (n,)  number of each particle's group, from 0

    Effects are normal about 0. They and their standard deviation are found by expectation maximisation; all are 0 where
    the standard deviation stays below 0.15.
    """
    n_groups = int(group.max(initial=-1)) + 1
    effect, variance = np.zeros(n_groups), 0.25
    if n_groups < 2:
        return np.zeros(len(ratio))
    for _ in range(GROUP_STEPS):
        shifted = prior + effect[group]
        before, after = expit(shifted), expit(shifted + ratio)
        full = np.bincount(group, weights=before * (1.0 - before), minlength=n_groups)
        missing = np.bincount(group, weights=after * (1.0 - after), minlength=n_groups)
        gradient = np.bincount(group, weights=after - before, minlength=n_groups) - effect / variance
        effect = np.clip(effect + gradient / (full + 1.0 / variance), -MAX_ODDS, MAX_ODDS)
        left = 1.0 / (np.maximum(full - missing, 0.0) + 1.0 / variance)
        variance = float(np.clip(np.mean(effect**2 + left), 1e-4, SPREADS[1] ** 2))
    return effect[group] if np.sqrt(variance) >= LEAST_GROUP_SPREAD else np.zeros(len(ratio))


def numbers(labels: NDArray[Any]) -> Ints:
    """The group of each particle as a number from 0, ``(n,)``, of its label; -1 where it has none."""
    import pandas as pd  # slow to import, and replays do without

    return np.asarray(pd.factorize(labels)[0], dtype=np.int64)


def _square(design: Floats, weights: Floats) -> Floats:
    """``design.T @ diag(weights) @ design`` in an order of sums that does not depend on the number of cores."""
    return np.asarray(np.einsum("np,nq->pq", design * weights[:, None], design))


def _floats(values: NDArray[Any]) -> Floats:
    return np.asarray(values, dtype=np.float64)
