"""Whether residuals vary along templates more than noise does, and how particles fall into two states along it.

A particle's residual is z D + noise, with D the difference of the states, z = -p in the first and 1 - p in the second,
which a share p of the particles is in: the map is their mean. Its product y with a template has the variance g of the
noise, and more if D has a part along the template.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.hashing import hashed_uniform
from cryocore.types import Floats, Floats32, Ids

FOLDS, DEALS = 5, 8
STREAM = 200
POWER = 4
"""Of the excess by which templates are weighted."""
TABLE, POINTS = 400, 40
"""Variances at which the mean gain of noise is found, and points at which it is averaged."""
BLOCK = 56
"""Templates whose gains are found at a time."""
SHARES = np.array([0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5])
AMPLITUDES = np.array([0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.6, 2.0, 3.0])


@dataclass(frozen=True)
class Mixture:
    """Two states along a template.

    ``share`` : of the particles in the second, at most half
    ``amplitude`` : of their difference, in templates; negative: the first state is changed as the template says
    """

    share: float
    amplitude: float

    @classmethod
    def of(cls, y: Floats, g: Floats, weight: Floats) -> Mixture:
        """The likeliest of a grid, for products ``(n,)`` of variances ``(n,)``."""
        signed = np.concatenate([AMPLITUDES, -AMPLITUDES])
        found = np.array([[np.sum(weight * _gain(y, g, p, a)) for a in signed] for p in SHARES])
        p, a = np.unravel_index(np.argmax(found), found.shape)
        return cls(float(SHARES[p]), float(signed[a]))

    def log_odds(self, y: Floats, g: Floats) -> Floats:
        """Of being in the second state."""
        p, a = self.share, self.amplitude
        return np.asarray(np.log(p / (1.0 - p)) + a * y - 0.5 * (1.0 - 2.0 * p) * a**2 * g)


def _gain(y: Any, g: Any, p: Any, a: Any) -> Any:
    """Log-likelihood of a mixture over that of noise."""
    first = np.log1p(-p) - p * a * y - 0.5 * (p * a) ** 2 * g
    second = np.log(p) + (1.0 - p) * a * y - 0.5 * ((1.0 - p) * a) ** 2 * g
    return np.asarray(np.logaddexp(first, second))


LOOKED_FOR = Mixture(0.2, 0.7)
"""Two states as the test takes them to be: a few differ, along a template that is not quite the difference."""


def excess(y: Floats32, g: Floats32, weight: Floats) -> Floats:
    """How far the gains of products ``(n, k)`` with templates exceed those of noise, in standard errors ``(k,)``."""
    more = gains(y, g, weight)
    one = np.ones((1, len(more)), dtype=np.float32)
    return _errors(one @ more, one @ more**2)[0]


def held_out_excess(y: Floats32, g: Floats32, weight: Floats, ids: Ids, seed: int) -> float:
    """By how many standard errors the products ``(n, k)`` exceed noise along templates weighted by other particles.

    Particles are dealt into :data:`FOLDS` folds by their ids. The gains of each are summed over all templates, each
    weighted by a power of its excess in the other folds: templates share a part of a difference each, and noise less.
    Without a second state the sum over the folds has mean 0, whatever the weights are. Each pair of folds is compared
    twice, either way, so that the variance is up to twice that of independent folds. It is the mean over
    :data:`DEALS` deals, whose spread is smaller. What most templates have in excess is taken off.
    """
    more = gains(y, g, weight)
    deals = [hashed_uniform(ids, 1, seed=seed, stream=STREAM + deal)[:, 0] * FOLDS for deal in range(DEALS)]
    folds = np.concatenate([deal.astype(np.intp) == np.arange(FOLDS)[:, None] for deal in deals]).astype(np.float32)
    sums, squares = folds @ more, folds @ more**2
    whole = sums[:FOLDS].sum(axis=0), squares[:FOLDS].sum(axis=0)
    common = max(float(np.median(_errors(*whole))), 0.0) / np.sqrt(FOLDS)
    chosen = np.maximum(_errors(whole[0] - sums, whole[1] - squares), 0.0) ** POWER
    along = more @ chosen.T.astype(np.float32)
    held_out = _errors(np.sum(folds.T * along, axis=0), np.sum(folds.T * along**2, axis=0)) - common
    return float(held_out.sum() / (DEALS * np.sqrt(2.0 * FOLDS)))


def gains(y: Floats32, g: Floats32, weight: Floats) -> Floats32:
    """Log-likelihood of :data:`LOOKED_FOR` over that of noise, less its mean over noise, times weights, ``(n, k)``.

    That is more than the excess of y² over g: the few of a second state lie on one side, and not on both.
    """
    out = np.empty(y.shape, dtype=np.float32)
    p, a = np.float32(LOOKED_FOR.share), np.float32(LOOKED_FOR.amplitude)
    root = np.linspace(0.0, a * np.sqrt(float(g.max(initial=0.0))), TABLE)
    points, parts = np.polynomial.hermite_e.hermegauss(POINTS)
    mean = _gain(root[:, None] * points, root[:, None] ** 2, float(p), 1.0) @ parts / parts.sum()
    for start in range(0, y.shape[1], BLOCK):
        at = np.s_[:, start : start + BLOCK]
        of_noise = np.interp(a * np.sqrt(g[at]), root, mean)
        out[at] = weight[:, None] * (_gain(y[at], g[at], p, a) - of_noise)
    return out


def _errors(sums: NDArray[np.floating[Any]], squares: NDArray[np.floating[Any]]) -> Floats:
    return np.asarray(sums / np.maximum(np.sqrt(squares), 1e-30), dtype=np.float64)
