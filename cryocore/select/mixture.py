"""A mixture model of the scores: how likely each particle is to be right.

What a right particle scores is known: zc is k √Ec in the mean, with unit variance. What is not right is one of

- misplaced: seen from any other direction; zc is 0 in the mean;
- empty: nothing of the prediction is in the image (junk, a wide shift);
- near: one of the neighbouring poses is the true one;
- displaced: one of the displaced shifts is the true one.

Against the last three the log holds log-likelihood ratios: that of k times the prediction, from z; ``local``; and
``shift``. They are used as they are, so that only k, two variances and the shares of the five classes are fitted, by
expectation maximisation (Dempster, Laird & Rubin 1977). These few numbers are all that the half sets share.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from cryocore.errors import InputError
from cryocore.geometry.poses import hashed_uniform

log = logging.getLogger(__name__)

Array = NDArray[np.float64]
Ids = NDArray[np.uint64]
Columns = Mapping[str, NDArray[Any]]

NEEDED_COLUMNS = ("z", "expected_z")
CENTRED_COLUMNS = ("zc", "expected_zc")
MIXTURE_COLUMNS = (*NEEDED_COLUMNS, *CENTRED_COLUMNS, "local", "shift")
"""Columns of the log that the model reads; all but z and expected_z may be missing, or NaN throughout."""

RIVALS = {"near": "local", "displaced": "shift"}
SUBSAMPLE = 20_000
"""Most particles that the model is fitted to; it is evaluated for all."""
BLOCK = 16_384
"""Particles that are evaluated at a time."""
FEWEST = 100
"""Fewer scored particles than this are judged by the theory alone."""
LEAST_SHARE = 0.003
"""Every kind of error counts as at least so frequent, so that the log odds rank where none was found."""
STARTS = (1.0, 1.4, 2.0)
"""Values of k from which the fit starts; k exceeds 1 where wrong particles have diluted the map."""
SLOPE = (0.7, 4.0)
"""Bounds of k."""
RIGHT_SD = (1.0, 1.25)
MISPLACED_SD = (0.93, 1.3)
MISPLACED_SLOPE = (-0.1, 0.1)
"""Bounds of the standard deviations of zc, 1 by theory, and of the mean of misplaced ones over √Ec, 0 by theory."""
MARGIN = 0.1
"""What rivals are marked down by: noise that a particle shares with the map favours poses near its own a little."""
PRIOR_COUNT = 10.0
"""Particles of unit variance that are added to each class."""


@dataclass(frozen=True)
class Evidence:
    """What the log says of n particles.

    ``observed``, ``expected`` : ``(n,)``, zc and √Ec, or z and √E where the log has no zc
    ``z``, ``expected_z`` : ``(n,)``
    ``ratios`` : ``(n, r)``, log-likelihood ratios of right to near and to displaced; 0 where unknown
    ``classes`` : the kinds that can be told apart, right first; empty ones only where the log has zc
    """

    observed: Array
    expected: Array
    z: Array
    expected_z: Array
    ratios: Array
    classes: tuple[str, ...]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Particles that have a score at all, ``(n,)``."""
        finite = [np.isfinite(v) for v in (self.observed, self.z, self.expected_z)]
        return np.logical_and.reduce([*finite, self.expected > 0, self.expected_z > 0])

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Evidence:
        """The evidence of some particles."""
        return Evidence(
            self.observed[rows],
            self.expected[rows],
            self.z[rows],
            self.expected_z[rows],
            self.ratios[rows],
            self.classes,
        )


@dataclass(frozen=True)
class Mixture:
    """A fitted model.

    ``classes``, ``shares`` : the kinds, right first, and how frequent each is
    ``slopes``, ``spreads`` : mean over √Ec and standard deviation of zc, of right particles and of misplaced ones
    ``log_likelihood`` : of the ``n_fitted`` particles
    """

    classes: tuple[str, ...]
    shares: Array
    slopes: tuple[float, float]
    spreads: tuple[float, float]
    log_likelihood: float
    n_fitted: int

    @property
    def error_rate(self) -> float:
        """Share of the particles that are not right."""
        return float(1.0 - self.shares[0])


