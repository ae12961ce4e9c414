"""How images lie on the grid of the maps: the shells in use, and a slice's steps in the grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.imaging.grid import FourierGrid
from cryocore.tables.particles import Optics


@dataclass(frozen=True)
class ImageGeometry:
    """How the images of one optics group sit on the grid of the maps.

    ``limit`` is the last shell r of image coefficients in use; ``scale`` the map shells per image shell.
    """

    optics: Optics
    limit: int
    scale: float
    gain: float
    padding: float

    @classmethod
    def of(cls, optics: Optics, grid: FourierGrid) -> ImageGeometry:
        """The frame of ``optics`` on a grid.

        Images are taken to have equal noise per pixel in every group, as RELION's normalisation makes them, so that
        orthonormal coefficients carry the signal of the map's own coefficients times the ratio of fields of view.
        """
        scale = grid.box * grid.pixel_size_angstrom / (optics.box * optics.pixel_size_angstrom)
        limit = min((optics.box - 1) // 2, int(grid.last_shell / scale + 1e-6))
        return cls(optics, limit, scale, scale, grid.padding)


def used_shells(optics: Iterable[Optics], grid: FourierGrid) -> list[int]:
    """The last shell in use of each optics group's images."""
    return [ImageGeometry.of(o, grid).limit for o in optics]


def slice_basis(rotations: NDArray[np.float64], frame: ImageGeometry) -> NDArray[np.float32]:
    """Grid coordinates (x, y, z) per step of kx and of ky, ``(..., 6)``, for poses ``(..., 3, 3)``.

    The first two rows of A are the directions of kx and ky in the object's frame. Anisotropic magnification
    turns image indices into true ones first.
    """
    m = np.array(frame.optics.magnification, dtype=np.float64).reshape(2, 2)
    along = np.einsum("ij,...ik->...jk", m, rotations[..., :2, :]) * (frame.scale * frame.padding)
    return np.ascontiguousarray(along.reshape(*rotations.shape[:-2], 6), dtype=np.float32)
