"""Scores as functions of band statistics: any of them is a column computed from the log.

Per particle and band, with the image y, the prediction x = C P V and their sums over the band's coefficients:
``a`` = sum |y|², ``e`` = sum |x|², ``c`` = sum Re(conj(y) x), and for centring ``b`` = sum C Re(y),
``f`` = sum C Re(x), ``g`` = sum C². ``sigma2`` is the noise power per coefficient, ``w`` in [0, 1] the share of the
map's band that is signal. Higher is better, except for names that end in ``_loss``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from cryocore.types import Floats

BAND_COLUMNS = ("image_power", "projection_power", "inner_product", "ctf_image", "ctf_projection", "ctf_power")
"""Names in the log of a, e, c, b, f, g."""


@dataclass(frozen=True)
class BandStatistics:
    """Band sums of n particles, each ``(n, bands)``."""

    a: Floats
    e: Floats
    c: Floats
    b: Floats
    f: Floats
    g: Floats

    @classmethod
    def of(cls, sums: NDArray[np.float32]) -> BandStatistics:
        """From kernel output ``(n, bands, 6)``."""
        return cls(*np.moveaxis(sums.astype(np.float64), 2, 0))


@dataclass(frozen=True)
class Weighting:
    """What the statistics of a band are worth, per particle or for all: each broadcasts to ``(n, bands)``.

    ``sigma2`` noise power; ``w`` signal share of the map; ``mean`` the map's rotational average, for ``zc``;
    ``view_correlation`` the correlation of the map's slices at neighbouring views, for ``ldac``.
    """

    sigma2: Floats
    w: Floats
    mean: Floats
    view_correlation: Floats


def residual(s: BandStatistics) -> Floats:
    """Power of y - x per band, ``(n, bands)``."""
    return s.a - 2 * s.c + s.e


def l2_loss(s: BandStatistics) -> Floats:
    """The plain residual ‖y - x‖²."""
    return residual(s).sum(axis=1)


def cryosieve(s: BandStatistics, first_band: int) -> Floats:
    """What subtracting the projection removes from the image, above a cut-off (Zhu et al. 2023)."""
    return (2 * s.c - s.e)[:, first_band:].sum(axis=1)


def ncc(s: BandStatistics) -> Floats:
    """Normalised cross-correlation of image and projection.

    >>> sums = BandStatistics.of(np.array([[[50, 40, 30, 0, 0, 0]]], dtype=np.float32))  # one particle, one band
    >>> ncc(sums).round(3).tolist(), l2_loss(sums).tolist()
    ([0.671], [30.0])
    """
    return _ratio(s.c.sum(axis=1), np.sqrt(s.a.sum(axis=1) * s.e.sum(axis=1)))


def llr(c: Floats, e: Floats, weighting: Weighting) -> Floats:
    """Log-likelihood ratio of "this pose" against "no signal", natural logarithm; ``(..., bands)`` to ``(...)``.

    >>> c, e = np.array([[30.0, 12.0]]), np.array([[40.0, 20.0]])  # one particle, two bands
    >>> worth = Weighting(sigma2=np.ones(2), w=np.array([1.0, 0.5]), mean=np.zeros(2), view_correlation=np.zeros(2))
    >>> llr(c, e, worth).tolist()
    [13.5]
    """
    return np.sum((weighting.w * c - 0.5 * weighting.w**2 * e) / weighting.sigma2, axis=-1)


def energy(e: Floats, weighting: Weighting) -> Floats:
    """E, the mean and the variance of the weighted inner product of a correct particle; ``(..., bands)`` to
    ``(...)``."""
    return np.sum(weighting.w**2 * e / weighting.sigma2, axis=-1)


def z(c: Floats, e: Floats, weighting: Weighting) -> Floats:
    """Matched filter of unit variance: mean 0 for noise, the root of its own energy for a correct particle.

    >>> c, e = np.array([[30.0, 12.0]]), np.array([[40.0, 20.0]])
    >>> worth = Weighting(sigma2=np.ones(2), w=np.array([1.0, 0.5]), mean=np.zeros(2), view_correlation=np.zeros(2))
    >>> z(c, e, worth).round(3).tolist(), np.sqrt(energy(e, worth)).round(3).tolist()
    ([5.367], [6.708])
    """
    return _ratio(np.sum(weighting.w * c / weighting.sigma2, axis=-1), np.sqrt(energy(e, weighting)))


def centre(s: BandStatistics, mean: Floats) -> tuple[Floats, Floats]:
    """c and e with the mean over all poses taken out of the prediction: with them ``z`` is ``zc``."""
    return s.c - mean * s.b, np.maximum(s.e - 2 * mean * s.f + mean**2 * s.g, 0.0)


def contrast(own: Floats, random_poses: Floats) -> Floats:
    """``z`` against its mean and spread over random poses ``(n, k)``.

    >>> contrast(np.array([5.0]), np.array([[-1.0, 0.0, 1.0]])).tolist()
    [5.0]
    """
    if random_poses.shape[1] < 2:
        return np.full(len(own), np.nan)
    return _ratio(own - random_poses.mean(axis=1), random_poses.std(axis=1, ddof=1))


def local(own: Floats, perturbed_poses: Floats) -> Floats:
    """Log odds of the pose against perturbed poses, from log-likelihood ratios ``(n)`` and ``(n, k)``.

    >>> local(np.array([8.0]), np.array([[6.0, 6.0, 6.0]])).tolist()
    [2.0]
    """
    return own - log_mean_exp(perturbed_poses)


def shift(own: Floats, displaced: Floats) -> Floats:
    """Log odds of the shift against displaced ones, from log-likelihood ratios ``(n)`` and ``(n, k)``."""
    return own - log_mean_exp(displaced)


def dual(own: Floats, *alternatives: Floats) -> Floats:
    """Log odds of a particle as it is against all alternative poses ``(n, k)`` and junk: each kind counts by its mean.

    >>> random_poses, perturbed_poses = np.array([[0.0, -3.0]]), np.array([[6.0, 4.0]])
    >>> dual(np.array([8.0]), random_poses, perturbed_poses).round(3).tolist()
    [2.56]
    """
    means = [log_mean_exp(r) for r in alternatives if r.shape[1]]
    return own - logsumexp(np.stack([*means, np.zeros_like(own)]), axis=0)


def log_mean_exp(values: Floats) -> Floats:
    """Logarithm of the mean of exp(values) along the last axis; NaN if it is empty.

    >>> log_mean_exp(np.log([1.0, 3.0])).round(4).item()  # ln 2
    0.6931
    """
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(logsumexp(values, axis=-1)) - np.log(values.shape[-1])


@dataclass(frozen=True)
class Alternatives:
    """Band sums of the same images at other poses and shifts, of the innermost bands.

    ``random_poses``, ``perturbed_poses`` : ``(n, k, bands, 2)``, e and c
    ``shifts`` : ``(n, k, bands)``, c alone, since e is that of the own pose
    """

    random_poses: NDArray[np.float32]
    perturbed_poses: NDArray[np.float32]
    shifts: NDArray[np.float32]


@dataclass(frozen=True)
class Assessment:
    """What the sums say of n particles.

    ``scores``, ``expected`` : ``(n,)`` by the names in ``cryocore.log.names`` SCORES and EXPECTED
    ``random_pose_z`` : ``(n, k)``, ``z`` at the random poses
    ``perturbed_pose_gain``, ``shift_gain`` : ``(n, k)``, log-likelihood ratio above that of the own pose and shift
    """

    scores: dict[str, Floats]
    expected: dict[str, Floats]
    random_pose_z: Floats
    perturbed_pose_gain: Floats
    shift_gain: Floats


def assess(own: BandStatistics, alternatives: Alternatives, weighting: Weighting, cryosieve_band: int) -> Assessment:
    """All scores of some particles, what a correct one scores, and how their alternative poses do."""
    inner = alternatives.random_poses.shape[2]
    wide = Weighting(*(np.expand_dims(getattr(weighting, f.name)[..., :inner], -2) for f in fields(Weighting)))
    discerning = replace(weighting, w=weighting.w * (1.0 - weighting.view_correlation))
    random_pose_e, random_pose_c = np.moveaxis(alternatives.random_poses.astype(np.float64), -1, 0)
    perturbed_e, perturbed_c = np.moveaxis(alternatives.perturbed_poses.astype(np.float64), -1, 0)
    own_llr, own_z = llr(own.c, own.e, weighting), z(own.c, own.e, weighting)
    random_pose_llr, random_pose_z = llr(random_pose_c, random_pose_e, wide), z(random_pose_c, random_pose_e, wide)
    perturbed_llr = llr(perturbed_c, perturbed_e, wide)
    shift_llr = llr(alternatives.shifts.astype(np.float64), own.e[:, None, :inner], wide)
    centred = centre(own, weighting.mean)
    scores = {
        "l2_loss": l2_loss(own),
        "cryosieve": cryosieve(own, cryosieve_band),
        "ncc": ncc(own),
        "llr": own_llr,
        "z": own_z,
        "zc": z(*centred, weighting),
        "ldac": z(*centred, discerning),
        "contrast": contrast(own_z, random_pose_z),
        "local": local(own_llr, perturbed_llr),
        "shift": shift(own_llr, shift_llr),
        "dual": dual(own_llr, random_pose_llr, perturbed_llr, shift_llr),
    }
    weighted = np.sum(weighting.w * discerning.w * centred[1] / weighting.sigma2, axis=1)
    expected = {
        "expected_z": np.sqrt(energy(own.e, weighting)),
        "expected_zc": np.sqrt(energy(centred[1], weighting)),
        "expected_ldac": _ratio(weighted, np.sqrt(energy(centred[1], discerning))),
    }
    alike = llr(own.c[:, None, :inner], own.e[:, None, :inner], wide)  # in the bands of the alternative poses
    return Assessment(scores, expected, random_pose_z, perturbed_llr - alike, shift_llr - alike)


def best_alternative(gain: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Column and gain ``(n,)`` of the best alternative pose of each particle; NaN where there is none."""
    if gain.shape[1] == 0:
        return np.zeros(len(gain), dtype=np.intp), np.full(len(gain), np.nan)
    best = np.argmax(gain, axis=1)
    return best, np.take_along_axis(gain, best[:, None], axis=1)[:, 0]


def mean_gain(gain: Floats) -> Floats:
    """Mean over the alternative poses ``(n, k)`` of each particle, ``(n,)``; NaN where there is none."""
    return np.asarray(gain.mean(axis=1)) if gain.shape[1] else np.full(len(gain), np.nan)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
