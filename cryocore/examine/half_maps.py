"""Half maps without any symmetry, at low resolution, as their transforms anywhere in Fourier space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from cryocore.backend import Backend
from cryocore.imaging.accumulate import accumulate
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.imaging.solve import Solver, sampling_density
from cryocore.imaging.volumes import map_to_grid, shell_means
from cryocore.maps.masks import soft_ball
from cryocore.tables.particles import Particles
from cryocore.types import Floats, Floats32

MOST_SHELLS = 32
"""Finer detail is left out: symmetry shows well before."""
PADDING = 2.0
SMOOTH = 1.0
"""Shells over which the density of samples is averaged, as the mask averages the transform."""
UNSAMPLED = 0.3
"""Coefficients with less than this share of their shell's mean density count as unknown."""
EDGE = 3.0
"""Width of the mask's soft edge, voxels."""
AZIMUTHS, FINENESS = 48, 2
"""Of the mean over turns about z: turns, and points per shell."""
Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class HalfMaps:
    """Both half maps inside a ball, on the grid of their transform.

    ``transforms`` : complex64 ``(2, *grid.shape)``
    ``density`` : float32, on the grid without padding: how well a coefficient is known, 1 in the mean of a shell
    ``repeated`` : how many coefficients one shell apart tell the same, since the ball is smaller than the box
    """

    transforms: NDArray[np.complex64]
    density: Floats32
    grid: FourierGrid
    repeated: float

    @classmethod
    def of(cls, particles: Particles, radius_angstrom: float, backend: Backend) -> Self:
        """The maps of particles at their own poses, cut by a soft ball about the origin."""
        grid = coarse_grid(particles)
        sums = accumulate(particles, np.ones(len(particles), dtype=np.float32), grid, backend, progress="examine")
        solver = Solver(sums, np.eye(3)[None])
        halves = np.stack([solver.half(h) for h in range(2)])
        return cls.within(halves, radius_angstrom / grid.pixel_size_angstrom, known_share(sums), grid)

    @classmethod
    def within(cls, halves: Floats32, radius: float, density: Floats32, grid: FourierGrid) -> Self:
        """From maps ``(2, n, n, n)``, cut by a soft ball of a radius in voxels that ends within the box."""
        ball = soft_ball(grid.box, min(radius, grid.box / 2 - EDGE - 1), EDGE)
        square = ball.astype(np.float64) ** 2
        repeated = float(ball.size * np.sum(square**2) / np.sum(square) ** 2)
        return cls(np.stack([map_to_grid(half * ball, grid) for half in halves]), density, grid, repeated)

    @property
    def last_shell(self) -> int:
        """The last shell that can be interpolated."""
        return self.grid.last_shell - 1

    def at(self, k: Floats) -> tuple[Complex, Floats]:
        """Coefficients of both halves ``(2, n)`` and how well they are known ``(n,)`` at ``k`` ``(n, 3)`` in shells."""
        mate = k[:, 2] < 0
        points = np.where(mate[:, None], -k, k)
        values = np.stack([_mapped(t, _places(t, self.grid.padding * points)) for t in self.transforms])
        known = map_coordinates(self.density, _places(self.density, points), order=1, mode="nearest")
        return np.where(mate, values.conj(), values), np.where(known < UNSAMPLED, 0.0, known).astype(np.float64)

    def axial(self, k: Floats) -> Complex:
        """The mean of both halves over all turns about z ``(2, n)`` at ``k`` ``(n, 3)``."""
        at = np.stack([FINENESS * np.hypot(k[:, 0], k[:, 1]), FINENESS * (k[:, 2] + self.last_shell)])
        return np.stack([_mapped(profile, at) for profile in self._profiles])

    def spherical(self, k: Floats) -> Complex:
        """The mean of both halves over all rotations ``(2, n)`` at ``k`` ``(n, 3)``."""
        distance = np.linalg.norm(k, axis=1)
        means = [shell_means(t.real, self.grid) for t in self.transforms]
        return np.stack([np.interp(distance, np.arange(len(m)), m) for m in means]).astype(np.complex128)

    @cached_property
    def _profiles(self) -> Complex:
        """Means over turns about z, by distance from the axis and height, in steps of 1 / FINENESS shells."""
        last, step = self.last_shell, 1.0 / FINENESS
        distance, height = np.meshgrid(
            np.arange(0, last + step, step), np.arange(-last, last + step, step), indexing="ij"
        )
        angle = 2.0 * np.pi / AZIMUTHS * np.arange(AZIMUTHS)
        points = np.empty((*distance.shape, AZIMUTHS, 3))
        points[..., 0], points[..., 1] = distance[..., None] * np.cos(angle), distance[..., None] * np.sin(angle)
        points[..., 2] = height[..., None]
        profiles = np.zeros((2, *distance.shape), dtype=np.complex128)
        inside = np.hypot(distance, height) < last + 1
        values, known = self.at(points[inside].reshape(-1, 3))
        known = known.reshape(-1, AZIMUTHS)
        total = np.sum(values.reshape(2, -1, AZIMUTHS) * known, axis=-1)
        profiles[:, inside] = total / np.maximum(known.sum(axis=-1), 1e-9)
        return profiles


def radius_of(mask: Floats32) -> float:
    """Voxels from the origin to where a mask ``(n, n, n)`` ends, at half its height."""
    n = len(mask)
    along = (np.arange(n) - n // 2) ** 2
    return max(
        float(np.sqrt(np.max((along[z] + along[:, None] + along)[plane >= 0.5], initial=0.0)))
        for z, plane in enumerate(mask)
    )


def coarse_grid(particles: Particles) -> FourierGrid:
    """The grid of maps of the particles' field of view with at most MOST_SHELLS shells."""
    optics = particles.reference_optics
    last = min(MOST_SHELLS, (optics.box - 1) // 2)
    box = min(optics.box, 2 * last + 2)
    return FourierGrid.of(box, optics.pixel_size_angstrom * optics.box / box, PADDING, last)


def known_share(sums: FourierSums) -> Floats32:
    """The density of samples of both halves, smoothed, in units of the mean of its shell."""
    density = sampling_density(sums).sum(axis=0)
    fine = sums.grid
    coarse = FourierGrid(fine.box, fine.pixel_size_angstrom, fine.box, fine.last_shell)
    whole = np.concatenate([density[:0:-1, ::-1, ::-1], density])
    smooth = gaussian_filter(whole, SMOOTH, mode="nearest")[len(density) - 1 :]
    along = np.arange(density.shape[1]) - density.shape[1] // 2
    height = np.arange(len(density))
    distance = np.sqrt(height[:, None, None] ** 2 + along[:, None] ** 2 + along**2)
    means = shell_means(smooth, coarse)
    return (smooth / np.interp(distance, np.arange(len(means)), means)).astype(np.float32)


def _places(values: NDArray[np.generic], points: Floats) -> Floats:
    """Indices [kz, ky, kx] of points (x, y, z) in grid steps, kz >= 0."""
    middle = values.shape[1] // 2
    return np.stack([points[:, 2], points[:, 1] + middle, points[:, 0] + middle])


def _mapped(values: NDArray[np.complexfloating], at: Floats) -> Complex:
    """Linear interpolation at indices ``(d, n)``."""
    parts = [map_coordinates(part, at, order=1, mode="nearest") for part in (values.real, values.imag)]
    return parts[0].astype(np.float64) + 1j * parts[1]
