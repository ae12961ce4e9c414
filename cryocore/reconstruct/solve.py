"""From sums to maps: divide, transform back, undo the interpolation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cryocore.data import FourierSums, Grid
from cryocore.imaging.volumes import (
    Floats,
    Floats32,
    grid_to_map,
    interpolation_factor,
    plane_shells,
    shell_means,
)

Planes = Callable[[int], tuple[NDArray[np.complex64], Floats32]]

FLOOR = 1e-3
"""The denominator is kept above this share of its shell's mean."""


class Solver:
    """Solves the sums of one grid, plane by plane, so that no other array of their size is needed.

    Parameters
    ----------
    sums : the normal equations
    group : the point group ``(m, 3, 3)`` whose mates were added by interpolation, whose mark is then removed as well
    """

    def __init__(self, sums: FourierSums, group: NDArray[np.float64]) -> None:
        self.sums = sums
        self.factor = insertion_and_mates(sums.grid, group)
        self.means = [shell_means(denominator, sums.grid) for denominator in sums.denominator]

    def solve(self, planes: Planes, mean: Floats, prior: Floats) -> Floats32:
        """The map ``(n, n, n)`` of numerator / (denominator + prior).

        The denominator is floored at :data:`FLOOR` of its shell mean, and the mean of the map is 0.

        Parameters
        ----------
        planes : gives numerator and denominator of a plane kz
        mean, prior : mean of the denominator, and what is added to it, per shell
        """
        grid = self.sums.grid
        # outside the ball the floor is infinite: nothing is left there
        floor, added = np.append(FLOOR * mean, np.inf).astype(np.float32), np.append(prior, 0.0).astype(np.float32)

        def plane(kz: int) -> NDArray[np.complex64]:
            numerator, denominator = planes(kz)
            shells = plane_shells(grid, kz)
            divisor = np.maximum(denominator, floor[shells]) + added[shells]
            values = np.divide(numerator, np.maximum(divisor, np.finfo(np.float32).tiny), dtype=np.complex64)
            if kz == 0:
                values[grid.radius + 1, grid.radius + 1] = 0
            return values

        return np.divide(grid_to_map(plane, grid), self.factor, dtype=np.float32)

    def half(self, index: int) -> Floats32:
        """The map of half set 0 or 1, without a prior."""
        sums, none = self.sums, np.zeros(self.sums.grid.last_shell + 1)
        return self.solve(lambda kz: (sums.numerator[index, kz], sums.denominator[index, kz]), self.means[index], none)

    def merged(self, fsc: Floats) -> Floats32:
        """The map of all particles, Wiener-filtered by the FSC between the halves.

        The prior of a shell is its mean denominator over the signal-to-noise ratio 2 FSC / (1 - FSC) of the merged
        map (Scheres 2012, J. Struct. Biol. 180, 519).
        """
        sums, mean = self.sums, np.sum(self.means, axis=0)
        limited = np.clip(fsc[: len(mean)], 1e-3, 0.9999)
        prior = mean * (1.0 - limited) / (2.0 * limited)
        return self.solve(
            lambda kz: (sums.numerator[:, kz].sum(axis=0), sums.denominator[:, kz].sum(axis=0)), mean, prior
        )


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
    middle = fine.radius + 1
    nearest = np.rint(fine.padding * np.arange(-(coarse.radius + 1), coarse.radius + 2)).astype(int)
    nearest = middle + np.clip(nearest, -middle, middle)
    out = np.empty((2, *coarse.shape), dtype=np.float32)
    for h in range(2):
        for kz in range(coarse.shape[0]):
            smooth = _smooth_plane(sums.denominator[h], min(round(fine.padding * kz), middle))
            out[h, kz] = smooth[nearest][:, nearest]
        floor = np.maximum(FLOOR * shell_means(out[h], coarse), np.finfo(np.float32).tiny)
        floor = np.append(floor, floor[-1]).astype(np.float32)
        for kz in range(coarse.shape[0]):
            np.maximum(out[h, kz], floor[plane_shells(coarse, kz)], out=out[h, kz])
    return out


def _smooth_plane(values: Floats32, kz: int) -> Floats32:
    """One plane of a grid after [1 2 1] / 4 along each axis; the plane kz = -1 is the mate of kz = 1."""
    below = values[kz - 1] if kz else values[1, ::-1, ::-1]
    above = values[min(kz + 1, len(values) - 1)]
    plane = 0.25 * below + 0.5 * values[kz] + 0.25 * above
    for axis in range(2):
        plane = 0.25 * np.roll(plane, 1, axis) + 0.5 * plane + 0.25 * np.roll(plane, -1, axis)
    return np.asarray(plane, dtype=np.float32)
