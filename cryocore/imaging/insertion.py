"""Pᵀ: slices added to the Fourier sums of both half sets, Pᵀ C y and Pᵀ C² P."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.backend.insertion import insertion
from cryocore.imaging.grid import FourierGrid, FourierSums, require_room
from cryocore.imaging.image_geometry import ImageGeometry, slice_basis
from cryocore.imaging.packed import row_ends
from cryocore.imaging.prepare import Prepared
from cryocore.imaging.volumes import fold_friedel


class Insertion:
    """The sums of one grid, to which batches of images are added (:mod:`cryocore.backend.insertion`).

    ``n_sets`` : 2, those of both half sets; 1, one for all images
    """

    def __init__(
        self, grid: FourierGrid, backend: Backend, start: FourierSums | None = None, n_sets: Literal[1, 2] = 2
    ) -> None:
        self.grid, self.backend = grid, backend
        if start is None:
            require_room(grid, n_sets, backend)
            self.numerator = backend.xp.zeros((n_sets, *grid.shape), dtype=np.complex64)
            self.denominator = backend.xp.zeros((n_sets, *grid.shape), dtype=np.float32)
        else:
            start = start.on(backend)
            self.numerator, self.denominator = start.numerator, start.denominator
        # samples enter the plane kz = 0 without their Friedel mates; what is there already has both
        self._folded = self.numerator[:, 0].copy(), self.denominator[:, 0].copy()
        self.numerator[:, 0] = 0
        self.denominator[:, 0] = 0
        self._schedule = insertion(backend, self.numerator, self.denominator)

    def add(
        self,
        batch: Prepared,
        rotations: NDArray[np.float64],
        weights: NDArray[np.float32],
        half: NDArray[np.int32],
    ) -> None:
        """Add a batch at poses ``(n, 3, 3)`` to the sums ``half``, 0 or 1; ``weights`` may have either sign."""
        poses = slice_basis(rotations, batch.frame), weights.astype(np.float32), half.astype(np.int32)
        slices = (batch.image, batch.ctf, *(self.backend.to_device(a) for a in poses))
        self._schedule.add(slices, row_ends(batch.frame.limit))

    def waiting_images(self, frame: ImageGeometry) -> int:
        """How many more images of a frame can wait to be added."""
        return self._schedule.waiting_images(row_ends(frame.limit))

    def flush(self) -> None:
        """Add what waits to the sums."""
        self._schedule.flush()

    def sums(self) -> FourierSums:
        """The sums of all batches, with both Friedel mates of each sample in the plane kz = 0."""
        self.flush()
        for array, before in zip((self.numerator, self.denominator), self._folded, strict=True):
            array[:, 0] = before + fold_friedel(array[:, 0])
        return FourierSums(self.numerator, self.denominator, self.grid, self.backend)