def evidence(columns: Columns) -> Evidence:
    """Sort the columns of a log, each ``(n,)``, into what the model reads.

    Raises
    ------
    InputError  if z or expected_z is missing.
    """
    for name in NEEDED_COLUMNS:
        if name not in columns:
            raise InputError(f"the log lacks {name}", column=name, remedy="Score the particles again")
    z, expected_z = (_floats(columns[name]) for name in NEEDED_COLUMNS)
    has_centred = all(name in columns and np.isfinite(columns[name]).any() for name in CENTRED_COLUMNS)
    observed, expected = (_floats(columns[name]) for name in (CENTRED_COLUMNS if has_centred else NEEDED_COLUMNS))
    ratios = {kind: _floats(columns[name]) for kind, name in RIVALS.items() if name in columns}
    ratios = {kind: np.nan_to_num(r, nan=0.0) for kind, r in ratios.items() if np.isfinite(r).any()}
    table = np.stack([*ratios.values()], axis=1) if ratios else np.zeros((len(z), 0))
    classes = ("right", "misplaced", *(["empty"] if has_centred else []), *ratios)
    return Evidence(observed, expected, z, expected_z, table, classes)


def fit(columns: Columns, *, ids: Ids, seed: int = 0) -> Mixture:
    """Fit the model to the scores of one round.

    Parameters
    ----------
    columns : those of ``MIXTURE_COLUMNS`` that the log has, each ``(n,)``
    ids : (n,)  stable ids; they and the seed decide which particles are fitted where there are many

    Returns
    -------
    Mixture; the theory with assumed shares, and a warning, where fewer than 100 particles are scored.
    """
    return fit_evidence(evidence(columns), ids=ids, seed=seed)


def fit_evidence(data: Evidence, *, ids: Ids, seed: int = 0) -> Mixture:
    """:func:`fit` for evidence that is at hand."""
    rows = np.flatnonzero(data.known)
    if len(rows) < FEWEST:
        log.warning("only %d particles have scores: the error rate is not estimated", len(rows))
        return theory(data, 1.0)
    rows = rows[hashed_order(ids[rows], seed=seed, stream=11, most=SUBSAMPLE)]
    part, weights = data.take(rows), np.ones(len(rows))
    fits = [expectation_maximisation(part, weights, theory(data, k), tolerance=1e-5) for k in STARTS]
    best = max(fits, key=lambda m: m.log_likelihood)
    return expectation_maximisation(part, weights, best, tolerance=1e-7)


def hashed_order(ids: Ids, *, seed: int, stream: int, most: int | None = None) -> NDArray[np.intp]:
    """An order of particles that depends on ids and seed, and not on the order of rows: its first ``most``, or all."""
    place = hashed_uniform(ids, 1, seed=seed, stream=stream)[:, 0]
    if most is None or most >= len(ids):
        return np.lexsort((ids, place))
    first = np.flatnonzero(place <= np.partition(place, most - 1)[most - 1])
    return first[np.lexsort((ids[first], place[first]))][:most]


def theory(data: Evidence, k: float) -> Mixture:
    """The model before it has seen a score."""
    wrong = len(data.classes) - 1
    shares = np.array([0.7, *([0.3 / wrong] * wrong)])
    n = int(data.known.sum())
    return Mixture(data.classes, shares, (k, 0.0), (1.0, 1.0), -np.inf, n)


