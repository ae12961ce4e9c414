"""P and its adjoint: central slices of a Fourier grid, at the poses of particles.

A and Aᵀ of the imaging model by name: :func:`project` gives P V, :func:`insert` adds Pᵀ C y and Pᵀ C² P to sums.
Images enter through :func:`prepare`, which centres them (S) and computes their CTF (C) once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.data import Grid, Optics, Particles
from cryocore.imaging.aberrations import phase_tables
from cryocore.imaging.ctf import kernel_optics, kernel_particles


@dataclass(frozen=True)
class Frame:
    """How the images of one optics group sit on the grid of the maps.

    ``limit`` is the last shell r of image coefficients in use; ``scale`` the map shells per image shell.
    """

    optics: Optics
    limit: int
    scale: float
    gain: float
    padding: float

    @classmethod
    def of(cls, optics: Optics, grid: Grid) -> Frame:
        """The frame of ``optics`` on a grid.

        Images are taken to have equal noise per pixel in every group, as RELION's normalisation makes them, so that
        orthonormal coefficients carry the signal of the map's own coefficients times the ratio of fields of view.
        """
        scale = grid.box * grid.pixel_size_angstrom / (optics.box * optics.pixel_size_angstrom)
        limit = min((optics.box - 1) // 2, int(grid.last_shell / scale + 1e-6))
        return cls(optics, limit, scale, scale, grid.padding)


@dataclass(frozen=True)
class Prepared:
    """A batch of images in Fourier space: ``image`` complex64 and ``ctf`` float32, both ``(n, 2r+1, r+1)``."""

    image: Any
    ctf: Any
    frame: Frame

    def __len__(self) -> int:
        return len(self.image)


def prepare(images: NDArray[np.float32], particles: Particles, frame: Frame, backend: Backend) -> Prepared:
    """Transform, centre and crop a batch ``(n, d, d)`` of one optics group, and compute its CTFs."""
    xp, n, d, r = backend.xp, len(images), images.shape[-1], frame.limit
    transforms = backend.rfft2(backend.to_device(images))
    even, odd = (None if t is None else backend.to_device(t) for t in phase_tables(frame.optics, r))
    image = xp.empty((n, 2 * r + 1, r + 1), dtype=np.complex64)
    ctf = xp.empty((n, 2 * r + 1, r + 1), dtype=np.float32)
    optics = frame.optics
    mode = 2 if optics.premultiplied else 1 if optics.phase_flipped else 0
    args = (
        transforms,
        backend.to_device(kernel_particles(particles, optics)),
        backend.to_device(kernel_optics(optics)),
        *(even, odd, n, d, r, mode, 1.0 / d, image, ctf),
    )
    backend.launch("prepare_images", args, items=n)
    if frame.gain != 1.0:
        ctf *= np.float32(frame.gain)
    return Prepared(image, ctf, frame)


def slice_basis(rotations: NDArray[np.float64], frame: Frame) -> NDArray[np.float32]:
    """Grid coordinates (x, y, z) per step of kx and of ky, ``(..., 6)``, for poses ``(..., 3, 3)``.

    The first two rows of A are the directions of kx and ky in the object's frame. Anisotropic magnification
    turns image indices into true ones first.
    """
    m = np.array(frame.optics.magnification, dtype=np.float64).reshape(2, 2)
    along = np.einsum("ij,...ik->...jk", m, rotations[..., :2, :]) * (frame.scale * frame.padding)
    return np.ascontiguousarray(along.reshape(*rotations.shape[:-2], 6), dtype=np.float32)


def row_ends(limit: int) -> NDArray[np.int32]:
    """The last kx inside the disc for ky = -limit, ..., limit."""
    ky = np.arange(-limit, limit + 1)
    return np.sqrt(limit**2 + limit - ky**2).astype(np.int32)


def insert(
    batch: Prepared,
    rotations: NDArray[np.float64],
    weights: NDArray[np.float32],
    half: NDArray[np.int32],
    numerator: Any,
    denominator: Any,
    backend: Backend,
) -> None:
    """Add a batch to the sums ``(2, *grid.shape)`` of its half sets (``half`` is 0 or 1), in place."""
    frame, n, r = batch.frame, len(batch), batch.frame.limit
    radius = numerator.shape[1] - 2
    planes = numerator.shape[1]
    args = (
        batch.image,
        batch.ctf,
        backend.to_device(slice_basis(rotations, frame)),
        backend.to_device(weights.astype(np.float32)),
        backend.to_device(half.astype(np.int32)),
        backend.to_device(row_ends(r)),
        *(n, r, radius, numerator, denominator),
    )
    plane_bytes = 2 * 12 * numerator.shape[2] ** 2
    backend.launch_planes("insert_slices", args, items=n, planes=planes, plane_bytes=plane_bytes)


def project(grids: Any, rotations: NDArray[np.float64], half: NDArray[np.int32], frame: Frame, backend: Backend) -> Any:
    """Slices ``(n, 2r+1, r+1)`` complex64 of the grids ``(halves, *grid.shape)`` at poses ``(n, 3, 3)``."""
    n, r = len(rotations), frame.limit
    out = backend.xp.empty((n, 2 * r + 1, r + 1), dtype=np.complex64)
    basis, which = backend.to_device(slice_basis(rotations, frame)), backend.to_device(half.astype(np.int32))
    args = (grids, basis, which, n, r, grids.shape[1] - 2, out)
    backend.launch("project_slices", args, items=n)
    return out
