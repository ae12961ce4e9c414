"""P: central slices of a Fourier grid, at the poses of particles.

A of the imaging model by name: :func:`project` gives P V; its adjoint is :class:`cryocore.imaging.insertion.Insertion`.
Images enter through :func:`cryocore.imaging.prepare.prepare`, which centres them (S) and computes their CTF (C) once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend, Kernel
from cryocore.imaging.image_geometry import ImageGeometry, slice_basis


def project(
    grids: Any, rotations: NDArray[np.float64], half: NDArray[np.int32], frame: ImageGeometry, backend: Backend
) -> Any:
    """Slices ``(n, 2r+1, r+1)`` complex64 of the grids ``(halves, *grid.shape)`` at poses ``(n, 3, 3)``."""
    n, r = len(rotations), frame.limit
    out = backend.xp.empty((n, 2 * r + 1, r + 1), dtype=np.complex64)
    basis, which = backend.to_device(slice_basis(rotations, frame)), backend.to_device(half.astype(np.int32))
    args = (grids, basis, which, n, r, grids.shape[1] - 2, out)
    backend.launch(Kernel("project.cu", "project_slices"), args, items=n)
    return out
