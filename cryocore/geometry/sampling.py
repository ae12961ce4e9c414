"""How evenly viewing directions sample Fourier space, as one number.

A projection with viewing direction n samples the plane of frequencies k that are perpendicular to n. For views on the
sphere, the sampling S(k) of a direction k is the density of views on the great circle perpendicular to it, in units of
that of uniform views, so that its mean over directions is 1. The signal-to-noise ratio of a shell goes with S, and its
mean over the shell is governed by the mean of 1 / S [1]_. The sampling compensation factor is

    SCF = 1 / <1 / S(k)>,

the share of uniformly distributed particles that would do as much: 1 for uniform views, 8 / pi² = 0.81 for views on
one great circle. Directions that no view samples would make it 0 whatever the others do. Here, with c the share of
sampled directions, it is c times the evenness among these, 1 / <1 / S> over them with S in units of its mean there,
and the share of unsampled directions is reported beside it.

References
----------
.. [1] Baldwin & Lyumkis (2020), Prog. Biophys. Mol. Biol. 150, 160-183.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.geometry.sphere import centres, views_of
from cryocore.types import Floats

NSIDE = 32
"""Views are counted in bins of 1.8 degrees, each represented by the mean of those in it."""
NSIDE_OUT = 8
"""Directions of Fourier space at which the sampling is computed: 768, 7.3 degrees apart."""
HALF_WIDTH_DEG = 6.0
"""Views so far off the perpendicular plane still sample a direction, with a weight that falls linearly to 0."""
UNSAMPLED = 0.01
"""A direction is unsampled where it has less than this share of uniform sampling."""


@dataclass(frozen=True)
class Sampling:
    """Sampling of Fourier space by views.

    ``factor`` : the sampling compensation factor, 0 to 1
    ``unsampled`` : share of directions that no view samples
    """

    factor: float
    unsampled: float


def sampling_matrix(centre: Floats, group: Floats) -> NDArray[np.float32]:
    """Sampling ``(bins, 768)`` of each direction by a view in each bin and its symmetry equivalents; mean 1 for
    uniform views."""
    width = np.sin(np.deg2rad(HALF_WIDTH_DEG))
    directions = centres(NSIDE_OUT)
    total = np.zeros((len(centre), len(directions)), dtype=np.float32)
    for operator in group:
        cosine = np.abs((centre @ operator) @ directions.T)
        total += np.maximum(1.0 - cosine / width, 0.0).astype(np.float32)
    return np.asarray(total * np.float32(2.0 / width / len(group)))


def compensation_factors(counts: Floats, matrix: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Sampling compensation factor and share of unsampled directions, ``(draws,)`` each.

    Parameters
    ----------
    counts : (draws, bins)  particles, or their weights, in each bin
    matrix : see :func:`sampling_matrix`
    """
    share = (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    sampling = (share @ matrix).astype(np.float64)
    seen = sampling > UNSAMPLED
    reciprocal = np.divide(1.0, sampling, out=np.zeros_like(sampling), where=seen)
    covered = seen.mean(axis=1)
    harmonic = np.divide(covered, reciprocal.mean(axis=1), out=np.zeros(len(counts)), where=covered > 0)
    mean = np.divide(np.where(seen, sampling, 0.0).mean(axis=1), covered, out=np.ones(len(counts)), where=covered > 0)
    return covered * np.minimum(harmonic / mean, 1.0), 1.0 - covered


def sampling_of(directions: Floats, group: Floats, weights: Floats | None = None) -> Sampling:
    """Sampling compensation factor of viewing directions ``(n, 3)`` under a point group ``(m, 3, 3)``.

    Parameters
    ----------
    weights : (n,) of the particles in the map; None: 1
    """
    bins = views_of(directions, group, NSIDE)
    counts = np.bincount(bins.bin_index, weights=weights, minlength=len(bins.centre)).astype(np.float64)
    factor, unsampled = compensation_factors(counts[None], sampling_matrix(bins.centre, group))
    return Sampling(float(factor[0]), float(unsampled[0]))
