"""The part of a map that has the symmetry of a group, and what is left where a smaller group holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryocore.examine.groups import cosets
from cryocore.examine.half_maps import HalfMaps
from cryocore.geometry.symmetry import point_group
from cryocore.types import Floats

Complex = NDArray[np.complex128]

FIRST_SHELL = 2
LEAST_FSC = 0.2
"""Shells count up to the first whose FSC, in the part that has the larger group's symmetry, is below this."""
SMOOTHING = np.array([1.0, 2.0, 3.0, 2.0, 1.0])
TURN = Rotation.from_rotvec([0.3, 0.5, 0.2]).as_matrix()
"""Turns the points of comparison off grid and axes, so that none is interpolated better than its equivalents."""
GENERIC = np.array([0.31, 0.47, 0.83])
FEWEST = 12
"""Independent coefficients below which sums have no standard error, and nothing is known."""
TINY = 1e-30


@dataclass(frozen=True)
class Split:
    """How much of a map that has a group's symmetry lacks that of a larger one.

    ``ratio`` : 0 where the larger group holds; 1 where its additional rotations mean no more than random turns, about
        z in cyclic and dihedral groups, about any axis in others; NaN where there is nothing to go by
    ``error`` : standard error of the ratio
    ``rest_errors`` : what the halves have in common without the larger symmetry, in its standard error
    ``signal_errors`` : what they have in common that such turns change, in its standard error
    """

    ratio: float
    error: float
    rest_errors: float
    signal_errors: float


def split_by(maps: HalfMaps, larger: str, smaller: str) -> Split:
    """Split the part of a map with a group's symmetry by a larger group.

    Coefficients count in proportion to how well they are known, to the FSC of their shell and in units of its power.
    Standard errors are those of the imaginary part of the sums, whose mean is 0 whatever the map is.
    """
    k = one_of_each(lattice(maps.last_shell), point_group(larger))
    values, known = equivalents(maps, k, larger, smaller)
    total = np.maximum(known.sum(axis=0), TINY)
    mean = np.sum(known[:, None] * values, axis=0) / total
    rest = values - mean
    # the share of independent coefficients that would be rest, which of p equally known ones is 1 - 1 / p
    share = 1.0 - np.sum(known**2, axis=0) / total**2
    centred = mean - (maps.axial(k) if larger[0] in "CD" else maps.spherical(k))
    weight = share * shell_weights(np.rint(np.linalg.norm(k, axis=1)).astype(np.intp), values, mean, known)
    without = weight * np.sum(known * rest[:, 0].conj() * rest[:, 1], axis=0)
    having = weight * total * centred[0].conj() * centred[1]
    expected = np.sum(weight * total * share) / max(np.sum(weight * total), TINY)
    counted = weight * total * np.sum(known * np.abs(values[:, 0] * values[:, 1]), axis=0)
    if np.sum(counted) ** 2 <= FEWEST * maps.repeated * np.sum(counted**2):
        return Split(np.nan, np.nan, 0.0, 0.0)
    return _split(without, having, float(expected), maps.repeated)


def _split(without: Complex, having: Complex, expected: float, repeated: float) -> Split:
    """From the halves' products without and with the symmetry, and the former's share if symmetry meant nothing."""
    rest, signal = without.real.sum(), without.real.sum() + having.real.sum()
    rest_error, having_error = (np.sqrt(repeated * np.sum(x.imag**2)) for x in (without, having))
    share = rest / signal
    error = np.hypot((1.0 - share) * rest_error, share * having_error) / abs(signal)
    return Split(
        float(share / expected),
        float(error / expected),
        float(rest / rest_error),
        float(signal / np.hypot(rest_error, having_error)),
    )


def lattice(last_shell: int) -> Floats:
    """Points one shell apart in half of Fourier space up to a shell, ``(n, 3)``, in no direction along the axes."""
    along = np.arange(-last_shell, last_shell + 1)
    k = np.stack(np.meshgrid(along, along, along, indexing="ij"), axis=-1).reshape(-1, 3)
    half = k[len(k) // 2 + 1 :]
    return half[np.linalg.norm(half, axis=1) <= last_shell] @ TURN.T


def one_of_each(k: Floats, group: Floats) -> Floats:
    """One of each set of symmetry equivalents and Friedel mates of points ``(n, 3)``."""
    own, most = np.abs(k @ GENERIC), np.zeros(len(k))
    for g in group:
        np.maximum(most, np.abs(k @ (g @ GENERIC)), out=most)
    return k[own >= most * (1.0 - 1e-12)]


def equivalents(maps: HalfMaps, k: Floats, larger: str, smaller: str) -> tuple[Complex, Floats]:
    """Coefficients ``(p, 2, n)`` of both halves, made symmetric by a group, at the p points that a larger group takes
    each k to, and how well they are known ``(p, n)``."""
    found = [_symmetric(maps, k @ g.T, point_group(smaller)) for g in cosets(larger, smaller)]
    return np.stack([values for values, _ in found]), np.stack([known for _, known in found])


def _symmetric(maps: HalfMaps, k: Floats, group: Floats) -> tuple[Complex, Floats]:
    total, known = np.zeros((2, len(k)), dtype=np.complex128), np.zeros(len(k))
    for h in group:
        values, weight = maps.at(k @ h.T)
        total += weight * values
        known += weight
    return total / np.maximum(known, TINY), known


def shell_weights(shell: NDArray[np.intp], values: Complex, mean: Complex, known: Floats) -> Floats:
    """FSC over power of each point's shell, ``(n,)``.

    The FSC is that of the part with the larger symmetry, whose noise the rest does not share, smoothed over shells.
    """
    n, total = int(shell.max()) + 1, known.sum(axis=0)

    def sums(x: Floats) -> Floats:
        return np.bincount(shell, x, minlength=n).astype(np.float64)

    power = np.sqrt(np.prod([sums(np.sum(known * np.abs(values[:, h]) ** 2, axis=0)) for h in range(2)], axis=0))
    power /= np.maximum(sums(total), TINY)
    common = sums(total * (mean[0].conj() * mean[1]).real)
    norm = np.sqrt(np.prod([sums(total * np.abs(mean[h]) ** 2) for h in range(2)], axis=0))
    fsc = np.convolve(common, SMOOTHING, "same") / np.maximum(np.convolve(norm, SMOOTHING, "same"), TINY)
    below = np.flatnonzero((fsc < LEAST_FSC) & (np.arange(n) > FIRST_SHELL))
    fsc[:FIRST_SHELL] = 0.0
    if len(below):
        fsc[below[0] :] = 0.0
    return (np.clip(fsc, 0.0, 1.0) / np.maximum(power, TINY))[shell]
