"""Maps and their padded Fourier transforms on the half-space grids of the kernels (see ``cryocore.imaging.grid.Grid``).

Grid values are scaled like image transforms, F / n. Trilinear interpolation between grid points acts on the map as a
product with sinc² along each axis, which is divided out (gridding correction).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend, host
from cryocore.backend.grids import shell_sums
from cryocore.backend.map_transforms import map_of_transform, transform_of_map
from cryocore.imaging.grid import FourierGrid
from cryocore.types import Floats, Floats32


def interpolation_factor(grid: FourierGrid) -> Floats32:
    """What trilinear interpolation puts on a map, along one axis ``(n,)``."""
    return (np.sinc((np.arange(grid.box) - grid.box // 2) / grid.size) ** 2).astype(np.float32)


def map_to_grid(volume: Any, grid: FourierGrid, backend: Backend | None = None) -> Any:
    """The half-space transform of a map ``(n, n, n)``, ready to be interpolated, on the device of the map."""
    return transform_of_map(volume, grid.size, grid.radius, interpolation_factor(grid), backend or host())


def grid_to_map(
    numerators: Sequence[Any],
    grid: FourierGrid,
    denominators: Sequence[Any] = (),
    floor: Floats32 | None = None,
    added: Floats32 | None = None,
    backend: Backend | None = None,
) -> Any:
    """The map ``(n, n, n)`` of a transform on the grid, which may be divided; interpolation is left on it.

    See :func:`cryocore.backend.fourier.map_of_transform`.
    """
    given = numerators, denominators, floor, added, grid.box, grid.size, grid.radius
    return map_of_transform(*given, scale=grid.box / grid.size**3, backend=backend or host())


def fold_friedel(planes: NDArray[np.generic]) -> NDArray[np.generic]:
    """Complete planes kz = 0 of sums ``(..., m, m)``, in which each sample was entered without its Friedel mate."""
    return planes + np.conj(planes[..., ::-1, ::-1])


def shell_of_square(grid: FourierGrid) -> NDArray[np.intp]:
    """The shell round(|k| / padding) by |k|² in grid points, to the corners; one past the last outside the ball."""
    shells = np.full(3 * (grid.radius + 1) ** 2 + 1, grid.last_shell + 1, dtype=np.intp)
    distance = np.sqrt(np.arange(grid.radius**2 + 1, dtype=np.float32))
    shells[: len(distance)] = np.minimum(np.rint(distance / grid.padding), grid.last_shell + 1)
    return shells


def shell_means(values: Any, grid: FourierGrid, backend: Backend | None = None) -> Floats:
    """Mean of values on a grid ``(R+2, 2R+3, 2R+3)`` over each whole shell from 0 to the last.

    The plane kz = 0, which holds both Friedel mates of its points, counts half. The values are on the device of
    ``backend``; None: the CPU.
    """
    sums = shell_sums(values, grid.radius, shell_of_square(grid), grid.last_shell + 2, backend or host())
    sums[0] *= 0.5
    return sums.sum(axis=0)[:-1] / np.maximum(shell_counts(grid), 0.5)


def shell_counts(grid: FourierGrid) -> Floats:
    """Pairs of Friedel mates in each shell from 0 to the last, ``(last_shell + 1,)``; the origin is half a pair."""
    radius = grid.radius
    along = np.arange(-radius, radius + 1) ** 2
    in_disc = np.cumsum(np.bincount((along[:, None] + along).ravel())[: radius**2 + 1])
    largest = np.searchsorted(shell_of_square(grid), np.arange(grid.last_shell + 1), side="right") - 1
    left = largest[:, None] - np.arange(radius + 1) ** 2
    in_planes = np.where(left >= 0, in_disc[np.maximum(left, 0)], 0)
    return np.diff(in_planes.sum(axis=1) - 0.5 * in_planes[:, 0], prepend=0.0)
