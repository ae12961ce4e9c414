"""Maps and their padded Fourier transforms on the half-space grid of the kernels.

The grid of radius R covers the ball |k| <= R of the transform of the map padded to P = padding * n, as an array
``(R+2, 2R+3, 2R+3)`` indexed [kz, ky+R+1, kx+R+1]: kz >= 0 only, and one voxel of margin.
Values are scaled like image transforms, F / n. Trilinear interpolation between its points acts on the map as a
product with sinc² along each axis; both directions divide it out (gridding correction).
"""

from __future__ import annotations

import os

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Floats32 = NDArray[np.float32]
Complex64 = NDArray[np.complex64]


def grid_radius(box: int, padding: int, limit: int | None = None) -> int:
    """Radius R of the padded grid for shells up to ``limit`` (default: the last below Nyquist)."""
    last = (box - 1) // 2
    return padding * (last if limit is None else min(limit, last))


def grid_shape(radius: int) -> tuple[int, int, int]:
    """Shape of a half-space array."""
    return radius + 2, 2 * radius + 3, 2 * radius + 3


def sinc_squared(box: int, padding: int) -> tuple[Floats32, Floats32, Floats32]:
    """The three factors, shaped to broadcast over [z, y, x], that trilinear interpolation puts on a map."""
    position = (np.arange(box) - box // 2) / (padding * box)
    line = (np.sinc(position) ** 2).astype(np.float32)
    return line[:, None, None], line[None, :, None], line[None, None, :]


def map_to_grid(volume: Floats32, *, padding: int, radius: int) -> Complex64:
    """The half-space transform of a map ``(n, n, n)``, ready to be interpolated."""
    n = volume.shape[0]
    z, y, x = sinc_squared(n, padding)
    corrected = volume / (z * y * x)
    padded = np.zeros((padding * n,) * 3, dtype=np.float32)
    # the origin of the map goes to the corner of the padded array
    low, high = n // 2, n - n // 2
    for sz, dz in _halves(low, high):
        for sy, dy in _halves(low, high):
            for sx, dx in _halves(low, high):
                padded[dz, dy, dx] = corrected[sz, sy, sx]
    spectrum = scipy.fft.rfftn(padded, axes=(2, 1, 0), workers=workers(), overwrite_x=True)
    around = np.arange(-(radius + 1), radius + 2)
    grid = spectrum[: radius + 2][:, around][:, :, around]
    grid *= np.float32(1.0 / n)
    return np.ascontiguousarray(grid, dtype=np.complex64)


def grid_to_map(grid: Complex64, *, box: int, padding: int, correction: Floats32 | None = None) -> Floats32:
    """The inverse of :func:`map_to_grid`: a map ``(box, box, box)`` from its half-space transform.

    ``correction`` replaces the factor that interpolation put on the map (default: sinc² along each axis).
    """
    radius = grid.shape[0] - 2
    size = padding * box
    spectrum = np.zeros((size // 2 + 1, size, size), dtype=np.complex64)
    inner = grid[: radius + 1, 1:-1, 1:-1]
    around = np.arange(-radius, radius + 1)
    spectrum[: radius + 1, around[:, None], around[None, :]] = inner
    padded = scipy.fft.irfftn(spectrum, s=(size,) * 3, axes=(2, 1, 0), workers=workers(), overwrite_x=True)
    volume = np.empty((box,) * 3, dtype=np.float32)
    low, high = box // 2, box - box // 2
    for sz, dz in _halves(low, high):
        for sy, dy in _halves(low, high):
            for sx, dx in _halves(low, high):
                volume[sz, sy, sx] = padded[dz, dy, dx]
    z, y, x = sinc_squared(box, padding)
    volume *= np.float32(box)
    volume /= z * y * x if correction is None else correction
    return volume


def fold_friedel(plane: NDArray[np.generic]) -> NDArray[np.generic]:
    """Complete the plane kz = 0 of sums, in which each sample was entered without its Friedel mate."""
    return plane + np.conj(plane[::-1, ::-1])


def shell_radius(radius: int, padding: int) -> NDArray[np.int32]:
    """The unpadded shell round(|k| / padding) of every grid point, ``(R+2, 2R+3, 2R+3)``."""
    along = np.arange(-(radius + 1), radius + 2, dtype=np.float32) ** 2
    squared = along[radius + 1 :, None, None] + along[None, :, None] + along[None, None, :]
    return np.rint(np.sqrt(squared) / padding).astype(np.int32)


def workers() -> int:
    """Threads for Fourier transforms: the cores that this process may use."""
    return int(os.environ.get("CRYOCORE_THREADS") or len(os.sched_getaffinity(0)))


def _halves(low: int, high: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """(source, destination) slices that move an axis's origin from ``low`` to 0, wrapping the first part round."""
    return (slice(low, None), slice(0, high)), (slice(0, low), slice(-low, None))
