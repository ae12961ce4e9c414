"""P: central slices of a Fourier grid, at the poses of particles.

A of the imaging model by name: :func:`project` gives P V; its adjoint is :class:`cryocore.imaging.insertion.Insertion`.
Images enter through :func:`prepare`, which centres them (S) and computes their CTF (C) once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.data import Grid, Optics, Particles
from cryocore.images import Images
from cryocore.imaging.aberrations import phase_tables
from cryocore.imaging.ctf import kernel_optics, kernel_particles
from cryocore.imaging.packed import row_starts


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


def used_shells(optics: Iterable[Optics], grid: Grid) -> list[int]:
    """The last shell in use of each optics group's images."""
    return [Frame.of(o, grid).limit for o in optics]


@dataclass(frozen=True)
class Prepared:
    """A batch of images in Fourier space: ``image`` complex64 and ``ctf`` float32, both ``(n, 2r+1, r+1)``."""

    image: Any
    ctf: Any
    frame: Frame

    def __len__(self) -> int:
        return len(self.image)


def prepare(images: Images, particles: Particles, frame: Frame, backend: Backend) -> Prepared:
    """Centre and crop the transforms of a batch of one optics group, and compute its CTFs.

    Parameters
    ----------
    images : pixels ``(n, d, d)`` float32, which are transformed here, or packed transforms ``(n, m)`` int16 of the
        frame's band (:mod:`cryocore.imaging.packed`)

    The arrays of the last batch are used again: it must not be needed any more.
    """
    n, r, optics = len(images), frame.limit, frame.optics
    even, odd = (None if t is None else backend.to_device(t) for t in phase_tables(optics, r))
    image = backend.scratch("image", (n, 2 * r + 1, r + 1), np.complex64)
    ctf = backend.scratch("ctf", (n, 2 * r + 1, r + 1), np.float32)
    mode = 2 if optics.premultiplied else 1 if optics.phase_flipped else 0
    terms, common = kernel_particles(particles, optics), backend.to_device(kernel_optics(optics))
    unit = 1.0 / optics.box
    if images.ndim == 2:
        starts = row_starts(r)
        if images.shape[1] != 2 * starts[-1]:
            raise ValueError(f"packed transforms of {r} shells have {2 * starts[-1]} values; got {images.shape[1]}")
        records = backend.to_device(images), backend.to_device(starts)
        phases = backend.to_device(terms), common, even, odd
        backend.launch("prepare_packed", (*records, *phases, n, r, mode, unit, image, ctf), items=n)
    else:
        d = images.shape[-1]
        # transforms stay in the cache until they are used
        size = max(1, backend.cache_bytes // (8 * d * (d // 2 + 1)))
        for part in (slice(i, min(i + size, n)) for i in range(0, n, size)):
            transforms, m = backend.rfft2(backend.to_device(images[part])), part.stop - part.start
            inputs = (transforms, backend.to_device(terms[part]), common, even, odd)
            backend.launch("prepare_images", (*inputs, m, d, r, mode, unit, image[part], ctf[part]), items=m)
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


def project(grids: Any, rotations: NDArray[np.float64], half: NDArray[np.int32], frame: Frame, backend: Backend) -> Any:
    """Slices ``(n, 2r+1, r+1)`` complex64 of the grids ``(halves, *grid.shape)`` at poses ``(n, 3, 3)``."""
    n, r = len(rotations), frame.limit
    out = backend.xp.empty((n, 2 * r + 1, r + 1), dtype=np.complex64)
    basis, which = backend.to_device(slice_basis(rotations, frame)), backend.to_device(half.astype(np.int32))
    args = (grids, basis, which, n, r, grids.shape[1] - 2, out)
    backend.launch("project_slices", args, items=n)
    return out
