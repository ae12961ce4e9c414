"""Band sums of a batch of images against the reference: at their own poses, at others, and at displaced shifts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.imaging.slices import Prepared, slice_basis
from cryocore.imaging.volumes import Floats32
from cryocore.score.bands import BandSamples
from cryocore.score.reference import OVERLAP_STEPS, Reference


def own_sums(
    batch: Prepared,
    rotations: NDArray[np.float64],
    half: NDArray[np.int32],
    weights: NDArray[np.float32],
    reference: Reference,
    samples: BandSamples,
    backend: Backend,
) -> Floats32:
    """Band sums of a batch at its own poses, ``(n, bands, 6)``."""
    n = len(batch)
    sums = backend.xp.empty((n, samples.n_bands, 6), dtype=np.float32)
    inputs = kernel_inputs(batch, rotations, half, weights, reference, samples, backend)
    backend.launch("score_slices", (*inputs, n, batch.frame.limit, samples.n_bands, sums), items=n)
    return np.asarray(backend.to_host(sums))


def pose_sums(
    batch: Prepared,
    poses: NDArray[np.float64],
    own_poses: NDArray[np.float64],
    half: NDArray[np.int32],
    weights: NDArray[np.float32],
    reference: Reference,
    samples: BandSamples,
    backend: Backend,
) -> Floats32:
    """Band sums e and c of a batch at other poses ``(n, k, 3, 3)``: ``(n, k, bands, 2)``."""
    n, k, frame = len(batch), poses.shape[1], batch.frame
    sums = backend.xp.empty((n, k, samples.n_bands, 2), dtype=np.float32)
    args = (
        *kernel_inputs(batch, poses, half, weights, reference, samples, backend),
        backend.to_device(slice_basis(own_poses, frame)),
        reference.overlap,
        len(reference.overlap),
        OVERLAP_STEPS / frame.padding,
        *(n, k, frame.limit, samples.n_bands, sums),
    )
    backend.launch("score_poses", args, items=n * k)
    return np.asarray(backend.to_host(sums))


def shift_sums(
    batch: Prepared,
    displacements_angstrom: NDArray[np.float64],
    rotations: NDArray[np.float64],
    half: NDArray[np.int32],
    weights: NDArray[np.float32],
    reference: Reference,
    samples: BandSamples,
    backend: Backend,
) -> Floats32:
    """Band sums c of a batch at its own poses, its shifts displaced by ``(n, k, 2)`` Å: ``(n, k, bands)``.

    The sums e are those at the own shift: displacing an image turns the phases of its transform alone.
    """
    n, k, optics = len(batch), displacements_angstrom.shape[1], batch.frame.optics
    sums = backend.xp.empty((n, k, samples.n_bands), dtype=np.float32)
    turns = displacements_angstrom * (2.0 / (optics.box * optics.pixel_size_angstrom))
    args = (
        *kernel_inputs(batch, rotations, half, weights, reference, samples, backend),
        backend.to_device(turns.astype(np.float32)),
        *(n, k, batch.frame.limit, samples.n_bands, sums),
    )
    backend.launch("score_shifts", args, items=n * k)
    return np.asarray(backend.to_host(sums))


def kernel_inputs(
    batch: Prepared,
    poses: NDArray[np.float64],
    half: NDArray[np.int32],
    weights: NDArray[np.float32],
    reference: Reference,
    samples: BandSamples,
    backend: Backend,
) -> tuple[Any, ...]:
    """What all scoring kernels begin with: images, samples, poses, each particle's leverage, map and density."""
    return (
        batch.image,
        batch.ctf,
        *(backend.to_device(a) for a in (*samples.lanes, slice_basis(poses, batch.frame), half)),
        backend.to_device((weights * reference.leverage).astype(np.float32)),
        reference.grids.values,
        reference.grids.radius,
        reference.inverse_density.values,
        reference.inverse_density.radius,
        1.0 / batch.frame.padding,
    )
