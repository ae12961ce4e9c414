"""Which micrographs have a wrong defocus, by the band sums of their particles.

A defocus that is off by D adds pi lambda D s² to the phase of the CTF at frequency s. In the mean over the oscillations
of the CTF, what is predicted of a particle is then multiplied by cos(pi lambda D s²): low frequencies match, and from
some frequency on the sign is wrong. By the sums of each band that the log holds, the log-likelihood of an envelope q is

    sum over bands of  q c / sigma² - ½ q² e / sigma²

over that of an image that shows nothing of the prediction; a share of all images does not. Those of a micrograph's
particles are added. Of a right micrograph the envelope is exp(-B s²/4) with one of some B, or 0, and of a wrong one the
cosine of one of some D, each as likely as the others. Large B stand for micrographs whose particles have the poses of
others: all views of a molecule are alike at low resolution. How many micrographs are wrong is the share of highest
likelihood; it is 0 if it does not make the data likelier by a factor e. The sign of D cannot be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from cryocore.log.bands import (
    GAIN_COUNT,
    matches,
    mean_squared_frequency,
    of_coefficients,
    of_nodes,
    signal_to_noise,
    times,
    without_envelope,
)
from cryocore.types import Bools, Floats, Ints

OFFSETS_ANGSTROM = np.arange(1_500.0, 10_001.0, 250.0)
"""Wrong defoci that are told from right ones: smaller ones change little."""
WAVELENGTH_ANGSTROM = 0.0197
"""At 300 kV. At 200 kV the offsets are smaller by a fifth."""
BFACTORS_ANGSTROM2 = np.array([*np.linspace(-100.0, 300.0, 9), 3_000.0, 9_000.0, 27_000.0])
"""Of micrographs of a right defocus, relative to the prediction; from 3,000 on of those with wrong poses."""
EMPTY = np.array([0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.93])
"""Shares of images that show nothing of their prediction; one holds for all micrographs."""
FEWEST = 5
"""Micrographs below which none is called wrong."""
MOST = 0.5
"""Share of wrong micrographs beyond which none is called wrong: the map, which is made of them, cannot tell."""
STEPS = 50
"""Bisections in which it is found."""
LEAST_GAIN, SURELY = 1.0, 0.9
"""Log-likelihood that wrong micrographs have to add, and how probably wrong at least one has to be: where most poses
are wrong the model fits badly, and many micrographs seem a little wrong."""
TOLD = 0.5
"""Probability of being wrong from which a micrograph is named."""

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class WrongDefocus:
    """What is known of the defocus of m micrographs.

    ``probability`` : ``(m,)``, of being wrong
    ``offset_angstrom`` : ``(m,)``, by how much if so, without sign
    ``gain`` : log-likelihood that wrong micrographs add
    """

    probability: Floats
    offset_angstrom: Floats
    gain: float

    def of_particles(self, micrograph: Ints) -> Floats:
        """Probability ``(n,)`` that a particle's micrograph ``(n,)`` is wrong; 0 for -1."""
        return np.where(micrograph >= 0, self.probability[micrograph], 0.0)

    def doubt(self, micrograph: Ints) -> float:
        """Standard deviation of the share of particles ``(n,)`` that are in wrong micrographs."""
        sizes = np.bincount(micrograph[micrograph >= 0], minlength=len(self.probability))
        variance = np.sum(sizes**2 * self.probability * (1.0 - self.probability))
        return float(np.sqrt(variance)) / max(len(micrograph), 1)


