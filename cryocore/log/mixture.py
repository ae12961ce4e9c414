"""A mixture model of the scores: how likely each particle is to be correct.

What a correct particle scores is known: zc and ldac have unit variance, and k times their expected values in the mean.
They are read as ldac and what is left of zc once ldac is taken out, two scores whose noise is independent: pose errors
of some degrees change the first and hardly the second. What is not correct is one of

- misoriented: seen from any other direction; both scores are 0 in the mean;
- junk: nothing of the prediction is in the image, also where the shift is far off;
- slightly_misoriented: off by some degrees. Either one of the perturbed poses is the true one, or the true one lies
  between them, and then ldac keeps an unknown part of what is expected of it;
- miscentred: one of the perturbed shifts is the true one.

Against junk, perturbed poses and perturbed shifts the log holds log-likelihood ratios: that of k times the prediction,
from z; ``local``; and ``shift``. They are used as they are, so that only k, for each score its own, two covariances and
the shares of the five classes are fitted, by expectation maximisation (Dempster, Laird & Rubin 1977). These few numbers
are all that the half sets share.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.hashing import hashed_order
from cryocore.types import Floats, Ids

log = logging.getLogger(__name__)

Columns = Mapping[str, NDArray[Any]]

NEEDED_COLUMNS = ("z", "expected_z")
CENTRED_COLUMNS = ("zc", "expected_zc")
DISCERNING_COLUMNS = ("ldac", "expected_ldac")
MIXTURE_COLUMNS = (*NEEDED_COLUMNS, *CENTRED_COLUMNS, *DISCERNING_COLUMNS, "local", "shift")
"""Columns of the log that the model reads; all but z and expected_z may be missing, or NaN throughout."""

SUBSAMPLE = 20_000
"""Most particles that the model is fitted to; it is evaluated for all."""
BLOCK = 16_384
"""Particles that are evaluated at a time."""
FEWEST = 100
"""Fewer scored particles than this are scored by the theory alone."""
LEAST_SHARE = 0.003
"""Every kind of error counts as at least so frequent, so that the log odds rank where none was found."""
STARTS = (1.0, 1.8)
"""Values of k from which the fit starts; k exceeds 1 where incorrect particles have diluted the map."""
SLOPE = (0.6, 4.0)
"""Bounds of k."""
LOST = np.linspace(0.3, 1.0, 5)
"""Parts of the expected ldac that a pose between the perturbed poses may lose, all as likely."""
MARGIN = 0.05
"""What slightly misoriented and miscentred ones are marked down by, so that chance finds few of them where all are
correct."""
CORRECT_SD = (1.0, 1.7)
MISORIENTED_SD = (0.9, 1.3)
"""Bounds of the standard deviations, 1 by theory: models differ from images, and other poses resemble the true one."""
PRIOR_COUNT = 10.0
"""Particles of unit variance that are added to each class."""


@dataclass(frozen=True)
class Evidence:
    """What the log says of n particles.

    ``observed``, ``expected`` : ``(n, d)``, independent scores of unit variance, and what is expected of correct
        particles. d = 2: zc without ldac, and ldac; d = 1: zc, or z, where the log has not more
    ``z``, ``expected_z`` : ``(n,)``
    ``ratios`` : kind of error -> ``(n,)``, log-likelihood ratio of correct to that kind; 0 where unknown
    ``classes`` : the kinds that can be distinguished, correct first; junk only where the log has zc
    """

    observed: Floats
    expected: Floats
    z: Floats
    expected_z: Floats
    ratios: dict[str, Floats]
    classes: tuple[str, ...]

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Particles that have a score at all, ``(n,)``."""
        finite = np.isfinite(self.observed).all(axis=1) & np.isfinite(self.z) & np.isfinite(self.expected_z)
        return finite & (self.expected[:, 0] > 0) & (self.expected_z > 0)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Evidence:
        """The evidence of some particles."""
        ratios = {kind: ratio[rows] for kind, ratio in self.ratios.items()}
        parts = self.observed[rows], self.expected[rows], self.z[rows], self.expected_z[rows]
        return Evidence(*parts, ratios, self.classes)


@dataclass(frozen=True)
class Mixture:
    """A fitted model.

    ``classes``, ``shares`` : the kinds, correct first, and how frequent each is
    ``slopes`` : ``(d,)``, k of each score; ``scale`` that of z
    ``correct``, ``misoriented`` : ``(d, d)``, covariances of the scores of correct particles and of misoriented ones
    ``log_likelihood`` : of the ``n_fitted`` particles
    """

    classes: tuple[str, ...]
    shares: Floats
    slopes: Floats
    scale: float
    correct: Floats
    misoriented: Floats
    log_likelihood: float
    n_fitted: int

    @property
    def error_rate(self) -> float:
        """Share of the particles that are not correct."""
        return float(1.0 - self.shares[0])


