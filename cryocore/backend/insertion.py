"""Pᵀ on either machine: one arithmetic (``kernels/shared/half_space.cuh``), two schedules.

Not a method of :class:`Backend`: only what adds slices depends on these kernels (:mod:`cryocore.workflow.provenance`).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cryocore.backend.base import Backend, Kernel, constant

INSERT = Kernel("cuda/insert_atomic.cu", "insert_slices")
SORT, ADD = Kernel("host/insert_binned.cpp", "sort_samples"), Kernel("host/insert_binned.cpp", "add_samples")
SAMPLE_FLOATS = constant("host/insert_binned.cpp", "SAMPLE_FLOATS")
PIECE = 16
"""Images whose samples one thread sorts at a time."""
WAITING_SHARE = 0.35
"""Memory of samples that wait to be added, as a share of that of the sums: each time, all the sums go by once."""
WAITING_LEAST = 256 << 20


class Schedule(Protocol):
    """Adds slices to sums ``(2, R + 2, 2R + 3, 2R + 3)``, complex64 and float32, in place."""

    def add(self, slices: tuple[Any, ...], row_ends: NDArray[np.int32]) -> None:
        """Add image, CTF, basis, weight and half set of n slices, arrays of the device; the last kx of each row."""

    def waiting_images(self, row_ends: NDArray[np.int32]) -> int:
        """How many more slices can wait to be added."""

    def flush(self) -> None:
        """Add what waits."""


def insertion(backend: Backend, numerator: Any, denominator: Any) -> Schedule:
    """The schedule for sums on a backend's device."""
    schedule = Binned if backend.name == "cpu" else Atomic
    return schedule(backend, numerator, denominator)


class Atomic:
    """Slices are added at once, atomically."""

    def __init__(self, backend: Backend, numerator: Any, denominator: Any) -> None:
        self.backend, self.sums = backend, (numerator, denominator)

    def add(self, slices: tuple[Any, ...], row_ends: NDArray[np.int32]) -> None:
        """See :class:`Schedule`."""
        n, r, radius = len(slices[0]), len(row_ends) // 2, self.sums[0].shape[1] - 2
        args = (*slices, self.backend.to_device(row_ends), n, r, radius, *self.sums)
        self.backend.launch(INSERT, args, items=n)

    def waiting_images(self, row_ends: NDArray[np.int32]) -> int:
        """None."""
        return 0

    def flush(self) -> None:
        """Nothing waits."""


class Binned:
    """Samples are sorted by bin of the grid and wait until there are many.

    The sums are read and written once for all of them, by threads that own their bins: the same images in the same
    order give the same bytes for any number of threads and batches of any multiple of :data:`PIECE` images.
    """

    def __init__(self, backend: Backend, numerator: Any, denominator: Any) -> None:
        self.backend, self.sums = backend, (numerator, denominator)
        self._radius = numerator.shape[1] - 2
        self._layout = bin_layout(self._radius, bin_side(self._radius))
        self._limit = max(WAITING_LEAST, int(WAITING_SHARE * 12 * denominator.size))
        self._samples: Any = None
        self._waiting = 0

    def add(self, slices: tuple[Any, ...], row_ends: NDArray[np.int32]) -> None:
        """See :class:`Schedule`."""
        n, r, done = len(slices[0]), len(row_ends) // 2, 0
        while done < n:
            samples, starts = self._room(row_ends)
            part = slice(done, min(done + PIECE * len(samples), n))
            done, pieces = part.stop, -(-(part.stop - part.start) // PIECE)
            sizes = (part.stop - part.start, r, self._radius, self._layout, PIECE)
            args = (*(a[part] for a in slices), row_ends, *sizes, samples, samples.shape[1], starts)
            self.backend.launch(SORT, args, items=pieces)
            self._waiting += pieces

    def waiting_images(self, row_ends: NDArray[np.int32]) -> int:
        """See :class:`Schedule`."""
        return PIECE * len(self._room(row_ends)[0])

    def flush(self) -> None:
        """See :class:`Schedule`."""
        if self._waiting:
            waiting = (self._samples, self._starts, self._waiting, self._samples.shape[1])
            for rows in colours(self._layout):
                args = (*waiting, rows, len(rows), self._radius, self._layout, *self.sums)
                self.backend.launch(ADD, args, items=len(rows))
        self._waiting = 0

    def _room(self, row_ends: NDArray[np.int32]) -> tuple[Any, Any]:
        """Room for some more pieces: views of the samples ``(pieces, capacity)`` and of where bins start in them."""
        capacity = PIECE * int(np.sum(row_ends + 1))
        if self._samples is None or self._samples.shape[1] != capacity:
            self.flush()
            self._samples = None  # given back before more is asked for
            pieces = max(1, self._limit // (4 * SAMPLE_FLOATS * capacity))
            self._samples = np.empty((pieces, capacity, SAMPLE_FLOATS), dtype=np.float32)
            self._starts = np.empty((pieces, 2 * int(np.prod(self._layout[2:])) + 2), dtype=np.int32)
        if self._waiting == len(self._samples):
            self.flush()
        return self._samples[self._waiting :], self._starts[self._waiting :]


def bin_side(radius: int) -> int:
    """Side of bins as a power of 2: a bin's sums fit the cache, and there are not too many bins."""
    return 4 if radius <= 320 else 5


def bin_layout(radius: int, side: int) -> NDArray[np.int32]:
    """Bins of ``2^side x 2^side x 2^(side + 2)`` voxels, as the kernels have them, ``(5,)``.

    Side along z and y, and along x, as powers of 2; how many there are along z, y and x.
    """
    planes, width = radius + 2, 2 * radius + 3
    counts = (1 + (n - 1 >> bits) for n, bits in ((planes, side), (width, side), (width, side + 2)))
    return np.array([side, side + 2, *counts], dtype=np.int32)


def colours(layout: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """Rows of bins of all x, numbered [half][z][y], in four colours: rows of one colour are no neighbours."""
    nz, ny = layout[2:4]
    rows = np.arange(2 * nz * ny, dtype=np.int32)
    colour = 2 * (rows // ny % nz % 2) + rows % ny % 2
    return [np.ascontiguousarray(rows[colour == c]) for c in range(4)]
