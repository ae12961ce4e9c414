"""Where to stop: the smallest subset whose half-map FSC is nowhere significantly below that of the best round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.special import ndtri

from cryocore.cores import available_cores
from cryocore.maps.fsc import fsc_weight, resolution_at
from cryocore.types import Floats, Floats32

SIGNIFICANCE = 0.05
"""One-sided chance to call a shell (of all that are looked at), or the area, lower although it is not."""

NEGLIGIBLE, NEGLIGIBLE_AREA = 0.01, 0.001
"""Differences of the FSC in a shell, and of its mean, that matter to nobody, however certain they are."""


@dataclass(frozen=True)
class Samples:
    """Independent samples of each shell ``(shells,)``, and over how many shells their errors go together."""

    per_shell: Floats
    shells_coupled: float


@dataclass(frozen=True)
class Comparison:
    """A round beside the best one: how far its FSC lies above (+) or below (-), and whether that is significant.

    ``area`` is the mean difference over the shells with signal and ``area_sd`` its standard deviation; ``worst_sd`` the
    lowest shell's difference in standard deviations.
    """

    round: int
    area: float
    area_sd: float
    worst_sd: float
    is_lower: bool


@dataclass(frozen=True)
class Stop:
    """The round of the largest FSC area, the one to stop at, and how every round compares with the best."""

    best: int
    recommended: int
    comparisons: tuple[Comparison, ...]


def recommended_round(
    curves: Sequence[Floats], n_effective: Sequence[float], overlap: Callable[[int, int], float], samples: Samples
) -> Stop:
    """The round with the fewest particles that is not significantly worse than the best.

    Parameters
    ----------
    curves : masked half-map FSC of each round, all under one mask, ``(shells,)`` from shell 0
    n_effective : effective number of particles of each round
    overlap : correlation of the noise of two rounds' maps; see :func:`noise_overlap`
    samples : see :func:`independent_samples`
    """
    best = int(np.argmax([c[1:].mean() for c in curves]))
    used = np.flatnonzero(fsc_weight(curves[best])[1:] > 0) + 1
    limit = float(ndtri(SIGNIFICANCE / max(len(used), 1)))
    comparisons = []
    for r, curve in enumerate(curves):
        difference = (curve - curves[best])[used]
        sd = difference_sd(curve[used], curves[best][used], overlap(r, best), samples.per_shell[used])
        area, area_sd = float(difference.mean()), float(np.sqrt(samples.shells_coupled * np.sum(sd**2)) / len(used))
        deviations = np.divide(difference, sd, out=np.zeros_like(difference), where=sd > 0)
        worst = float(deviations.min())
        a_shell_is = np.any((deviations < limit) & (difference < -NEGLIGIBLE))
        is_lower = a_shell_is or area < min(ndtri(SIGNIFICANCE) * area_sd, -NEGLIGIBLE_AREA)
        comparisons.append(Comparison(r, area, area_sd, worst, bool(is_lower and r != best)))
    recommended = min((r for r, c in enumerate(comparisons) if not c.is_lower), key=lambda r: (n_effective[r], -r))
    return Stop(best, recommended, tuple(comparisons))


def difference_sd(first: Floats, second: Floats, overlap: float, samples: Floats) -> Floats:
    """Standard deviation of the difference of two FSCs whose maps share particles, shell by shell.

    The parts of :func:`fsc_variance` are correlated between the rounds as their noise is, and as its square.
    """
    return shared_sd(fsc_variance(first, samples), fsc_variance(second, samples), overlap)


def fsc_variance(curve: Floats, samples: Floats) -> Floats:
    """Variance of an FSC ``(..., shells)`` of n samples, in two parts ``(2, ..., shells)``.

    To first order in the noise, with the signal fixed, the FSC F varies by products of signal and noise,
    2 F (1 - F)³ / n, and of noise and noise, (1 - F)² (1 + F²) / n.
    """
    f = np.clip(curve, 0.0, 1.0)
    return np.stack([2.0 * f * (1.0 - f) ** 3, (1.0 - f) ** 2 * (1.0 + f**2)]) / samples


def resolution_range(curve: Floats, resolution_angstrom: Floats, samples: Samples) -> tuple[float, float]:
    """Coarsest and finest resolution (Å) that a curve a standard deviation lower or higher would have at FSC 0.143.

    Where an FSC runs flat near the threshold the two are far apart, and the resolution says little.

    Parameters
    ----------
    curve : FSC of one round, ``(shells,)`` from shell 0
    resolution_angstrom : of the shells, ``(shells,)``
    """
    sd = np.sqrt(fsc_variance(curve, samples.per_shell).sum(axis=0))
    low, high = (resolution_at(curve + sign * sd, resolution_angstrom) for sign in (-1.0, 1.0))
    return low, high


def shared_sd(first: Floats, second: Floats, overlap: float) -> Floats:
    """Standard deviation of the difference of two FSCs, from the parts of their variances ``(2, ..., shells)``."""
    share = np.array([overlap, overlap**2]).reshape(2, *(1,) * (first.ndim - 1))
    variance = (first + second - 2.0 * share * np.sqrt(first * second)).sum(axis=0)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def independent_samples(mask: Floats32, n_operators: int) -> Samples:
    """How many independent numbers the FSC of a masked, symmetrised map rests on.

    A mask m couples coefficients at a distance d with the squared transform of m² there. Of the coefficients at d, the
    share 1 - d / 2 (d <= 1) or 1 / (2 d) lies in the same shell. Symmetry of order ``n_operators`` leaves one in so
    many.
    """
    n = mask.shape[0]
    power = np.abs(scipy.fft.rfftn(mask.astype(np.float32) ** 2, workers=available_cores())) ** 2
    power[:, :, 1 : (n + 1) // 2] *= 2.0
    along, half = np.fft.fftfreq(n, 1 / n), np.arange(n // 2 + 1)
    distance = np.sqrt(along[:, None, None] ** 2 + along[:, None] ** 2 + half**2)
    same_shell = np.where(distance <= 1.0, 1.0 - 0.5 * distance, 0.5 / np.maximum(distance, 1.0))
    coupled, coupled_in_shell = power.sum() / power[0, 0, 0], (power * same_shell).sum() / power[0, 0, 0]
    shells = np.arange(n // 2 + 1)
    per_shell = np.maximum(4.0 * np.pi * shells**2 / coupled_in_shell / n_operators, 1.0)
    return Samples(per_shell, float(coupled / coupled_in_shell))


def noise_overlap(first: Floats32, second: Floats32) -> float:
    """Correlation of the noise of two maps made with these weights ``(n,)``, from 0 (no particle shared) to 1."""
    a, b = (w.astype(np.float64) for w in (first, second))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
