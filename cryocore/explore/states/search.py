"""Whether residuals vary along a template more than noise does, and how particles fall into two states along it.

A particle's residual is z D + noise, with D the difference of the states, z = -p in the first and 1 - p in the second,
which a share p of the particles is in: the map is their mean. Its product y with a template has the variance g of the
noise, and more if D has a part along the template.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryocore.hashing import hashed_uniform
from cryocore.types import Floats, Floats32, Ids

FOLDS, DEALS = 5, 8
STREAM = 200
SHARES = np.array([0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5])
AMPLITUDES = np.array([0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.6, 2.0, 3.0])


def excess(y: Floats32, g: Floats32, weight: Floats) -> Floats:
    """How far the variance of products ``(n, k)`` with templates exceeds that of noise, in standard errors ``(k,)``."""
    more = weight[:, None] * (y.astype(np.float64) ** 2 - g)
    return _errors(more.sum(axis=0), np.sum(more**2, axis=0))


def held_out_excess(y: Floats32, g: Floats32, weight: Floats, ids: Ids, seed: int) -> float:
    """By how many standard errors the products ``(n, k)`` exceed noise along templates chosen by other particles.

    Particles are dealt into :data:`FOLDS` folds by their ids. The template that stands out most in the others is tried
    on each fold; without a second state the sum over the folds is normal, of mean 0, whatever was chosen among. It is
    the mean over :data:`DEALS` deals, whose spread is smaller. What most templates have in excess is taken off.
    """
    more = weight[:, None] * (y.astype(np.float64) ** 2 - g)
    found = []
    for deal in range(DEALS):
        fold = (hashed_uniform(ids, 1, seed=seed, stream=STREAM + deal)[:, 0] * FOLDS).astype(np.intp)
        sums = np.stack([more[fold == f].sum(axis=0) for f in range(FOLDS)])
        squares = np.stack([np.sum(more[fold == f] ** 2, axis=0) for f in range(FOLDS)])
        chosen = np.argmax(_errors(sums.sum(axis=0) - sums, squares.sum(axis=0) - squares), axis=1)
        held_out = _errors(sums, squares)
        common = np.maximum(np.median(held_out, axis=1), 0.0)
        found.append(float(np.sum(held_out[np.arange(FOLDS), chosen] - common) / np.sqrt(FOLDS)))
    return float(np.mean(found))


def _errors(sums: Floats, squares: Floats) -> Floats:
    return np.asarray(sums / np.maximum(np.sqrt(squares), 1e-30))


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


def _gain(y: Floats, g: Floats, p: float, a: float) -> Floats:
    """Log-likelihood of a mixture over that of noise."""
    first = np.log1p(-p) - p * a * y - 0.5 * (p * a) ** 2 * g
    second = np.log(p) + (1.0 - p) * a * y - 0.5 * ((1.0 - p) * a) ** 2 * g
    return np.asarray(np.logaddexp(first, second))
