"""Which directions of a map a selection makes better or worse, beyond what it does to the map as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from cryocore.maps.cones import CONE_DEG, DirectionalFsc, mean_fsc, ratio_of
from cryocore.maps.fsc import fsc_weight
from cryocore.types import Floats
from cryocore.validate.stopping import Samples, fsc_variance, shared_sd

LEAST_SD = 1e-4
"""Differences of a mean FSC that are below this are none."""


@dataclass(frozen=True)
class ConeChange:
    """The directional FSC of two rounds.

    ``gain`` is the one number by which the signal-to-noise ratios of the earlier round explain the overall FSC of the
    later one: fewer particles from everywhere change the area ratio as well, to ``expected_ratio``.

    ``loss`` ``(cones,)`` is the mean FSC of each cone less what the gain predicts, over the shells with signal, and
    ``loss_sd`` its standard deviation by chance; ``p_value`` the chance of a loss as significant in some cone, were the
    gain all that happened.
    """

    before: DirectionalFsc
    after: DirectionalFsc
    gain: float
    expected_ratio: float
    loss: Floats
    loss_sd: Floats
    p_value: float

    @property
    def most_lost(self) -> int:
        """The cone with the most significant loss."""
        return int(np.argmin(self.loss / self.loss_sd))


def cone_change(
    before: DirectionalFsc, after: DirectionalFsc, samples: Samples, overlap: float, n_operators: int = 1
) -> ConeChange:
    """Compare the directional FSC of two rounds under one mask.

    Parameters
    ----------
    samples : of whole shells; see ``cryocore.validate.stopping.independent_samples``
    overlap : correlation of the noise of the rounds' maps; see ``cryocore.validate.stopping.noise_overlap``
    n_operators : order of the point group; symmetry equivalents of a cone are copies
    """
    used = np.flatnonzero(fsc_weight(before.overall)[1:] > 0) + 1
    gain = _gain(before.overall[used], float(after.overall[used].mean()))
    expected = before.curves.copy()
    expected[:, used] = _scaled(before.curves[:, used], gain)
    n = _in_cone(samples, used)
    slope = gain / np.maximum(1.0 + (gain - 1.0) * np.clip(before.curves[:, used], 0.0, 1.0), 1e-3) ** 2
    shells = shared_sd(
        slope**2 * fsc_variance(before.curves[:, used], n), fsc_variance(after.curves[:, used], n), overlap
    )
    sd = np.maximum(np.sqrt(samples.shells_coupled * np.sum(shells**2, axis=1)) / len(used), LEAST_SD)
    loss = (after.curves - expected)[:, used].mean(axis=1)
    # as many independent cones as fill the half sphere
    n_cones = max(1.0 / (1.0 - np.cos(np.deg2rad(CONE_DEG))) / n_operators, 1.0)
    p_value = -np.expm1(n_cones * log_ndtr(-(loss / sd).min()))
    return ConeChange(before, after, gain, ratio_of(mean_fsc(expected)), loss, sd, float(p_value))


def area_ratio_sd(fsc: DirectionalFsc, samples: Samples) -> float:
    """Standard deviation by chance of the area ratio: that of the worst cone's area over the largest."""
    shells = np.arange(1, fsc.curves.shape[1])
    variance = fsc_variance(fsc.curves[fsc.worst, 1:], _in_cone(samples, shells)).sum()
    return float(np.sqrt(samples.shells_coupled * variance) / len(shells) / max(fsc.areas.max(), LEAST_SD))


def _in_cone(samples: Samples, shells: NDArray[np.integer]) -> Floats:
    """Independent samples of some shells within a cone and the one opposite.

    Of two patches with the area of n coupled ones each, coefficients at the rim have fewer neighbours: where the
    coupling is Gaussian, the patches count as (sqrt(n) + 1 / pi)² each to first order in the rim's share.
    """
    patch = 0.5 * samples.per_shell[shells] * (1.0 - np.cos(np.deg2rad(CONE_DEG)))
    return np.asarray(2.0 * np.maximum(np.sqrt(patch) + 1.0 / np.pi, np.sqrt(0.5)) ** 2)


def _scaled(curves: Floats, gain: float) -> Floats:
    """FSC after the signal-to-noise ratio FSC / (1 - FSC) is multiplied by ``gain``."""
    limited = np.clip(curves, -0.3, 1.0)
    return np.asarray(gain * limited / np.maximum(1.0 + (gain - 1.0) * limited, 1e-3))


def _gain(curve: Floats, mean: float) -> float:
    """The gain that gives a curve this mean, between 0.01 and 100."""
    low, high = np.log(0.01), np.log(100.0)
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _scaled(curve, float(np.exp(middle))).mean() < mean else (low, middle)
    return float(np.exp(middle))
