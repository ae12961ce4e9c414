"""From sums to maps: divide, transform back, undo the interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.backend.grids import smooth_density
from cryocore.cores import in_threads
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.imaging.volumes import grid_to_map, interpolation_factor, shell_means, shell_of_square
from cryocore.types import Floats, Floats32

FLOOR = 1e-3
"""The denominator is kept above this share of its shell's mean."""
DAMPING = 0.3
"""What half maps are divided by is drawn to its shell's mean as by adding this share of it: what few particles have
seen is damped, not divided by next to nothing. 0.1 to 1 give better maps than none, the more so the less even the views
are; from 0.3 on scores of small errors suffer."""


class Solver:
    """Solves the sums of one grid, without another array of their size.

    Parameters
    ----------
    sums : the normal equations
    group : the point group ``(m, 3, 3)`` whose symmetry equivalents were added by interpolation, whose mark is then
    removed as well
    """

    def __init__(self, sums: FourierSums, group: NDArray[np.float64]) -> None:
        self.sums = sums
        self.group = group
        self.means = [shell_means(sums.denominator[h], sums.grid, sums.backend) for h in range(len(sums.denominator))]
        self._shells = shell_of_square(sums.grid)[: sums.grid.radius**2 + 1]

    def solve(self, halves: slice, mean: Floats, prior: Floats) -> Floats32:
        """The map ``(n, n, n)`` of numerator / (denominator + prior), added up over half sets.

        The denominator is floored at :data:`FLOOR` of its shell mean, and the mean of the map is 0.

        Parameters
        ----------
        mean, prior : mean of the denominator, and what is added to it, per shell
        """
        # outside the ball the floor is infinite: nothing is left there
        floor = np.append(FLOOR * mean, np.inf).astype(np.float32)[self._shells]
        added = np.append(prior, 0.0).astype(np.float32)[self._shells]
        sums, chosen = self.sums, range(len(self.means))[halves]
        numerators, denominators = ([of[h] for h in chosen] for of in (sums.numerator, sums.denominator))
        made = grid_to_map(numerators, sums.grid, denominators, floor, added, sums.backend)
        volume: Floats32 = sums.backend.to_host(made)
        divide_insertion_and_mates(volume, sums.grid, self.group)
        return volume

    def half(self, index: int, *, damped: bool = True) -> Floats32:
        """The map of half set 0 or 1, not filtered by resolution; with :data:`DAMPING` or without."""
        damping, mean = DAMPING if damped else 0.0, self.means[index]
        volume = self.solve(slice(index, index + 1), mean, damping * mean)
        volume *= np.float32(1.0 + damping)
        return volume

    def merged(self, fsc: Floats) -> Floats32:
        """The map of all particles, Wiener-filtered by the FSC between the halves.

        See :func:`wiener_prior`.
        """
        mean = np.sum(self.means, axis=0)
        return self.solve(slice(0, 2), mean, wiener_prior(mean, fsc))


def wiener_prior(mean: Floats, fsc: Floats) -> Floats:
    """What a Wiener filter adds to a merged map's denominators of ``mean`` ``(shells,)``, by the FSC between halves.

    It is the mean over the signal-to-noise ratio 2 FSC / (1 - FSC) of the merged map (Scheres 2012, J. Struct. Biol.
    180, 519).
    """
    limited = np.clip(fsc[: len(mean)], 1e-3, 0.9999)
    return np.asarray(mean * (1.0 - limited) / (2.0 * limited))


def _squares(radius: int) -> NDArray[np.intp]:
    """|k|² of the points of a plane through the origin, ``(2 radius + 1, 2 radius + 1)``."""
    along = np.arange(-radius, radius + 1) ** 2
    return np.asarray(along[:, None] + along, dtype=np.intp)


