"""From sums to maps: divide, transform back, undo the interpolation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryocore.data import FourierSums
from cryocore.imaging.volumes import Floats32, grid_to_map, shell_radius, sinc_squared

FLOOR = 1e-3
"""The denominator is kept above this share of its shell's mean."""


def shell_means(values: Floats32, shells: NDArray[np.int32], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of ``values`` over each shell of the grid."""
    index = shells[inside]
    total = np.bincount(index, weights=values[inside])
    return total / np.maximum(np.bincount(index), 1)


class Solver:
    """Solves the sums of one grid; holds its shell index."""

    def __init__(self, sums: FourierSums, group: NDArray[np.float64]) -> None:
        self.sums = sums
        radius = sums.numerator.shape[1] - 2
        self.shells = shell_radius(radius, sums.padding)
        self.inside = self.shells <= radius // sums.padding
        self.correction = interpolation_factor(sums.box, sums.padding, group)

    def solve(self, numerator: NDArray[np.complex64], denominator: Floats32, prior: NDArray[np.float64]) -> Floats32:
        """The map ``(n, n, n)`` of numerator / (denominator + prior), ``prior`` one value per shell.

        The denominator is floored at :data:`FLOOR` of its shell mean, and the mean of the map is 0.
        """
        mean = shell_means(denominator, self.shells, self.inside)
        floor = np.maximum(FLOOR * mean, np.finfo(np.float32).tiny)
        size = len(mean)
        index = np.minimum(self.shells, size - 1)
        divisor = np.maximum(denominator, floor.astype(np.float32)[index]) + prior[:size].astype(np.float32)[index]
        grid = np.where(self.inside, numerator / divisor, np.complex64(0))
        grid[0, grid.shape[1] // 2, grid.shape[2] // 2] = 0
        return grid_to_map(
            grid.astype(np.complex64), box=self.sums.box, padding=self.sums.padding, correction=self.correction
        )

    def half(self, index: int) -> Floats32:
        """The map of half set 0 or 1, without a prior."""
        none = np.zeros(self.sums.box)
        return self.solve(self.sums.numerator[index], self.sums.denominator[index], none)

    def merged(self, fsc: NDArray[np.float64]) -> Floats32:
        """The map of all particles, Wiener-filtered by the FSC between the halves.

        The prior of a shell is its mean denominator over the signal-to-noise ratio 2 FSC / (1 - FSC) of the merged
        map (Scheres 2012, J. Struct. Biol. 180, 519).
        """
        numerator = self.sums.numerator.sum(axis=0)
        denominator = self.sums.denominator.sum(axis=0)
        mean = shell_means(denominator, self.shells, self.inside)
        limited = np.clip(fsc[: len(mean)], 1e-3, 0.9999)
        prior = np.zeros(self.sums.box)
        prior[: len(mean)] = mean * (1.0 - limited) / (2.0 * limited)
        return self.solve(numerator, denominator, prior)


def interpolation_factor(box: int, padding: int, group: NDArray[np.float64]) -> Floats32:
    """What trilinear insertion, and a second interpolation at most mates of the group, put on the map.

    Mates that map the lattice onto itself (entries -1, 0, 1) need no interpolation. The factor is isotropic to
    second order, so that one expression serves all mates.
    """
    exact = np.all(np.isclose(group, np.rint(group), atol=1e-9), axis=(1, 2)).mean()
    z, y, x = sinc_squared(box, padding)
    factor = z * y * x
    return factor * (np.float32(exact) + np.float32(1.0 - exact) * factor)


def sampling_density(sums: FourierSums) -> Floats32:
    """The floored denominators on the unpadded grid, ``(2, r+2, 2r+3, 2r+3)``: what a particle's share is judged by."""
    p = sums.padding
    radius = (sums.denominator.shape[1] - 2) // p
    shells = shell_radius(radius, 1)
    inside = shells <= radius
    around = np.arange(-(radius + 1), radius + 2)
    centre = (sums.denominator.shape[2]) // 2
    out = np.empty((2, radius + 2, 2 * radius + 3, 2 * radius + 3), dtype=np.float32)
    for h in range(2):
        smooth = _smooth(sums.denominator[h]) if p > 1 else sums.denominator[h]
        take = np.clip(centre + p * around, 0, 2 * centre)
        planes = np.minimum(p * np.arange(radius + 2), sums.denominator.shape[1] - 1)
        coarse = smooth[planes][:, take][:, :, take]
        mean = shell_means(coarse, shells, inside)
        floor = np.maximum(FLOOR * mean, np.finfo(np.float32).tiny).astype(np.float32)
        out[h] = np.maximum(coarse, floor[np.minimum(shells, len(floor) - 1)])
    return out


def _smooth(grid: Floats32) -> Floats32:
    """[1 2 1] / 4 along each axis, mirrored in the plane kz = 0."""
    result = grid
    for axis in range(3):
        before, after = np.roll(result, 1, axis), np.roll(result, -1, axis)
        if axis == 0:
            before[0] = result[1, ::-1, ::-1]
            after[-1] = result[-1]
        result = 0.25 * before + 0.5 * result + 0.25 * after
    return result
