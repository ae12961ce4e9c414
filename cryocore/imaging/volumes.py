"""Maps and their padded Fourier transforms on the half-space grids of the kernels (see ``cryocore.data.Grid``).

Grid values are scaled like image transforms, F / n. Trilinear interpolation between grid points acts on the map as a
product with sinc² along each axis, which is divided out (gridding correction).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryocore.cores import available_cores
from cryocore.data import Grid

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Complex64 = NDArray[np.complex64]


def interpolation_factor(grid: Grid) -> Floats32:
    """What trilinear interpolation puts on a map, along one axis ``(n,)``."""
    return (np.sinc((np.arange(grid.box) - grid.box // 2) / grid.size) ** 2).astype(np.float32)


def divide_axes(volume: Floats32, line: Floats32) -> Floats32:
    """Divide a map by the product of one factor along each axis."""
    return np.divide(volume, (line[:, None, None] * line[:, None]) * line, dtype=np.float32)


def map_to_grid(volume: Floats32, grid: Grid) -> Complex64:
    """The half-space transform of a map ``(n, n, n)``, ready to be interpolated."""
    n, radius = grid.box, grid.radius
    corrected = divide_axes(volume, interpolation_factor(grid))
    padded = np.zeros((grid.size,) * 3, dtype=np.float32)
    # the origin of the map goes to the corner of the padded array
    for z_from, z_to in _halves(n):
        for y_from, y_to in _halves(n):
            for x_from, x_to in _halves(n):
                padded[z_to, y_to, x_to] = corrected[z_from, y_from, x_from]
    spectrum = scipy.fft.rfftn(padded, axes=(2, 1, 0), workers=available_cores(), overwrite_x=True)
    around = np.arange(-(radius + 1), radius + 2)
    values = spectrum[: radius + 2][:, around][:, :, around]
    values *= np.float32(1.0 / n)
    return np.ascontiguousarray(values, dtype=np.complex64)


def grid_to_map(plane: Callable[[int], Complex64], grid: Grid) -> Floats32:
    """The map ``(n, n, n)`` of a half-space transform, given plane by plane; interpolation is left on it.

    ``plane(kz)`` is ``(2R+3, 2R+3)``, for kz from 0 to R.
    """
    n, radius, size = grid.box, grid.radius, grid.size
    spectrum = np.zeros((size // 2 + 1, size, size), dtype=np.complex64)
    around = np.arange(-radius, radius + 1)
    for kz in range(radius + 1):
        spectrum[kz, around[:, None], around[None, :]] = plane(kz)[1:-1, 1:-1]
    padded = scipy.fft.irfftn(spectrum, s=(size,) * 3, axes=(2, 1, 0), workers=available_cores(), overwrite_x=True)
    volume = np.empty((n,) * 3, dtype=np.float32)
    for z_to, z_from in _halves(n):
        for y_to, y_from in _halves(n):
            for x_to, x_from in _halves(n):
                volume[z_to, y_to, x_to] = padded[z_from, y_from, x_from]
    volume *= np.float32(n)
    return volume


def fold_friedel(planes: NDArray[np.generic]) -> NDArray[np.generic]:
    """Complete planes kz = 0 of sums ``(..., m, m)``, in which each sample was entered without its Friedel mate."""
    return planes + np.conj(planes[..., ::-1, ::-1])


def plane_shells(grid: Grid, kz: int) -> NDArray[np.int32]:
    """The shell round(|k| / padding) of a plane's points, ``(2R+3, 2R+3)``; one past the last outside the ball."""
    along = np.arange(-(grid.radius + 1), grid.radius + 2, dtype=np.float32) ** 2
    squared = np.float32(kz**2) + along[:, None] + along
    shells = np.rint(np.sqrt(squared) / grid.padding).astype(np.int32)
    shells[squared > grid.radius**2] = grid.last_shell + 1
    return np.minimum(shells, grid.last_shell + 1)


def shell_means(values: NDArray[np.floating], grid: Grid) -> Floats:
    """Mean of values on a grid over each shell from 0 to the last."""
    size = grid.last_shell + 2
    total, count = np.zeros(size), np.zeros(size, dtype=np.int64)
    for kz, plane in enumerate(values):
        shells = plane_shells(grid, kz).ravel()
        total += np.bincount(shells, weights=plane.ravel(), minlength=size)
        count += np.bincount(shells, minlength=size)
    return (total / np.maximum(count, 1))[: grid.last_shell + 1]


def _halves(n: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """(centred, wrapped) slices of the two parts of an axis, whose origin goes from ``n // 2`` to 0."""
    return (slice(n // 2, None), slice(0, n - n // 2)), (slice(0, n // 2), slice(-(n // 2), None))