def wrong_defocus(
    row_groups: Callable[[], Iterable[Columns]], metadata: Mapping[str, Any], micrograph: Ints, spoilt: Bools
) -> WrongDefocus | None:
    """Micrographs of a wrong defocus by the log of a round; None where none is found, or the log does not say.

    Parameters
    ----------
    row_groups : yields the columns of ``BAND_SUMS`` and optics_group, noise_power and envelopes if any, a part
        of the log after the other; called twice
    micrograph : (n,)  number of each particle's micrograph, from 0; -1 where it has none
    spoilt : (n,)  images that say nothing; a micrograph of these alone is as probably wrong as any
    """
    n_micrographs = int(micrograph.max(initial=-1)) + 1
    if n_micrographs < FEWEST or "signal_share" not in metadata:
        return None
    blurred = np.exp(-0.25 * BFACTORS_ANGSTROM2[:, None] * mean_squared_frequency(metadata))
    right = np.concatenate([blurred, np.zeros_like(blurred[:1])])
    envelopes = np.concatenate([right, cosines(metadata)])
    gain = _relative_gain(row_groups, metadata)
    table = np.zeros((n_micrographs, len(EMPTY), len(envelopes)))
    told_by, start = np.where(spoilt, -1, micrograph), 0
    for columns in row_groups():
        matched, energy = without_envelope(metadata, columns, *signal_to_noise(metadata, columns, gain))
        at = told_by[start : start + len(matched)]
        start += len(matched)
        along, across = matches(matched, energy, envelopes)
        told = at >= 0
        each, at = (along - 0.5 * across)[told], at[told]
        for i, empty in enumerate(EMPTY):
            table[:, i] += of_nodes(np.logaddexp(np.log1p(-empty) + each, np.log(empty)), at, n_micrographs)
    return from_likelihoods(table, len(right))


def from_likelihoods(table: Floats, n_right: int) -> WrongDefocus | None:
    """Which micrographs are wrong by the log-likelihoods ``(m, shares of empty images, envelopes)``.

    The first ``n_right`` envelopes are those of right micrographs.
    """
    right = _log_mean(table[:, :, :n_right])
    best = int(np.argmax(right.sum(axis=0)))
    wrong = table[:, best, n_right:]
    ratio = _log_mean(wrong) - right[:, best]
    share = likeliest_share(ratio)
    if not 0.0 < share < MOST:
        return None
    gain = float(np.sum(np.logaddexp(np.log1p(-share), np.log(share) + ratio)))
    if gain < LEAST_GAIN:
        return None
    probability = expit(ratio + logit(share))
    if probability.max() < SURELY:
        return None
    of_offset = np.exp(wrong - wrong.max(axis=1, keepdims=True))
    offset = times(of_offset / of_offset.sum(axis=1, keepdims=True), OFFSETS_ANGSTROM[None])[:, 0]
    return WrongDefocus(probability, offset, gain)


def likeliest_share(ratio: Floats) -> float:
    """The share of wrong ones at which log-likelihood ratios ``(m,)`` of wrong to right are likeliest.

    >>> round(likeliest_share(np.array([8.0, 9.0, -3.0, -4.0, -3.0, -5.0])), 2)
    0.34
    >>> likeliest_share(np.array([0.1, -1.0, -1.0]))
    0.0
    """
    excess = np.expm1(np.minimum(ratio, 500.0))

    def slope(share: float) -> float:
        return float(np.sum(excess / (1.0 + share * excess)))

    low, high = 0.0, 1.0
    if slope(low) <= 0.0:
        return low
    for _ in range(STEPS):  # the slope falls
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) > 0.0 else (low, middle)
    return high


def cosines(metadata: Mapping[str, Any]) -> Floats:
    """What multiplies the prediction in each band for each wrong defocus, ``(offsets, bands)``."""
    return of_coefficients(metadata, lambda s2: np.cos(np.pi * WAVELENGTH_ANGSTROM * OFFSETS_ANGSTROM[:, None] * s2))


def _relative_gain(row_groups: Callable[[], Iterable[Columns]], metadata: Mapping[str, Any]) -> Floats:
    """How much stronger the images are in each band than what is predicted of them, relative to all, ``(bands,)``."""
    matched, energy = np.zeros((2, len(metadata["signal_share"])))
    for columns in row_groups():
        parts = signal_to_noise(metadata, columns)
        matched, energy = matched + parts[0].sum(axis=0), energy + parts[1].sum(axis=0)
    mean = matched.sum() / max(float(energy.sum()), 1e-290)
    if mean <= 0.0:
        return np.ones(len(energy))
    return np.asarray(np.maximum(GAIN_COUNT + mean * matched, 0.0) / (GAIN_COUNT + mean**2 * energy))


def _log_mean(values: Floats) -> Floats:
    return np.asarray(np.logaddexp.reduce(values, axis=-1) - np.log(values.shape[-1]))
