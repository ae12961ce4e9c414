"""Band sums of a batch of images against the reference: at their own poses, at others, and at perturbed shifts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend, Kernel
from cryocore.imaging.image_geometry import slice_basis
from cryocore.imaging.prepare import Prepared
from cryocore.score.bands import BandSamples
from cryocore.score.reference import OVERLAP_STEPS, Reference
from cryocore.types import Floats32


@dataclass(frozen=True)
class Batch:
    """Images of n particles of one optics group, and what they are compared with.

    ``rotations`` : ``(n, 3, 3)``, their own poses
    ``half`` : ``(n,)`` int32, 0 or 1, whose map they are compared with
    ``self_contribution`` : ``(n,)`` float32, weight times ``reference.self_contribution``; 0 for those that have no
        share in the map
    ``samples`` : the coefficients that count
    """

    images: Prepared
    rotations: NDArray[np.float64]
    half: NDArray[np.int32]
    self_contribution: Floats32
    reference: Reference
    samples: BandSamples
    backend: Backend

    def __len__(self) -> int:
        return len(self.images)

    def inputs(self, poses: NDArray[np.float64]) -> tuple[Any, ...]:
        """What all scoring kernels begin with: images, samples, poses, each particle's self-contribution, map and
        density."""
        images, reference, on_device = self.images, self.reference, self.backend.to_device
        return (
            images.image,
            images.ctf,
            *(
                on_device(a)
                for a in (*self.samples.lanes, slice_basis(poses, images.frame), self.half, self.self_contribution)
            ),
            reference.grids.values,
            reference.grids.radius,
            reference.inverse_density.values,
            reference.inverse_density.radius,
            1.0 / images.frame.padding,
        )


def own_sums(batch: Batch) -> Floats32:
    """Band sums of a batch at its own poses, ``(n, bands, 6)``."""
    n, n_bands, backend = len(batch), batch.samples.n_bands, batch.backend
    sums = backend.xp.empty((n, n_bands, 6), dtype=np.float32)
    args = (*batch.inputs(batch.rotations), n, batch.images.frame.limit, n_bands, sums)
    backend.launch(Kernel("score.cu", "score_slices"), args, items=n)
    return np.asarray(backend.to_host(sums))


def predictions(batch: Batch) -> Any:
    """What the map predicts of a batch at its own poses, complex64 ``(n, 2r+1, r+1)``: 0 outside the samples."""
    backend = batch.backend
    out = backend.xp.zeros(batch.images.image.shape, dtype=np.complex64)
    args = (*batch.inputs(batch.rotations), len(batch), batch.images.frame.limit, batch.samples.n_bands, out)
    backend.launch(Kernel("score.cu", "predict_slices"), args, items=len(batch))
    return out


def pose_sums(batch: Batch, poses: NDArray[np.float64]) -> Floats32:
    """Band sums e and c of a batch at other poses ``(n, k, 3, 3)``: ``(n, k, bands, 2)``."""
    n, k, n_bands, frame, backend = len(batch), poses.shape[1], batch.samples.n_bands, batch.images.frame, batch.backend
    sums = backend.xp.empty((n, k, n_bands, 2), dtype=np.float32)
    args = (
        *batch.inputs(poses),
        backend.to_device(slice_basis(batch.rotations, frame)),
        batch.reference.overlap,
        len(batch.reference.overlap),
        OVERLAP_STEPS / frame.padding,
        *(n, k, frame.limit, n_bands, sums),
    )
    backend.launch(Kernel("score.cu", "score_poses"), args, items=n * k)
    return np.asarray(backend.to_host(sums))


def shift_sums(batch: Batch, displacements_angstrom: NDArray[np.float64]) -> Floats32:
    """Band sums c of a batch at its own poses, its shifts displaced by ``(n, k, 2)`` Å: ``(n, k, bands)``.

    The sums e are those at the own shift: displacing an image turns the phases of its transform alone.
    """
    n, k, n_bands, backend = len(batch), displacements_angstrom.shape[1], batch.samples.n_bands, batch.backend
    frame = batch.images.frame
    sums = backend.xp.empty((n, k, n_bands), dtype=np.float32)
    turns = displacements_angstrom * (2.0 / (frame.optics.box * frame.optics.pixel_size_angstrom))
    args = (
        *batch.inputs(batch.rotations),
        backend.to_device(turns.astype(np.float32)),
        *(n, k, frame.limit, n_bands, sums),
    )
    backend.launch(Kernel("score.cu", "score_shifts"), args, items=n * k)
    return np.asarray(backend.to_host(sums))