def evidence(columns: Columns) -> Evidence:
    """Sort the columns of a log, each ``(n,)``, into what the model reads.

    Raises
    ------
    InputError  if z or expected_z is missing.
    """
    for name in NEEDED_COLUMNS:
        if name not in columns:
            raise InputError(f"the log lacks {name}", column=name, fix="Score the particles again")
    z, expected_z = (_floats(columns[name]) for name in NEEDED_COLUMNS)
    classes, ratios = ["correct", "misoriented"], {}
    observed, expected = z[:, None], expected_z[:, None]
    if _has(columns, *CENTRED_COLUMNS):
        classes.append("junk")
        observed, expected = (_floats(columns[name])[:, None] for name in CENTRED_COLUMNS)
        if _has(columns, *DISCERNING_COLUMNS):
            ldac, expected_ldac = (_floats(columns[name])[:, None] for name in DISCERNING_COLUMNS)
            observed, expected = _parted(observed, expected, ldac, expected_ldac)
    for kind, name in (("slightly_misoriented", "local"), ("miscentred", "shift")):
        if _has(columns, name):
            ratios[kind] = np.nan_to_num(_floats(columns[name]), nan=0.0)
        if kind in ratios or (kind == "slightly_misoriented" and observed.shape[1] == 2):
            classes.append(kind)
    return Evidence(observed, expected, z, expected_z, ratios, tuple(classes))


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
    fits = [expectation_maximisation(part, weights, theory(part, k), tolerance=1e-5) for k in STARTS]
    best = max(fits, key=lambda m: m.log_likelihood)
    return expectation_maximisation(part, weights, best, tolerance=1e-6)


def theory(data: Evidence, k: float) -> Mixture:
    """The model before it has seen a score."""
    incorrect, scores = len(data.classes) - 1, data.observed.shape[1]
    shares = np.array([0.7, *([0.3 / incorrect] * incorrect)])
    unit = np.eye(scores)
    return Mixture(data.classes, shares, np.full(scores, k), k, unit, unit, -np.inf, int(data.known.sum()))


def expectation_maximisation(
    data: Evidence, weights: Floats, start: Mixture, *, tolerance: float, steps: int = 500
) -> Mixture:
    """Improve a model until the mean log-likelihood changes by less than a tolerance.

    ``weights`` ``(n,)`` says how often each particle counts. k is fitted to correct particles alone, though other
    classes depend on it as well; so the likelihood need not grow in every step.
    """
    model, last, total = start, -np.inf, weights.sum()
    for _ in range(steps):
        joint = class_densities(model, data)
        joint += np.log(model.shares)
        parts, sums, each = _exp_and_log_sum(joint)
        reached = float(np.sum(weights * each))
        if abs(reached - last) < tolerance * total:
            break
        last = reached
        parts /= sums[:, None]
        parts *= weights[:, None]
        model = maximisation(data, parts, model, reached)
    return model


def maximisation(data: Evidence, parts: Floats, model: Mixture, log_likelihood: float) -> Mixture:
    """The best model within its bounds for the parts ``(n, classes)`` that each class has in each particle."""
    shares = (parts.sum(axis=0) + 0.5) / (parts.sum() + 0.5 * parts.shape[1])
    own = parts[:, 0]
    slopes = _slope(own, data.observed, data.expected)
    scale = float(_slope(own, data.z, data.expected_z))
    correct = _covariance(data.observed - slopes * data.expected, own, CORRECT_SD)
    misoriented = _covariance(data.observed, parts[:, 1], MISORIENTED_SD)
    return Mixture(model.classes, shares, slopes, scale, correct, misoriented, log_likelihood, len(parts))


def class_densities(model: Mixture, data: Evidence) -> Floats:
    """Log density of each particle under each class, ``(n, classes)``."""
    whitening = np.linalg.cholesky(np.linalg.inv(model.correct))
    white = _combined(data.observed - model.slopes * data.expected, whitening)
    correct = _log_normal(white, whitening)
    other = np.linalg.cholesky(np.linalg.inv(model.misoriented))
    columns = [correct, _log_normal(_combined(data.observed, other), other)]
    if "junk" in model.classes:
        columns.append(correct - model.scale * data.expected_z * (data.z - 0.5 * model.scale * data.expected_z))
    if "slightly_misoriented" in model.classes:
        # a map of k times the contrast would score k times as much
        kinds = (
            [-model.slopes[-1] * data.ratios["slightly_misoriented"]] if "slightly_misoriented" in data.ratios else []
        )
        if data.observed.shape[1] == 2:
            slope = _combined(white, whitening[1][:, None])[:, 0]
            kinds.append(_faded(slope, whitening[1] @ whitening[1], model.slopes[1] * data.expected[:, 1]))
        columns.append(correct + np.logaddexp.reduce(kinds, axis=0) - np.log(len(kinds)) - MARGIN)
    if "miscentred" in model.classes:
        columns.append(correct - model.scale * data.ratios["miscentred"] - MARGIN)
    return np.stack(columns).T  # sums over classes are quick if each class lies in one piece


