"""A mixture model of the scores: how likely each particle is to be correct.

What a correct particle scores is known: zc and ldac have unit variance, and k times their expected values in the mean.
They are read as ldac and what is left of zc once ldac is taken out, two scores whose noise is independent: pose errors
of some degrees change the first and hardly the second. k may differ from particle to particle: it follows the
brightness of the image, for images that are scaled as a whole; it is spread, and far below that of all for a share of
them, for weak particles are correct as well; and it follows how many particles show a view, for a map is worse where it
has few. What is not correct is one of

- misoriented: seen from any other direction; both scores are 0 in the mean, but for what the rank of the density of
  views adds: neighbouring views have something in common, and where most particles look, there are such neighbours;
- junk: nothing of the prediction is in the image, also where the shift is far off; z, which other views of the same
  object raise, is 0 in the mean as well;
- slightly_misoriented: off by some degrees. Either one of the perturbed poses is the true one, or the true one lies
  between them, and then ldac keeps an unknown part of what is expected of it;
- miscentred: one of the perturbed shifts is the true one.

Against perturbed poses and perturbed shifts the log holds log-likelihood ratios, ``local`` and ``shift``. They are used
as they are, so that only k, for each score its own, its spread, two covariances, how frequent the kinds of errors are,
and the prior (:mod:`cryocore.log.prior`) are fitted, by expectation maximisation (Dempster, Laird & Rubin 1977). These
few numbers are all that the half sets share.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from cryocore.hashing import hashed_order
from cryocore.log.evidence import Columns, Evidence, evidence
from cryocore.log.prior import Prior
from cryocore.types import Floats, Floats32, Ids

log = logging.getLogger(__name__)

SUBSAMPLE = 20_000
"""Most particles that the model is fitted to; it is evaluated for all."""
BLOCK = 16_384
"""Particles that are evaluated at a time."""
FIRST_STEPS = 20
"""Steps in which the prior becomes a function, while hardly a particle changes."""
ROUGH, FINE = 1e-3, 2e-5
"""Mean change of the probability of being correct by a step, at which a fit is good enough to be compared with one from
another start, and at which it ends."""
LIKELIER = 0.5
"""Ratio of tolerances: of the mean log-likelihood, and of that probability."""
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
VARIANCE = (1.0, 4.0)
"""Bounds of the variance of z, to which all low-frequency background adds."""
SPREAD = (0.01, 0.5)
"""Bounds of the standard deviation of k over correct particles, relative to k."""
WEAK = np.linspace(0.1, 0.7, 5)
"""What k of weak particles is, relative to that of all, all as likely."""
MOST_WEAK = 0.6
"""Bound of the share of weak particles among the correct ones."""
PRIOR_COUNT = 10.0
"""Particles of unit variance that are added to each class, and strong ones to the correct ones."""
CROWDS, CROWD_SD = (-0.3, 0.5), 0.1
"""Bounds of the exponents of the density of views in k, and standard deviation of what they are before any score."""
ASTRAY, ASTRAY_SD = 0.5, 0.1
"""Bound of what views add to scores of misoriented particles, and its standard deviation before any score."""
EXPONENT = (0.0, 1.0)
"""Bounds of the exponent of the brightness in k."""


@dataclass(frozen=True)
class Strength:
    """How strong each particle is if it is correct: its own k relative to that of all, ``(n,)`` each.

    ``first``, ``second`` : mean of k and of its square
    ``weak`` : probability of being weak
    ``spread`` : mean square of k - 1, if it is not weak
    """

    first: Floats
    second: Floats
    weak: Floats
    spread: Floats


@dataclass(frozen=True)
class Mixture:
    """A fitted model.

    ``classes``, ``shares`` : the kinds, correct first, and how frequent each is
    ``slopes`` : ``(d,)``, k of each score, for an image of brightness 1
    ``exponent`` : of the brightness in k; 0 if only the noise of images differs, 1 if images are scaled as a whole
    ``crowds`` : ``(d,)``, exponents of the density of views in k
    ``scale`` : k of z
    ``spread`` : standard deviation of k over correct particles, relative to k, weak ones left out
    ``weak`` : share of the correct particles that are weak, of a k far below that of all
    ``correct``, ``misoriented`` : ``(d, d)``, covariances of the scores of correct particles, and of misoriented ones
    ``astray`` : ``(d,)``, what misoriented particles score in the mean where most particles look, and lack where few do
    ``variance`` : of the z of correct particles
    ``prior`` : log odds of being correct before any score
    ``log_likelihood`` : of the ``n_fitted`` particles
    """

    classes: tuple[str, ...]
    shares: Floats
    slopes: Floats
    exponent: float
    crowds: Floats
    scale: float
    spread: float
    weak: float
    correct: Floats
    misoriented: Floats
    astray: Floats
    variance: float
    prior: Prior
    log_likelihood: float
    n_fitted: int

    @property
    def error_rate(self) -> float:
        """Share of the particles that are not correct."""
        return float(1.0 - self.shares[0])

    @property
    def kinds(self) -> Floats:
        """How the incorrect ones share into kinds, ``(classes - 1,)``."""
        return np.asarray(self.shares[1:] / self.shares[1:].sum())

    def scaled(self, expected: Floats | float, data: Evidence) -> Floats:
        """What is expected ``(n,)`` of images as bright as they are."""
        return np.asarray(expected * np.exp(self.exponent * data.brightness))

    def means(self, data: Evidence) -> Floats:
        """What correct particles score in the mean, ``(n, d)``."""
        terms = zip(self.slopes, self.crowds, data.expected.T, strict=True)
        return np.stack([k * self.scaled(e, data) * np.exp(c * data.crowding) for k, c, e in terms], axis=1)

    def left(self, data: Evidence) -> Floats:
        """What misoriented particles score above their mean, ``(n, d)``."""
        return np.asarray(data.observed - np.multiply.outer(data.view_rank, self.astray))


def fit(columns: Columns, *, ids: Ids, seed: int = 0, symmetry: str | None = None) -> Mixture:
    """Fit the model to the scores of one round.

    Parameters
    ----------
    columns : those of ``MIXTURE_COLUMNS`` that the log has, each ``(n,)``, and those of the prior
    ids : (n,)  stable ids; they and the seed decide which particles are fitted where there are many

    Returns
    -------
    Mixture; the theory with assumed shares, and a warning, where fewer than 100 particles are scored.
    """
    return fit_evidence(evidence(columns, symmetry), ids=ids, seed=seed)


def fit_evidence(data: Evidence, *, ids: Ids, seed: int = 0) -> Mixture:
    """:func:`fit` for evidence that is at hand."""
    rows = np.flatnonzero(data.known)
    if len(rows) < FEWEST:
        log.warning("only %d particles have scores: the error rate is not estimated", len(rows))
        return theory(data, 1.0)
    rows = rows[hashed_order(ids[rows], seed=seed, stream=11, most=SUBSAMPLE)]
    part, weights = data.take(rows), np.ones(len(rows))
    fits = [expectation_maximisation(part, weights, theory(part, k), tolerance=ROUGH) for k in STARTS]
    best = max(fits, key=lambda m: m.log_likelihood)
    return expectation_maximisation(part, weights, best, tolerance=FINE)


def theory(data: Evidence, k: float) -> Mixture:
    """The model before it has seen a score."""
    incorrect, scores = len(data.classes) - 1, data.observed.shape[1]
    shares = np.array([0.7, *([0.3 / incorrect] * incorrect)])
    unit = np.eye(scores)
    return Mixture(
        classes=data.classes,
        shares=shares,
        slopes=np.full(scores, k),
        exponent=1.0 if data.brightness.any() else 0.0,
        crowds=np.zeros(scores),
        scale=k,
        spread=0.1,
        weak=0.1,
        correct=unit,
        misoriented=unit,
        astray=np.zeros(scores),
        variance=1.0,
        prior=Prior.constant(float(shares[0]), data.covariates[data.known]),
        log_likelihood=-np.inf,
        n_fitted=int(data.known.sum()),
    )


def expectation_maximisation(
    data: Evidence, weights: Floats, start: Mixture, *, tolerance: float, steps: int = 500, learn: bool = True
) -> Mixture:
    """Improve a model until particles' probabilities of being correct change by less than a tolerance in the mean, and
    the mean log-likelihood by less than half of it.

    ``weights`` ``(n,)`` says how often each particle counts; ``learn`` whether the prior may become another function.
    k is fitted to correct particles alone, though other classes depend on it as well; so the likelihood need not grow
    in every step, and may stand still while many particles change.
    """
    model, last, likely, total = start, -np.inf, np.full(len(weights), -1.0), weights.sum()
    design = start.prior.design(data.covariates)
    for step in range(steps):
        joint, strength = class_densities(model, data)
        joint += log_shares(model, model.prior.log_odds(design))
        parts, sums, each = _exp_and_log_sum(joint)
        reached = float(np.sum(weights * each)) - model.prior.penalty
        parts /= sums[:, None]
        change = float(np.sum(weights * np.abs(parts[:, 0] - likely)))
        settled = change < tolerance * total and abs(reached - last) < LIKELIER * tolerance * total
        if settled and (step > FIRST_STEPS or not learn):
            return replace(model, log_likelihood=reached)
        last, likely = reached, parts[:, 0].copy()
        prior = model.prior.improved(design, parts[:, 0], weights, learn=learn)
        parts *= weights[:, None]
        model = replace(maximisation(data, parts, strength, model, reached), prior=prior)
    return model


def log_shares(model: Mixture, prior: Floats) -> Floats:
    """Logarithm of how frequent each class is, ``(n, classes)``, where the prior log odds are ``(n,)``."""
    correct, incorrect = -np.logaddexp(0.0, -prior), -np.logaddexp(0.0, prior)
    return np.stack([correct, *(incorrect + np.log(share) for share in model.kinds)]).T


def maximisation(data: Evidence, parts: Floats, strength: Strength, model: Mixture, log_likelihood: float) -> Mixture:
    """The best model within its bounds for the parts ``(n, classes)`` that each class has in each particle."""
    shares = (parts.sum(axis=0) + 0.5) / (parts.sum() + 0.5 * parts.shape[1])
    own, first, second = parts[:, 0], strength.first, strength.second
    ones = replace(model, slopes=np.ones(data.observed.shape[1])).means(data)
    slopes = [
        _slope(own * second, observed * first / second, expected)
        for observed, expected in zip(data.observed.T, ones.T, strict=True)
    ]
    better = replace(
        model,
        slopes=np.array(slopes),
        exponent=_exponent(own, strength, model, data),
        crowds=_crowds(own, strength, model, data),
    )
    means = better.means(data)
    scale = float(_slope(own * second, data.z * first / second, model.scaled(data.expected_z, data)))
    whole = scale * better.scaled(data.expected_z, data)
    left = data.z**2 - 2.0 * first * data.z * whole + second * whole**2
    variance = (_times(own, left) + PRIOR_COUNT) / (own.sum() + PRIOR_COUNT)
    strong = own * (1.0 - strength.weak)
    spread = float(np.sqrt(_times(strong, strength.spread) / max(strong.sum(), 1e-9)))
    weak = float(np.clip(_times(own, strength.weak) / (own.sum() + PRIOR_COUNT), 0.0, MOST_WEAK))
    return replace(
        better,
        shares=shares,
        scale=scale,
        spread=float(np.clip(spread, *SPREAD)),
        weak=weak,
        correct=_covariance(data.observed, own, CORRECT_SD, means, strength),
        misoriented=_covariance(model.left(data), parts[:, 1], MISORIENTED_SD),
        astray=_astray(parts[:, 1], data),
        variance=float(np.clip(variance, *VARIANCE)),
        log_likelihood=log_likelihood,
        n_fitted=len(parts),
    )


def class_densities(model: Mixture, data: Evidence) -> tuple[Floats, Strength]:
    """Log density of each particle under each class, ``(n, classes)``, and its own k if it is correct.

    k of a correct particle is normal about that of all, or that of a weak one.
    """
    whitening = np.linalg.cholesky(np.linalg.inv(model.correct))
    means = model.means(data)
    white, along = _combined(data.observed - means, whitening), _combined(means, whitening)
    typical = _log_normal(white, whitening)
    energy, match = _squares(along, along), _squares(along, white)
    precision = model.spread**-2 + energy
    correct = typical + 0.5 * match**2 / precision - 0.5 * np.log1p(model.spread**2 * energy)
    first = 1.0 + match / precision
    second = first**2 + 1.0 / precision
    strength = Strength(first, second, np.zeros(len(typical)), second - 2.0 * first + 1.0)
    if model.weak > 0.0:
        correct, strength = _with_weak(model.weak, typical, correct, energy, match, strength)
    other = np.linalg.cholesky(np.linalg.inv(model.misoriented))
    misoriented = _log_normal(_combined(model.left(data), other), other)
    columns = [correct, misoriented]
    if "junk" in model.classes:
        whole = model.scale * model.scaled(data.expected_z, data)
        columns.append(typical - whole * (data.z - 0.5 * whole) / model.variance)
    if "slightly_misoriented" in model.classes:
        local = data.ratios.get("slightly_misoriented")
        strength_of_view = model.slopes[-1] * np.exp(model.crowds[-1] * data.crowding)
        kinds = [] if local is None else [-local.at(model.scaled(strength_of_view, data))]
        if data.observed.shape[1] == 2:
            slope = _combined(white, whitening[1][:, None])[:, 0]
            kinds.append(_faded(slope, whitening[1] @ whitening[1], means[:, 1]))
        columns.append(typical + np.logaddexp.reduce(kinds, axis=0) - np.log(len(kinds)) - MARGIN)
    if "miscentred" in model.classes:
        columns.append(typical - data.ratios["miscentred"].at(model.scaled(model.scale, data)) - MARGIN)
    # sums over classes are quick if each class lies in one piece
    return np.stack(columns).T, strength


def log_odds(model: Mixture, columns: Columns, symmetry: str | None = None) -> Floats:
    """Log odds ``(n,)`` that each particle is correct; NaN for a particle without a score.

    No kind of error counts as rarer than 0.3 %, so that particles are ranked even where all seem correct.
    """
    return evidence_log_odds(model, evidence(columns, symmetry))


def evidence_log_odds(model: Mixture, data: Evidence) -> Floats:
    """:func:`log_odds` for evidence that is at hand."""
    return odds(model, *ratio_and_prior(model, data))


def ratio_and_prior(model: Mixture, data: Evidence) -> tuple[Floats, Floats]:
    """Log-likelihood ratio of correct to incorrect by the scores, and log odds before them, ``(n,)`` each; NaN for
    particles without a score."""
    return by_kind(model, data)[:2]


def by_kind(model: Mixture, data: Evidence) -> tuple[Floats, Floats, Floats32]:
    """:func:`ratio_and_prior`, and how likely each kind of error is if the particle is incorrect,
    ``(n, classes - 1)``."""
    ratio, prior = (np.full(len(data.observed), np.nan) for _ in range(2))
    kind = np.zeros((len(data.observed), len(model.classes) - 1), dtype=np.float32)
    rows = np.flatnonzero(data.known)
    kinds = np.maximum(model.shares[1:], LEAST_SHARE)
    share = np.log(kinds / kinds.sum())
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        part = data.take(block)
        densities, _ = class_densities(model, part)
        incorrect = densities[:, 1:] + share
        parts, sums, each = _exp_and_log_sum(incorrect)
        kind[block] = parts / sums[:, None]
        ratio[block] = densities[:, 0] - each
        prior[block] = model.prior.log_odds(model.prior.design(part.covariates))
    return ratio, prior, kind


def odds(model: Mixture, ratio: Floats, prior: Floats) -> Floats:
    """Log odds ``(n,)`` of ratios and prior log odds; incorrect particles count as frequent enough to be ranked."""
    known, least = np.isfinite(ratio), np.log(LEAST_SHARE * (len(model.classes) - 1))
    out, before = np.full(len(ratio), np.nan), prior[known]
    out[known] = ratio[known] - np.logaddexp(0.0, -before) - np.maximum(-np.logaddexp(0.0, before), least)
    return out


def _with_weak(
    share: float, typical: Floats, strong: Floats, energy: Floats, match: Floats, strength: Strength
) -> tuple[Floats, Strength]:
    """Log density of correct particles ``(n,)`` once some are weak, and how strong each is.

    ``typical``, ``strong`` : log density if k is that of all, and if it is spread about it
    ``energy``, ``match`` : ``(n,)``, of the whitened mean with itself, and with what is left of the scores
    """
    less = 1.0 - WEAK
    parts, sums, each = _exp_and_log_sum(-(match[:, None] * less + energy[:, None] * (0.5 * less**2)))
    parts /= sums[:, None]
    weak = typical + each - np.log(len(WEAK)) + np.log(share)
    both = np.logaddexp(np.log1p(-share) + strong, weak)
    is_weak = np.exp(weak - both)
    first = strength.first + is_weak * (_times(parts, WEAK[:, None])[:, 0] - strength.first)
    second = strength.second + is_weak * (_times(parts, WEAK[:, None] ** 2)[:, 0] - strength.second)
    return both, replace(strength, first=first, second=second, weak=is_weak)


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
    """k of values about k times what is expected, ``(n,)``, within its bounds."""
    energy = np.maximum(_times(weights, expected**2), 1e-9)
    return np.asarray(np.clip(_times(weights, values * expected) / energy, *SLOPE))


def _exponent(own: Floats, strength: Strength, model: Mixture, data: Evidence) -> float:
    """A Gauss-Newton step of the exponent of the brightness, within its bounds."""
    if not data.brightness.any():
        return model.exponent
    means, first, second = model.means(data), strength.first, strength.second
    slopes = means * data.brightness[:, None]
    left = first[:, None] * data.observed - second[:, None] * means
    energy = max(float(_times(own * second, _squares(slopes, slopes))), 1e-9)
    return float(np.clip(model.exponent + _times(own, _squares(slopes, left)) / energy, *EXPONENT))


def _crowds(own: Floats, strength: Strength, model: Mixture, data: Evidence) -> Floats:
    """A Gauss-Newton step of the exponents of the density of views ``(d,)``, with a normal prior about 0."""
    if not data.crowding.any():
        return model.crowds
    means, first, second = model.means(data), strength.first, strength.second
    slopes = means * data.crowding[:, None]
    left = first[:, None] * data.observed - second[:, None] * means
    pull = CROWD_SD**-2
    gradient = np.array([_times(own, column) for column in (slopes * left).T]) - pull * model.crowds
    energy = np.array([_times(own * second, column) for column in (slopes**2).T]) + pull
    return np.asarray(np.clip(model.crowds + gradient / energy, *CROWDS))


def _astray(weights: Floats, data: Evidence) -> Floats:
    """Slope of the scores of misoriented particles with the rank of views ``(d,)``, with a normal prior about 0."""
    square = _times(weights, data.view_rank**2) + ASTRAY_SD**-2
    return np.asarray(np.clip(_times(weights * data.view_rank, data.observed) / square, -ASTRAY, ASTRAY))


def _log_normal(white: Floats, whitening: Floats) -> Floats:
    """Log density ``(n,)`` of normal values, ``(n, d)`` once whitened; the same constant left out of all."""
    return np.asarray(np.log(np.diag(whitening)).sum() - 0.5 * _squares(white, white))


def _squares(first: Floats, second: Floats) -> Floats:
    """Inner products ``(n,)`` of rows ``(n, d)``."""
    return np.asarray(np.sum(first * second, axis=1))


def _covariance(
    values: Floats,
    weights: Floats,
    sd: tuple[float, float],
    means: Floats | None = None,
    strength: Strength | None = None,
) -> Floats:
    """Second moments ``(d, d)`` of values ``(n, d)`` about 0, the standard deviation within bounds in any direction;
    about means ``(n, d)`` times each particle's own k, if they are given."""
    moments = _times((values * weights[:, None]).T, values)
    if means is not None and strength is not None:
        cross = _times((means * (weights * strength.first)[:, None]).T, values)
        moments = moments - cross - cross.T + _times((means * (weights * strength.second)[:, None]).T, means)
    moments = (moments + PRIOR_COUNT * np.eye(values.shape[1])) / (weights.sum() + PRIOR_COUNT)
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
