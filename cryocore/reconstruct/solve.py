"""From sums to maps: divide, transform back, undo the interpolation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cryocore.data import FourierSums, Grid
from cryocore.imaging.volumes import (
    Floats,
    Floats32,
    grid_shells,
    grid_to_map,
    interpolation_factor,
    shell_means,
)

FLOOR = 1e-3
"""The denominator is kept above this share of its shell's mean."""


class Solver:
    """Solves the sums of one grid; holds its shell index.

    Parameters
    ----------
    sums : the normal equations
    group : the point group ``(m, 3, 3)`` whose mates were added by interpolation, whose mark is then removed as well
    """

    def __init__(self, sums: FourierSums, group: NDArray[np.float64]) -> None:
        self.sums = sums
        self.shells = grid_shells(sums.grid)
        self.factor = insertion_and_mates(sums.grid, group)

    def solve(self, numerator: NDArray[np.complex64], denominator: Floats32, prior: Floats) -> Floats32:
        """The map ``(n, n, n)`` of numerator / (denominator + prior), ``prior`` one value per shell.

        The denominator is floored at :data:`FLOOR` of its shell mean, and the mean of the map is 0.
        """
        grid, last = self.sums.grid, self.sums.grid.last_shell
        floor = FLOOR * shell_means(denominator, self.shells, last)
        # outside the ball the floor is infinite: nothing is left there
        divisor = np.maximum(denominator, np.append(floor, np.inf).astype(np.float32)[self.shells])
        divisor += np.append(prior, 0.0).astype(np.float32)[self.shells]
        np.maximum(divisor, np.finfo(np.float32).tiny, out=divisor)
        values = np.divide(numerator, divisor, dtype=np.complex64)
        values[0, grid.radius + 1, grid.radius + 1] = 0
        return np.divide(grid_to_map(values, grid), self.factor, dtype=np.float32)

    def half(self, index: int) -> Floats32:
        """The map of half set 0 or 1, without a prior."""
        none = np.zeros(self.sums.grid.last_shell + 1)
        return self.solve(self.sums.numerator[index], self.sums.denominator[index], none)

    def merged(self, fsc: Floats) -> Floats32:
        """The map of all particles, Wiener-filtered by the FSC between the halves.

        The prior of a shell is its mean denominator over the signal-to-noise ratio 2 FSC / (1 - FSC) of the merged
        map (Scheres 2012, J. Struct. Biol. 180, 519).
        """
        denominator = self.sums.denominator.sum(axis=0)
        mean = shell_means(denominator, self.shells, self.sums.grid.last_shell)
        limited = np.clip(fsc[: len(mean)], 1e-3, 0.9999)
        return self.solve(self.sums.numerator.sum(axis=0), denominator, mean * (1.0 - limited) / (2.0 * limited))


def insertion_and_mates(grid: Grid, group: NDArray[np.float64]) -> Floats32:
    """What trilinear insertion, and a second interpolation at the mates of the group, put on the map.

    Where a row of a mate is a lattice vector (entries -1, 0, 1), its samples fall on the lattice along that axis and
    nothing is interpolated: rotations about z leave the z axis alone. Each other axis gives a factor sinc²; taking it
    along the map's axis instead of the mate's is right to second order.
    """
    line = interpolation_factor(grid)
    lines = line, line[:, None], line[:, None, None]
    once = lines[0] * lines[1] * lines[2]
    twice = np.zeros_like(once)
    kept, counts = np.unique([_lattice_axes(g) for g in group], axis=0, return_counts=True)
    for axes, count in zip(kept, counts, strict=True):
        share = np.float32(count / len(group))
        twice += share * math.prod(axis for axis, exact in zip(lines, axes, strict=True) if not exact)
    return np.asarray(once * twice, dtype=np.float32)


def _lattice_axes(mate: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the axes x, y, z a mate takes to a lattice axis, ``(3,)``."""
    rows = np.all(np.isclose(mate, np.rint(mate), atol=1e-9), axis=1, keepdims=True)
    return np.asarray(np.any((np.abs(mate) > 0.5) & rows, axis=0))


def sampling_density(sums: FourierSums) -> Floats32:
    """The floored denominators at unpadded grid points: what a particle's share in its prediction is judged by.

    Returns ``(2, r+2, 2r+3, 2r+3)``, the layout of ``Grid.of(box, pixel_size, 1, last_shell)``.
    """
    fine = sums.grid
    coarse = Grid(fine.box, fine.pixel_size_angstrom, fine.box, fine.last_shell)
    shells, middle = grid_shells(coarse), fine.radius + 1
    around = np.arange(-(coarse.radius + 1), coarse.radius + 2)
    nearest = np.clip(np.rint(fine.padding * around).astype(int), -middle, middle)
    planes = nearest[coarse.radius + 1 :]
    out = np.empty((2, *coarse.shape), dtype=np.float32)
    for h in range(2):
        smooth = _smooth(sums.denominator[h])
        taken = smooth[planes][:, middle + nearest][:, :, middle + nearest]
        floor = np.maximum(FLOOR * shell_means(taken, shells, coarse.last_shell), np.finfo(np.float32).tiny)
        out[h] = np.maximum(taken, np.append(floor, floor[-1]).astype(np.float32)[shells])
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