def divide_insertion_and_mates(volume: Floats32, grid: FourierGrid, group: NDArray[np.float64]) -> None:
    """Divide a map by what trilinear insertion, and a second interpolation at the symmetry equivalents of the group,
    put on it.

    Where a row of a symmetry equivalent is a lattice vector (entries -1, 0, 1), its samples fall on the lattice along
    that axis and nothing is interpolated: rotations about z leave the z axis alone. Each other axis gives a factor
    sinc²; taking it along the map's axis instead of the symmetry equivalent's is right to second order.
    """
    line = interpolation_factor(grid)
    kept, counts = np.unique([_lattice_axes(g) for g in group], axis=0, return_counts=True)
    # per kind of symmetry equivalent, the factors of both interpolations along x, y and z
    factors = [[line if exact else line * line for exact in axes] for axes in kept]
    in_plane = [
        np.float32(count / len(group)) * y[:, None] * x for count, (x, y, _) in zip(counts, factors, strict=True)
    ]

    def divide(z: int) -> None:
        volume[z] /= sum(plane * along_z[z] for plane, (_, _, along_z) in zip(in_plane, factors, strict=True))

    in_threads(divide, range(grid.box))


def _lattice_axes(operator: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the axes x, y, z a symmetry equivalent takes to a lattice axis, ``(3,)``."""
    rows = np.all(np.isclose(operator, np.rint(operator), atol=1e-9), axis=1, keepdims=True)
    return np.asarray(np.any((np.abs(operator) > 0.5) & rows, axis=0))


def sampling_density(sums: FourierSums) -> Floats32:
    """The floored denominators at unpadded grid points, smoothed.

    Returns ``(2, r+2, 2r+3, 2r+3)``, the layout of ``Grid.of(box, pixel_size, 1, last_shell)``.
    """
    grid, backend = sums.grid, sums.backend
    smooth = (_smooth(sums.denominator[h], grid, None, backend)[0] for h in range(len(sums.denominator)))
    return np.stack([_floored(density, grid, backend) for density in smooth])


def own_divisor(sums: FourierSums, *, damped: bool = True) -> Floats32:
    """What a particle's own samples are divided by in half maps, at unpadded grid points.

    A sample t at a grid point of denominator D is t / (D + a) of the map, a by :data:`DAMPING`. Where few particles
    look, D is large on their own slices and 0 beside them; t follows D. So it is S[D] / S[D / (D + a)], S the mean over
    neighbouring points, and not S[D] + a, by which particles of rare views would be robbed of more than they gave.

    Returns ``(2, r+2, 2r+3, 2r+3)``; see :func:`sampling_density`.
    """
    fine, backend, damping = sums.grid, sums.backend, DAMPING if damped else 0.0
    shells = shell_of_square(fine)
    out = []
    for h in range(len(sums.denominator)):
        mean = shell_means(sums.denominator[h], fine, backend)
        added = damping * np.append(mean, mean[-1]).astype(np.float32)[shells]
        inserted, of_map = _smooth(sums.denominator[h], fine, added, backend)
        # sums from which particles were taken may be a little below 0 where none is left
        inserted /= backend.xp.where(of_map > 0, of_map, np.float32(1.0))
        inserted /= np.float32(1.0 + damping)
        out.append(_floored(inserted, fine, backend))
    return np.stack(out)


def _smooth(density: Any, fine: FourierGrid, added: Floats32 | None, backend: Backend) -> tuple[Any, Any]:
    """D, and D / (D + a), at unpadded grid points; a by |k|², see :func:`cryocore.backend.grids.smooth_density`."""
    coarse = FourierGrid(fine.box, fine.pixel_size_angstrom, fine.box, fine.last_shell)
    middle = fine.radius + 1
    nearest = np.rint(fine.padding * np.arange(-(coarse.radius + 1), coarse.radius + 2)).astype(np.int32)
    nearest = middle + np.clip(nearest, -middle, middle)
    planes = np.array([min(round(fine.padding * kz), middle) for kz in range(coarse.shape[0])], dtype=np.int32)
    return smooth_density(density, fine.radius, planes, nearest, added, backend)


def _floored(values: Any, fine: FourierGrid, backend: Backend) -> Floats32:
    """Values at unpadded grid points, no less than :data:`FLOOR` of their shell's mean, in host memory."""
    coarse = FourierGrid(fine.box, fine.pixel_size_angstrom, fine.box, fine.last_shell)
    floor = np.maximum(FLOOR * shell_means(values, coarse, backend), np.finfo(np.float32).tiny)
    floor = np.append(floor, floor[-1]).astype(np.float32)[shell_of_square(coarse)]
    values, squares = backend.to_host(values), _squares(coarse.radius + 1)
    for kz, plane in enumerate(values):
        np.maximum(plane, np.take(floor[kz**2 :], squares), out=plane)
    return np.asarray(values)
