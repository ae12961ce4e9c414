"""Maps and their padded Fourier transforms on the half-space grids of the kernels (see ``cryocore.imaging.grid.Grid``).

Grid values are scaled like image transforms, F / n. Trilinear interpolation between grid points acts on the map as a
product with sinc² along each axis, which is divided out (gridding correction).

Transforms go axis by axis, through planes that fit the cache; what is zero, or not asked for, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryocore.cores import in_threads
from cryocore.imaging.grid import FourierGrid
from cryocore.types import Floats, Floats32

Complex64 = NDArray[np.complex64]


def interpolation_factor(grid: FourierGrid) -> Floats32:
    """What trilinear interpolation puts on a map, along one axis ``(n,)``."""
    return (np.sinc((np.arange(grid.box) - grid.box // 2) / grid.size) ** 2).astype(np.float32)


def map_to_grid(volume: Floats32, grid: FourierGrid) -> Complex64:
    """The half-space transform of a map ``(n, n, n)``, ready to be interpolated."""
    n, size, width = grid.box, grid.size, grid.shape[1]
    line = interpolation_factor(grid)
    in_plane = np.float32(n) * (line[:, None] * line)
    columns = np.empty((grid.shape[0], n, n), dtype=np.complex64)

    def transform_z(y: int) -> None:
        padded = np.zeros((size, n), dtype=np.float32)
        # the origin of the map goes to the corner of the padded array
        for centred, wrapped in _halves(n):
            padded[wrapped] = volume[centred, y] / (in_plane[centred] * line[y])
        columns[:, y] = scipy.fft.rfft(padded, axis=0)[: len(columns)]

    def transform_plane(kz: int) -> None:
        rows = np.zeros((n, size), dtype=np.complex64)
        for centred, wrapped in _halves(n):
            rows[:, wrapped] = columns[kz][:, centred]
        rows = scipy.fft.fft(rows, axis=1, overwrite_x=True)
        plane = np.zeros((size, width), dtype=np.complex64)
        for y_from, y_to in _halves(n):
            for kx_to, kx_from in _halves(width):
                plane[y_to, kx_to] = rows[y_from, kx_from]
        plane = scipy.fft.fft(plane, axis=0, overwrite_x=True)
        for ky_to, ky_from in _halves(width):
            values[kz, ky_to] = plane[ky_from]

    in_threads(transform_z, range(n))
    values = np.empty(grid.shape, dtype=np.complex64)
    in_threads(transform_plane, range(len(values)))
    return values


def grid_to_map(plane: Callable[[int], Complex64], grid: FourierGrid) -> Floats32:
    """The map ``(n, n, n)`` of a half-space transform, given plane by plane; interpolation is left on it.

    ``plane(kz)``, for kz from 0 to R, is a square ``(2w+1, 2w+1)`` about the origin, w <= R, outside which there is
    nothing. It is called from several threads.
    """
    n, size = grid.box, grid.size
    columns = np.empty((grid.radius + 1, n, n), dtype=np.complex64)

    def transform_plane(kz: int) -> None:
        values = plane(kz)
        width = len(values)
        padded = np.zeros((size, width), dtype=np.complex64)
        for ky_from, ky_to in _halves(width):
            padded[ky_to] = values[ky_from]
        padded = scipy.fft.ifft(padded, axis=0, norm="forward", overwrite_x=True)
        rows = np.zeros((n, size), dtype=np.complex64)
        for y_to, y_from in _halves(n):
            for kx_from, kx_to in _halves(width):
                rows[y_to, kx_to] = padded[y_from, kx_from]
        rows = scipy.fft.ifft(rows, axis=1, norm="forward", overwrite_x=True)
        for x_to, x_from in _halves(n):
            columns[kz][:, x_to] = rows[:, x_from]

    def transform_z(y: int) -> None:
        line = scipy.fft.irfft(columns[:, y], n=size, axis=0, norm="forward")
        for z_to, z_from in _halves(n):
            np.multiply(line[z_from], np.float32(n / size**3), out=volume[z_to, y])

    in_threads(transform_plane, range(len(columns)))
    volume = np.empty((n,) * 3, dtype=np.float32)
    in_threads(transform_z, range(n))
    return volume


def fold_friedel(planes: NDArray[np.generic]) -> NDArray[np.generic]:
    """Complete planes kz = 0 of sums ``(..., m, m)``, in which each sample was entered without its Friedel mate."""
    return planes + np.conj(planes[..., ::-1, ::-1])


def shell_of_square(grid: FourierGrid) -> NDArray[np.intp]:
    """The shell round(|k| / padding) by |k|² in grid points, to the corners; one past the last outside the ball."""
    shells = np.full(3 * (grid.radius + 1) ** 2 + 1, grid.last_shell + 1, dtype=np.intp)
    distance = np.sqrt(np.arange(grid.radius**2 + 1, dtype=np.float32))
    shells[: len(distance)] = np.minimum(np.rint(distance / grid.padding), grid.last_shell + 1)
    return shells


def shell_means(values: NDArray[np.floating], grid: FourierGrid) -> Floats:
    """Mean of values on a grid ``(R+2, 2R+3, 2R+3)`` over each whole shell from 0 to the last.

    The plane kz = 0, which holds both Friedel mates of its points, counts half.
    """
    middle, size = grid.radius + 1, grid.last_shell + 2
    shells = shell_of_square(grid)
    along = np.arange(grid.radius + 1) ** 2
    squares = along[:, None] + along
    sums = np.zeros((grid.radius + 1, size))

    def add_up(kz: int) -> None:
        reach = ball_reach(grid, kz)
        quarter = _fold(_fold(values[kz], middle, reach).T, middle, reach).T
        at = np.take(shells[kz**2 :], squares[: reach + 1, : reach + 1])
        sums[kz] = np.bincount(at.ravel(), weights=quarter.ravel(), minlength=size)

    in_threads(add_up, range(len(sums)))
    sums[0] *= 0.5
    return sums.sum(axis=0)[:-1] / np.maximum(shell_counts(grid), 0.5)


def ball_reach(grid: FourierGrid, kz: int) -> int:
    """The radius of the ball's disc in a plane, in grid points."""
    return math.isqrt(grid.radius**2 - kz**2)


def shell_counts(grid: FourierGrid) -> Floats:
    """Pairs of Friedel mates in each shell from 0 to the last, ``(last_shell + 1,)``; the origin is half a pair."""
    radius = grid.radius
    along = np.arange(-radius, radius + 1) ** 2
    in_disc = np.cumsum(np.bincount((along[:, None] + along).ravel())[: radius**2 + 1])
    largest = np.searchsorted(shell_of_square(grid), np.arange(grid.last_shell + 1), side="right") - 1
    left = largest[:, None] - np.arange(radius + 1) ** 2
    in_planes = np.where(left >= 0, in_disc[np.maximum(left, 0)], 0)
    return np.diff(in_planes.sum(axis=1) - 0.5 * in_planes[:, 0], prepend=0.0)


def _fold(values: NDArray[np.floating], middle: int, reach: int) -> NDArray[np.floating]:
    """Rows from the middle to ``reach`` beyond it, those as far before it added."""
    folded = values[middle : middle + reach + 1].copy()
    folded[1:] += values[middle - reach : middle][::-1]
    return folded


def _halves(n: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """(centred, wrapped) slices of the two parts of an axis, whose origin goes from ``n // 2`` to 0."""
    negative = slice(-(n // 2), None if n > 1 else 0)
    return (slice(n // 2, None), slice(0, n - n // 2)), (slice(0, n // 2), negative)