def log_odds(model: Mixture, columns: Columns) -> Floats:
    """Log odds ``(n,)`` that each particle is correct; NaN for a particle without a score.

    No kind of error counts as rarer than 0.3 %, so that particles are ranked even where all seem correct.
    """
    return evidence_log_odds(model, evidence(columns))


def evidence_log_odds(model: Mixture, data: Evidence) -> Floats:
    """:func:`log_odds` for evidence that is at hand."""
    out = np.full(len(data.observed), np.nan)
    rows, prior = np.flatnonzero(data.known), np.log(np.maximum(model.shares, LEAST_SHARE))
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        joint = class_densities(model, data.take(block))
        joint += prior
        out[block] = joint[:, 0] - _exp_and_log_sum(joint[:, 1:])[2]
    return out


def _floats(values: NDArray[Any]) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _has(columns: Columns, *names: str) -> bool:
    return all(name in columns and np.isfinite(columns[name]).any() for name in names)


def _parted(zc: Floats, expected_zc: Floats, ldac: Floats, expected_ldac: Floats) -> tuple[Floats, Floats]:
    """zc without ldac and ldac, ``(n, 2)``, and what is expected of them; ldac counts for nothing where it is unknown.

    Both are sums over the same noise, and correlate by the ratio of what is expected of them.
    """
    known = np.isfinite(ldac) & np.isfinite(expected_ldac) & (expected_zc > 0)
    ldac, expected_ldac = np.where(known, ldac, 0.0), np.where(known, expected_ldac, 0.0)
    ratio = np.divide(expected_ldac, expected_zc, out=np.zeros_like(zc), where=known)
    correlation = np.clip(ratio, 0.0, 0.99)
    rest = np.sqrt(1.0 - correlation**2)
    observed = np.concatenate([(zc - correlation * ldac) / rest, ldac], axis=1)
    return observed, np.concatenate([rest * expected_zc, expected_ldac], axis=1)


def _faded(slope: Floats, curvature: float, whole: Floats) -> Floats:
    """Log-likelihood ratio ``(n,)`` of a lower ldac to the correct one, mean over the parts in ``LOST`` of the
    ``whole``.

    ``slope``, ``curvature`` : of minus the log density of correct particles in ldac
    """
    lost = np.multiply.outer(LOST, whole).T
    ratio = 0.5 * curvature * lost
    ratio += slope[:, None]
    ratio *= -lost
    return _exp_and_log_sum(ratio)[2] - np.log(len(LOST))


def _exp_and_log_sum(logs: Floats) -> tuple[Floats, Floats, Floats]:
    """exp of logs ``(n, k)`` less the largest of each row, its sum over the row, and the logarithm of the sum ``(n,)``.

    In place: the time goes into fresh memory rather than into sums.
    """
    top = logs.max(axis=1)
    logs -= top[:, None]
    parts = np.exp(logs, out=logs)
    sums = parts.sum(axis=1)
    return parts, sums, top + np.log(sums)


def _slope(weights: Floats, values: Floats, expected: Floats) -> Floats:
    """k of values about k times what is expected, ``(n,)`` or ``(n, d)``, within its bounds."""
    energy = np.maximum(_times(weights, expected**2), 1e-9)
    return np.asarray(np.clip(_times(weights, values * expected) / energy, *SLOPE))


def _log_normal(white: Floats, whitening: Floats) -> Floats:
    """Log density ``(n,)`` of normal values, ``(n, d)`` once whitened; the same constant left out of all."""
    squares = sum(white[:, i] * white[:, i] for i in range(white.shape[1]))
    return np.asarray(np.log(np.diag(whitening)).sum() - 0.5 * squares)


def _covariance(values: Floats, weights: Floats, sd: tuple[float, float]) -> Floats:
    """Second moments ``(d, d)`` of values ``(n, d)`` about 0, the standard deviation within bounds in any direction."""
    unit = PRIOR_COUNT * np.eye(values.shape[1])
    moments = (_times((values * weights[:, None]).T, values) + unit) / (weights.sum() + PRIOR_COUNT)
    variances, axes = np.linalg.eigh(moments)
    return np.asarray((axes * np.clip(variances, sd[0] ** 2, sd[1] ** 2)) @ axes.T)


def _combined(values: Floats, matrix: Floats) -> Floats:
    """``values @ matrix`` for ``(n, d)`` and ``(d, k)``, d and k a few; each column of the result lies in one piece."""
    columns = [sum(values[:, i] * matrix[i, j] for i in range(len(matrix))) for j in range(matrix.shape[1])]
    return np.stack(columns).T


def _times(first: Floats, second: Floats) -> Floats:
    """The product ``first @ second`` in an order of sums that does not depend on the number of cores."""
    return np.asarray(
        np.einsum("...i,i...->..." if second.ndim == 1 or first.ndim == 1 else "ni,ij->nj", first, second)
    )
