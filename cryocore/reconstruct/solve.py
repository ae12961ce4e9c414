"""From sums to maps: divide, transform back, undo the interpolation."""

from __future__ import annotations

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
        # mates that map the lattice onto itself need no interpolation; sinc² is isotropic to second order, so that
        # one expression serves all others
        exact = float(np.all(np.isclose(group, np.rint(group), atol=1e-9), axis=(1, 2)).mean())
        line = interpolation_factor(sums.grid)
        insertion = line[:, None, None] * line[:, None] * line
        self.factor = insertion * (np.float32(exact) + np.float32(1.0 - exact) * insertion)

    def solve(self, numerator: NDArray[np.complex64], denominator: Floats32, prior: Floats) -> Floats32:
        """The map ``(n, n, n)`` of numerator / (denominator + prior), ``prior`` one value per shell.

        The denominator is floored at :data:`FLOOR` of its shell mean, and the mean of the map is 0.
        """
        grid, last = self.sums.grid, self.sums.grid.last_shell
        floor = FLOOR * shell_means(denominator, self.shells, last)
        with np.errstate(divide="ignore"):
            divisor = np.maximum(denominator, np.append(floor, np.inf).astype(np.float32)[self.shells])
        divisor += np.append(prior, 0.0).astype(np.float32)[self.shells]
        np.maximum(divisor, np.finfo(np.float32).tiny, out=divisor)
        values = numerator / divisor
        values[0, grid.radius + 1, grid.radius + 1] = 0
        return grid_to_map(values, grid) / self.factor

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
