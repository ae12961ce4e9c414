"""Pᵀ: slices added to the Fourier sums of both half sets, Pᵀ C y and Pᵀ C² P."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend, Kernel
from cryocore.data import FourierGrid, FourierSums
from cryocore.imaging.image_geometry import ImageGeometry, slice_basis
from cryocore.imaging.packed import row_ends
from cryocore.imaging.prepare import Prepared
from cryocore.imaging.volumes import fold_friedel

INSERT = Kernel("insert.cu", "insert_slices", rows=True)
SORT, ADD = Kernel("insert.cu", "sort_samples"), Kernel("insert.cu", "add_samples")
SAMPLE_BYTES = 24
PIECE = 16
"""Images whose samples one thread sorts at a time."""
WAITING_SHARE = 0.35
"""Memory of samples that wait to be added, as a share of that of the sums: each time, all the sums go by once."""
WAITING_LEAST = 256 << 20


class Insertion:
    """The sums of one grid, to which batches of images are added.

    On the CPU, samples are sorted by bin of the grid and wait until there are many, so that the sums are read and
    written once for all of them, by threads that own their bins: the same images in the same order give the same
    bytes for any number of threads and batches of any multiple of :data:`PIECE` images. On the GPU they are added at
    once, atomically.
    """

    def __init__(self, grid: FourierGrid, backend: Backend, start: FourierSums | None = None) -> None:
        self.grid, self.backend = grid, backend
        if start is None:
            self.numerator = backend.xp.zeros((2, *grid.shape), dtype=np.complex64)
            self.denominator = backend.xp.zeros((2, *grid.shape), dtype=np.float32)
        else:
            self.numerator, self.denominator = backend.to_device(start.numerator), backend.to_device(start.denominator)
        # samples enter the plane kz = 0 without their Friedel mates; what is there already has both
        self._folded = self.numerator[:, 0].copy(), self.denominator[:, 0].copy()
        self.numerator[:, 0] = 0
        self.denominator[:, 0] = 0
        self._shift = bin_shift(grid)
        self._limit = max(WAITING_LEAST, int(WAITING_SHARE * 12 * self.denominator.size))
        self._colours, self._n_bins = bin_rows(grid, self._shift)
        self._samples: Any = None
        self._waiting = 0

    def add(
        self,
        batch: Prepared,
        rotations: NDArray[np.float64],
        weights: NDArray[np.float32],
        half: NDArray[np.int32],
    ) -> None:
        """Add a batch at poses ``(n, 3, 3)``; ``half`` is 0 or 1, ``weights`` may have either sign."""
        frame, n, r, backend = batch.frame, len(batch), batch.frame.limit, self.backend
        basis, ends = backend.to_device(slice_basis(rotations, frame)), backend.to_device(row_ends(r))
        weight, which = backend.to_device(weights.astype(np.float32)), backend.to_device(half.astype(np.int32))
        if backend.name != "cpu":
            inputs = (batch.image, batch.ctf, basis, weight, which, ends)
            args = (*inputs, n, r, self.grid.radius, self.numerator, self.denominator)
            backend.launch(INSERT, args, items=n)
            return
        capacity, done = PIECE * disc_samples(r), 0
        while done < n:
            samples, starts = self._room(frame)
            part = slice(done, min(done + PIECE * len(samples), n))
            done, pieces = part.stop, -(-(part.stop - part.start) // PIECE)
            inputs = (batch.image[part], batch.ctf[part], basis[part], weight[part], which[part], ends)
            sizes = (part.stop - part.start, r, self.grid.radius, self._shift, PIECE)
            backend.launch(SORT, (*inputs, *sizes, samples, capacity, starts), items=pieces)
            self._waiting += pieces

    def waiting_images(self, frame: ImageGeometry) -> int:
        """How many more images of a frame can wait to be added."""
        return PIECE * len(self._room(frame)[0])

    def sums(self) -> FourierSums:
        """The sums of all batches, with both Friedel mates of each sample in the plane kz = 0."""
        self.flush()
        self._samples = None
        for array, before in zip((self.numerator, self.denominator), self._folded, strict=True):
            array[:, 0] = before + fold_friedel(array[:, 0])
        return FourierSums(self.backend.to_host(self.numerator), self.backend.to_host(self.denominator), self.grid)

    def _room(self, frame: ImageGeometry) -> tuple[Any, Any]:
        """Room for some more pieces: views of the samples ``(pieces, capacity)`` and of where bins start in them."""
        capacity = PIECE * disc_samples(frame.limit)
        if self._samples is None or self._samples.shape[1] != capacity:
            self.flush()
            self._samples = None  # given back before more is asked for
            pieces = max(1, self._limit // (SAMPLE_BYTES * capacity))
            self._samples = np.empty((pieces, capacity, SAMPLE_BYTES // 4), dtype=np.float32)
            self._starts = np.empty((pieces, self._n_bins + 2), dtype=np.int32)
        if self._waiting == len(self._samples):
            self.flush()
        return self._samples[self._waiting :], self._starts[self._waiting :]

    def flush(self) -> None:
        """Add the samples that wait to the sums."""
        if self._waiting:
            waiting = (self._samples, self._starts, self._waiting, self._samples.shape[1])
            for rows in self._colours:
                args = (*waiting, rows, len(rows), self.grid.radius, self._shift, self.numerator, self.denominator)
                self.backend.launch(ADD, args, items=len(rows))
        self._waiting = 0


def disc_samples(limit: int) -> int:
    """Most samples that an image enters, those up to shell ``limit``."""
    return int(np.sum(row_ends(limit) + 1))


def bin_shift(grid: FourierGrid) -> int:
    """Size of bins, see :func:`bin_rows`: a bin's sums fit the cache, and there are not too many bins."""
    return 4 if grid.radius <= 320 else 5


def bin_rows(grid: FourierGrid, shift: int) -> tuple[list[NDArray[np.int32]], int]:
    """Rows of bins in four colours, rows of one colour being no neighbours, and the number of bins.

    Bins of ``2^shift x 2^shift x 2^(shift + 2)`` voxels are numbered [half][z][y][x]; a row has all x.
    """
    planes, width, _ = grid.shape
    nz, ny, nx = ((planes - 1) >> shift) + 1, ((width - 1) >> shift) + 1, ((width - 1) >> (shift + 2)) + 1
    rows = np.arange(2 * nz * ny, dtype=np.int32)
    colour = 2 * (rows // ny % nz % 2) + rows % ny % 2
    return [np.ascontiguousarray(rows[colour == c]) for c in range(4)], 2 * nz * ny * nx
