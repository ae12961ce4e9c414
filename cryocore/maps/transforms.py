"""Transforms of volumes, axis by axis in planes that fit the cache; what is zero, or not asked for, is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryocore.cores import in_threads
from cryocore.types import Floats32

Spectrum = NDArray[np.complex64]
Window = tuple[slice, slice, slice]

BLOCK_BYTES = 1 << 20
"""What a thread works on should fit its share of the cache."""


def whole(n: int) -> Window:
    """The window ``[z, y, x]`` of all of a cube."""
    return (slice(0, n),) * 3


def support(volume: NDArray[Any]) -> Window:
    """The smallest window ``[z, y, x]`` outside which a volume is zero; all of it where it is zero throughout."""
    window = []
    for axis in range(3):
        used = np.flatnonzero(volume.any(axis=tuple(a for a in range(3) if a != axis)))
        window.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, volume.shape[axis]))
    return window[0], window[1], window[2]


def forward(values: Floats32, n: int, window: Window, out: Spectrum | None = None) -> Spectrum:
    """``rfftn`` ``(n, n, n // 2 + 1)`` of a cube that holds ``values`` in the window and is zero elsewhere."""
    z, y, x = window
    width = n // 2 + 1
    spectrum = np.empty((n, n, width), dtype=np.complex64) if out is None else out
    spectrum[: z.start] = 0.0
    spectrum[z.stop :] = 0.0

    def transform_planes(at: slice) -> None:
        part = values[at]
        rows = np.zeros((*part.shape[:2], n), dtype=np.float32)
        rows[..., x] = part
        planes = np.zeros((len(part), n, width), dtype=np.complex64)
        planes[:, y] = scipy.fft.rfft(rows, axis=2)
        spectrum[z.start + at.start : z.start + at.stop] = scipy.fft.fft(planes, axis=1, overwrite_x=True)

    def transform_z(at: slice) -> None:
        spectrum[:, at] = scipy.fft.fft(spectrum[:, at], axis=0)

    in_threads(transform_planes, blocks(len(values), n))
    in_threads(transform_z, blocks(n, n))
    return spectrum


def inverse(spectrum: Spectrum, n: int, window: Window) -> Floats32:
    """The part of ``irfftn`` in a window; the spectrum is used up."""
    z, y, x = window
    values = np.empty([s.stop - s.start for s in window], dtype=np.float32)

    def transform_z(at: slice) -> None:
        spectrum[z, at] = scipy.fft.ifft(spectrum[:, at], axis=0)[z]

    def transform_planes(at: slice) -> None:
        rows = scipy.fft.ifft(spectrum[z.start + at.start : z.start + at.stop], axis=1)[:, y]
        values[at] = scipy.fft.irfft(rows, n=n, axis=2)[..., x]

    in_threads(transform_z, blocks(n, n))
    in_threads(transform_planes, blocks(len(values), n))
    return values


def blocks(count: int, n: int) -> list[slice]:
    """``count`` planes ``(n, n // 2 + 1)`` in blocks of about :data:`BLOCK_BYTES`."""
    step = max(1, BLOCK_BYTES // (8 * n * (n // 2 + 1)))
    return [slice(i, min(i + step, count)) for i in range(0, count, step)]