def expectation_maximisation(
    data: Evidence, weights: Array, start: Mixture, *, tolerance: float, steps: int = 500
) -> Mixture:
    """Improve a model until the mean log-likelihood changes by less than a tolerance.

    ``weights`` ``(n,)`` says how often each particle counts. k is fitted to zc of right particles alone, though the
    density of empty ones depends on it as well; so the likelihood need not grow in every step.
    """
    model, last, total = start, -np.inf, weights.sum()
    for _ in range(steps):
        joint = class_densities(model, data) + np.log(model.shares)
        each = log_sum_exp(joint)
        reached = _sum_of_products(weights, each)
        if abs(reached - last) < tolerance * total:
            break
        last = reached
        model = maximisation(data, weights[:, None] * np.exp(joint - each[:, None]), model, reached)
    return model


def maximisation(data: Evidence, parts: Array, model: Mixture, log_likelihood: float) -> Mixture:
    """The best model within its bounds for the parts ``(n, classes)`` that each class has in each particle."""
    shares = (parts.sum(axis=0) + 0.5) / (parts.sum() + 0.5 * parts.shape[1])
    right = _line(data, parts[:, 0], SLOPE, RIGHT_SD)
    misplaced = _line(data, parts[:, 1], MISPLACED_SLOPE, MISPLACED_SD)
    slopes, spreads = zip(right, misplaced, strict=True)
    return Mixture(model.classes, shares, slopes, spreads, log_likelihood, len(parts))


def class_densities(model: Mixture, data: Evidence) -> Array:
    """Log density of each particle under each class, ``(n, classes)``."""
    right, misplaced = (
        -0.5 * ((data.observed - slope * data.expected) / spread) ** 2 - np.log(spread)
        for slope, spread in zip(model.slopes, model.spreads, strict=True)
    )
    columns = [right, misplaced]
    if "empty" in model.classes:
        k = model.slopes[0]
        columns.append(right - k * data.expected_z * (data.z - 0.5 * k * data.expected_z))
    # a map of k times the contrast would score k times as much
    columns += [right - model.slopes[0] * ratio - MARGIN for ratio in data.ratios.T]
    return np.stack(columns).T  # sums over classes are quick where a class is together in memory


def log_sum_exp(values: Array) -> Array:
    """Logarithm ``(n,)`` of the sum of exp(values) over the classes, ``(n, classes)``."""
    top = values.max(axis=1)
    return np.asarray(top + np.log(np.exp(values - top[:, None]).sum(axis=1)))


def log_odds(model: Mixture, columns: Columns) -> Array:
    """Log odds ``(n,)`` that each particle is right; NaN for a particle without a score.

    No kind of error counts as rarer than 0.3 %, so that particles are ranked even where all seem right.
    """
    return evidence_log_odds(model, evidence(columns))


def evidence_log_odds(model: Mixture, data: Evidence) -> Array:
    """:func:`log_odds` for evidence that is at hand."""
    out = np.full(len(data.observed), np.nan)
    rows, prior = np.flatnonzero(data.known), np.log(np.maximum(model.shares, LEAST_SHARE))
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        joint = class_densities(model, data.take(block)) + prior
        out[block] = joint[:, 0] - log_sum_exp(joint[:, 1:])
    return out


def posterior(log_odds: Array) -> Array:
    """Probability of being right, ``(n,)``; 0 where the log odds are NaN."""
    return np.asarray(np.nan_to_num(expit(log_odds), nan=0.0))


def _floats(values: NDArray[Any]) -> Array:
    return np.asarray(values, dtype=np.float64)


def _line(data: Evidence, weights: Array, slope: tuple[float, float], sd: tuple[float, float]) -> tuple[float, float]:
    """Slope through the origin of scores over expected ones and the spread about it, both within bounds."""
    energy = max(_sum_of_products(weights, data.expected**2), 1e-9)
    fitted = float(np.clip(_sum_of_products(weights, data.observed * data.expected) / energy, *slope))
    squares = _sum_of_products(weights, (data.observed - fitted * data.expected) ** 2)
    return fitted, float(np.clip(np.sqrt((squares + PRIOR_COUNT) / (weights.sum() + PRIOR_COUNT)), *sd))


def _sum_of_products(first: Array, second: Array) -> float:
    """The same on any number of cores, unlike a product of matrices."""
    return float(np.sum(first * second))
