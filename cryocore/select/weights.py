"""Weights of particles by their loss: on the simplex, and those of robust losses.

On the simplex, weights w >= 0 of n particles with the mean 1 minimise sum w d, d the loss, plus what keeps them from
piling up on the one particle with the least loss: a temperature, a quadratic term, a cap, or that steps are few.
"""

from __future__ import annotations

import math

import numpy as np

from cryocore.statistics import centre_and_spread
from cryocore.types import Floats

CAP_QUADRATIC = 0.25
"""Quadratic term of the capped simplex; without one, weights are either 0 or at the cap."""
NEGLIGIBLE = 1e-6
"""Weights below this share of the largest are 0."""


def standard_loss(scores: Floats) -> Floats:
    """Robust standard deviations (1.4826 MAD) below the median of the scores, ``(n,)``; infinite where there is none.

    The loss is in these units, so that a temperature or a step means the same for every score.

    >>> standard_loss(np.array([4.0, 5.0, 6.0, 1.0, 9.0])).round(2).tolist()
    [0.67, 0.0, -0.67, 2.7, -2.7]
    """
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        return np.full(len(scores), np.inf)
    centre, spread = centre_and_spread(finite)
    spread = spread or float(np.std(finite)) or 1.0
    return np.where(np.isfinite(scores), (centre - scores) / spread, np.inf)


def project_to_simplex(values: Floats, *, total: float = 1.0, cap: float = np.inf) -> Floats:
    """The nearest point to ``values`` ``(n,)`` with 0 <= w <= cap that sums up to ``total``, in O(n log n).

    w = clip(v - t, 0, cap). The sum is piecewise linear in t and falls with it; its pieces meet at v and v - cap, and t
    lies in the one that crosses ``total``. Without a cap this is the algorithm of Duchi et al. 2008 (ICML, p. 272).
    Entries of minus infinity get 0.

    Raises
    ------
    ValueError  if the cap is so low that no point has that sum.

    >>> project_to_simplex(np.array([0.9, 0.5, -1.0])).tolist()
    [0.7, 0.3, 0.0]
    >>> project_to_simplex(np.array([0.9, 0.5, -1.0]), cap=0.5).tolist()
    [0.5, 0.5, 0.0]
    """
    finite = values[np.isfinite(values)]
    if cap * len(finite) < total * (1 - 1e-12) or not len(finite):
        raise ValueError(f"{len(finite)} weights of at most {cap:g} cannot sum up to {total:g}")
    enter = np.sort(finite)[::-1]
    # going down in t, an entry starts to grow at t = v and stops at t = v - cap
    bends = np.concatenate([enter, enter - cap]) if np.isfinite(cap) else enter
    growth = np.repeat([1.0, -1.0], len(enter))[: len(bends)]
    order = np.argsort(-bends, kind="stable")
    bends, slope = bends[order], np.cumsum(growth[order])
    sums = np.concatenate([[0.0], np.cumsum(slope[:-1] * -np.diff(bends))])
    at = int(np.searchsorted(sums, total, side="right")) - 1
    left = total - sums[at]
    level = bends[at] - (left / slope[at] if slope[at] > 0 else 0.0)
    return np.clip(np.where(np.isfinite(values), values - level, 0.0), 0.0, cap)


def softmax(loss: Floats, beta: float) -> Floats:
    """Weights exp(-beta d), which minimise sum w d + (1 / beta) sum w log w: one particle has it all as beta grows."""
    return _scaled(np.exp(-beta * (loss - np.min(loss, initial=1e9, where=np.isfinite(loss)))))


def simplex(loss: Floats, quadratic: float) -> Floats:
    """Weights that minimise sum w d + quadratic / 2 * sum (w - 1)²: the projection of 1 - d / quadratic.

    Uniform for a large quadratic term; one particle has it all as it goes to 0.
    """
    return _scaled(_projected(1.0 - loss / quadratic, np.inf))


def capped(loss: Floats, share: float) -> Floats:
    """As :func:`simplex`, with no weight above 1 / share: at least this share of the particles must count.

    Without a quadratic term this is the trimmed set, the best share with equal weights; with the one of
    ``CAP_QUADRATIC`` the step from 1 to 0 is a ramp that wide.
    """
    return _scaled(_projected(1.0 - loss / CAP_QUADRATIC, 1.0 / share))


def absolute(loss: Floats, step: float, before: Floats) -> Floats:
    """One step of gradient descent on u, from the weights ``before``, with w = |u| / mean |u|.

    Nothing holds it back: round by round the weights pile up on the particles with the least loss.
    """
    known = np.isfinite(loss)
    u = np.where(known, before, 0.0)
    u = np.where(known, u / (math.fsum(u) / _count(loss)), 0.0) if np.any(u > 0) else known.astype(np.float64)
    d = np.where(known, loss, 0.0)
    mean = math.fsum(u * d) / max(_count(loss), 1)
    return _scaled(np.where(known, np.abs(u - step * (d - mean)), 0.0))


def huber(loss: Floats, threshold: float) -> Floats:
    """Weights min(1, threshold / d) of iteratively reweighted least squares, for losses d above the median.

    They make sums of squares into sums of lengths beyond the threshold (Weiszfeld; Huber 1964).

    >>> huber(np.array([-1.0, 1.0, 2.0, 4.0]), 2.0).tolist()
    [1.0, 1.0, 1.0, 0.5]
    """
    return np.where(np.isfinite(loss), threshold / np.maximum(loss, threshold), 0.0)


def student(loss: Floats, degrees_of_freedom: float) -> Floats:
    """Weights 1 / (1 + d² / ν), those of Student's t distribution, for losses d above the median."""
    return np.where(np.isfinite(loss), 1.0 / (1.0 + np.maximum(loss, 0.0) ** 2 / degrees_of_freedom), 0.0)


def _projected(values: Floats, cap: float) -> Floats:
    """Projection on weights of the mean 1 among those that are known."""
    n = _count(values)
    return project_to_simplex(values, total=float(n), cap=cap) if n else np.zeros(len(values))


def _count(loss: Floats) -> int:
    return int(np.isfinite(loss).sum())


def _scaled(weights: Floats) -> Floats:
    """Weights whose largest is 1, the negligible ones 0; maps depend on ratios alone."""
    most = np.max(weights, initial=0.0)
    return np.where(weights >= NEGLIGIBLE * most, weights / most, 0.0) if most > 0 else np.zeros_like(weights)
