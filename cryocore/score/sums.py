"""Band sums of a batch of images against the reference: at their own poses, at others, and at perturbed shifts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend, Kernel, constant
from cryocore.imaging.image_geometry import ImageGeometry, slice_basis
from cryocore.imaging.prepare import Prepared
from cryocore.score.bands import BandSamples
from cryocore.score.reference import OVERLAP_STEPS, Reference
from cryocore.types import Floats32

SHIFTS = constant("score.cu", "SHIFTS")
"""For which a slice is read once."""


@dataclass(frozen=True)
class Batch:
    """Images of n particles of one optics group, and what they are compared with.

    ``rotations`` : ``(n, 3, 3)``, their own poses
    ``half`` : ``(n,)`` int32, 0 or 1, whose map they are compared with
    ``self_contribution`` : ``(n,)`` float32, weight times ``reference.self_contribution``; 0 for those that have no
        share in the map
    ``samples`` : the coefficients that count

    The next batch uses the memory of ``ordered`` again.
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

    @property
    def frame(self) -> ImageGeometry:
        """How the images sit on the grid that they are compared on."""
        return replace(self.images.frame, padding=self.reference.voxels.grid.padding)

    @cached_property
    def ordered(self) -> Any:
        """Coefficients in the order of the samples, float32 ``(n, 3, m)``: real parts, imaginary parts and CTFs."""
        images, backend, n, pairs = self.images, self.backend, len(self), self.samples.lanes[0]
        out = backend.scratch("ordered", (n, 3, len(pairs)), np.float32)
        args = images.image, images.ctf, backend.to_device(pairs), len(pairs), n, images.frame.limit, out
        backend.launch(Kernel("score.cu", "order_samples"), args, items=n)
        return out

    def inputs(self, poses: NDArray[np.float64]) -> tuple[Any, ...]:
        """What all scoring kernels begin with: coefficients, samples, poses, each particle's self-contribution,
        voxels."""
        voxels, on_device = self.reference.voxels, self.backend.to_device
        basis = slice_basis(poses, self.frame)
        return (
            self.ordered,
            self.ordered.shape[-1],
            *(on_device(a) for a in (*self.samples.lanes, basis, self.half, self.self_contribution)),
            voxels.values,
            voxels.grid.radius,
            voxels.unit,
            voxels.density_unit,
        )


def own_sums(batch: Batch) -> Any:
    """Band sums of a batch at its own poses, ``(n, bands, 6)`` float32 on the device."""
    n, n_bands, backend = len(batch), batch.samples.n_bands, batch.backend
    sums = backend.xp.empty((n, n_bands, 6), dtype=np.float32)
    backend.launch(Kernel("score.cu", "score_slices"), (*batch.inputs(batch.rotations), n, n_bands, sums), items=n)
    return sums


def predictions(batch: Batch) -> Any:
    """What the map predicts of a batch at its own poses, complex64 ``(n, 2r+1, r+1)``: 0 outside the samples."""
    n, n_bands, backend = len(batch), batch.samples.n_bands, batch.backend
    out = backend.xp.zeros(batch.images.image.shape, dtype=np.complex64)
    args = (*batch.inputs(batch.rotations), n, n_bands, batch.images.frame.limit, out)
    backend.launch(Kernel("score.cu", "predict_slices"), args, items=n)
    return out


def of_region(batch: Batch) -> Batch:
    """The batch with what is outside of the region subtracted from its images, if there is a region; memory is used
    again."""
    outside = batch.reference.outside
    if outside is None:
        return batch
    share = batch.self_contribution * np.float32(outside.self_contribution / batch.reference.self_contribution)
    images = batch.images
    images.image[...] -= predictions(replace(batch, reference=outside, self_contribution=share))
    return replace(batch, images=images)


def pose_sums(batch: Batch, poses: NDArray[np.float64], n_bands: int | None = None) -> Any:
    """Band sums e and c of a batch at other poses ``(n, k, 3, 3)``: ``(n, k, bands, 2)`` float32 on the device.

    ``n_bands`` : the innermost bands that are summed; None: all
    """
    n, k, backend = len(batch), poses.shape[1], batch.backend
    n_bands = batch.samples.n_bands if n_bands is None else n_bands
    sums = backend.xp.empty((n, k, n_bands, 2), dtype=np.float32)
    args = (
        *batch.inputs(poses),
        backend.to_device(slice_basis(batch.rotations, batch.frame)),
        batch.reference.overlap,
        len(batch.reference.overlap),
        OVERLAP_STEPS / batch.frame.padding,
        *(n, k, n_bands, sums),
    )
    backend.launch(Kernel("score.cu", "score_poses"), args, items=n * k)
    return sums


def shift_sums(batch: Batch, displacements_angstrom: NDArray[np.float64], n_bands: int | None = None) -> Any:
    """Band sums c of a batch at its own poses, its shifts displaced by ``(n, k, 2)`` Å: ``(n, k, bands)``
    float32 on the device.

    The sums e are those at the own shift: displacing an image turns the phases of its transform alone. ``n_bands`` as
    for :func:`pose_sums`.
    """
    n, k, backend, optics = len(batch), displacements_angstrom.shape[1], batch.backend, batch.images.frame.optics
    n_bands = batch.samples.n_bands if n_bands is None else n_bands
    sums = backend.xp.empty((n, k, n_bands), dtype=np.float32)
    turns = displacements_angstrom * (2.0 / (optics.box * optics.pixel_size_angstrom))
    args = (*batch.inputs(batch.rotations), backend.to_device(turns.astype(np.float32)), n, k, n_bands, sums)
    backend.launch(Kernel("score.cu", "score_shifts"), args, items=n * -(-k // SHIFTS))
    return sums
