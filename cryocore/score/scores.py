"""Scores as functions of band statistics: any of them is a column computed from the log.

Per particle and band, with the image y, the prediction x = C P V and their sums over the band's coefficients:
``a`` = sum |y|², ``e`` = sum |x|², ``c`` = sum Re(conj(y) x), and for centring ``b`` = sum C Re(y),
``f`` = sum C Re(x), ``g`` = sum C². ``sigma2`` is the noise power per coefficient, ``w`` in [0, 1] the share of the
map's band that is signal. Higher is better, except for names that end in ``_loss``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Array = NDArray[np.float64]

BAND_COLUMNS = ("image_power", "projection_power", "inner_product", "ctf_image", "ctf_projection", "ctf_power")
"""Names in the log of a, e, c, b, f, g."""


@dataclass(frozen=True)
class BandStatistics:
    """Band sums of n particles, each ``(n, bands)``."""

    a: Array
    e: Array
    c: Array
    b: Array
    f: Array
    g: Array

    @classmethod
    def of(cls, sums: NDArray[np.float32]) -> BandStatistics:
        """From kernel output ``(n, bands, 6)``."""
        return cls(*np.moveaxis(sums.astype(np.float64), 2, 0))


@dataclass(frozen=True)
class Weighting:
    """What the statistics of a band are worth, per particle or for all: each broadcasts to ``(n, bands)``.

    ``sigma2`` noise power; ``w`` signal share of the map; ``mean`` the map's radial mean, for ``zc``.
    """

    sigma2: Array
    w: Array
    mean: Array


def l2_loss(s: BandStatistics) -> Array:
    """The plain residual ‖y - x‖²."""
    return (s.a - 2 * s.c + s.e).sum(axis=1)


def cryosieve(s: BandStatistics, first_band: int) -> Array:
    """What subtracting the projection removes from the image, above a cut-off (Zhu et al. 2023)."""
    return (2 * s.c - s.e)[:, first_band:].sum(axis=1)


def ncc(s: BandStatistics) -> Array:
    """Normalised cross-correlation of image and projection."""
    return _ratio(s.c.sum(axis=1), np.sqrt(s.a.sum(axis=1) * s.e.sum(axis=1)))


def llr(c: Array, e: Array, weighting: Weighting) -> Array:
    """Log-likelihood ratio of "this pose" against "no signal", natural logarithm; ``(..., bands)`` to ``(...)``."""
    return np.sum((weighting.w * c - 0.5 * weighting.w**2 * e) / weighting.sigma2, axis=-1)


def z(c: Array, e: Array, weighting: Weighting) -> Array:
    """Matched filter of unit variance: mean 0 for noise, the root of its own energy for a right particle."""
    energy = np.sum(weighting.w**2 * e / weighting.sigma2, axis=-1)
    return _ratio(np.sum(weighting.w * c / weighting.sigma2, axis=-1), np.sqrt(energy))


def zc(s: BandStatistics, weighting: Weighting) -> Array:
    """``z`` with the mean over all poses taken out of the prediction."""
    m = weighting.mean
    return z(s.c - m * s.b, np.maximum(s.e - 2 * m * s.f + m**2 * s.g, 0.0), weighting)


def contrast(own: Array, decoys: Array) -> Array:
    """``z`` against its mean and spread over decoy poses ``(n, k)``."""
    if decoys.shape[1] < 2:
        return np.full(len(own), np.nan)
    return _ratio(own - decoys.mean(axis=1), decoys.std(axis=1, ddof=1))


def local(own: Array, neighbours: Array) -> Array:
    """Log odds of the pose against neighbouring poses, from log-likelihood ratios ``(n)`` and ``(n, k)``."""
    return own - log_mean_exp(neighbours)


def dual(own: Array, decoys: Array, neighbours: Array) -> Array:
    """Log odds of the pose against a random pose, a neighbouring pose and junk together."""
    rivals = [log_mean_exp(r) for r in (decoys, neighbours) if r.shape[1]]
    return own - logsumexp(np.stack([*rivals, np.zeros_like(own)]), axis=0)


def log_mean_exp(values: Array) -> Array:
    """Logarithm of the mean of exp(values) along the last axis; NaN if it is empty."""
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(logsumexp(values, axis=-1)) - np.log(values.shape[-1])


def named_scores(
    own: BandStatistics,
    decoys: NDArray[np.float32],
    neighbours: NDArray[np.float32],
    weighting: Weighting,
    cryosieve_band: int,
) -> dict[str, Array]:
    """All scores of ``cryocore.data.SCORES``; the poses' sums ``(n, k, bands, 2)`` hold e and c."""
    wide = Weighting(*(np.expand_dims(v, -2) for v in (weighting.sigma2, weighting.w, weighting.mean)))
    others = [p.astype(np.float64) for p in (decoys, neighbours)]
    decoy_llr, neighbour_llr = (llr(p[..., 1], p[..., 0], wide) for p in others)
    own_llr, own_z = llr(own.c, own.e, weighting), z(own.c, own.e, weighting)
    return {
        "l2_loss": l2_loss(own),
        "cryosieve": cryosieve(own, cryosieve_band),
        "ncc": ncc(own),
        "llr": own_llr,
        "z": own_z,
        "zc": zc(own, weighting),
        "contrast": contrast(own_z, z(others[0][..., 1], others[0][..., 0], wide)),
        "local": local(own_llr, neighbour_llr),
        "dual": dual(own_llr, decoy_llr, neighbour_llr),
    }


def _ratio(numerator: Array, denominator: Array) -> Array:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
