"""What the particles of a micrograph differ by: their B-factors about that of the micrograph, by one log.

One particle alone says little of its B, and what the likelihood is wrong by, such as the power of its slice in a band,
looks like a spread of particles. But a B-factor changes bands together. With deviations r = n - d from what is expected
of a particle whose envelope is that of its micrograph (:mod:`cryocore.log.quality`), noise and errors of a single band
drop out of the products of two different bands, which are in the mean

    r_a r_b = d_a d_b (v + c (x_a + x_b) + u x_a x_b),   x = -s²/4

with the variances v of the scale and u of B, and their covariance c. They are fitted to the products of all pairs of
bands, and there is a spread where u is significant. Its size is the likeliest one up to √u, and a particle's B the
posterior mean.

A particle that is there twice in a half set finds its own noise in the map, which rises above the signal with the
frequency, as the match of one with a small B does. Where it is likelier that a part of the particles match the noise of
the map in band a by what their own share would have been, (1 - w) / w d_a for a map of which w is signal, than that all
differ in B, nothing is known of B (:func:`is_noise_of_the_map`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from cryocore.log.bands import matches, moments, over_scales
from cryocore.types import Floats

SIGNIFICANT = 5.0
"""Standard errors by which a variance of B has to be above 0. Particles that are alike give up to 3: where few
particles look the map is worse, and so is their agreement with it."""
SIGNIFICANT_AGAIN = 2.0
"""The same where predictions have B-factors of particles already."""
PARTS = np.array([0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 1.0])
"""Standard deviations that are tried, as parts of that by the products of bands, which is the largest: the fall-off is
no straight line."""
LEAST_NOISE = 8.0
"""Log-likelihood that noise in the map has to add. Of sets of 15 % duplicates it adds 65 to 250, and 1.4 to 1.8 times
what a spread of B does; where particles differ in B at most 0.96 times."""
NOISE_PARTS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.13, 0.17, 0.21, 0.27, 0.35, 0.45)
"""Parts of the particles that are tried."""
POINTS, REACH = 33, 3.5
"""Values of B in the grid, and its end in standard deviations."""


def variance_of_products(matched: Floats, energy: Floats, weight: Floats, frequency2: Floats) -> tuple[float, float]:
    """The variance of B in Å⁴ by products of bands, and its standard error; 0 and infinity where nothing tells.

    Parameters
    ----------
    matched, energy : ``(n, bands)``, with the envelopes of the micrographs
    weight : ``(n,)``, probability of being correct
    frequency2 : ``(bands,)``, 1/Å²
    """
    off = matched - energy
    first, second = np.triu_indices(len(frequency2), 1)

    def summed(values: Floats, by: Floats) -> Floats:
        return np.asarray(np.einsum("na,nb->ab", by[:, None] * values, values)[first, second])

    expected, found, noise2 = summed(energy, weight), summed(off, weight), summed(off**2, weight**2)
    known = (expected > 0.0) & (noise2 > 0.0)
    if np.count_nonzero(known) <= 3:
        return 0.0, np.inf
    x = -0.25 * frequency2
    terms = np.stack([np.ones(len(first)), x[first] + x[second], x[first] * x[second]])[:, known]
    by_noise = terms * expected[known] / noise2[known]
    covariance = np.linalg.inv((by_noise * expected[known]) @ terms.T)
    return float((covariance @ (by_noise @ found[known]))[2]), float(np.sqrt(covariance[2, 2]))


def noise_in_the_map(
    matched: Floats, energy: Floats, weight: Floats, signal_share: Floats, scale: float
) -> tuple[float, float]:
    """The likeliest part of the particles that finds its own noise in the map, and the log-likelihood that it adds to
    none.

    The bands are known up to gains that all particles share, which hold the mean of what noise adds, or do not; and the
    noise of some may have been taken for a spread of scales, or not. What is likeliest counts.

    Parameters
    ----------
    matched, energy : ``(n, bands)``, without envelopes
    weight : ``(n,)``, probability of being correct
    signal_share : ``(bands,)``, of the map
    scale : standard deviation of the scale of particles
    """
    over = np.divide(1.0 - signal_share, signal_share, out=np.zeros_like(signal_share), where=signal_share > 0.0)
    own = np.sum(over * matched - 0.5 * over**2 * energy, axis=1)
    none = _of_scales(matched, energy, scale)
    best = 0.0, -np.inf
    for spread, part, in_gains in product(dict.fromkeys((0.0, scale)), NOISE_PARTS, (False, True)):
        gain = np.maximum(1.0 - part * over, 0.0) if in_gains else np.ones_like(over)
        without = _of_scales(gain * matched, gain**2 * energy, spread)
        with_noise = _of_scales(gain * (matched - over * energy), gain**2 * energy, spread) + own
        likelihood = np.logaddexp(np.log1p(-part) + without, np.log(part) + with_noise)
        added = float(np.sum(weight * (likelihood - none)))
        best = max(best, (part, added), key=lambda found: found[1])
    return best


def _of_scales(matched: Floats, energy: Floats, scale: float) -> Floats:
    """Log-likelihood ``(n,)`` of particles as bright as expected, up to a spread of their scales."""
    return over_scales(matched.sum(axis=1), energy.sum(axis=1), scale)


@dataclass(frozen=True)
class Within:
    """Particles of a standard deviation ``spread`` in Å² of B about that of their micrograph, and one of the scale."""

    spread: float
    scale: float
    frequency2: Floats

    @classmethod
    def of(
        cls,
        matched: Floats,
        energy: Floats,
        weight: Floats,
        frequency2: Floats,
        *,
        scale: float,
        most: float,
        again: bool = False,
    ) -> Within | None:
        """By some particles, as :func:`variance_of_products`; None where no spread is significant.

        Parameters
        ----------
        most : the largest standard deviation that B-factors have, Å²: what is larger is another fault of predictions
        again : predictions have had B-factors of particles
        """
        variance, error = variance_of_products(matched, energy, weight, frequency2)
        if not (SIGNIFICANT_AGAIN if again else SIGNIFICANT) * error < variance <= most**2:
            return None
        return cls.likeliest(matched, energy, weight, frequency2, variance=variance, scale=scale)[0]

    @classmethod
    def likeliest(
        cls, matched: Floats, energy: Floats, weight: Floats, frequency2: Floats, *, variance: float, scale: float
    ) -> tuple[Within, float]:
        """The likeliest spread up to a variance of B in Å⁴, and the log-likelihood that it has."""
        tried = [cls(float(part * np.sqrt(variance)), scale, frequency2) for part in PARTS]
        evidence = [float(np.sum(weight * one.evidence(matched, energy))) for one in tried]
        best = int(np.argmax(evidence))
        return tried[best], evidence[best]

    def bfactors(self, matched: Floats, energy: Floats) -> tuple[Floats, Floats]:
        """Posterior mean and standard deviation ``(n,)`` of the B of particles about that of the micrograph, Å²."""
        return moments(self._log_density(matched, energy), self._grid)

    def evidence(self, matched: Floats, energy: Floats) -> Floats:
        """Log-likelihood of the spread by each particle, ``(n,)``."""
        return np.asarray(np.logaddexp.reduce(self._log_density(matched, energy), axis=1))

    @property
    def _grid(self) -> Floats:
        return np.linspace(-REACH * self.spread, REACH * self.spread, POINTS)

    def _log_density(self, matched: Floats, energy: Floats) -> Floats:
        """Of each B of the grid, ``(n, points)``; its sum is the evidence."""
        envelopes = np.exp(-0.25 * self._grid[:, None] * self.frequency2)
        prior = np.exp(-0.5 * (self._grid / self.spread) ** 2)
        return over_scales(*matches(matched, energy, envelopes), self.scale) + np.log(prior / prior.sum())


def is_noise_of_the_map(
    matched: Floats,
    energy: Floats,
    weight: Floats,
    frequency2: Floats,
    *,
    signal_share: Floats,
    scale: float,
    most: float,
) -> bool:
    """Whether particles look as if they differed in B because some find their own noise in the map.

    Parameters
    ----------
    matched, energy : ``(n, bands)``, without envelopes
    weight : ``(n,)``, probability of being correct
    frequency2, signal_share : ``(bands,)``, 1/Å² and of the map
    scale : standard deviation of the scale of particles
    most : the largest standard deviation that B-factors have, Å²
    """
    given = matched, energy, weight
    by_noise = noise_in_the_map(*given, signal_share, scale)[1]
    if not by_noise > LEAST_NOISE:
        return False
    variance = min(variance_of_products(*given, frequency2)[0], most**2)
    if variance <= 0.0:
        return True
    likelihood = Within.likeliest(*given, frequency2, variance=variance, scale=scale)[1]
    return by_noise > likelihood - float(np.sum(weight * _of_scales(matched, energy, scale)))
